//! Who is told what, what a liar can do, and what is forgotten.

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Each of these addresses has measured `a` once.
fn measured(by: &[(&str, f64)]) -> Networks {
    let mut networks = Networks::default();
    for (from, ms) in by {
        networks.learn(address(from), None, [("a", *ms)], Duration::ZERO);
    }
    networks
}

/// What a client is told when there is time to work it out.
fn recall(networks: &mut Networks, from: IpAddr, system: Option<u32>, says_where: bool, now: Duration) -> Told {
    let (told, question) = networks.recall(from, system, says_where, now);
    let Some(answer) = question.map(|question| question.answer(now)) else { return told };
    networks.note(&answer);
    let (again, question) = networks.recall(from, system, says_where, now);
    assert!(question.is_none(), "it was worked out a moment ago");
    assert_eq!(again, told.with(&answer));
    again
}

fn told(networks: &Networks, from: &str, now: Duration) -> Option<f64> {
    recall(&mut networks.clone(), address(from), None, false, now).latencies.get("a").copied()
}

#[test]
fn an_address_is_told_its_own_word_and_others_what_three_of_the_network_say() {
    let now = Duration::ZERO;
    let two = measured(&[("192.0.2.1", 10.0), ("192.0.2.2", 20.0)]);
    assert_eq!(told(&two, "192.0.2.1", now), Some(10.0));
    assert_eq!(told(&two, "::ffff:192.0.2.1", now), Some(10.0));
    assert_eq!(told(&two, "192.0.2.9", now), None, "two are too few");
    let three = measured(&[("192.0.2.1", 10.0), ("192.0.2.2", 20.0), ("192.0.2.3", 900.0)]);
    assert_eq!(told(&three, "192.0.2.9", now), Some(20.0));
    assert_eq!(told(&three, "192.0.3.9", now), None, "another network");
    let six = [("2001:db8:1:100::1", 10.0), ("2001:db8:1:200::1", 11.0), ("2001:db8:1:300::1", 12.0)];
    assert_eq!(told(&measured(&six[..2]), "2001:db8:1:1ff::9", now), Some(10.0), "a customer has any address of a /56");
    assert_eq!(told(&measured(&six), "2001:db8:1:400::1", now), Some(11.0));
    assert_eq!(told(&measured(&six), "2001:db8:2:100::1", now), None);
}

#[test]
fn an_address_speaks_for_itself_only_while_too_few_others_do_and_nothing_better_is_known() {
    let now = Duration::ZERO;
    let mut networks = measured(&[("192.0.2.1", 1.0), ("192.0.2.1", 1.0), ("192.0.2.1", 1.0), ("192.0.2.2", 80.0)]);
    assert_eq!(told(&networks, "192.0.2.1", now), Some(1.0));
    let told_where = recall(&mut networks, address("192.0.2.1"), None, true, now);
    assert_eq!(told_where, Told::default(), "who says where it is, knows better than a stranger behind its address");
    networks.learn(address("192.0.2.3"), None, [("a", 82.0)], now);
    assert_eq!(told(&networks, "192.0.2.1", now), Some(80.0), "two others do not say the same as it");
    let told_where = recall(&mut networks, address("192.0.2.1"), None, true, now);
    assert_eq!(told_where.latencies.get("a"), Some(&80.0));
}

#[test]
fn the_last_three_of_an_address_count_by_their_median() {
    let many = measured(&[("192.0.2.1", 500.0), ("192.0.2.1", 10.0), ("192.0.2.1", 12.0), ("192.0.2.1", 900.0)]);
    assert_eq!(told(&many, "192.0.2.1", Duration::ZERO), Some(12.0));
    assert_eq!(many.known.values().next().map(|known| known.reports.len()), Some(3));
}

#[test]
fn an_older_word_weighs_less_and_is_forgotten_after_a_week() {
    let mut networks = measured(&[("192.0.2.1", 10.0), ("192.0.2.2", 10.0)]);
    for (from, ms) in [("192.0.2.3", 50.0), ("192.0.2.4", 52.0)] {
        networks.learn(address(from), None, [("a", ms)], HOUR * 48);
    }
    assert_eq!(told(&networks, "192.0.2.9", HOUR * 48), Some(50.0), "the way has changed");
    assert_eq!(told(&networks, "192.0.2.9", LIFE), None, "two are too few");
    assert_eq!(told(&networks, "192.0.2.1", LIFE), None);
}

#[test]
fn memory_is_bounded_and_the_quietest_network_goes() {
    let mut networks = Networks::default();
    let of = |index: usize| IpAddr::from(u32::try_from(index << 8).expect("small").to_be_bytes());
    for index in 0..=MAX_NETWORKS {
        let now = Duration::from_secs(index as u64);
        let names: Vec<String> = (0..40).map(|region| format!("r{region:02}")).collect();
        networks.learn(of(index), None, names.iter().map(|name| (name.as_str(), 1.0)), now);
    }
    let now = Duration::from_secs(MAX_NETWORKS as u64);
    assert_eq!(networks.len(), MAX_NETWORKS);
    assert!(recall(&mut networks, of(0), None, false, now).latencies.is_empty());
    assert_eq!(recall(&mut networks, of(1), None, false, now).latencies.len(), MAX_REGIONS);
    assert_eq!(networks.names.len(), MAX_REGIONS);
    for host in 0..=255_u8 {
        networks.learn([192, 0, 2, host].into(), None, [("a", 1.0)], now);
    }
    assert_eq!(networks.known.values().map(|known| known.reports.len()).max(), Some(MAX_REPORTS));
}

#[test]
fn who_has_thousands_of_networks_side_by_side_pushes_out_its_own() {
    let mut networks = Networks::default();
    let honest = address("192.0.2.1");
    networks.learn(honest, None, [("a", 10.0)], Duration::ZERO);
    for index in 0..2 * MAX_NETWORKS {
        let [.., high, low] = (index as u64).to_be_bytes();
        let from = address(&format!("2001:db8:{high:x}{low:02x}::1"));
        networks.learn(from, None, [("a", 1.0)], Duration::from_secs(index as u64));
    }
    assert_eq!(networks.len(), MAX_NETWORKS);
    assert_eq!(told(&networks, "192.0.2.1", Duration::ZERO), Some(10.0));
    assert_eq!(networks.blocks.values().sum::<usize>(), MAX_NETWORKS);
}

#[test]
fn a_system_hears_networks_by_their_share_and_not_by_how_often_they_speak() {
    let mut networks = Networks::default();
    let of = |a: u8, b: u8| IpAddr::from([198, a, b, 7]);
    for b in 0..=255 {
        networks.learn(of(51, b), Some(1), [("a", 20.0)], Duration::ZERO);
    }
    for b in 0..64 {
        networks.learn(of(18, b), Some(1), [("a", 200.0)], HOUR);
    }
    let told = recall(&mut networks, address("192.0.2.9"), Some(1), false, HOUR);
    assert!(told.latencies.get("a").is_none_or(|ms| *ms < 21.0), "64 of 320 that spoke last: {told:?}");
    // Of IPv6, whoever has a /42 has 64 networks, and one word.
    let mut networks = Networks::default();
    for index in 0..64 {
        networks.learn(address(&format!("2001:db8:{index:x}::1")), Some(1), [("a", 5.0)], Duration::ZERO);
    }
    let (_, question) = networks.recall(address("2001:db8:ff00::1"), Some(1), false, Duration::ZERO);
    assert_eq!(question.expect("nothing was worked out yet").heard.len(), 1);
}

/// Addresses in so many networks, one in each.
fn spread(count: u8) -> impl Iterator<Item = IpAddr> {
    (0..count).map(|n| IpAddr::from([198, 51, n, 7]))
}

#[test]
fn a_client_of_a_quiet_network_is_told_what_its_system_agrees_on() {
    let client = address("192.0.2.9");
    let mut networks = Networks::default();
    for (count, from) in (0_u32..).zip(spread(8)) {
        assert_eq!(
            recall(&mut networks, client, Some(64500), false, HOUR * count),
            Told::default(),
            "{count} networks"
        );
        networks.learn(from, Some(64500), [("a", 20.0), ("b", 90.0)], HOUR * count);
    }
    let told = recall(&mut networks, client, Some(64500), false, HOUR * 8);
    assert_eq!((told.latencies["a"], told.network, told.system), (20.0, None, Some(64500)));
    assert_eq!(recall(&mut networks, client, Some(64501), false, HOUR * 8), Told::default());
    assert_eq!(recall(&mut networks, client, None, false, HOUR * 8), Told::default());
    // What it has measured itself is better, and the system knows the rest.
    networks.learn(client, Some(64500), [("a", 35.0)], HOUR * 8);
    let told = recall(&mut networks, client, Some(64500), false, HOUR * 8);
    assert_eq!((told.latencies["a"], told.latencies["b"], told.system), (35.0, 90.0, Some(64500)));
    assert_eq!(told.network.map(|network| network.to_string()).as_deref(), Some("192.0.2.0/24"));
    assert_eq!(recall(&mut networks, address("192.0.3.1"), Some(64500), false, LIFE * 2), Told::default(), "long ago");
}

#[test]
fn a_network_is_of_the_system_that_was_said_last_and_leaves_it_when_it_is_forgotten() {
    let mut networks = Networks::default();
    let client = address("192.0.2.9");
    for from in spread(8) {
        networks.learn(from, Some(1), [("a", 20.0)], Duration::ZERO);
    }
    for from in spread(8) {
        networks.learn(from, None, [("a", 20.0)], HOUR);
    }
    assert_eq!(recall(&mut networks, client, Some(1), false, HOUR).system, Some(1), "the database was away");
    for from in spread(8) {
        networks.learn(from, Some(2), [("a", 20.0)], HOUR * 2);
    }
    assert_eq!(recall(&mut networks, client, Some(1), false, HOUR * 2).system, None);
    assert_eq!(recall(&mut networks, client, Some(2), false, HOUR * 2).system, Some(2));
    let others = networks.all().into_iter().map(|network| (network, Some(3)));
    networks.are_of(others.collect::<Vec<_>>());
    assert_eq!(recall(&mut networks, client, Some(2), false, HOUR * 2).system, None, "another database says otherwise");
    assert_eq!(recall(&mut networks, client, Some(3), false, HOUR * 2).system, Some(3));
    networks.are_of([("192.0.2.0/24".parse().expect("a network"), Some(3))]);
    assert_eq!(networks.len(), 8, "what is not known is not made known by that");
    for index in 0..MAX_NETWORKS {
        let from = IpAddr::from(u32::try_from(index << 8).expect("small").to_be_bytes());
        networks.learn(from, None, [("a", 1.0)], HOUR * 3);
    }
    assert!(networks.systems.is_empty() && networks.len() == MAX_NETWORKS);
}

prop_compose! {
    fn words()(of in 0_u8..8, ms in 0.0..300.0_f64, hours in 0_u32..100) -> (u8, f64, u32) {
        (of, ms, hours)
    }
}

proptest! {
    #[test]
    fn one_liar_moves_nothing_beyond_what_honest_ones_say(
        honest in prop::collection::vec(words(), 1..16),
        // Of IPv6, a customer has many networks of its own to lie from.
        lies in prop::collection::vec((any::<u8>(), 0.0..60_000.0_f64, 0_u32..100), 0..24),
        is_six in any::<bool>(),
    ) {
        let at = |customer: u8, host: u8| -> IpAddr {
            if is_six {
                let network = u16::from_be_bytes([customer, host]);
                [0x2001, 0xdb8, 1, network, 0, 0, 0, u16::from(host)].into()
            } else {
                [192, 0, 2, customer].into()
            }
        };
        let mut all: Vec<(IpAddr, f64, u32)> = honest.iter().map(|(of, ms, hours)| (at(*of, 1), *ms, *hours)).collect();
        all.extend(lies.iter().map(|(host, ms, hours)| (at(99, *host), *ms, *hours)));
        all.sort_by_key(|(_, _, hours)| *hours);
        let mut networks = Networks::default();
        for (from, ms, hours) in all {
            networks.learn(from, None, [("a", ms)], HOUR * hours);
        }
        // Whoever shares the liar's address is told no lie either, as soon as anybody else would be told anything.
        let told = recall(&mut networks, at(200, 1), None, false, HOUR * 100).latencies;
        if let Some(ms) = told.get("a") {
            let of = honest.iter().map(|(_, ms, _)| *ms);
            let (least, most) = of.fold((f64::MAX, f64::MIN), |(least, most), ms| (least.min(ms), most.max(ms)));
            prop_assert!((least..=most).contains(ms), "{} is not in {}..{}", ms, least, most);
            let neighbour = recall(&mut networks, at(99, 7), None, false, HOUR * 100).latencies;
            prop_assert_eq!(neighbour.get("a"), Some(ms));
        }
        // And who says where it is, is never told a liar's word alone.
        let told_where = recall(&mut networks, at(99, 7), None, true, HOUR * 100).latencies;
        prop_assert_eq!(told_where.get("a"), told.get("a"));
    }

    #[test]
    fn the_order_of_equals_does_not_matter(ms in prop::collection::vec(0.0..300.0_f64, 3..8)) {
        let learn = |order: &mut dyn Iterator<Item = (usize, &f64)>| {
            let mut networks = Networks::default();
            for (host, ms) in order {
                networks.learn([192, 0, 2, u8::try_from(host).expect("small")].into(), None, [("a", *ms)], HOUR);
            }
            recall(&mut networks, [192, 0, 2, 200].into(), None, false, HOUR * 2)
        };
        prop_assert_eq!(learn(&mut ms.iter().enumerate()), learn(&mut ms.iter().enumerate().rev()));
    }
}

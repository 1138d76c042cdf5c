//! What names mean, for whom, and what does not change that.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::answer::MOST_RECORDS;
use super::*;
use crate::wire::routing::{Overflow, RegionRule, Routing};
use crate::wire::session::GeoPoint;
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn zone() -> Zone {
    let nameservers = [("ns1.relays.example.com", "192.0.2.53"), ("ns2.example.net", "192.0.2.54")];
    let nameservers = nameservers
        .map(|(ns, address)| Nameserver { name: name(ns), addresses: vec![address.parse().expect("an address")] });
    Zone { name: name("relays.example.com"), ttl: 20, nameservers: nameservers.to_vec() }
}

fn relay(name: &str, url: &str) -> RelayEntry {
    let (name, url) = (name.to_owned(), url.to_owned());
    RelayEntry { pod_uid: name.clone(), name, url, capacity: 10, cordoned: false, leaving: false }
}

fn pool(name: &str, at: (f64, f64), relays: Vec<RelayEntry>) -> PoolEntry {
    let (name, region) = (name.to_owned(), format!("{name}-region"));
    PoolEntry { namespace: "live".to_owned(), name, region, latitude: at.0, longitude: at.1, relays }
}

/// Dublin (plain, by address), Tokyo (by TLS and name), São Paulo (six relays).
fn table() -> RelayTable {
    let many = (0..6).map(|n| relay(&format!("saopaulo-{n}"), &format!("ws://198.51.100.{n}:7000"))).collect();
    RelayTable {
        lobby_uid: "lobby".to_owned(),
        pools: vec![
            pool(
                "dublin",
                (53.35, -6.26),
                vec![relay("dublin-0", "ws://192.0.2.1:31000"), relay("dublin-1", "ws://[2001:db8::1]:31000")],
            ),
            pool("tokyo", (35.68, 139.69), vec![relay("tokyo-0", "wss://t0.example.net")]),
            pool("saopaulo", (-23.53, -46.79), many),
        ],
        ..RelayTable::default()
    }
}

fn found() -> BTreeMap<Name, Vec<IpAddr>> {
    let addresses = ["203.0.113.9", "2001:db8::9"].map(|address| address.parse().expect("an address"));
    BTreeMap::from([(name("t0.example.net"), addresses.to_vec())])
}

fn atlas(change: impl FnOnce(&mut RelayTable)) -> Atlas {
    let mut table = table();
    change(&mut table);
    Atlas::new(table, &found())
}

const PARIS: Option<GeoPoint> = Some(GeoPoint { latitude: 48.86, longitude: 2.35 });
const OSAKA: Option<GeoPoint> = Some(GeoPoint { latitude: 34.69, longitude: 135.50 });
const RIO: Option<GeoPoint> = Some(GeoPoint { latitude: -22.91, longitude: -43.17 });

fn asker(point: Option<GeoPoint>) -> Asker {
    Asker { point, network: "203.0.113.0/24".parse().expect("a network"), turn: 0 }
}

fn ask_with(atlas: &Atlas, regions: Option<&Regions>, asker: &Asker, text: &str, kind: Kind) -> Answer {
    let known = regions.map(|regions| atlas.known(regions));
    answer(&zone(), Some(atlas), known.as_ref(), asker, (&name(text), kind))
}

fn ask(point: Option<GeoPoint>, text: &str, kind: Kind) -> Answer {
    ask_with(&atlas(|_| ()), None, &asker(point), text, kind)
}

/// The records in words.
fn words(answer: &Answer) -> Vec<String> {
    let word = |record: &Record| match &record.data {
        Data::A(address) => address.to_string(),
        Data::Aaaa(address) => address.to_string(),
        Data::Ns(name) => name.to_string(),
        Data::Soa { primary, minimum } => format!("SOA {primary} {minimum}"),
        Data::Srv { priority, port, target } => format!("{priority} {port} {target}"),
        Data::Https { priority, port, target, v4, v6 } => format!("{priority} {target} {port} {v4:?} {v6:?}"),
        Data::NotAll => "RFC8482".to_owned(),
    };
    answer.records.iter().map(word).collect()
}

#[test]
fn the_zone_is_the_nearest_pool() {
    for (point, kind, expected) in [
        (PARIS, Kind::A, vec!["192.0.2.1"]),
        (PARIS, Kind::Aaaa, vec!["2001:db8::1"]),
        (OSAKA, Kind::A, vec!["203.0.113.9"]),
        (OSAKA, Kind::Aaaa, vec!["2001:db8::9"]),
        // Nothing known: the pools' declared order.
        (None, Kind::A, vec!["192.0.2.1"]),
        // IPv6 that the nearest pool has not is not looked for farther away: clients would take it before what is near.
        (RIO, Kind::Aaaa, vec![]),
    ] {
        let answer = ask(point, "relays.example.com", kind);
        assert_eq!(words(&answer), expected, "{point:?} {kind:?}");
        assert_eq!((answer.code, answer.near), (Code::NoError, true));
        assert_eq!(answer.soa.is_some(), expected.is_empty());
        assert!(answer.records.iter().all(|record| record.ttl == 20));
    }
}

#[test]
fn services_have_an_order_and_the_next_pool() {
    let srv = |point, text: &str| words(&ask(point, text, Kind::Srv));
    let dublin = |rank: u32| {
        [0, 1]
            .map(|relay| format!("{rank} 31000 dublin-{relay}.live.relays.example.com."))
            .into_iter()
            .collect::<Vec<_>>()
    };
    let mut from_paris = srv(PARIS, "_ws._tcp.relays.example.com");
    let second = from_paris.split_off(2);
    from_paris.sort();
    assert_eq!(from_paris, dublin(10));
    assert!(second.iter().all(|record| record.starts_with("20 7000 saopaulo-")) && second.len() == 2, "{second:?}");
    assert_eq!(srv(OSAKA, "_wss._tcp.relays.example.com"), ["10 443 t0.example.net."]);
    assert_eq!(
        srv(OSAKA, "_convene._tcp.relays.example.com").first().map(String::as_str),
        Some("10 443 t0.example.net.")
    );
    assert_eq!(srv(None, "_wss._tcp.tokyo.relays.example.com"), ["10 443 t0.example.net."]);
    assert_eq!(srv(None, "_wss._tcp.dublin.relays.example.com"), Vec::<String>::new());
    // Only TLS is HTTPS, and an address alone has no name for its certificate but ours.
    let https = words(&ask(OSAKA, "relays.example.com", Kind::Https));
    assert_eq!(https, ["1 t0.example.net. 443 [203.0.113.9] [2001:db8::9]"]);
    assert_eq!(words(&ask(None, "dublin-region.relays.example.com", Kind::Https)), Vec::<String>::new());
}

#[test]
fn what_the_nearest_pool_does_not_speak_is_given_by_the_next_that_does() {
    let all = atlas(|_| ());
    let at = |atlas: &Atlas, point, text: &str, kind| ask_with(atlas, None, &asker(point), text, kind);
    // Dublin and São Paulo are nearer, and speak no TLS.
    for (text, kind, expected) in [
        ("_wss._tcp.relays.example.com", Kind::Srv, "10 443 t0.example.net."),
        ("relays.example.com", Kind::Https, "1 t0.example.net. 443 [203.0.113.9] [2001:db8::9]"),
    ] {
        let answer = at(&all, PARIS, text, kind);
        assert_eq!((words(&answer), answer.near), (vec![expected.to_owned()], true), "{text}");
    }
    let plain = at(&all, OSAKA, "_ws._tcp.relays.example.com", Kind::Srv);
    assert_eq!(words(&plain).len(), MOST_RECORDS, "{plain:?}");
    // IPv4 is looked for farther away: who has both takes the near IPv6 first, who has no IPv6 would get nothing.
    let v6 = atlas(|table| drop(table.pools[0].relays.remove(0)));
    assert_eq!(words(&at(&v6, PARIS, "relays.example.com", Kind::Aaaa)), ["2001:db8::1"]);
    assert_eq!(words(&at(&v6, PARIS, "relays.example.com", Kind::A)).len(), MOST_RECORDS, "São Paulo's");
    // Of a large pool, those count that have the family.
    let mixed = atlas(|table| {
        let only = |n| relay(&format!("dublin-{n}"), &format!("ws://[2001:db8::{n}]:31000"));
        table.pools[0].relays = (1..9).map(only).chain([relay("dublin-0", "ws://192.0.2.1:31000")]).collect();
    });
    assert_eq!(words(&at(&mixed, PARIS, "relays.example.com", Kind::A)), ["192.0.2.1"]);
    assert_eq!(words(&at(&mixed, PARIS, "relays.example.com", Kind::Aaaa)).len(), MOST_RECORDS);
}

#[test]
fn an_answer_by_nearness_holds_for_the_network_that_was_asked_for() {
    let scope = |text, kind| ask(PARIS, text, kind).scope(asker(PARIS).network);
    assert_eq!(scope("relays.example.com", Kind::A), 24);
    assert_eq!(scope("dublin-0.live.relays.example.com", Kind::A), 0, "the same for all");
    assert_eq!(scope("nothing.relays.example.com", Kind::A), 0);
}

#[test]
fn that_there_is_none_depends_on_who_asks_only_where_others_get_some() {
    let no_v6 = atlas(|table| drop(table.pools.drain(..2)));
    let near = |atlas: &Atlas, text, kind| {
        let answer = ask_with(atlas, None, &asker(RIO), text, kind);
        assert_eq!(answer.records, [], "{text} {kind:?}");
        // Resolvers keep that for everybody.
        assert_eq!(answer.scope(asker(RIO).network), 0);
        let expected = if answer.near { 5 } else { 20 };
        let soa = answer.soa.expect("for how long");
        assert!(soa.ttl == expected && matches!(soa.data, Data::Soa { minimum, .. } if minimum == expected), "{soa:?}");
        answer.near
    };
    assert!(near(&atlas(|_| ()), "relays.example.com", Kind::Aaaa), "Dublin has some");
    assert!(!near(&no_v6, "relays.example.com", Kind::Aaaa));
    assert!(!near(&no_v6, "_wss._tcp.relays.example.com", Kind::Srv));
    assert!(!near(&no_v6, "relays.example.com", Kind::Https));
    assert!(!near(&Atlas::new(RelayTable::default(), &found()), "relays.example.com", Kind::A));
}

#[test]
fn how_far_one_may_overflow_holds_for_what_is_spoken_too() {
    let never = atlas(|table| table.routing = Routing { overflow: Overflow::Never, ..Routing::default() });
    let answer = ask_with(&never, None, &asker(PARIS), "_wss._tcp.relays.example.com", Kind::Srv);
    assert_eq!((words(&answer), answer.near), (vec![], true), "Dublin is theirs, and Osaka has some");
}

#[test]
fn regions_pools_relays_and_nameservers_have_names() {
    for (text, kind, expected) in [
        ("tokyo-region.relays.example.com", Kind::A, vec!["203.0.113.9"]),
        ("TOKYO.relays.example.com", Kind::A, vec!["203.0.113.9"]),
        ("dublin-0.live.relays.example.com", Kind::A, vec!["192.0.2.1"]),
        ("dublin-0.live.relays.example.com", Kind::Aaaa, vec![]),
        // A service has a name of its own; one that points at its own name leads nowhere.
        ("dublin-0.live.relays.example.com", Kind::Srv, vec![]),
        ("ns1.relays.example.com", Kind::A, vec!["192.0.2.53"]),
        ("relays.example.com", Kind::Ns, vec!["ns1.relays.example.com.", "ns2.example.net."]),
        ("relays.example.com", Kind::Soa, vec!["SOA ns1.relays.example.com. 20"]),
        ("relays.example.com", Kind::Other, vec![]),
        ("relays.example.com", Kind::Any, vec!["RFC8482"]),
        // Names with names below them are there, with nothing at them.
        ("live.relays.example.com", Kind::A, vec![]),
        ("_tcp.relays.example.com", Kind::Srv, vec![]),
        ("_tcp.tokyo.relays.example.com", Kind::A, vec![]),
        ("_wss._tcp.relays.example.com", Kind::A, vec![]),
    ] {
        let answer = ask(PARIS, text, kind);
        assert_eq!(
            (answer.code, words(&answer)),
            (Code::NoError, expected.into_iter().map(str::to_owned).collect()),
            "{text}"
        );
    }
}

#[test]
fn names_are_compared_without_regard_to_case_however_the_table_writes_them() {
    let upper = atlas(|table| {
        table.pools[0].namespace = "Live".to_owned();
        table.pools[0].relays[0].name = "Dublin-0".to_owned();
    });
    let at = |text| words(&ask_with(&upper, None, &asker(PARIS), text, Kind::A));
    assert_eq!(at("dublin-0.live.relays.example.com"), ["192.0.2.1"]);
    assert_eq!(at("DUBLIN-0.LIVE.relays.example.com"), ["192.0.2.1"]);
    assert_eq!(ask_with(&upper, None, &asker(PARIS), "LIVE.relays.example.com", Kind::A).code, Code::NoError);
}

#[test]
fn what_is_not_there_is_said_and_what_is_not_ours_refused() {
    for text in [
        "x.relays.example.com",
        "dublin-7.live.relays.example.com",
        "dublin-0.other.relays.example.com",
        "a.b.c.relays.example.com",
        "_smtp._tcp.relays.example.com",
        "_wss._tcp.nowhere.relays.example.com",
        "_tcp.nowhere.relays.example.com",
    ] {
        let answer = ask(PARIS, text, Kind::A);
        assert_eq!((answer.code, answer.records.len()), (Code::NxDomain, 0), "{text}");
        assert_eq!(answer.soa.map(|soa| soa.ttl), Some(20), "{text}");
    }
    for (text, kind) in [
        ("example.com", Kind::A),
        ("com", Kind::Ns),
        ("xrelays.example.com", Kind::Any),
        ("relays.example.com", Kind::Transfer),
    ] {
        let answer = ask(PARIS, text, kind);
        assert_eq!((answer.code, answer.records.len(), answer.soa), (Code::Refused, 0, None), "{text}");
    }
}

#[test]
fn before_there_is_a_table_nothing_is_said_not_to_be() {
    for (text, kind, code) in [
        ("relays.example.com", Kind::A, Code::NotYet),
        ("tokyo.relays.example.com", Kind::A, Code::NotYet),
        ("relays.example.com", Kind::Transfer, Code::Refused),
        ("example.com", Kind::A, Code::Refused),
    ] {
        let answer = answer(&zone(), None, None, &asker(PARIS), (&name(text), kind));
        assert_eq!((answer.code, answer.records, answer.soa, answer.near), (code, vec![], None, false), "{text}");
    }
}

#[test]
fn relays_that_take_no_sessions_are_passed_over_and_still_have_their_names() {
    let leaving = atlas(|table| table.pools[0].relays.iter_mut().for_each(|relay| relay.cordoned = true));
    let at = |text| ask_with(&leaving, None, &asker(PARIS), text, Kind::A);
    assert_ne!(words(&at("relays.example.com")), ["192.0.2.1"]);
    assert!(!at("relays.example.com").records.is_empty());
    assert!(at("dublin.relays.example.com").records.is_empty());
    assert_eq!(words(&at("dublin-0.live.relays.example.com")), ["192.0.2.1"]);
    // Of a name that nobody could look up there is nothing to tell.
    let blind = Atlas::new(table(), &BTreeMap::new());
    assert_eq!(words(&ask_with(&blind, None, &asker(OSAKA), "relays.example.com", Kind::A)).len(), 1);
    assert_eq!(Atlas::names(&table()).into_iter().collect::<Vec<_>>(), [name("t0.example.net")]);
}

#[test]
fn what_the_lobby_says_of_a_region_counts_and_what_it_does_not_say_is_not_full() {
    let atlas = atlas(|_| ());
    let near_paris = |loads: &[(&str, u32, u32)]| {
        let regions = loads.iter().map(|(region, relays, free_seats)| {
            (format!("{region}-region"), Load { relays: *relays, free_seats: *free_seats, ..Load::default() })
        });
        words(&ask_with(&atlas, Some(&regions.collect()), &asker(PARIS), "relays.example.com", Kind::A))
    };
    assert_eq!(near_paris(&[]), ["192.0.2.1"], "nothing is said");
    assert_eq!(near_paris(&[("dublin", 1, 1)]), ["192.0.2.1"], "one seat is room");
    assert_ne!(near_paris(&[("dublin", 2, 0)]), ["192.0.2.1"], "full");
    assert_ne!(near_paris(&[("dublin", 0, 0)]), ["192.0.2.1"], "no relay is linked");
    let all_gone = [("dublin", 0, 0), ("tokyo", 0, 0), ("saopaulo", 0, 0)];
    assert_eq!(near_paris(&all_gone), ["192.0.2.1"], "nobody is linked: the table alone counts");
}

#[test]
fn relays_that_the_lobby_does_not_hear_are_passed_over_while_there_are_others() {
    let all = atlas(|table| table.pools[0].relays.push(relay("dublin-2", "ws://192.0.2.2:31000")));
    let ask = |kind, text: &str, relays, away: &[&str]| {
        let not_heard = away.iter().map(ToString::to_string).collect();
        let regions = Regions::from([("dublin-region".to_owned(), Load { relays, free_seats: 5, not_heard })]);
        let mut words = words(&ask_with(&all, Some(&regions), &asker(PARIS), text, kind));
        words.sort();
        words
    };
    let near = |relays, away: &[&str]| ask(Kind::A, "relays.example.com", relays, away);
    assert_eq!(near(3, &[]), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(near(2, &["dublin-0"]), ["192.0.2.2"]);
    assert_eq!(near(1, &["dublin-0", "nobody", "dublin-1"]), ["192.0.2.2"]);
    // Others of the region serve, of another pool: this one has none.
    assert_eq!(near(1, &["dublin-0", "dublin-1", "dublin-2"]).len(), MOST_RECORDS, "São Paulo's");
    // Whoever names it gets it all the same, and IPv6 as long as one has it.
    assert_eq!(ask(Kind::A, "dublin.relays.example.com", 0, &["dublin-0", "dublin-2"]), ["192.0.2.1", "192.0.2.2"]);
    let v6 = ask(Kind::Aaaa, "relays.example.com", 2, &["dublin-1"]);
    assert_eq!(v6, ["2001:db8::1"], "nobody else there has IPv6");
    let srv = ask(Kind::Srv, "_ws._tcp.dublin.relays.example.com", 2, &["dublin-0"]);
    assert_eq!(srv.len(), 2, "{srv:?}");
    assert!(srv.iter().all(|record| !record.contains("dublin-0")), "{srv:?}");
}

#[test]
fn the_lobbys_own_rules_hold() {
    let rule =
        |name: &str, priority| RegionRule { name: name.to_owned(), residency: None, priority, distance_percent: 100 };
    let last = atlas(|table| table.routing.regions = vec![rule("dublin-region", 1)]);
    assert_ne!(words(&ask_with(&last, None, &asker(PARIS), "relays.example.com", Kind::A)), ["192.0.2.1"]);
    let never = atlas(|table| table.routing = Routing { overflow: Overflow::Never, ..Routing::default() });
    let full = Regions::from([("dublin-region".to_owned(), Load { relays: 2, ..Load::default() })]);
    let answer = ask_with(&never, Some(&full), &asker(PARIS), "relays.example.com", Kind::A);
    assert_eq!(words(&answer), ["192.0.2.1"], "no other region is given, and none is worse");
    let mut cordoned = never.table().clone();
    cordoned.pools[0].relays.iter_mut().for_each(|relay| relay.cordoned = true);
    let cordoned = Atlas::new(cordoned, &found());
    let none = ask_with(&cordoned, None, &asker(PARIS), "relays.example.com", Kind::A);
    assert_eq!((words(&none), none.near), (vec![], true), "theirs takes nobody: others have theirs");
    let named = ask_with(&never, None, &asker(PARIS), "tokyo.relays.example.com", Kind::A);
    assert_eq!(words(&named), ["203.0.113.9"], "who names a region gets it");
    let srv = ask_with(&never, None, &asker(PARIS), "_ws._tcp.relays.example.com", Kind::Srv);
    assert!(words(&srv).iter().all(|record| record.contains("dublin")), "{srv:?}");
}

#[test]
fn each_network_has_its_own_relays_of_a_large_pool_and_keeps_them() {
    let of = |atlas: &Atlas, network: u8| {
        let network: IpNet = format!("203.0.{network}.0/24").parse().expect("a network");
        words(&ask_with(atlas, None, &Asker { point: RIO, network, turn: 0 }, "relays.example.com", Kind::A))
    };
    let all = atlas(|_| ());
    let first: std::collections::BTreeSet<String> = (0..100).filter_map(|n| of(&all, n).into_iter().next()).collect();
    assert_eq!(first.len(), 6, "every relay is somebody's first");
    let fewer = atlas(|table| drop(table.pools[2].relays.remove(3)));
    for network in 0..100 {
        let (before, after) = (of(&all, network), of(&fewer, network));
        assert_eq!(before.len(), MOST_RECORDS);
        let stayed = before.iter().filter(|address| after.contains(address)).count();
        assert!(stayed >= MOST_RECORDS - 1, "{before:?} became {after:?}");
    }
}

#[test]
fn who_tells_no_network_comes_to_all_relays_in_time() {
    let all = atlas(|_| ());
    let network = "0.0.0.0/0".parse().expect("all there is");
    let of = |turn| {
        words(&ask_with(&all, None, &Asker { point: None, network, turn }, "saopaulo.relays.example.com", Kind::A))
    };
    let first: BTreeMap<String, usize> =
        (0..600).filter_map(|turn| of(turn).into_iter().next()).fold(BTreeMap::new(), |mut counts, first| {
            *counts.entry(first).or_default() += 1;
            counts
        });
    assert_eq!(first.len(), 6, "{first:?}");
    assert!(first.values().all(|turns| (60..140).contains(turns)), "one turn in six each: {first:?}");
    assert_eq!(of(7), of(7), "never chance");
}

prop_compose! {
    fn any_table()(
        pools in prop::collection::vec(
            (any::<(u8, u8)>(), prop::collection::vec((any::<u8>(), 0..3_u32, any::<bool>()), 0..6)), 0..5),
    ) -> RelayTable {
        let pools = pools.into_iter().enumerate().map(|(index, ((north, east), relays))| {
            let relays = relays.into_iter().enumerate().map(|(n, (address, capacity, cordoned))| RelayEntry {
                capacity, cordoned, ..relay(&format!("p{index}-{n}"), &format!("ws://198.51.100.{address}:1"))
            });
            pool(&format!("p{index}"), (f64::from(north) / 3.0 - 42.0, f64::from(east) - 127.0), relays.collect())
        });
        RelayTable { pools: pools.collect(), ..table() }
    }
}

proptest! {
    #[test]
    fn answers_are_small_the_same_twice_and_of_open_relays_only(
        table in any_table(),
        loads in prop::collection::btree_map(0..5_usize, (0..3_u32, 0..5_u32), 0..5),
        known in any::<bool>(),
        place in prop::option::of((-90.0..90.0_f64, -180.0..180.0_f64)),
        octet in any::<u8>(),
        turn in any::<u64>(),
    ) {
        let network = format!("203.0.{octet}.0/24").parse().expect("a network");
        let point = place.map(|(latitude, longitude)| GeoPoint { latitude, longitude });
        let regions: Regions = loads.into_iter().map(|(pool, (relays, free_seats))| {
            (format!("p{pool}-region"), Load { relays, free_seats, ..Load::default() })
        }).collect();
        let open: Vec<IpAddr> = table.pools.iter().flat_map(|pool| &pool.relays).filter(|relay| !relay.cordoned)
            .filter_map(|relay| match Endpoint::parse(&relay.url)?.host {
                Host::Address(address) => Some(address),
                Host::Named(_) => None,
            }).collect();
        let any_room = table.pools.iter().flat_map(|pool| &pool.relays).any(|relay| !relay.cordoned && relay.capacity > 0);
        let atlas = Atlas::new(table, &BTreeMap::new());
        let ask = |kind, text| ask_with(&atlas, known.then_some(&regions), &Asker { point, network, turn }, text, kind);
        let addresses = ask(Kind::A, "relays.example.com");
        prop_assert_eq!(&addresses, &ask(Kind::A, "relays.example.com"));
        prop_assert!(addresses.records.len() <= MOST_RECORDS);
        for record in &addresses.records {
            let Data::A(address) = record.data else { return Err(TestCaseError::fail("no address")) };
            prop_assert!(open.contains(&address.into()), "{} is not open", address);
        }
        // Never nothing while there is room anywhere by the table.
        prop_assert_eq!(addresses.records.is_empty(), !any_room);
        prop_assert!(ask(Kind::Srv, "_convene._tcp.relays.example.com").records.len() <= MOST_RECORDS);
    }
}

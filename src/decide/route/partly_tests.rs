//! What is known only in part: pools that nobody can measure as they have no relay, and parties that measured some pools alone.

use super::*;
use crate::wire::routing::{Overflow, RegionRule, Strategy};
use crate::wire::session::{Beside, ClientPlace};

const TOKYO: GeoPoint = GeoPoint { latitude: 35.68, longitude: 139.69 };
const MUMBAI: GeoPoint = GeoPoint { latitude: 19.08, longitude: 72.88 };
const MADRID: GeoPoint = GeoPoint { latitude: 40.42, longitude: -3.70 };

/// Tokyo, Mumbai and Madrid, each with one relay of so many seats; none = without a relay.
fn world(routing: &Routing, seats: [Option<u32>; 3]) -> Pools {
    let relay = |capacity| Relay { name: "r".to_owned(), state: RelayState::Serving, capacity, used: 0 };
    let pool = |((name, point), seats): ((&str, GeoPoint), Option<u32>)| {
        Pool::new(name, name, point, Terms::of(routing, name), seats.into_iter().map(relay).collect())
    };
    [("tokyo", TOKYO), ("mumbai", MUMBAI), ("madrid", MADRID)].into_iter().zip(seats).map(pool).collect()
}

fn measured(latencies: &[(&str, f64)]) -> ClientPlace {
    let latencies = latencies.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect();
    ClientPlace { latencies, ..ClientPlace::default() }
}

/// The pools that are chosen and wanted.
fn chosen_and_wanted(pools: &Pools, ask: &Ask<'_>, routing: &Routing) -> (Option<String>, Option<String>) {
    let name = |index: usize| pools[index].name().to_owned();
    let (chosen, wanted) = choose(pools, ask, routing);
    (chosen.map(|chosen| name(chosen.pool)), wanted.map(name))
}

fn names(chosen: &str, wanted: &str) -> (Option<String>, Option<String>) {
    (Some(chosen.to_owned()).filter(|name| !name.is_empty()), Some(wanted.to_owned()))
}

#[test]
fn a_pool_without_relays_is_wanted_by_those_who_are_near_and_measured_all_others() {
    let far = || measured(&[("mumbai", 120.0), ("madrid", 240.0)]);
    let near_tokyo = || ClientPlace { location: Some(GeoPoint { latitude: 34.7, longitude: 135.5 }), ..far() };
    let asleep = [None, Some(9), Some(9)];
    let rule = |name: &str, residency: &str, priority| RegionRule {
        name: name.to_owned(),
        residency: Some(residency.to_owned()),
        priority,
        distance_percent: 100,
    };
    let settled = |overflow, priority| Routing {
        overflow,
        regions: vec![rule("tokyo", "jp", priority), rule("mumbai", "in", 0), rule("madrid", "eu", 0)],
        ..Routing::default()
    };
    for (case, place, seats, routing, expected) in [
        ("near by coordinates", near_tokyo(), asleep, Routing::default(), ("mumbai", "tokyo")),
        (
            "near by its address",
            ClientPlace { beside: Beside { geoip: Some(TOKYO), ..Beside::default() }, ..far() },
            asleep,
            Routing::default(),
            ("mumbai", "tokyo"),
        ),
        (
            "measured by others of its network before",
            ClientPlace { beside: Beside { network: measured(&[("tokyo", 8.0)]).latencies, geoip: None }, ..far() },
            asleep,
            Routing::default(),
            ("mumbai", "tokyo"),
        ),
        ("nothing else is known", far(), asleep, Routing::default(), ("mumbai", "mumbai")),
        (
            "not clearly nearer",
            ClientPlace { location: Some(TOKYO), ..measured(&[("mumbai", 12.0), ("madrid", 240.0)]) },
            asleep,
            Routing::default(),
            ("mumbai", "mumbai"),
        ),
        (
            "two are asleep",
            ClientPlace {
                beside: Beside { network: measured(&[("mumbai", 120.0)]).latencies, geoip: Some(TOKYO) },
                ..measured(&[("madrid", 240.0)])
            },
            [None, None, Some(9)],
            Routing::default(),
            ("madrid", "tokyo"),
        ),
        ("it has a relay", near_tokyo(), [Some(0), Some(9), Some(9)], Routing::default(), ("mumbai", "mumbai")),
        ("the next has no room", near_tokyo(), [None, Some(0), Some(9)], Routing::default(), ("madrid", "tokyo")),
        ("nobody has room", near_tokyo(), [None, Some(0), Some(0)], Routing::default(), ("", "tokyo")),
        ("nobody has a relay", near_tokyo(), [None, None, None], Routing::default(), ("", "tokyo")),
        ("it does not overflow", near_tokyo(), asleep, settled(Overflow::Never, 0), ("mumbai", "tokyo")),
        ("only when others are full", near_tokyo(), asleep, settled(Overflow::Nearest, 1), ("mumbai", "mumbai")),
        (
            "it must reside elsewhere",
            ClientPlace { residency: Some("in".to_owned()), ..near_tokyo() },
            asleep,
            settled(Overflow::Nearest, 0),
            ("mumbai", "mumbai"),
        ),
    ] {
        let pools = world(&routing, seats);
        let (chosen, wanted) = expected;
        assert_eq!(chosen_and_wanted(&pools, &Ask::of(&place), &routing), names(chosen, wanted), "{case}");
    }
}

#[test]
fn a_party_that_did_not_measure_a_pool_is_at_least_as_far_from_it_as_what_it_measured_says() {
    let (worst, average) = (Routing::default(), Routing { strategy: Strategy::Average, ..Routing::default() });
    // In Tokyo, and somewhere in Spain.
    let host = measured(&[("tokyo", 5.0), ("mumbai", 120.0), ("madrid", 230.0)]);
    let guest = measured(&[("mumbai", 130.0), ("madrid", 10.0)]);
    let all = [Some(9); 3];
    let ask = Ask { parties: vec![&host, &guest], ..Ask::of(&host) };
    let pools = world(&worst, all);
    assert_eq!(clearly_nearer(&pools, 0, &ask, &worst), Some(1), "half way");
    assert_eq!(clearly_nearer(&pools, 1, &ask, &worst), None, "and not back");
    // Whose sets do not overlap: it is not the declared order that decides.
    let (host, guest) = (measured(&[("tokyo", 5.0)]), measured(&[("madrid", 10.0)]));
    let ask = Ask { parties: vec![&host, &guest], ..Ask::of(&host) };
    let mut turned: Vec<Pool> = pools.to_vec();
    turned.reverse();
    for pools in [pools, Pools::from(turned)] {
        assert_eq!(chosen_and_wanted(&pools, &ask, &worst).0.as_deref(), Some("mumbai"));
    }
    let here = [&host, &host];
    let ask = Ask { parties: here.to_vec(), ..Ask::of(&host) };
    for routing in [&worst, &average] {
        let mut turned: Vec<Pool> = world(routing, all).to_vec();
        turned.reverse();
        assert_eq!(chosen_and_wanted(&Pools::from(turned), &ask, routing).0.as_deref(), Some("tokyo"));
    }
}

#[test]
fn a_floor_is_no_knowledge_of_a_place() {
    let routing = Routing::default();
    // What a party did not measure may be as near as nothing: it neither draws a session nor wakes a relay.
    let (host, guest) = (measured(&[("mumbai", 140.0)]), measured(&[("mumbai", 150.0)]));
    let ask = Ask { parties: vec![&host, &guest], ..Ask::of(&host) };
    let pools = world(&routing, [Some(9); 3]);
    assert_eq!(clearly_nearer(&pools, 1, &ask, &routing), None);
    assert!(may_stay(&pools, 1, &ask, &routing));
    let asleep = world(&routing, [None, Some(9), Some(9)]);
    assert_eq!(chosen_and_wanted(&asleep, &ask, &routing), names("mumbai", "mumbai"));
}

/// A floor is what a long way leaves over of another, so that a little noise in that makes it anything.
#[test]
fn noise_in_what_a_floor_is_made_of_takes_no_session_to_and_fro() {
    const LISBON: GeoPoint = GeoPoint { latitude: 38.72, longitude: -9.14 };
    let rule = RegionRule { name: "madrid".to_owned(), residency: None, priority: 0, distance_percent: 28 };
    let routing = Routing { regions: vec![rule], ..Routing::default() };
    let relay = || vec![Relay { name: "r".to_owned(), state: RelayState::Serving, capacity: 9, used: 0 }];
    let pool = |(name, point)| Pool::new(name, name, point, Terms::of(&routing, name), relay());
    let pools: Pools = [("tokyo", TOKYO), ("madrid", MADRID), ("lisbon", LISBON)].into_iter().map(pool).collect();
    let host = measured(&[("tokyo", 30.0), ("madrid", 200.0)]);
    let to_lisbon = geo::round_trip_ms(TOKYO, LISBON) - 60.0;
    for noise in [0.83, 1.0, 1.17] {
        let guest = measured(&[("lisbon", to_lisbon * noise)]);
        let ask = Ask { parties: vec![&host, &guest], ..Ask::of(&host) };
        for home in [0, 1] {
            assert_eq!(clearly_nearer(&pools, home, &ask, &routing), None, "from {home}, {noise} of it");
            assert!(may_stay(&pools, home, &ask, &routing), "in {home}, {noise} of it");
        }
    }
    // Away from a pool that is so far at least, and to one that is known.
    let guest = measured(&[("lisbon", to_lisbon), ("madrid", 195.0)]);
    let ask = Ask { parties: vec![&host, &guest], ..Ask::of(&host) };
    assert_eq!(clearly_nearer(&pools, 0, &ask, &routing), None, "60 ms at least, and 56");
    let guest = measured(&[("lisbon", to_lisbon - 60.0), ("madrid", 195.0)]);
    let ask = Ask { parties: vec![&host, &guest], ..Ask::of(&host) };
    assert_eq!(clearly_nearer(&pools, 0, &ask, &routing), Some(1), "120 ms at least, and 56");
}

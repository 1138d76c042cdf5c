//! What a lobby's settings, load and several parties make of a choice: tables.

use std::time::Duration;

use super::admit::cap;
use super::*;
use crate::wire::routing::{Cap, Overflow, RegionRule, Strategy as For};
use crate::wire::session::{ClientPlace, Rung};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Pools by name, region, free and taken seats; one relay each.
pub(super) fn pools(routing: &Routing, all: &[(&'static str, u32, u32)]) -> Pools {
    let of = |(name, capacity, used): &(&'static str, u32, u32)| pool(routing, name, vec![(*capacity, *used)]);
    all.iter().map(of).collect()
}

/// A pool of relays that serve, each of so many seats, of which so many are taken.
fn pool(routing: &Routing, name: &str, relays: Vec<(u32, u32)>) -> Pool {
    let relay = |((capacity, used), name): ((u32, u32), &str)| Relay {
        name: name.to_owned(),
        state: RelayState::Serving,
        capacity,
        used,
    };
    let relays = relays.into_iter().zip(NAMES).map(relay).collect();
    // Apart, so that what one measured of a pool says something of another.
    let longitude = NAMES.iter().zip([0.0, 15.0, 60.0, 120.0, -75.0, -120.0]).find(|(known, _)| **known == name);
    let point = GeoPoint { latitude: 0.0, longitude: longitude.map_or(0.0, |(_, longitude)| longitude) };
    Pool::new(name, name, point, Terms::of(routing, name), relays)
}

pub(super) fn measured(latencies: &[(&str, f64)]) -> ClientPlace {
    let latencies = latencies.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect();
    ClientPlace { latencies, ..ClientPlace::default() }
}

pub(super) fn rule(name: &str) -> RegionRule {
    RegionRule { name: name.to_owned(), residency: None, priority: 0, distance_percent: 100 }
}

fn chosen(pools: &Pools, ask: &Ask<'_>, routing: &Routing) -> Option<&'static str> {
    let placement = place(pools, ask, routing);
    let (chosen, wanted) = choose(pools, ask, routing);
    assert_eq!((chosen, wanted), (placement.chosen, placement.wanted), "with and without reasons it is the same");
    let name = chosen.and_then(|chosen| pools.get(chosen.pool))?.name();
    ["a", "b", "c", "d", "e", "f"].into_iter().find(|known| *known == name)
}

#[test]
fn nearness_wins_below_the_knee_and_load_counts_above_it() {
    for (load, penalty) in [(0.0, 1.0), (0.5, 1.0), (0.8, 1.0), (0.9, 1.25), (1.0, 1.5), (7.0, 1.5)] {
        assert!((load_penalty(load) - penalty).abs() < 1e-9, "{load}");
    }
    let routing = Routing::default();
    let host = measured(&[("a", 20.0), ("b", 24.0)]);
    for (used, expected) in [(0, "a"), (80, "a"), (89, "b"), (99, "b"), (100, "b")] {
        let pools = pools(&routing, &[("a", 100, used), ("b", 100, 10)]);
        assert_eq!(chosen(&pools, &Ask::of(&host), &routing), Some(expected), "{used} of 100");
    }
    // Much farther it is only used when there is no room.
    let far = measured(&[("a", 20.0), ("b", 40.0)]);
    for (used, expected) in [(99, "a"), (100, "b")] {
        let pools = pools(&routing, &[("a", 100, used), ("b", 100, 0)]);
        assert_eq!(chosen(&pools, &Ask::of(&far), &routing), Some(expected), "{used} of 100");
    }
}

#[test]
fn overflow_goes_as_far_as_it_may_and_the_best_pool_is_wanted() {
    let residency = |name: &str, of: &str| RegionRule { residency: Some(of.to_owned()), ..rule(name) };
    let regions = vec![residency("a", "eu"), residency("c", "eu"), residency("b", "us")];
    let host = measured(&[("a", 10.0), ("b", 20.0), ("c", 30.0)]);
    for (overflow, seats, expected) in [
        (Overflow::Nearest, [1, 1, 1], Some("a")),
        (Overflow::Nearest, [0, 1, 1], Some("b")),
        (Overflow::SameResidency, [0, 1, 1], Some("c")),
        (Overflow::SameResidency, [0, 1, 0], None),
        (Overflow::Never, [1, 1, 1], Some("a")),
        (Overflow::Never, [0, 1, 1], None),
    ] {
        let routing = Routing { overflow, regions: regions.clone(), ..Routing::default() };
        let pools = pools(&routing, &[("a", seats[0], 0), ("b", seats[1], 0), ("c", seats[2], 0)]);
        assert_eq!(chosen(&pools, &Ask::of(&host), &routing), expected, "{overflow:?} {seats:?}");
        assert_eq!(choose(&pools, &Ask::of(&host), &routing).1, Some(0), "{overflow:?} {seats:?}");
    }
    // Without residencies, the region is what is the same.
    let routing = Routing { overflow: Overflow::SameResidency, ..Routing::default() };
    let pools = pools(&routing, &[("a", 0, 0), ("b", 1, 0)]);
    assert_eq!(chosen(&pools, &Ask::of(&host), &routing), None);
    let reason = &place(&pools, &Ask::of(&host), &routing).ranking[1].reason;
    assert!(
        reason.ends_with("; of another residency than the best, and routing.overflow is SameResidency"),
        "{reason}"
    );
}

#[test]
fn the_host_says_where_a_session_must_reside() {
    let regions = vec![RegionRule { residency: Some("eu".to_owned()), ..rule("b") }];
    let routing = Routing { regions, ..Routing::default() };
    let host = ClientPlace { residency: Some("eu".to_owned()), ..measured(&[("a", 1.0), ("b", 300.0)]) };
    let with_room = pools(&routing, &[("a", 1, 0), ("b", 1, 0)]);
    assert_eq!(chosen(&with_room, &Ask::of(&host), &routing), Some("b"));
    assert_eq!(choose(&with_room, &Ask::of(&host), &routing).1, Some(1));
    let full = pools(&routing, &[("a", 1, 0), ("b", 1, 1)]);
    assert_eq!(chosen(&full, &Ask::of(&host), &routing), None);
    let unknown = ClientPlace { residency: Some("mars".to_owned()), ..ClientPlace::default() };
    assert_eq!(choose(&with_room, &Ask::of(&unknown), &routing), (None, None));
}

#[test]
fn priorities_and_distances_move_sessions_between_regions() {
    let host = measured(&[("a", 20.0), ("b", 30.0)]);
    for (a, used, expected) in [
        (rule("a"), 0, "a"),
        // As if it was twice as far.
        (RegionRule { distance_percent: 200, ..rule("a") }, 0, "b"),
        (RegionRule { distance_percent: 140, ..rule("a") }, 0, "a"),
        (RegionRule { priority: 1, ..rule("a") }, 0, "b"),
        // The other has no room.
        (RegionRule { priority: 1, ..rule("a") }, 10, "a"),
    ] {
        let routing = Routing { regions: vec![a.clone()], ..Routing::default() };
        let pools = pools(&routing, &[("a", 10, 0), ("b", 10, used)]);
        assert_eq!(chosen(&pools, &Ask::of(&host), &routing), Some(expected), "{a:?}");
    }
}

#[test]
fn caps_relax_with_waiting_and_what_is_not_known_is_not_far() {
    let step = |at_most_ms, for_seconds| Cap { at_most_ms, for_seconds };
    let routing = Routing { caps: vec![step(50, 10), step(100, 10)], ..Routing::default() };
    let pools = pools(&routing, &[("a", 0, 0), ("b", 1, 0)]);
    let host = measured(&[("a", 10.0), ("b", 80.0)]);
    let after = |seconds| Ask { waited: Some(Duration::from_secs(seconds)), ..Ask::of(&host) };
    assert_eq!(chosen(&pools, &after(0), &routing), None);
    assert!(
        place(&pools, &after(0), &routing).ranking[1]
            .reason
            .ends_with("farther than the 50 ms that routing.caps has for now")
    );
    assert_eq!(chosen(&pools, &after(10), &routing), Some("b"));
    assert_eq!(chosen(&pools, &Ask::of(&host), &routing), Some("b"), "no question of a cap");
    let nowhere = ClientPlace::default();
    assert_eq!(chosen(&pools, &Ask { waited: Some(Duration::ZERO), ..Ask::of(&nowhere) }, &routing), Some("b"));
    assert_eq!(cap(&routing.caps, Duration::from_secs(20)), None);
}

#[test]
fn a_session_of_several_is_placed_for_all_of_them() {
    let routing = |strategy| Routing { strategy, ..Routing::default() };
    let (host, guest) =
        (measured(&[("a", 5.0), ("b", 40.0), ("c", 60.0)]), measured(&[("a", 150.0), ("b", 70.0), ("c", 50.0)]));
    let unknown = ClientPlace::default();
    for (strategy, parties, expected) in [
        (For::Worst, vec![&host], "a"),
        (For::Worst, vec![&host, &guest], "c"),
        (For::Average, vec![&host, &guest], "b"),
        (For::Average, vec![&host, &guest, &guest], "c"),
        (For::Host, vec![&host, &guest], "a"),
        // Of whom nothing is known, that one does not count.
        (For::Worst, vec![&unknown, &guest], "c"),
        (For::Worst, vec![&host, &unknown], "a"),
    ] {
        let routing = routing(strategy);
        let pools = pools(&routing, &[("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]);
        let ask = Ask { parties, waited: None, draw: 0, asked: &[] };
        assert_eq!(chosen(&pools, &ask, &routing), Some(expected), "{strategy:?} {}", ask.parties.len());
    }
    let average = routing(For::Average);
    let pools = pools(&average, &[("a", 1, 0), ("b", 1, 0), ("c", 1, 0)]);
    let ask = Ask { parties: vec![&host, &unknown, &guest], waited: None, draw: 0, asked: &[] };
    assert_eq!(place(&pools, &ask, &average).ranking[0].estimate_ms, Some(55.0), "of b, 40 and 70; c is the same");
    // What is known worse counts for both.
    let at = ClientPlace { location: Some(GeoPoint { latitude: 0.0, longitude: 0.0 }), ..ClientPlace::default() };
    let ask = Ask { parties: vec![&host, &at], waited: None, draw: 0, asked: &[] };
    assert_eq!(place(&pools, &ask, &average).ranking[0].rung, Rung::Coordinates);
}

//! When a session that lives is worth moving, and that neither noise nor load takes it to and fro.

use proptest::prelude::*;

use super::choice_tests::{measured, pools, rule};
use super::*;
use crate::wire::routing::{Overflow, RegionRule, Strategy as For};
use crate::wire::session::ClientPlace;

#[test]
fn a_home_is_left_for_what_is_clearly_better_alone() {
    for (present, score, is) in [
        (100.0, 66.0, true),
        (100.0, 67.0, false),
        (30.0, 20.0, true),
        (29.0, 19.0, true),
        (24.0, 15.0, false),
        (15.0, 5.0, true),
        (14.0, 4.5, false),
        (9.0, 0.0, false),
        (20.0, 30.0, false),
    ] {
        assert_eq!(is_clearly_better(score, present), is, "{score} instead of {present}");
    }
    let routing = Routing::default();
    let pools = pools(&routing, &[("a", 10, 1), ("b", 10, 0)]);
    for (a, b, stays) in [(20.0, 15.0, true), (40.0, 28.0, true), (40.0, 26.0, false)] {
        let host = measured(&[("a", a), ("b", b)]);
        assert_eq!(may_stay(&pools, 0, &Ask::of(&host), &routing), stays, "{a} {b}");
    }
    assert!(may_stay(&pools, 0, &Ask::of(&ClientPlace::default()), &routing), "nothing is known");
}

#[test]
fn load_alone_moves_nobody_nor_does_it_together_with_noise() {
    let routing = Routing::default();
    for (a, b, used, stays) in [
        // 88.5 by its score, and a third better by that alone.
        ((60.0, 99), 57.0, 10, true),
        ((60.0, 100), 45.0, 10, true),
        // Clearly nearer, but as good as full.
        ((60.0, 10), 38.0, 99, true),
        ((60.0, 99), 38.0, 10, false),
    ] {
        let pools = pools(&routing, &[("a", 100, a.1), ("b", 100, used)]);
        let host = measured(&[("a", a.0), ("b", b)]);
        assert_eq!(may_stay(&pools, 0, &Ask::of(&host), &routing), stays, "{a:?} {b}");
    }
}

#[test]
fn what_may_be_gone_to_changes_by_clear_differences_alone() {
    let residency = |name: &str, of: &str| RegionRule { residency: Some(of.to_owned()), ..rule(name) };
    let regions = vec![residency("a", "eu"), residency("b", "us")];
    let (host, near_b) = (measured(&[("a", 20.0), ("b", 21.0)]), measured(&[("a", 30.0), ("b", 29.9)]));
    let both = Ask { parties: vec![&host, &near_b], ..Ask::of(&host) };
    for overflow in [Overflow::Nearest, Overflow::SameResidency, Overflow::Never] {
        let routing = Routing { overflow, regions: regions.clone(), ..Routing::default() };
        let pools = pools(&routing, &[("a", 10, 1), ("b", 10, 1)]);
        for home in [0, 1] {
            assert!(may_stay(&pools, home, &both, &routing), "{overflow:?} {home}");
            assert!(may_stay(&pools, home, &Ask::of(&host), &routing), "{overflow:?} {home}");
        }
        let far = measured(&[("a", 60.0), ("b", 30.0)]);
        assert!(!may_stay(&pools, 0, &Ask::of(&far), &routing), "{overflow:?}");
    }
    // Out of where it may be by what is clearly nearer: load does not keep it there.
    let routing = Routing { overflow: Overflow::Never, ..Routing::default() };
    let pools = pools(&routing, &[("a", 100, 10), ("b", 100, 99)]);
    for (b, stays) in [(38.0, false), (45.0, true)] {
        let host = measured(&[("a", 60.0), ("b", b)]);
        assert_eq!(may_stay(&pools, 0, &Ask::of(&host), &routing), stays, "{b}");
    }
}

#[test]
fn residency_and_priority_are_no_matter_of_milliseconds() {
    let regions =
        vec![RegionRule { residency: Some("eu".to_owned()), ..rule("b") }, RegionRule { priority: 1, ..rule("c") }];
    let routing = Routing { regions, ..Routing::default() };
    let pools = pools(&routing, &[("a", 10, 1), ("b", 10, 1), ("c", 10, 1)]);
    let host = measured(&[("a", 5.0), ("b", 200.0), ("c", 1.0)]);
    let bound = ClientPlace { residency: Some("eu".to_owned()), ..host.clone() };
    assert!(!may_stay(&pools, 0, &Ask::of(&bound), &routing), "it must reside in b");
    assert!(may_stay(&pools, 1, &Ask::of(&bound), &routing));
    assert!(!may_stay(&pools, 2, &Ask::of(&host), &routing), "only when the others are full");
    assert!(may_stay(&pools, 0, &Ask::of(&host), &routing));
}

/// Regions of the pools, and where they are: apart, so that what one measured of a pool says something of another.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const LONGITUDES: [f64; 4] = [0.0, 15.0, 60.0, 120.0];

/// Somebody who stays where it is, and its true round trips.
#[derive(Clone, Debug)]
struct Person {
    location: Option<GeoPoint>,
    true_ms: Vec<f64>,
}

/// How full each pool is, and by how much each measurement of each person is off; `None` = it has not measured this pool now.
type Moment = (Vec<u32>, Vec<Vec<Option<f64>>>);

fn people() -> impl Strategy<Value = Vec<Person>> {
    let location = prop::option::weighted(0.7, -180.0..180.0_f64);
    let person = (location, prop::collection::vec(5.0..400.0_f64, 4)).prop_map(|(longitude, true_ms)| Person {
        location: longitude.map(|longitude| GeoPoint { latitude: 0.0, longitude }),
        true_ms,
    });
    prop::collection::vec(person, 1..4)
}

fn moments() -> impl Strategy<Value = Vec<Moment>> {
    let noise = prop::option::weighted(0.7, -0.19..0.19_f64);
    let measured = prop::collection::vec(prop::collection::vec(noise, 4), 3);
    prop::collection::vec((prop::collection::vec(0..=100_u32, 4), measured), 2..30)
}

fn settings() -> impl Strategy<Value = Routing> {
    let of_region = (prop::option::of(0..2_usize), 0..2_u32, 10..1000_u32);
    let overflow = prop::sample::select(vec![Overflow::Nearest, Overflow::SameResidency, Overflow::Never]);
    let strategy = prop::sample::select(vec![For::Worst, For::Average, For::Host]);
    (strategy, overflow, prop::collection::vec(of_region, 4)).prop_map(|(strategy, overflow, regions)| {
        let of = |(name, (residency, priority, distance_percent)): (&str, (Option<usize>, u32, u32))| RegionRule {
            name: name.to_owned(),
            residency: residency.map(|of| ["x", "y"][of].to_owned()),
            priority,
            distance_percent,
        };
        let regions = NAMES.into_iter().zip(regions).map(of).collect();
        Routing { strategy, overflow, regions, ..Routing::default() }
    })
}

/// Where a session goes from `home`, if it goes.
type Next = fn(&Pools, usize, &Ask<'_>, &Routing) -> Option<usize>;

/// Asked time and again to go where it is best.
fn asked_to_move(pools: &Pools, home: usize, ask: &Ask<'_>, routing: &Routing) -> Option<usize> {
    let best = || choose(pools, ask, routing).0.expect("there is a better one").pool;
    (!may_stay(pools, home, ask, routing)).then(best)
}

/// A session of these people, moment by moment. Each keeps what it measured of a pool until it measures that anew, as a lobby
/// does for guests while they are there. Until somebody has measured what it had not, no pool is gone to that was left.
fn is_never_taken_back(
    next: Next,
    people: &[Person],
    moments: &[Moment],
    routing: &Routing,
    residency: Option<&str>,
) -> Result<(), TestCaseError> {
    let mut places: Vec<ClientPlace> =
        people.iter().map(|person| ClientPlace { location: person.location, ..ClientPlace::default() }).collect();
    places[0].residency = residency.map(str::to_owned);
    let (mut home, mut left) = (0, Vec::new());
    for (used, measured) in moments {
        for ((place, person), noise) in places.iter_mut().zip(people).zip(measured) {
            for ((name, ms), noise) in NAMES.iter().zip(&person.true_ms).zip(noise) {
                let Some(noise) = noise else { continue };
                if place.latencies.insert((*name).to_owned(), ms * (1.0 + noise)).is_none() {
                    left.clear();
                }
            }
        }
        let pool = |((name, longitude), used): ((&str, f64), &u32)| {
            let relay = Relay { name: "r".to_owned(), state: RelayState::Serving, capacity: 100, used: *used };
            Pool::new(name, name, GeoPoint { latitude: 0.0, longitude }, Terms::of(routing, name), vec![relay])
        };
        let pools: Pools = NAMES.into_iter().zip(LONGITUDES).zip(used).map(pool).collect();
        let ask = Ask { parties: places.iter().collect(), ..Ask::of(&places[0]) };
        if let Some(there) = next(&pools, home, &ask, routing) {
            left.push(home);
            prop_assert!(!left.contains(&there), "{} again, after {:?}", there, left);
            home = there;
        }
    }
    Ok(())
}

proptest! {
    /// Up to 19 % off in either direction; each pool is as full as it likes, the lobby has any settings, and of some people
    /// some pools are known by their coordinates alone, or by none.
    #[test]
    fn neither_noise_nor_load_takes_a_session_back_to_where_it_was(
        people in people(), moments in moments(), routing in settings(), residency in prop::option::weighted(0.3, 0..2_usize),
    ) {
        let residency = residency.map(|of| ["x", "y"][of]);
        is_never_taken_back(asked_to_move, &people, &moments, &routing, residency)?;
        is_never_taken_back(clearly_nearer, &people, &moments, &routing, residency)?;
    }
}

//! When a session that lives is worth moving, and that neither noise nor load takes it to and fro.

use proptest::prelude::*;

use super::choice_tests::{measured, pools, rule};
use super::*;
use crate::wire::routing::{Overflow, RegionRule};
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

proptest! {
    /// Each time all is measured anew, up to 19 % off in either direction, and each pool is as full as it likes.
    #[test]
    fn neither_noise_nor_load_takes_a_session_back_to_where_it_was(
        true_ms in prop::collection::vec(5.0..400.0_f64, 2..5),
        times in prop::collection::vec(prop::collection::vec((-0.19..0.19_f64, 0..=100_u32), 4), 2..40),
        overflow in 0..3_usize, residencies in prop::collection::vec(prop::option::of(0..2_usize), 4),
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let overflow = [Overflow::Nearest, Overflow::SameResidency, Overflow::Never][overflow];
        let of = |(name, residency): (&str, Option<usize>)| RegionRule {
            residency: residency.map(|of| ["x", "y"][of].to_owned()),
            ..rule(name)
        };
        let regions = NAMES.into_iter().zip(residencies).map(of).collect();
        let routing = Routing { overflow, regions, ..Routing::default() };
        let (mut home, mut left) = (0, Vec::new());
        for now in times {
            let told: Vec<(&str, f64)> =
                NAMES.into_iter().zip(&true_ms).zip(&now).map(|((name, ms), (noise, _))| (name, ms * (1.0 + noise))).collect();
            let seats: Vec<(&str, u32, u32)> =
                NAMES.into_iter().zip(&true_ms).zip(&now).map(|((name, _), (_, used))| (name, 100, *used)).collect();
            let (host, pools) = (measured(&told), pools(&routing, &seats));
            let ask = Ask::of(&host);
            if !may_stay(&pools, home, &ask, &routing) {
                let chosen = choose(&pools, &ask, &routing).0.expect("there is a better one").pool;
                left.push(home);
                prop_assert!(!left.contains(&chosen), "{} again, after {:?}", chosen, left);
                home = chosen;
            }
        }
    }
}

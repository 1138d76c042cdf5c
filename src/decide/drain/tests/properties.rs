//! Larger pools than can be explored, by chance: any order of sessions, changes, faults and crashes.

use std::collections::HashSet;

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy;
use proptest::test_runner::TestCaseError;

use super::super::*;
use super::explorer::{Budget, Walk, settle};
use super::world::{POLICY, World, at, steps};

fn plenty(desire: Vec<u32>, roll: Vec<u8>) -> Budget {
    Budget {
        place: 40,
        lease: 20,
        end: 40,
        tick: 40,
        crash: 4,
        late: 4,
        stale: 4,
        deaf: 8,
        silence: 8,
        desire,
        roll,
        pause: 3,
        delete: None,
        wish: 4,
        node: 4,
        sicken: 3,
        die: 3,
        restart: 3,
        evict: 4,
    }
}

fn occupancy() -> impl Strategy<Value = Occupancy> {
    let known = (0..9_i64, 0..3_u32).prop_map(|(since, sessions)| {
        let empty_since = (sessions == 0).then(|| at(since));
        let cordon = Some(1);
        Occupancy::Known(Report {
            since: at(since),
            until: at(since),
            sessions,
            leases: 0,
            empty_since,
            cordon,
            highest: 1,
        })
    });
    let unknown = (0..9_i64).prop_map(|since| Occupancy::Unknown { since: at(since), heard: None });
    prop_oneof![known, unknown]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// No session is cut before its time, each decision is sound, and every rollout and drain ends.
    #[test]
    fn any_order_of_events_ends_well(
        sessions in proptest::collection::vec(0..4_u32, 0..6),
        desire in proptest::collection::vec(0..8_u32, 0..4),
        roll in proptest::collection::vec(1..4_u8, 0..4),
        (surge, ordinals) in (0..3_u32, 8..12_u32),
        (hands_over, refuses) in any::<(bool, bool)>(),
        choices in proptest::collection::vec(any::<u16>(), 0..200),
    ) {
        let mut world = World::new(&sessions);
        (world.surge, world.ordinals, world.hands_over, world.refuses) = (surge, ordinals, hands_over, refuses);
        let mut walk = Walk::new(world, plenty(desire, roll));
        for choice in choices {
            prop_assert_eq!(walk.step(usize::from(choice)), Ok(()));
        }
        prop_assert_eq!(settle(walk.world(), &mut HashSet::new()), Ok(()));
    }

    /// Of a pool that is not accepted none is made, and none begins to leave but for a person or its node.
    #[test]
    fn a_pool_that_is_not_accepted_keeps_what_it_has(
        sessions in proptest::collection::vec(0..4_u32, 0..6),
        desire in proptest::collection::vec(0..8_u32, 0..4),
        roll in proptest::collection::vec(1..4_u8, 0..4),
        choices in proptest::collection::vec(any::<u16>(), 0..80),
    ) {
        let mut walk = Walk::new(World::new(&sessions), plenty(desire, roll));
        for choice in choices {
            prop_assert_eq!(walk.step(usize::from(choice)), Ok(()));
        }
        let world = walk.world();
        let pool = world.observe(&world.cluster());
        let decided = keep(&Pool { desired: 0, generation: "another".to_owned(), ..pool.clone() }, at(world.now));
        for action in decided.actions {
            let of = |relay: &Target| pool.relays.iter().find(|known| known.uid == relay.uid).expect("one that is there");
            let was_told = |relay: &Relay| relay.asked.person == Some(Wish::Leave) || relay.asked.node;
            match action {
                Action::Create { .. } => return Err(TestCaseError::fail("a relay is made")),
                Action::Write { relay, note, .. } if of(&relay).note.drain.is_none() => {
                    prop_assert!(note.drain.is_none() || was_told(of(&relay)), "{:?} begins to leave", relay);
                }
                Action::Delete { relay, end: End::Empty | End::NeverServed | End::Now | End::Deadline(_), .. } => {
                    let relay = of(&relay);
                    prop_assert!(relay.note.drain.is_some() || was_told(relay), "{:?} goes", relay);
                }
                Action::Delete { end: End::Over(_), .. }
                | Action::Write { .. }
                | Action::Cordon { .. }
                | Action::Uncordon { .. }
                | Action::HandOver { .. } => {}
            }
        }
    }

    /// What is decided does not depend on the order in which Pods were listed.
    #[test]
    fn the_order_of_a_list_means_nothing(
        sessions in proptest::collection::vec(0..4_u32, 0..6),
        desired in 0..8_u32,
        choices in proptest::collection::vec(any::<u16>(), 0..40),
    ) {
        let mut walk = Walk::new(World::new(&sessions), plenty(vec![desired], vec![2]));
        for choice in choices {
            prop_assert_eq!(walk.step(usize::from(choice)), Ok(()));
        }
        let world = walk.world();
        let pool = world.observe(&world.cluster());
        let mut turned = pool.clone();
        turned.relays.reverse();
        prop_assert_eq!(decide(&turned, at(world.now)), decide(&pool, at(world.now)));
    }

    /// A clock that stands still while nobody knows what is on the relay runs for its whole time while somebody does.
    #[test]
    fn only_known_time_counts(seen in proptest::collection::vec((1..4_i64, occupancy()), 1..30)) {
        let mut drain = Drain { cause: Cause::ScaleDown, since: at(0), began_with: None, clock: Clock::Ahead };
        let (mut now, mut counted) = (10, 0);
        for (passed, occupancy) in seen {
            let ran = matches!(drain.clock, Clock::Runs { .. });
            now += passed;
            drain.clock = drain.clock_at(&occupancy, true, false, &POLICY, at(now));
            // At the most, all of the time between two looks was known.
            counted += if ran { passed } else { 0 };
            if drain.clock.is_over(at(now)) {
                prop_assert!(steps(counted) >= POLICY.scale_down);
                prop_assert!(matches!(occupancy, Occupancy::Known(_)));
            }
        }
    }
}

//! A herd: many sessions at once, placed by lobby processes whose views are older than what the others have done. What is
//! simulated is only time: the choice is the real one, and the store grants as a store does, one seat after another.

use std::collections::BTreeMap;

use super::*;
use crate::wire::routing::Inside;
use crate::wire::session::ClientPlace;

const JOINS: u64 = 1000;
/// Placements that a process asks its store for at once.
const AT_ONCE: usize = 64;

fn pools(seats: &[u32], used: &[u32]) -> Pools {
    let relay = |(n, (capacity, used)): (usize, (&u32, &u32))| Relay {
        name: format!("r{n:02}"),
        state: RelayState::Serving,
        capacity: *capacity,
        used: *used,
    };
    let relays = seats.iter().zip(used).enumerate().map(relay).collect();
    let point = GeoPoint { latitude: 0.0, longitude: 0.0 };
    Pools::from(vec![Pool::new("p", "p", point, Terms::default(), relays)])
}

/// Places all joins through `processes`, each of which sees what was granted only after every `refresh` of its own rounds, and
/// meanwhile counts what it has asked for itself. Returns how many sessions each relay has, and how often a store refused.
fn herd(seats: &[u32], inside: Inside, processes: usize, refresh: usize, seed: u64) -> (Vec<u32>, u64) {
    let routing = Routing { inside, ..Routing::default() };
    let nobody = ClientPlace::default();
    let (mut truth, mut refused) = (vec![0_u32; seats.len()], 0);
    let mut views = vec![truth.clone(); processes];
    let mut waiting: Vec<(u64, u64)> = (0..JOINS).map(|id| (id, 0)).collect();
    let mut round = 0;
    while !waiting.is_empty() {
        round += 1;
        let (process, mut again) = (round % processes, Vec::new());
        if (round / processes).is_multiple_of(refresh) {
            views[process].clone_from(&truth);
        }
        let shown = pools(seats, &views[process]);
        let mut in_flight = BTreeMap::new();
        let mut asked = Vec::new();
        for (id, attempt) in waiting.drain(..AT_ONCE.min(waiting.len())) {
            let flying: Vec<InFlight> =
                in_flight.iter().map(|(relay, seats)| InFlight { pool: 0, relay: *relay, seats: *seats }).collect();
            let draw = draw(&format!("session {id} of {seed}"), attempt);
            let ask = Ask { draw, asked: &flying, ..Ask::of(&nobody) };
            let chosen = choose(&shown, &ask, &routing).0.expect("its view has room").relay;
            // Asked for, and counted at once; the store has not answered yet.
            *in_flight.entry(chosen).or_insert(0) += 1;
            asked.push((id, attempt, chosen));
        }
        for (relay, seats) in in_flight {
            views[process][relay] += seats;
        }
        for (id, attempt, chosen) in asked {
            if truth[chosen] < seats[chosen] {
                truth[chosen] += 1;
            } else {
                // What the store says with its refusal corrects the view.
                views[process][chosen] = truth[chosen];
                again.push((id, attempt + 1));
                refused += 1;
            }
        }
        waiting.extend(again);
        let left: u32 = seats.iter().zip(&views[process]).map(|(seats, used)| seats.saturating_sub(*used)).sum();
        if left < u32::try_from(AT_ONCE).expect("small") {
            views[process].clone_from(&truth);
        }
    }
    (truth, refused)
}

#[test]
fn spread_puts_no_relay_more_than_a_tenth_over_its_share() {
    for seed in 0..20 {
        for (processes, refresh) in [(1, 1), (1, 4), (3, 1), (3, 4)] {
            let (sessions, _) = herd(&[200; 10], Inside::Spread, processes, refresh, seed);
            let most = sessions.iter().max().expect("relays");
            assert!(*most <= 110, "{processes} processes, refreshed each {refresh} rounds, seed {seed}: {sessions:?}");
            assert_eq!(sessions.iter().sum::<u32>(), 1000);
        }
    }
}

#[test]
fn spread_gives_each_its_share_of_seats() {
    // Twice the seats, twice the sessions.
    let (sessions, _) = herd(&[100, 100, 100, 100, 200, 200, 200, 200], Inside::Spread, 2, 2, 7);
    for (relay, sessions) in sessions.iter().enumerate() {
        let share = if relay < 4 { 1000.0 / 12.0 } else { 1000.0 / 6.0 };
        assert!(f64::from(*sessions) <= share * 1.1, "relay {relay}: {sessions}");
    }
}

#[test]
fn a_herd_that_needs_every_seat_gets_each_of_them_once() {
    for inside in [Inside::Pack, Inside::Spread] {
        let (sessions, refused) = herd(&[100; 10], inside, 3, 2, 1);
        assert_eq!(sessions, [100; 10], "{inside:?}");
        // Refusals cost a step each, not a session.
        assert!(refused < 1000, "{inside:?}: {refused}");
    }
}

#[test]
fn pack_leaves_the_others_empty() {
    let (sessions, _) = herd(&[500; 4], Inside::Pack, 1, 1, 1);
    assert_eq!(sessions, [500, 500, 0, 0]);
}

#[test]
fn draws_are_even_and_differ_by_session_and_attempt() {
    let mut counts = [0_u32; 10];
    for n in 0..10_000_u32 {
        counts[usize::try_from(draw(&n.to_string(), 0) % 10).expect("small")] += 1;
    }
    assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    assert_ne!(draw("a", 0), draw("a", 1));
    assert_eq!(draw("a", 0), draw("a", 0));
}

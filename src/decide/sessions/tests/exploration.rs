//! Every state that the lease protocol can reach in a small scope: one relay of three seats, one more session than that,
//! a store, two lobby processes between them. Whatever is on its way may arrive at any time or be lost with its link;
//! processes crash; time passes. `CONVENE_EXPLORE=full` looks at a larger scope (`make explore`).
//!
//! A lobby process is the links that end in it: when it crashes, its orders and news are lost and nobody says so; the
//! relay dials another, over which it is told the rest. What an older link carried may still come. A client that hears
//! its answer late, or never, is one whose pass is used late, or never.

mod world;

use std::collections::HashSet;

use self::world::World;
use super::*;

const SEATS: u32 = 3;
const RELAY: &str = "a0";
const LEASE_SECONDS: u32 = 30;

/// How often each thing may happen on one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Budget {
    /// Sessions that the relay holds from the beginning.
    held: u8,
    create: u8,
    join: u8,
    connect: u8,
    leave: u8,
    close: u8,
    /// A link is lost, and its end is known or not.
    cut: u8,
    restart: u8,
    /// The relay's lease passes, or the grace that the store adds.
    wait: u8,
    load: u8,
}

const SMALL: Budget =
    Budget { held: 2, create: 2, join: 0, connect: 1, leave: 0, close: 1, cut: 1, restart: 0, wait: 0, load: 1 };
/// A relay starts anew while its earlier run still has something to say.
const RESTARTED: Budget = Budget { held: 1, close: 0, restart: 1, ..SMALL };
const FULL: [Budget; 4] = [
    Budget { held: 0, create: 4, ..SMALL },
    Budget { held: 1, close: 0, wait: 1, ..SMALL },
    Budget { held: 1, create: 1, join: 1, close: 0, leave: 1, ..SMALL },
    RESTARTED,
];

#[derive(Clone, Copy, Debug)]
enum Action {
    Create,
    Join(u8),
    Connect(usize),
    Leave,
    Close(u8),
    OrderArrives,
    NewsArrives,
    /// Over which of the older links.
    OldNewsArrives(u64),
    Load,
    Cut(Cut),
    Dial,
    Restart,
    LeasePasses,
    GracePasses,
    Tick,
    Sweep,
}

/// How a link is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The lobby process notices at once.
    Noticed,
    /// The lobby process reads what is left, and notices then.
    NoticedLate,
    /// The lobby process has crashed.
    Crashed,
}

/// Visits every state once; returns how many there are, and how many steps lead to one.
fn explore(budget: Budget) -> (usize, usize) {
    let mut seen = HashSet::new();
    let mut next = vec![World::new(budget)];
    let mut steps = 0;
    seen.insert(next[0].key());
    while let Some(world) = next.pop() {
        for action in world.actions() {
            let mut after = world.clone();
            after.take(action);
            after.check(&world);
            steps += 1;
            if seen.insert(after.key()) {
                next.push(after);
            }
        }
        world.settle();
    }
    (seen.len(), steps)
}

#[test]
fn no_seat_is_given_twice_in_any_order_of_events() {
    let budgets = match std::env::var("CONVENE_EXPLORE").as_deref() {
        Ok("full") => FULL.to_vec(),
        _ => vec![Budget { create: 1, ..RESTARTED }, SMALL],
    };
    for budget in budgets {
        let (states, steps) = explore(budget);
        eprintln!("{states} states by {steps} steps of {budget:?}");
        assert!(states > 10_000, "the scope is too small to say anything");
    }
}

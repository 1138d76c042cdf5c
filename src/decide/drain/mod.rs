//! How relays leave a pool, and how others take their place: one machine for scaling down, rollouts, maintenance of nodes,
//! orders of the lobby, people, and the deletion of the pool.
//!
//! [`decide`] is a plain function: the pool as it was observed and the time → what to do, what status says, when to look
//! again. It keeps nothing between two calls. What must outlast a call stands on the relay's Pod ([`Note`]), under the same
//! resourceVersion that its deletion names; so a decision made from something old is refused by the API server.
//!
//! A relay that leaves goes through these, each of which must have been observed before the next:
//!
//! ```text
//! stays ──► drain on the Pod ──► cordon acknowledged ──► empty, or time over:  ──► deleted
//!   ▲          (a number)          (with that number;      `occupied` is off
//!   │                               the clock runs)              │
//!   └── cordon lifted ◄── no drain on the Pod, `occupied` on ◄───┘   cancelled: from anywhere before the deletion
//! ```
//!
//! What it rests on, which whoever carries it out must keep:
//! - writes and deletions carry UID and resourceVersion; nothing is created over an existing name;
//! - a relay obeys a cordon whose number is not below the highest that it has heard, reports which it obeys, and lifts it
//!   only for that number;
//! - the lobby's table cordons relays that drain, or are not ready in the cluster: a process that starts anew in its Pod
//!   has forgotten its cordon.

mod choose;
mod decision;
mod observed;
mod progress;
mod record;
mod steps;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

pub use decision::{Action, Decision, DrainView, End, Rollout, Stall, Target, View};
pub use observed::{Asked, Deletion, Health, Occupancy, Policy, Pool, Relay, Report, Sickness, Span, Wish};
pub use record::{Cause, Clock, Drain, Note, Standstill};

/// When to look after what was sent and did not show: an order may be lost without a word.
const AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// Decides what becomes of a pool's relays.
pub fn decide(pool: &Pool, now: Timestamp) -> Decision {
    let choice = choose::choose(pool, now);
    let mut relays: Vec<&Relay> = pool.relays.iter().collect();
    relays.sort_by_key(|relay| (relay.ordinal, &relay.uid));
    let generation = || pool.generation.clone();
    let made = choice.create.iter().map(|ordinal| Action::Create { ordinal: *ordinal, generation: generation() });
    let steps = relays.iter().flat_map(|relay| {
        let leaving = choice.leaving.get(&relay.uid).copied();
        steps::steps(pool, relay, leaving, now)
    });
    let actions: Vec<Action> = made.chain(steps).collect();
    let again = (!actions.is_empty()).then(|| record::later(now, AGAIN));
    Decision {
        relays: relays.iter().map(|relay| progress::view(pool, relay, &choice, now)).collect(),
        rollout: progress::rollout(pool, &choice),
        stalls: progress::stalls(pool, &choice, now),
        finished: pool.deletion.is_some() && pool.relays.is_empty(),
        look_again: progress::look_again(pool, &choice, now).into_iter().chain(again).min(),
        actions,
    }
}

/// Decides what becomes of the relays of a pool of which nobody knows how to make one, as its spec is not accepted: there are
/// as many as there are. None is made, and none is chosen to leave; people, nodes and the lobby are obeyed all the same, and
/// what was begun goes on. The pool's own number and generation mean nothing here.
pub fn keep(pool: &Pool, now: Timestamp) -> Decision {
    let stays = |relay: &&Relay| choose::is_there(relay) && choose::leaves(relay).is_none();
    let staying = pool.relays.iter().filter(stays).count();
    let of_one = |relay: &Relay| Relay { generation: pool.generation.clone(), ..relay.clone() };
    let kept = Pool {
        relays: pool.relays.iter().map(of_one).collect(),
        desired: u32::try_from(staying).unwrap_or(u32::MAX),
        // Where no address is left, a sick relay would leave to return its own: here nothing waits for that.
        ordinals: u32::MAX,
        ..pool.clone()
    };
    let mut decision = decide(&kept, now);
    decision.actions.retain(|action| !matches!(action, Action::Create { .. }));
    Decision { rollout: None, stalls: vec![], ..decision }
}

/// Whether a relay is sick for so long that another takes its place.
pub fn has_failed(pool: &Pool, relay: &Relay, now: Timestamp) -> bool {
    choose::is_sick(pool, relay, now)
}

#[cfg(test)]
mod tests;

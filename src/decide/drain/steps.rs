//! One relay's next step: from what was chosen for it to at most one write and one order.
//!
//! The order of steps is what keeps sessions: a drain is on the Pod before the cordon is ordered; `convene.dev/occupied` is
//! off before the Pod is deleted, and on again before new sessions are let in. Each step needs the one before it to have
//! been *observed*, so a crash, a lost answer or a late write of an earlier operator leaves a state that this goes on from.

use k8s_openapi::jiff::Timestamp;

use super::decision::{Action, End, Target};
use super::observed::{Deletion, Health, Pool, Relay, Report};
use super::record::{Cause, Clock, Drain, Note, later};

/// What is to be done for one relay.
pub(super) fn steps(pool: &Pool, relay: &Relay, leaving: Option<Cause>, now: Timestamp) -> Vec<Action> {
    if relay.terminating {
        return Vec::new();
    }
    if let Health::Over(why) = relay.health {
        return vec![delete(relay, End::Over(why))];
    }
    if pool.deletion == Some(Deletion::Now) {
        return vec![delete(relay, End::Now)];
    }
    match leaving {
        None => stay(pool, relay, now),
        Some(_) if never_served(relay) => vec![delete(relay, End::NeverServed)],
        Some(cause) => leave(pool, relay, cause, now),
    }
}

/// The drain of a relay that is to leave, as it is now: with its clock moved on. Nothing before it begins.
pub(super) fn drain_now(pool: &Pool, relay: &Relay, cause: Cause, now: Timestamp) -> Option<Drain> {
    let before = relay.note.drain?;
    let drain = before.for_cause(cause, &pool.policy, now);
    if drain.cause < before.cause {
        // It begins anew, and its time with what is written: a write that is late must not cost sessions any of it.
        return Some(drain);
    }
    let clock = drain.clock_at(&relay.occupancy, relay.is_cordoned(), pool.paused, &pool.policy, now);
    Some(Drain { clock, ..drain })
}

/// A relay that has not been ready, nor heard: no lobby knows it. Becoming ready makes another version of the Pod, which
/// the deletion then does not mean.
fn never_served(relay: &Relay) -> bool {
    matches!(relay.health, Health::Starting { .. }) && relay.report().is_none()
}

fn stay(pool: &Pool, relay: &Relay, now: Timestamp) -> Vec<Action> {
    let cordon = relay.report().and_then(|report| report.cordon);
    let note = Note { drain: None, ..relay.note };
    let comes_back = relay.note.drain.is_some() || cordon.is_some();
    let occupied = comes_back || !may_be_evicted(pool, relay, now);
    if note != relay.note || occupied != relay.occupied {
        return vec![write(relay, note, occupied)];
    }
    cordon.map(|number| Action::Uncordon { relay: target(relay), number }).into_iter().collect()
}

/// Whether a relay that stays has been empty for so long that a node's maintenance may take it: where sessions can be handed
/// over, one that arrives as it goes is. Not knowing changes nothing.
fn may_be_evicted(pool: &Pool, relay: &Relay, now: Timestamp) -> bool {
    match relay.report() {
        Some(report) => pool.hands_over && grace_ends(pool, report).is_some_and(|end| end <= now),
        None => !relay.occupied,
    }
}

/// When a relay has been empty for long enough.
pub(super) fn grace_ends(pool: &Pool, report: &Report) -> Option<Timestamp> {
    report.empty_since.map(|since| later(since, pool.policy.empty_grace))
}

fn leave(pool: &Pool, relay: &Relay, cause: Cause, now: Timestamp) -> Vec<Action> {
    let Some(drain) = drain_now(pool, relay, cause, now) else {
        let drain = Drain::begin(cause, relay.load(), now);
        return vec![write(relay, Note { number: next_number(relay), drain: Some(drain) }, true)];
    };
    if relay.report().is_some_and(|report| report.highest > relay.note.number) {
        // Somebody has changed the note: the relay would not obey its number.
        let drain = Drain { clock: Clock::Ahead, ..drain };
        return vec![write(relay, Note { number: next_number(relay), drain: Some(drain) }, true)];
    }
    let empty = is_empty(pool, relay, &drain);
    let over = drain.clock.is_over(now);
    let mut actions = Vec::new();
    if !relay.is_cordoned() {
        actions.push(Action::Cordon { relay: target(relay), number: relay.note.number });
    } else if !empty && pool.hands_over {
        actions.push(Action::HandOver { relay: target(relay), number: relay.note.number });
    }
    let note = Note { drain: Some(drain), ..relay.note };
    let occupied = !(empty || over);
    if note != relay.note || occupied != relay.occupied {
        actions.push(write(relay, note, occupied));
    } else if !occupied {
        actions.push(delete(relay, if empty { End::Empty } else { End::Deadline(drain.cause) }));
    }
    actions
}

/// Whether nobody is on a relay that leaves, nor on the way to it.
fn is_empty(pool: &Pool, relay: &Relay, drain: &Drain) -> bool {
    let is_free = relay.is_cordoned() && relay.load() == Some(0);
    is_free && (pool.refuses || relay.report().zip(settles(pool, relay, drain)).is_some_and(|(it, at)| at <= it.until))
}

/// When an empty relay that nobody can tell to refuse has been so for long enough since its drain began. A report of then, not
/// the time alone, shows it.
pub(super) fn settles(pool: &Pool, relay: &Relay, drain: &Drain) -> Option<Timestamp> {
    let empty_since = relay.report().filter(|_| !pool.refuses)?.empty_since?;
    Some(later(empty_since.max(drain.since), pool.policy.empty_grace))
}

/// Above every number that the Pod or the relay has seen.
fn next_number(relay: &Relay) -> u32 {
    let heard = relay.report().map_or(0, |report| report.highest);
    relay.note.number.max(heard).saturating_add(1)
}

fn target(relay: &Relay) -> Target {
    Target { ordinal: relay.ordinal, uid: relay.uid.clone() }
}

fn write(relay: &Relay, note: Note, occupied: bool) -> Action {
    Action::Write { relay: target(relay), resource_version: relay.resource_version.clone(), note, occupied }
}

fn delete(relay: &Relay, end: End) -> Action {
    Action::Delete { relay: target(relay), resource_version: relay.resource_version.clone(), end }
}

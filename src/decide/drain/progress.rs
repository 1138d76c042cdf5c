//! What status says of relays and of a rollout, and when to decide again.

use k8s_openapi::jiff::Timestamp;

use super::AGAIN;
use super::choose::{Choice, is_sick, is_silent, is_there};
use super::decision::{DrainView, Rollout, Stall, View};
use super::observed::{Health, Occupancy, Pool, Relay};
use super::record::{Clock, Drain, Standstill, later};
use super::steps::{drain_now, grace_ends, settles};
use crate::api::relay_pool::RelayPhase;

/// One relay.
pub(super) fn view(pool: &Pool, relay: &Relay, choice: &Choice, now: Timestamp) -> View {
    let cause = choice.leaving.get(&relay.uid).copied();
    let drain = cause.map(|cause| drain_now(pool, relay, cause, now).unwrap_or_else(|| Drain::begin(cause, None, now)));
    let sickness = match relay.health {
        Health::Sick { why, .. } | Health::Over(why) => Some(why),
        Health::Starting { .. } | Health::Serving => None,
    };
    let phase = match relay.health {
        Health::Over(_) => RelayPhase::Failed,
        _ if relay.terminating || drain.is_some() => RelayPhase::Draining,
        Health::Serving => RelayPhase::Ready,
        Health::Sick { .. } if is_sick(pool, relay, now) => RelayPhase::Failed,
        Health::Starting { .. } | Health::Sick { .. } => RelayPhase::Pending,
    };
    View {
        ordinal: relay.ordinal,
        uid: relay.uid.clone(),
        phase,
        sessions: relay.report().map(|report| report.sessions),
        leases: relay.report().map(|report| report.leases),
        drain: drain.map(|drain| drain_view(&drain, relay, now)),
        sickness,
    }
}

fn drain_view(drain: &Drain, relay: &Relay, now: Timestamp) -> DrainView {
    let (deadline, left) = match drain.clock {
        Clock::Ahead => (None, None),
        Clock::Runs { deadline, .. } => (Some(deadline), None),
        Clock::Stands { left, .. } => (None, Some(left)),
    };
    let estimate = estimate(drain, relay.load(), now).map(|time| deadline.map_or(time, |deadline| time.min(deadline)));
    DrainView { cause: drain.cause, since: drain.since, deadline, left, estimate }
}

/// When the last session is gone, if they go on ending as they have so far.
fn estimate(drain: &Drain, load: Option<u32>, now: Timestamp) -> Option<Timestamp> {
    let (began_with, load) = (drain.began_with?, load?);
    let ended = began_with.checked_sub(load).filter(|ended| *ended > 0)?;
    let per_session = now.duration_since(drain.since).checked_div(i32::try_from(ended).ok()?)?;
    Some(later(now, per_session.saturating_mul(i32::try_from(load).ok()?)))
}

/// How far the rollout is.
pub(super) fn rollout(pool: &Pool, choice: &Choice) -> Option<Rollout> {
    if pool.deletion.is_some() || pool.relays.iter().all(|relay| relay.generation == pool.generation) {
        return None;
    }
    let mut rollout = Rollout { updated: 0, ready: 0, draining: 0, waiting: 0, total: pool.desired };
    for relay in &pool.relays {
        let stays = is_there(relay) && !choice.leaving.contains_key(&relay.uid);
        let fresh = relay.generation == pool.generation;
        rollout.updated += u32::from(fresh && stays);
        rollout.ready += u32::from(fresh && stays && relay.health == Health::Serving);
        rollout.draining += u32::from(!fresh && !stays);
        rollout.waiting += u32::from(!fresh && stays);
    }
    Some(rollout)
}

/// What is in the way.
pub(super) fn stalls(pool: &Pool, choice: &Choice, now: Timestamp) -> Vec<Stall> {
    let mut stalls = choice.stalls.clone();
    for (uid, cause) in &choice.leaving {
        let Some(relay) = pool.relays.iter().find(|relay| relay.uid == *uid) else { continue };
        match drain_now(pool, relay, *cause, now).map(|drain| drain.clock) {
            Some(Clock::Stands { why: Standstill::Paused, .. }) => stalls.insert(Stall::Paused),
            Some(Clock::Stands { why: Standstill::OccupancyUnknown, .. }) => stalls.insert(Stall::OccupancyUnknown),
            Some(Clock::Ahead) if relay.report().is_none() && cause.stands_still() => {
                stalls.insert(Stall::OccupancyUnknown)
            }
            Some(Clock::Ahead | Clock::Runs { .. }) | None => false,
        };
    }
    stalls.into_iter().collect()
}

/// The next time at which something passes of which nobody sends word.
pub(super) fn look_again(pool: &Pool, choice: &Choice, now: Timestamp) -> Option<Timestamp> {
    let policy = &pool.policy;
    let times = pool.relays.iter().filter(|relay| is_there(relay)).flat_map(|relay| {
        let drain = choice.leaving.get(&relay.uid).and_then(|cause| drain_now(pool, relay, *cause, now));
        let clock = drain.and_then(|drain| drain.clock.look_again(drain.cause));
        // A report that says the same as the one before wakes nobody.
        let settles = drain.and_then(|drain| settles(pool, relay, &drain)).map(|at| at.max(later(now, AGAIN)));
        let grace = relay.report().filter(|_| pool.hands_over).and_then(|report| grace_ends(pool, report));
        let silent = match relay.occupancy {
            Occupancy::Unknown { since, .. } if !is_silent(pool, relay, now) => Some(later(since, policy.silent_after)),
            Occupancy::Known(_) | Occupancy::Unknown { .. } => None,
        };
        let health = match relay.health {
            Health::Starting { since } => Some(later(since, policy.start)),
            Health::Sick { since, .. } => Some(later(since, policy.sick_after)),
            Health::Serving | Health::Over(_) => None,
        };
        [clock, settles, grace, silent, health].into_iter().flatten()
    });
    times.filter(|time| *time > now).min()
}

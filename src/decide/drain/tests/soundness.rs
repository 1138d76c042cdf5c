//! What holds for each single decision, whatever the pool is like.

use std::collections::BTreeSet;

use super::super::*;
use crate::api::relay_pool::RelayPhase;

/// The first rule that a decision breaks.
pub(super) fn broken_rule(pool: &Pool, decision: &Decision, now: Timestamp) -> Option<&'static str> {
    let writes: Vec<&Target> = decision.actions.iter().filter_map(written).collect();
    let orders: Vec<&Target> = decision.actions.iter().filter_map(ordered).collect();
    let unique = |targets: &[&Target]| targets.iter().collect::<BTreeSet<_>>().len() == targets.len();
    let deletions_hold = decision.actions.iter().all(|action| is_justified(pool, action, now));
    [
        (unique(&writes) && unique(&orders), "at most one write and one order for a relay"),
        (deletions_hold, "a deletion has a reason that was observed"),
        (created_well(pool, decision), "relays are made within their bounds"),
        (keeps_room(pool, decision), "a relay that we choose to leave leaves enough others"),
    ]
    .into_iter()
    .find_map(|(holds, rule)| (!holds).then_some(rule))
}

fn written(action: &Action) -> Option<&Target> {
    match action {
        Action::Write { relay, .. } | Action::Delete { relay, .. } => Some(relay),
        Action::Create { .. } | Action::Cordon { .. } | Action::Uncordon { .. } | Action::HandOver { .. } => None,
    }
}

fn ordered(action: &Action) -> Option<&Target> {
    match action {
        Action::Cordon { relay, .. } | Action::Uncordon { relay, .. } | Action::HandOver { relay, .. } => Some(relay),
        Action::Create { .. } | Action::Write { .. } | Action::Delete { .. } => None,
    }
}

fn is_justified(pool: &Pool, action: &Action, now: Timestamp) -> bool {
    let Action::Delete { relay: target, end, resource_version } = action else { return true };
    let Some(relay) = pool.relays.iter().find(|relay| relay.uid == target.uid) else { return false };
    let observed = relay.resource_version == *resource_version && !relay.terminating;
    observed
        && match end {
            End::Empty => !relay.occupied && relay.is_cordoned() && relay.load() == Some(0) && has_settled(pool, relay),
            End::Deadline(_) => {
                let drain = relay.note.drain.expect("a drain has a deadline");
                let known = relay.report().is_some() || !drain.cause.stands_still();
                !relay.occupied && known && matches!(drain.clock, Clock::Runs { deadline, .. } if deadline <= now)
            }
            End::NeverServed => matches!(relay.health, Health::Starting { .. }) && relay.report().is_none(),
            End::Over(_) => matches!(relay.health, Health::Over(_)),
            End::Now => pool.deletion == Some(Deletion::Now),
        }
}

/// Whether a relay that cannot be told to refuse was empty for a while since its drain began.
fn has_settled(pool: &Pool, relay: &Relay) -> bool {
    let report = relay.report().expect("it is known to be empty");
    let began = relay.note.drain.expect("it drains").since;
    pool.refuses || report.until.duration_since(began) >= pool.policy.empty_grace
}

fn created_well(pool: &Pool, decision: &Decision) -> bool {
    let created: BTreeSet<u32> = decision
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Create { ordinal, .. } => Some(*ordinal),
            _ => None,
        })
        .collect();
    let free = created
        .iter()
        .all(|ordinal| *ordinal < pool.ordinals && pool.relays.iter().all(|relay| relay.ordinal != *ordinal));
    let staying = decision.relays.iter().filter(|view| view.drain.is_none() && is_fresh(pool, view));
    let fresh = staying.count() + created.len();
    let most = 2 * pool.desired + pool.surge.max(1);
    created.is_empty() || free && pool.deletion.is_none() && fresh <= usize::try_from(most).expect("few")
}

fn is_fresh(pool: &Pool, view: &View) -> bool {
    pool.relays.iter().any(|relay| {
        let over = relay.terminating || matches!(relay.health, Health::Over(_));
        relay.uid == view.uid && relay.generation == pool.generation && !over
    })
}

/// Where scaling or a rollout lets a serving relay go, as many still take new sessions as are wanted; unless there is no
/// address, or no surge, with which another could be made first.
fn keeps_room(pool: &Pool, decision: &Decision) -> bool {
    let begins = decision.relays.iter().any(|view| {
        let relay = pool.relays.iter().find(|relay| relay.uid == view.uid);
        let newly = relay.is_some_and(|relay| relay.note.drain.is_none() && relay.health == Health::Serving);
        newly && !is_silent(pool, &view.uid) && view.drain.is_some_and(|drain| drain.cause.is_chosen())
    });
    let serving = decision.relays.iter().filter(|view| view.phase == RelayPhase::Ready).count();
    let bound = pool.surge == 0 || pool.relays.len() >= usize::try_from(pool.ordinals).expect("few");
    !begins || bound || serving >= usize::try_from(pool.desired).expect("few")
}

/// What is not heard does not count as room, and so nothing is lost by its leaving.
fn is_silent(pool: &Pool, uid: &str) -> bool {
    pool.relays.iter().any(|relay| relay.uid == uid && relay.report().is_none())
}

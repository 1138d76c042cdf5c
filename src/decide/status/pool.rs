//! Status of a relay pool.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::conditions::{Conditions, Says};
use super::relays;
use crate::api::condition::{DRAINING, Reason, SCALING_LIMITED};
use crate::api::relay_pool::{DeletionPolicy, RelayPhase, RelayStatus, RolloutStatus, ScalingStatus};
use crate::api::{RelayPool, RelayPoolStatus};
use crate::decide::drain::{self, Stall};
use crate::decide::plan::{self, names};
use crate::decide::scale::{self, Clamp};
use crate::decide::valid::{Invalid, ValidPool};

/// Numbers that change by themselves are written so often at most.
const REFRESH: SignedDuration = SignedDuration::from_secs(10);

/// What came of a pass over an accepted pool.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// The pool.
    pub valid: &'a ValidPool,
    /// Its Pods, those included that were just made.
    pub pods: &'a [Pod],
    /// Addresses of those that have one, by name.
    pub urls: &'a BTreeMap<String, String>,
    /// What relays are made from.
    pub planned: &'a plan::pool::Relays,
    /// How many relays there are to be.
    pub desired: u32,
    /// What was decided of them.
    pub drains: &'a drain::Decision,
    /// What was decided of their number, under `spec.scaling`.
    pub scaling: Option<&'a scale::Decision>,
}

/// Status after a pass that applied its plan.
pub fn applied(pool: &RelayPool, passed: Passed<'_>, now: Timestamp) -> RelayPoolStatus {
    let before = pool.status.as_ref().map_or(&[][..], |status| &status.relays);
    let relays = relays::all(&passed, before, now);
    let serving: Vec<&RelayStatus> = relays.iter().filter(|relay| relay.phase == RelayPhase::Ready).collect();
    let staying = relays.iter().filter(|relay| relay.phase != RelayPhase::Draining);
    let ready_replicas = count(serving.len());
    let desired = number(passed.desired);
    let available = available(desired, ready_replicas, passed.scaling.is_some());
    let ready = Says {
        status: available.status || available.reason == Reason::ScaledToZero,
        reason: available.reason,
        message: available.message.clone(),
    };
    let mut conditions = start(pool, now);
    conditions.accepted(available, progressing(&passed, desired, ready_replicas), ready);
    if let Some(stalled) = stalled(&passed.drains.stalls) {
        conditions.stalled(stalled);
    }
    conditions.set(DRAINING, draining(&relays));
    if let Some(decision) = passed.scaling {
        conditions.set(SCALING_LIMITED, limited(decision));
    }
    RelayPoolStatus {
        observed_generation: pool.metadata.generation,
        conditions: conditions.build(),
        region: Some(passed.valid.region.clone()),
        location: Some(passed.valid.location),
        replicas: count(staying.count()),
        desired_replicas: desired,
        ready_replicas,
        capacity: serving.iter().map(|relay| relay.capacity).sum(),
        sessions: relays.iter().filter_map(|relay| relay.sessions).sum(),
        scaling: passed.scaling.map(scaling),
        rollout: passed.drains.rollout.map(rollout),
        made_from: Some(passed.planned.made_from.clone()),
        selector: Some(names::selector_text(&names::pool_selector(&passed.valid.owner.name))),
        relays,
    }
}

/// Status of a pool that is being deleted, while its relays leave.
pub fn leaving(pool: &RelayPool, drains: &drain::Decision, now: Timestamp) -> RelayPoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    status.relays = relays::kept(&status.relays, &drains.relays);
    count_relays(&mut status);
    let waits = match pool.spec.deletion_policy {
        DeletionPolicy::Drain => format!(
            "{} relays leave; their sessions are waited for, as long as spec.drain says. spec.deletionPolicy Now ends that",
            status.relays.len()
        ),
        DeletionPolicy::Now => format!("{} relays are being deleted", status.relays.len()),
    };
    let mut conditions = start(pool, now);
    let no = |reason| Says::no(reason, waits.clone());
    conditions.accepted(
        no(Reason::RelaysLeave),
        Says::yes(Reason::RelaysLeave, waits.clone()),
        no(Reason::RelaysLeave),
    );
    conditions.set(DRAINING, draining(&status.relays));
    RelayPoolStatus { observed_generation: pool.metadata.generation, conditions: conditions.build(), ..status }
}

/// Status after a pass that found the pool invalid: its relays stay as they are, and none is made. `drains`
/// was decided of those that are there; nothing where they could not be read.
pub fn invalid(
    pool: &RelayPool,
    invalid: &Invalid,
    drains: Option<&drain::Decision>,
    now: Timestamp,
) -> RelayPoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    let had_relays = !status.relays.is_empty();
    let mut conditions = start(pool, now);
    let mut available = None;
    if let Some(drains) = drains.filter(|_| had_relays) {
        status.relays = relays::kept(&status.relays, &drains.relays);
        available = Some(count_relays(&mut status));
    }
    conditions.refused(invalid, available);
    conditions.set(DRAINING, draining(&status.relays));
    RelayPoolStatus { observed_generation: pool.metadata.generation, conditions: conditions.build(), ..status }
}

/// When a status is to be written over the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It says the same.
    Nothing,
    /// Only numbers moved that do so all the time: not before then.
    Later(Timestamp),
    /// Now.
    Now,
}

/// Whether a status is worth a write. `written` is when one was written last.
pub fn worth(before: &RelayPoolStatus, next: &RelayPoolStatus, written: Timestamp, now: Timestamp) -> Worth {
    if before == next {
        return Worth::Nothing;
    }
    let again = written.saturating_add(REFRESH).unwrap_or(now);
    if steady(before) == steady(next) && now < again { Worth::Later(again) } else { Worth::Now }
}

/// What of a status does not move by itself.
fn steady(status: &RelayPoolStatus) -> RelayPoolStatus {
    let mut steady = RelayPoolStatus { sessions: 0, ..status.clone() };
    for relay in &mut steady.relays {
        // Whether it is known matters; how much it is will be told a little later.
        relay.sessions = relay.sessions.map(|_| 0);
        relay.leases = relay.leases.map(|_| 0);
        if let Some(drain) = &mut relay.drain {
            drain.estimate = None;
        }
    }
    if let Some(scaling) = &mut steady.scaling {
        scaling.message = String::new();
        if let Some(season) = &mut scaling.past.season {
            season.peak = 0;
        }
    }
    for condition in steady.conditions.iter_mut().filter(|condition| condition.type_ == SCALING_LIMITED) {
        condition.message = String::new();
    }
    steady
}

/// Sets the numbers of a pool that is not worked with by its relays, and says whether it serves.
fn count_relays(status: &mut RelayPoolStatus) -> Says {
    let serving = || status.relays.iter().filter(|relay| relay.phase == RelayPhase::Ready);
    let (ready, capacity) = (count(serving().count()), serving().map(|relay| relay.capacity).sum());
    let staying = count(status.relays.iter().filter(|relay| relay.phase != RelayPhase::Draining).count());
    (status.replicas, status.ready_replicas, status.capacity) = (staying, ready, capacity);
    status.sessions = status.relays.iter().filter_map(|relay| relay.sessions).sum();
    if staying == 0 {
        let message = "its relays are gone, and none is made while the pool is not accepted";
        return Says::no(Reason::WaitingForPods, message);
    }
    available(staying, ready, false)
}

fn start(pool: &RelayPool, now: Timestamp) -> Conditions<'_> {
    let previous = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    Conditions::new(previous, pool.metadata.generation, now)
}

fn available(desired: i32, ready: i32, scaled: bool) -> Says {
    match (desired, ready) {
        (0, _) if scaled => {
            Says::no(Reason::ScaledToZero, "nobody uses the pool; a request that waits brings relays back")
        }
        (0, _) => Says::no(Reason::ScaledToZero, "spec.replicas is 0"),
        (_, 0) => Says::no(
            Reason::WaitingForPods,
            format!("none of {desired} relays serves yet; see status.relays and their pods"),
        ),
        (_, ready) if ready < desired => {
            Says::yes(Reason::PartlyAvailable, format!("{ready} of {desired} relays serve"))
        }
        (_, _) => Says::yes(Reason::AsPlanned, format!("all {desired} relays serve")),
    }
}

fn progressing(passed: &Passed<'_>, desired: i32, ready: i32) -> Says {
    if let Some(rollout) = &passed.drains.rollout {
        let counts = format!(
            "{} of {} relays are of the present generation, {} of them serve; of earlier ones {} leave and {} still take sessions",
            rollout.updated, rollout.total, rollout.ready, rollout.draining, rollout.waiting
        );
        if passed.drains.stalls.contains(&Stall::Paused) {
            return Says::no(Reason::Paused, format!("spec.rollout.paused: {counts}"));
        }
        return Says::yes(Reason::RollingOut, counts);
    }
    if ready < desired {
        return Says::yes(
            Reason::WaitingForPods,
            format!("{ready} of {desired} relays serve; see status.relays and their pods"),
        );
    }
    Says::no(Reason::AsPlanned, "the cluster is as the spec says")
}

/// What needs a person; a pause was a person's own wish.
fn stalled(stalls: &[Stall]) -> Option<Says> {
    let says = |stall: &Stall| {
        Some(match stall {
            Stall::Paused => return None,
            Stall::OccupancyUnknown => Says::yes(
                Reason::OccupancyUnknown,
                "a relay is to leave, and nobody knows whether sessions are on it: its clock stands still. See status.relays, and whether the operator reaches port 8082 of its pod (of another image: its metrics)",
            ),
            Stall::NotReady => Says::yes(
                Reason::NotReady,
                "relays of the present spec do not become ready, and none of an earlier one leaves for them: see their pods; change the spec, or change it back",
            ),
            Stall::NoAddress => Says::yes(
                Reason::NoAddress,
                "all addresses are in use by relays that leave or do not serve: see status.relays",
            ),
            Stall::KeptByPerson => Says::yes(
                Reason::KeptByPerson,
                "relays stay that would leave, since their annotation convene.dev/wish says stay: remove it to let them go",
            ),
        })
    };
    stalls.iter().find_map(says)
}

fn draining(relays: &[RelayStatus]) -> Says {
    let leaving: Vec<&RelayStatus> = relays.iter().filter(|relay| relay.phase == RelayPhase::Draining).collect();
    if leaving.is_empty() {
        return Says::no(Reason::AsPlanned, "no relay leaves");
    }
    let of = |relay: &RelayStatus| match &relay.drain {
        Some(drain) => format!("{} ({})", relay.name, drain.cause),
        None => relay.name.clone(),
    };
    let names: Vec<String> = leaving.into_iter().map(of).collect();
    Says::yes(Reason::RelaysLeave, format!("leaving: {}; status.relays has the details", names.join(", ")))
}

fn limited(decision: &scale::Decision) -> Says {
    let Some(clamp) = decision.clamp else {
        return Says::no(Reason::AsPlanned, "as many relays as are needed");
    };
    let reason = match clamp {
        Clamp::Maximum => Reason::Maximum,
        Clamp::UpWindow => Reason::UpWindow,
        Clamp::UpStep => Reason::UpStep,
        Clamp::DownWindow => Reason::DownWindow,
        Clamp::DownStep => Reason::DownStep,
        Clamp::OccupancyUnknown => Reason::OccupancyUnknown,
    };
    Says::yes(reason, decision.to_string())
}

fn scaling(decision: &scale::Decision) -> ScalingStatus {
    ScalingStatus {
        message: decision.to_string(),
        rule: decision.rule.to_string(),
        clamp: decision.clamp.map(|clamp| format!("{clamp:?}")),
        past: decision.past.clone(),
    }
}

fn rollout(rollout: drain::Rollout) -> RolloutStatus {
    RolloutStatus {
        updated: number(rollout.updated),
        ready: number(rollout.ready),
        draining: number(rollout.draining),
        waiting: number(rollout.waiting),
        total: number(rollout.total),
    }
}

pub(super) fn number(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

/// Times as the API server keeps them.
pub(super) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

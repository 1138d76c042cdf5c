//! How many relays a pool should have: one plain function of a policy, what is seen, what is remembered, and the time.
//!
//! What it must not do: shrink on what it does not know, choose who leaves without knowing that relay (see
//! [`victims`]), or forget a window because a process started anew: all that it remembers is a value, [`ScalingPast`].

use std::cmp::Ordering;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde::Serialize;

use crate::api::relay_pool::MAX_RELAYS;
use crate::api::scaling::ScalingPast;

mod forecast;
mod past;
mod policy;
mod sample;
#[cfg(test)]
mod tests;
mod victims;

pub use policy::{BadPolicy, Policy};
pub use sample::{Demand, Occupancy, Phase, Reading, Relay, Seen, count};
pub use victims::{Victim, victims};

use sample::Load;

/// What to do, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// How many relays there should be that serve or will; relays that leave or have failed are not among them.
    pub replicas: i32,
    /// What asked for the most relays.
    pub rule: Rule,
    /// What kept the number from being [`Inputs::needed`], if anything did.
    pub clamp: Option<Clamp>,
    /// What it was decided from.
    pub inputs: Inputs,
    /// When to look again although nothing happens; none = only when something does.
    pub look_again: Option<Timestamp>,
    /// What to remember: to be kept in status, and given to the next decision.
    pub past: ScalingPast,
}

/// What a decision was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Sessions; of silent relays as many as they had when last heard, or, while somebody waits, as many as they have seats.
    pub sessions: i64,
    /// Seats kept for sessions to which nobody has connected yet.
    pub leases: i64,
    /// Requests that wait for a seat.
    pub waiting: i64,
    /// Relays whose occupancy is unknown.
    pub unknown: i32,
    /// Whether the lobby could be heard.
    pub lobby_heard: bool,
    /// Seats that all this needs, those kept free included.
    pub seats: i64,
    /// Sessions that the forecast expects; 0 without one.
    pub forecast: i64,
    /// The fewest relays at this time.
    pub floor: i32,
    /// Relays that are needed, before bounds, windows and steps.
    pub needed: i64,
}

/// What asked for the most relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Rule {
    /// Sessions, leases, those who wait, and the buffer.
    Load,
    /// `minReplicas`.
    Minimum,
    /// The schedule of this name.
    Schedule(String),
    /// The forecast.
    Forecast,
    /// Nobody has used the pool for long enough.
    Idle,
}

/// What kept a decision from following its rule at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Clamp {
    /// `maxReplicas`.
    Maximum,
    /// The window of `up`: more has not been needed for long enough.
    UpWindow,
    /// The steps of `up`.
    UpStep,
    /// The window of `down`: fewer have not been enough for long enough.
    DownWindow,
    /// The steps of `down`.
    DownStep,
    /// Something that must be known to shrink is not.
    OccupancyUnknown,
}

/// Decides.
pub fn decide(policy: &Policy, seen: &Seen, past: &ScalingPast, now: Timestamp) -> Decision {
    let now = past::whole(now);
    let mut past = ScalingPast { replicas: past.replicas.clamp(0, MAX_RELAYS), ..past.clone() };
    let load = Load::of(seen);
    let clock = past::clock(&mut past, load.known, now);
    let expected = forecast::look(policy.forecast.as_ref(), &mut past, load.total(), now);
    let scheduled = policy.schedules.iter().filter(|floor| floor.holds(now)).max_by_key(|floor| floor.replicas);
    let idle = idle(policy, &mut past, load.total() > 0 || expected > 0 || scheduled.is_some(), clock);
    let floor = if idle { 0 } else { policy.min.max(scheduled.map_or(0, |floor| floor.replicas)) };

    let mut inputs = Inputs {
        sessions: load.sessions,
        leases: load.leases,
        waiting: load.waiting,
        unknown: load.unknown,
        lobby_heard: seen.demand.is_some(),
        seats: policy.seats(load.total()),
        forecast: expected,
        floor,
        needed: 0,
    };
    let (relays, rule) = if idle { (0, Rule::Idle) } else { asked(policy, seen, &inputs, scheduled) };
    inputs.needed = relays;

    let mut needed = i32::try_from(relays).unwrap_or(i32::MAX);
    if !load.known {
        // What is not seen may still be needed.
        needed = needed.max(past.needed);
    }
    past::record(&mut past, policy, needed.min(policy.max), clock, now);
    let (replicas, clamp) = paced(policy, &past, load.known, (floor, idle), clock, now);
    past::change(&mut past, policy, replicas, now);
    let clamp = match i64::from(replicas).cmp(&inputs.needed) {
        Ordering::Less => clamp.or(Some(Clamp::Maximum)),
        Ordering::Equal => None,
        Ordering::Greater if load.known => clamp,
        Ordering::Greater => clamp.filter(|clamp| *clamp == Clamp::Maximum).or(Some(Clamp::OccupancyUnknown)),
    };
    let look_again = look_again(policy, &past, now);
    Decision { replicas, rule, clamp, inputs, look_again, past }
}

/// What asks for the most relays, and for how many.
fn asked(policy: &Policy, seen: &Seen, inputs: &Inputs, scheduled: Option<&policy::Floor>) -> (i64, Rule) {
    let relays = |sessions: i64| sample::relays_for(policy.seats(sessions), seen, policy.per_relay);
    let by_load = relays(inputs.sessions + inputs.leases + inputs.waiting);
    let by_forecast = if inputs.forecast > 0 { relays(inputs.forecast) } else { 0 };
    let floor = i64::from(inputs.floor);
    if by_load >= by_forecast.max(floor) {
        (by_load, Rule::Load)
    } else if by_forecast > floor {
        (by_forecast, Rule::Forecast)
    } else {
        let schedule = scheduled.filter(|schedule| schedule.replicas > policy.min);
        (floor, schedule.map_or(Rule::Minimum, |schedule| Rule::Schedule(schedule.name.clone())))
    }
}

/// Whether the pool has been unused for long enough to leave no relay.
fn idle(policy: &Policy, past: &mut ScalingPast, used: bool, clock: Timestamp) -> bool {
    let Some(after) = policy.zero_after.filter(|_| !used) else {
        past.idle_since = None;
        return false;
    };
    let MicroTime(since) = past.idle_since.get_or_insert(MicroTime(clock));
    clock.duration_since(*since) >= after
}

/// From what is needed to what may be done now: what is not known, then windows, then steps, then the bound.
fn paced(
    policy: &Policy,
    past: &ScalingPast,
    known: bool,
    (floor, idle): (i32, bool),
    clock: Timestamp,
    now: Timestamp,
) -> (i32, Option<Clamp>) {
    let (current, needed) = (past.replicas, past.needed);
    let (replicas, clamp) = if needed > current {
        // A floor is an order: it waits for no window and no step.
        let steady = past::lowest(past, &policy.up, now).max(current).max(floor);
        let most = past::most(past, &policy.up, floor, now);
        let why = if most < steady { Clamp::UpStep } else { Clamp::UpWindow };
        (steady.min(most), Some(why))
    } else if needed < current && !known {
        (current, Some(Clamp::OccupancyUnknown))
    } else if needed < current {
        // Idle time is a window of its own.
        let steady = if idle { needed } else { past::highest(past, &policy.down, clock).min(current) };
        let least = past::least(past, &policy.down, now);
        let why = if least > steady { Clamp::DownStep } else { Clamp::DownWindow };
        (steady.max(least), Some(why))
    } else {
        (current, None)
    };
    // A lower maximum is an order as well: what is above it drains, for as long as its sessions need.
    if replicas > policy.max {
        return (policy.max, Some(Clamp::Maximum));
    }
    (replicas, clamp.filter(|_| replicas != needed))
}

/// When the answer may be another although nothing happens.
fn look_again(policy: &Policy, past: &ScalingPast, now: Timestamp) -> Option<Timestamp> {
    let windows = past::expiries(past, policy);
    let schedules = policy.schedules.iter().filter_map(|floor| floor.next(now));
    let idle =
        policy.zero_after.zip(past.idle_since.as_ref()).map(|(after, MicroTime(since))| past::plus(*since, after));
    let forecast = policy.forecast.as_ref().and_then(|seasonal| forecast::next(seasonal, now));
    windows.into_iter().chain(schedules).chain(idle).chain(forecast).filter(|time| *time > now).min()
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Schedule(name) => write!(f, "Schedule {name}"),
            Self::Load | Self::Minimum | Self::Forecast | Self::Idle => write!(f, "{self:?}"),
        }
    }
}

impl fmt::Display for Decision {
    /// In words, for an event.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { replicas, rule, clamp, inputs, .. } = self;
        write!(
            f,
            "{replicas} relays: {} sessions, {} leases and {} waiting take {} seats with those kept free; needed: {} ({rule})",
            inputs.sessions, inputs.leases, inputs.waiting, inputs.seats, inputs.needed
        )?;
        if let Some(clamp) = clamp {
            write!(f, "; held by {clamp:?}")?;
        }
        if inputs.unknown > 0 {
            write!(f, "; {} relays are silent", inputs.unknown)?;
        }
        if !inputs.lobby_heard {
            write!(f, "; the lobby is silent")?;
        }
        Ok(())
    }
}

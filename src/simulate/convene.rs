//! The operator's side: its own decision, called as the operator calls it: when something changed, and when it is time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::world::{self, Controller, FRESH, World};
use crate::api::scaling::ScalingPast;
use crate::decide::scale::{self, Decision, Demand, Occupancy, Policy, Reading, Relay, Seen};

/// Convene's operator.
#[derive(Debug)]
pub(super) struct Convene {
    start: Timestamp,
    policy: Policy,
    past: ScalingPast,
    /// What was seen when it last decided, and when it must look again.
    looked: Option<(Seen, Option<Timestamp>)>,
    /// What each relay said last, by name.
    heard: BTreeMap<String, u32>,
    /// Each decision that changed the number of relays.
    pub(super) decisions: Vec<(u32, Decision)>,
}

impl Convene {
    pub(super) fn new(policy: Policy, replicas: i32, start: Timestamp) -> Self {
        let past = ScalingPast::begin(replicas);
        Self { start, policy, past, looked: None, heard: BTreeMap::new(), decisions: Vec::new() }
    }

    fn time(&self, seconds: u32) -> Timestamp {
        self.start.saturating_add(SignedDuration::from_secs(seconds.into())).unwrap_or(self.start)
    }

    /// The pool as its reports tell of it.
    fn seen(&self, world: &World<'_>) -> Seen {
        let now = self.time(world.now);
        let seats = i32::try_from(world.settings.seats).unwrap_or(i32::MAX);
        let relays = world.relays.iter().map(|relay| {
            let reading = relay.report.map(|(sessions, at)| Reading { sessions, leases: 0.0, at: self.time(at) });
            // A relay that comes later under the same ordinal is another one.
            let name = format!("{}-{}", relay.ordinal, relay.born);
            let last = self.heard.get(&name).copied();
            let fresh = SignedDuration::from_secs(FRESH.into());
            Relay {
                name,
                ordinal: i32::try_from(relay.ordinal).unwrap_or(i32::MAX),
                phase: match relay.phase {
                    world::Phase::Starting => scale::Phase::Starting,
                    world::Phase::Serving => scale::Phase::Serving,
                    world::Phase::Leaving(_) => scale::Phase::Leaving,
                },
                seats,
                occupancy: Occupancy::read(reading.as_ref(), last, seats, fresh, now),
            }
        });
        let waiting = u32::try_from(world.waiting()).unwrap_or(u32::MAX);
        Seen { relays: relays.collect(), demand: world.lobby_heard.then_some(Demand { waiting, leases: 0 }) }
    }

    fn remember(&mut self, seen: &Seen) {
        let said = seen.relays.iter().filter_map(|relay| match relay.occupancy {
            Occupancy::Known { sessions, .. } => Some((relay.name.clone(), sessions)),
            Occupancy::Unknown { last } => Some((relay.name.clone(), last?)),
        });
        self.heard = said.collect();
    }
}

impl Controller for Convene {
    fn name(&self) -> &'static str {
        "convene"
    }

    fn replicas(&mut self, world: &World<'_>) -> usize {
        let (seen, now) = (self.seen(world), self.time(world.now));
        self.remember(&seen);
        let due = self
            .looked
            .as_ref()
            .is_none_or(|(before, again)| *before != seen || again.is_some_and(|again| again <= now));
        if due {
            let decision = scale::decide(&self.policy, &seen, &self.past, now);
            let changed = decision.replicas != self.past.replicas;
            self.past = decision.past.clone();
            self.looked = Some((seen, decision.look_again));
            if changed {
                self.decisions.push((world.now, decision));
            }
        }
        usize::try_from(self.past.replicas).unwrap_or(0)
    }

    fn leave(&self, world: &World<'_>, surplus: usize) -> Vec<usize> {
        let seen = self.seen(world);
        let victims = scale::victims(&seen.relays, surplus);
        victims.iter().filter_map(|victim| seen.relays.iter().position(|relay| relay.name == victim.name)).collect()
    }

    fn may_stay(&self) -> bool {
        true
    }

    fn must_hear(&self) -> bool {
        true
    }
}

//! Which writes there are, and at which the operator was killed.

use std::collections::{BTreeMap, BTreeSet};

use faultline::{Fault, Plan, Rule, Side, When};

use crate::run::{CLIENT, Outcome};

/// What happens at a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// The operator is killed before it is sent.
    KilledBefore,
    /// The operator is killed after it took effect, before the answer.
    KilledAfter,
    /// The answer is lost, and the operator lives.
    AnswerLost,
    /// It is refused, and takes no effect.
    Refused,
}

impl How {
    pub(crate) const ALL: [Self; 4] = [Self::KilledBefore, Self::KilledAfter, Self::AnswerLost, Self::Refused];

    fn fault(self) -> Fault {
        match self {
            Self::KilledBefore => Fault::Hold { side: Side::Before },
            Self::KilledAfter => Fault::Hold { side: Side::After },
            Self::AnswerLost => Fault::LoseAnswer,
            Self::Refused => Fault::Answer { status: 500, retry_after: None, committed: false },
        }
    }

    /// Whether it happened in a run.
    pub(crate) fn happened(self, outcome: &Outcome) -> bool {
        match self {
            Self::KilledBefore | Self::KilledAfter => outcome.kills > 0,
            Self::AnswerLost | Self::Refused => outcome.met() > 0,
        }
    }
}

/// A write that is known again in another run: the how-manieth of its verb and object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) verb: String,
    pub(crate) resource: String,
    /// Empty for events, whose names differ from run to run.
    pub(crate) name: String,
    /// From 1 on.
    pub(crate) nth: u32,
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} #{}", self.verb, self.resource, self.name, self.nth)
    }
}

impl Write {
    /// This happens to this write, and nothing else.
    pub(crate) fn plan(&self, how: How) -> Plan {
        let names = if self.name.is_empty() { vec![] } else { vec![self.name.clone()] };
        let when = When {
            clients: vec![CLIENT.to_owned()],
            verbs: vec![self.verb.clone()],
            resources: vec![self.resource.clone()],
            names,
            ..When::default()
        };
        Plan { rules: vec![Rule::nth(when, self.nth, how.fault())] }
    }

    /// A first write is always there; of later ones of a kind there can be more or fewer, as changes fall together.
    pub(crate) fn may_vary(&self) -> bool {
        self.nth > 1 && (self.resource == "events" || self.resource.ends_with("/status"))
    }
}

/// The writes of a run's steps. A Lease is renewed by time; only its making belongs to the workload.
pub(crate) fn writes(outcome: &Outcome) -> Vec<Write> {
    let mut counts = BTreeMap::new();
    let mut found = Vec::new();
    for entry in outcome.writes() {
        let target = &entry.target;
        if target.resource == "leases" && target.verb != faultline::Verb::Create {
            continue;
        }
        let name = if target.resource == "events" { String::new() } else { target.name.clone() };
        let nth: &mut u32 = counts.entry((target.verb, target.resource.clone(), name.clone())).or_default();
        *nth += 1;
        let verb = target.verb.as_str().to_owned();
        found.push(Write { verb, resource: target.resource.clone(), name, nth: *nth });
    }
    found
}

/// Writes that come in both runs, in the order of the first.
pub(crate) fn common(first: &Outcome, second: &Outcome) -> Vec<Write> {
    let second: BTreeSet<Write> = writes(second).into_iter().collect();
    writes(first).into_iter().filter(|write| second.contains(write)).collect()
}

/// What was reached of a workload.
#[derive(Debug)]
pub(crate) struct Table {
    /// How many writes the workload has; a short run takes some.
    writes: usize,
    reached: BTreeMap<(Write, How), bool>,
}

impl Table {
    /// Of a workload with so many writes.
    pub(crate) fn of(writes: usize) -> Self {
        Self { writes, reached: BTreeMap::new() }
    }

    pub(crate) fn note(&mut self, write: &Write, how: How, reached: bool) {
        *self.reached.entry((write.clone(), how)).or_default() |= reached;
    }

    /// Prints it and fails where a write was not reached that is always there.
    pub(crate) fn close(&self, workload: &str) {
        let told = |how: How| {
            let of: Vec<bool> = self.reached.iter().filter(|((_, of), _)| *of == how).map(|(_, hit)| *hit).collect();
            format!("{how:?} {}/{}", of.iter().filter(|hit| **hit).count(), of.len())
        };
        println!("{workload:<12} {:>3} writes: {}", self.writes, How::ALL.map(told).join(", "));
        let missed: Vec<&(Write, How)> = self.reached.iter().filter(|(_, hit)| !**hit).map(|(key, _)| key).collect();
        for (write, how) in &missed {
            println!("{workload:<12} not reached in several runs: {how:?} {write}");
        }
        let always: Vec<String> = missed
            .iter()
            .filter(|(write, _)| !write.may_vary())
            .map(|(write, how)| format!("{how:?} {write}"))
            .collect();
        assert!(always.is_empty(), "{workload}: never reached {always:?}");
    }
}

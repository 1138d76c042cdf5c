//! Which writes there are, and at which the operator was killed.

use std::collections::{BTreeMap, BTreeSet};

use faultline::{Fault, Rule, Side, When};

use crate::run::{CLIENT, Outcome};

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
    /// A rule that meets this write.
    pub(crate) fn meets(&self, fault: Fault) -> Rule {
        let names = if self.name.is_empty() { vec![] } else { vec![self.name.clone()] };
        let when = When {
            clients: vec![CLIENT.to_owned()],
            verbs: vec![self.verb.clone()],
            resources: vec![self.resource.clone()],
            names,
            ..When::default()
        };
        Rule::nth(when, self.nth, fault)
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
    reached: BTreeMap<(Write, Side), bool>,
}

impl Table {
    /// Of a workload with so many writes.
    pub(crate) fn of(writes: usize) -> Self {
        Self { writes, reached: BTreeMap::new() }
    }

    pub(crate) fn note(&mut self, write: &Write, side: Side, reached: bool) {
        *self.reached.entry((write.clone(), side)).or_default() |= reached;
    }

    /// Prints it and fails where a write was not reached that is always there.
    pub(crate) fn close(&self, workload: &str) {
        let of = |side: Side| self.reached.iter().filter(move |((_, of), _)| *of == side);
        let reached = |side: Side| of(side).filter(|(_, reached)| **reached).count();
        let told = |side: Side| format!("{:>3} of {:>3} tried", reached(side), of(side).count());
        println!(
            "{workload:<12} {:>3} writes; killed before: {}, after: {}",
            self.writes,
            told(Side::Before),
            told(Side::After),
        );
        let missed: Vec<&(Write, Side)> = self.reached.iter().filter(|(_, hit)| !**hit).map(|(key, _)| key).collect();
        for (write, side) in &missed {
            println!("{workload:<12} not reached in several runs: {side:?} {write}");
        }
        let always: Vec<String> = missed
            .iter()
            .filter(|(write, _)| !write.may_vary())
            .map(|(write, side)| format!("{side:?} {write}"))
            .collect();
        assert!(always.is_empty(), "{workload}: never killed at {always:?}");
    }
}

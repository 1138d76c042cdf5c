//! What came of it, as a table or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::trace::Trace;
use super::world::{Settings, Tally};
use crate::decide::scale::{Clamp, Decision, Inputs, Rule};

/// All that is known after a replay.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Name of the trace.
    pub(super) trace: String,
    /// Name of the policy.
    pub(super) policy: String,
    pub(super) events: Trace,
    /// How often the trace was played.
    pub(super) repeat: u32,
    pub(super) settings: Settings,
    /// One for each autoscaler, Convene first.
    pub(super) worlds: Vec<Tally>,
    /// Of Convene: those that changed the number of relays.
    pub(super) decisions: Vec<(u32, Decision)>,
}

const HEAD: [&str; 10] =
    ["", "seats short", "seat-minutes", "waited", "p99 s", "gave up", "relay-hours", "changes", "moved", "cut"];

/// The table.
pub(super) fn text(outcome: &Outcome) -> String {
    let mut text = head(outcome);
    let rows: Vec<[String; 10]> = outcome.worlds.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    for line in std::iter::once(&HEAD.map(ToOwned::to_owned)).chain(&rows) {
        let mut out = String::new();
        for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = if index == 0 { write!(out, "{cell:<width$}") } else { write!(out, "  {cell:>width$}") };
        }
        let _ = writeln!(text, "{}", out.trim_end());
    }
    text
}

fn head(outcome: &Outcome) -> String {
    let Outcome { trace, policy, events, settings, .. } = outcome;
    let signal = if events.is_whole() { "every report arrives" } else { "reports get lost" };
    let times = if outcome.repeat > 1 { format!(", {} times in a row", outcome.repeat) } else { String::new() };
    let handoff = if settings.handoff { "hands its sessions over" } else { "waits for its sessions" };
    format!(
        "trace   {trace}{times}: {} sessions in {} h {} min, at most {} at once; {signal}\n\
        policy  {policy}: {} seats a relay; it serves after {} s; one that leaves {handoff}, for {} s at most\n\n",
        events.sessions.len(),
        events.length / 3600,
        events.length % 3600 / 60,
        events.most_at_once(),
        settings.seats,
        settings.start_seconds,
        settings.drain_seconds,
    )
}

fn row(tally: &Tally) -> [String; 10] {
    [
        tally.name.to_owned(),
        tally.short.to_string(),
        quotient(tally.short_seconds, 60),
        tally.waited.to_string(),
        p99(&tally.waits).to_string(),
        tally.gave_up.to_string(),
        quotient(tally.relay_seconds, 3600),
        tally.changes.to_string(),
        tally.moved.to_string(),
        tally.cut.to_string(),
    ]
}

/// A quotient with one digit after the point: the same text on every machine.
pub(super) fn quotient(value: u64, by: u64) -> String {
    let tenths = (value * 10 + by / 2) / by;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Of those who waited and got a seat (nearest rank).
fn p99(waits: &[u32]) -> u32 {
    let mut waits = waits.to_vec();
    waits.sort_unstable();
    let rank = (waits.len() * 99).div_ceil(100);
    waits.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    trace: &'a str,
    policy: &'a str,
    sessions: usize,
    seconds: u32,
    most_at_once: usize,
    sessions_per_relay: u32,
    start_seconds: u32,
    drain_seconds: u32,
    handoff: bool,
    autoscalers: Vec<JsonRow>,
    decisions: Vec<JsonDecision<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRow {
    name: &'static str,
    seats_short: usize,
    seat_seconds_short: u64,
    waited: usize,
    wait_p99_seconds: u32,
    gave_up: usize,
    relay_seconds: u64,
    changes: usize,
    moved: usize,
    cut: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonDecision<'a> {
    at: u32,
    replicas: i32,
    rule: &'a Rule,
    clamp: Option<Clamp>,
    inputs: &'a Inputs,
    message: String,
}

/// The same as JSON, with Convene's decisions.
pub(super) fn json(outcome: &Outcome) -> anyhow::Result<String> {
    let autoscalers = outcome.worlds.iter().map(|tally| JsonRow {
        name: tally.name,
        seats_short: tally.short,
        seat_seconds_short: tally.short_seconds,
        waited: tally.waited,
        wait_p99_seconds: p99(&tally.waits),
        gave_up: tally.gave_up,
        relay_seconds: tally.relay_seconds,
        changes: tally.changes,
        moved: tally.moved,
        cut: tally.cut,
    });
    let decisions = outcome.decisions.iter().map(|(at, decision)| JsonDecision {
        at: *at,
        replicas: decision.replicas,
        rule: &decision.rule,
        clamp: decision.clamp,
        inputs: &decision.inputs,
        message: decision.to_string(),
    });
    let json = Json {
        trace: &outcome.trace,
        policy: &outcome.policy,
        sessions: outcome.events.sessions.len(),
        seconds: outcome.events.length,
        most_at_once: outcome.events.most_at_once(),
        sessions_per_relay: outcome.settings.seats,
        start_seconds: outcome.settings.start_seconds,
        drain_seconds: outcome.settings.drain_seconds,
        handoff: outcome.settings.handoff,
        autoscalers: autoscalers.collect(),
        decisions: decisions.collect(),
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&json)?))
}

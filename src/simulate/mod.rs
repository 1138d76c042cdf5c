//! `convene simulate`: the operator's own scaling decision over a trace of sessions, beside two that people know.
//!
//! Here are the files and the output; the rest is values. Nothing of it reads a clock: the time is the trace's.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::relay_pool::Drain;
use crate::api::scaling::Scaling;
use crate::decide::scale::Policy;

mod convene;
mod generate;
mod peers;
mod report;
mod svg;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use generate::Shape;
use report::Outcome;
use trace::Trace;
use world::{Settings, World};

/// Larger files are refused.
const MOST_BYTES: u64 = 64 << 20;

/// Arguments of `convene simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Trace to replay: when each session began and how long it lasted; docs/scaling.md tells the form.
    #[arg(long, value_name = "FILE", required_unless_present = "generate", requires = "policy")]
    pub trace: Option<PathBuf>,
    /// YAML with the parts of a RelayPool's spec that scaling reads: `scaling`, `sessionsPerRelay`, `drain`.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Also draw load and seats over time.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Print JSON, with every decision and what it was made from.
    #[arg(long)]
    pub json: bool,
    /// Seconds from the creation of a relay until it serves.
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub start_seconds: u32,
    /// Play the trace so many times in a row: what a forecast makes of the second day.
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=31))]
    pub repeat: u32,
    /// Relays cannot hand their sessions to others: one that leaves waits for them to end.
    #[arg(long)]
    pub no_handoff: bool,
    /// Print a trace of this shape instead: always the same one.
    #[arg(long, value_name = "SHAPE", conflicts_with_all = ["trace", "policy", "svg", "json"])]
    pub generate: Option<Shape>,
}

/// The parts of a RelayPool's spec that scaling reads, under the names that they have there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyFile {
    sessions_per_relay: i32,
    #[serde(default)]
    drain: Drain,
    scaling: Scaling,
}

impl PolicyFile {
    fn read(text: &str) -> anyhow::Result<Self> {
        let written: Value = serde_saphyr::from_str(text)?;
        let read: Self = serde_path_to_error::deserialize(&written)?;
        // The API server refuses fields that it does not know; here a misspelt one would be a default.
        if let Some(path) = unknown(&written, &serde_json::to_value(&read)?) {
            bail!("there is no field `{path}`");
        }
        Ok(read)
    }
}

/// The first field that was written and not read.
fn unknown(written: &Value, read: &Value) -> Option<String> {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.iter().find_map(|(name, value)| match read.get(name) {
                None => (!value.is_null()).then(|| name.clone()),
                Some(read) => unknown(value, read).map(|rest| format!("{name}.{rest}")),
            })
        }
        (Value::Array(written), Value::Array(read)) => {
            written.iter().zip(read).find_map(|(one, other)| unknown(one, other))
        }
        _ => None,
    }
}

/// Runs `convene simulate`.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let printed = match (&args.generate, &args.trace, &args.policy) {
        (Some(shape), _, _) => shape.trace().to_string(),
        (None, Some(trace), Some(policy)) => {
            let outcome = replay(&read(trace)?, &read(policy)?, args)?;
            if let Some(path) = &args.svg {
                std::fs::write(path, svg::draw(&outcome))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            if args.json { report::json(&outcome)? } else { report::text(&outcome) }
        }
        _ => bail!("--trace and --policy are needed"),
    };
    std::io::stdout().write_all(printed.as_bytes()).context("cannot print the result")
}

fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let name = path.display().to_string();
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
    let size = file.take(MOST_BYTES + 1).read_to_string(&mut text).with_context(|| format!("cannot read {name}"))?;
    ensure!(u64::try_from(size)? <= MOST_BYTES, "{name}: larger than {} MiB", MOST_BYTES >> 20);
    Ok((name, text))
}

/// Replays a trace against a policy and the two others; each is given as its name and its text.
fn replay(trace: &(String, String), policy: &(String, String), args: &Args) -> anyhow::Result<Outcome> {
    let events =
        trace.1.parse::<Trace>().and_then(|events| events.repeated(args.repeat)).with_context(|| trace.0.clone())?;
    let file = PolicyFile::read(&policy.1).with_context(|| policy.0.clone())?;
    let rules = Policy::of(&file.scaling, file.sessions_per_relay).with_context(|| policy.0.clone())?;
    ensure!((0..=86_400).contains(&file.drain.timeout_seconds), "{}: drain.timeoutSeconds: 0 to 86400", policy.0);
    let settings = Settings {
        seats: u32::try_from(file.sessions_per_relay)?,
        first: u32::try_from(file.scaling.min_replicas)?,
        start_seconds: args.start_seconds,
        drain_seconds: u32::try_from(file.drain.timeout_seconds)?,
        handoff: !args.no_handoff,
    };
    let mut own = convene::Convene::new(rules, file.scaling.min_replicas, events.start);
    let mut hpa = peers::Hpa::new(&file.scaling, settings.seats);
    let mut agones = peers::Agones::new(&file.scaling, settings.seats);
    let worlds = vec![
        World::new(&events, settings).play(&mut own),
        World::new(&events, settings.without_handoff()).play(&mut hpa),
        World::new(&events, settings.without_handoff()).play(&mut agones),
    ];
    let name =
        |path: &str| Path::new(path).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let repeat = args.repeat;
    Ok(Outcome {
        trace: name(&trace.0),
        policy: name(&policy.0),
        events,
        repeat,
        settings,
        worlds,
        decisions: own.decisions,
    })
}

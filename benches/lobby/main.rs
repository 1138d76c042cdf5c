//! How many placements a second a lobby answers, and how fast: two lobby processes over one Redis, one over its memory,
//! with real relays, everything on this machine's cores, the load included. Prints a section of `docs/benchmarks.md`.
//!
//! A placement is a create or a join, one of each in turn; every answer is checked for its status. Sessions that nobody
//! connects to end with their leases of [`LEASE_SECONDS`], so seats go and come back all the time.
//! At a given rate a request counts from when it was due, not from when a connection was free to send it.

#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

#[allow(unreachable_pub, reason = "the tests' own")]
#[path = "../../tests/lobby/world.rs"]
mod world;

mod load;
mod processes;
mod report;

use std::time::Duration;

use anyhow::Context as _;

use load::{Load, Outcome};
use processes::{Site, StoreKind};

/// Seconds for which an unclaimed seat is kept.
const LEASE_SECONDS: u32 = 3;
/// Placements a second that a lobby must answer with p99 at most 25 ms.
const AIM_PER_SECOND: u32 = 3_000;

/// The loads, in order: what an idle lobby needs, the rate that it must stand, and as much as it can.
fn loads(quick: bool) -> Vec<Load> {
    let seconds = |long: u64| Duration::from_secs(if quick { long.div_ceil(5) } else { long });
    vec![
        Load { name: "idle, 100/s", per_second: Some(100), connections: 4, lasts: seconds(10) },
        Load { name: "3,000/s", per_second: Some(AIM_PER_SECOND), connections: 64, lasts: seconds(15) },
        Load { name: "32 at once", per_second: None, connections: 32, lasts: seconds(15) },
    ]
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::var_os("QUICK").is_some();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rounds = if quick { 1 } else { 3 };
    let mut outcomes: Vec<(StoreKind, Outcome)> = Vec::new();
    for round in 1..=rounds {
        // In turn, so that what else the machine does hits both.
        for store in [StoreKind::Redis, StoreKind::Memory] {
            eprintln!("bench-lobby: round {round} of {rounds}, {}", store.as_str());
            let outcome = runtime.block_on(measure(store, &loads(quick)));
            outcomes.extend(outcome.with_context(|| store.as_str())?.into_iter().map(|outcome| (store, outcome)));
        }
    }
    report::print(rounds, &outcomes);
    Ok(())
}

async fn measure(store: StoreKind, loads: &[Load]) -> anyhow::Result<Vec<Outcome>> {
    let site = Site::start(store, LEASE_SECONDS).await?;
    // Connections, code and allocator are warm before anything counts.
    let warm = Load { name: "warm-up", per_second: Some(500), connections: 64, lasts: Duration::from_secs(2) };
    load::run(&site, &warm).await?;
    let mut outcomes = Vec::new();
    for load in loads {
        let before = site.cpu();
        let mut outcome = load::run(&site, load).await?;
        outcome.cpu = site.cpu().since(before);
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

//! The table that people read: medians over the rounds.
#![allow(clippy::print_stdout, reason = "the report is the output")]

use std::time::Duration;

use crate::load::Outcome;
use crate::processes::StoreKind;

/// Prints a row for each store and load.
pub(crate) fn print(rounds: usize, outcomes: &[(StoreKind, Outcome)]) {
    println!(
        "| | load | placements/s | p50 ms | p99 ms | p99.9 ms | failed | CPU µs each: lobby, Redis, relays, load |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut rows: Vec<(StoreKind, &str)> = Vec::new();
    for (store, outcome) in outcomes {
        if !rows.contains(&(*store, outcome.load)) {
            rows.push((*store, outcome.load));
        }
    }
    for (store, load) in rows {
        let of = |figure: &dyn Fn(&Outcome) -> f64| {
            let row = outcomes.iter().filter(|(of, outcome)| *of == store && outcome.load == load);
            median(row.map(|(_, outcome)| figure(outcome)).collect())
        };
        let each = |seconds: &dyn Fn(&Outcome) -> f64| of(&|outcome| seconds(outcome) * 1e6 / count(outcome));
        println!(
            "| {} | {load} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} | {:.0}, {:.0}, {:.0}, {:.0} |",
            store.as_str(),
            of(&|outcome| count(outcome) / outcome.took.as_secs_f64()),
            of(&|outcome| at(&outcome.latencies, 0.5)),
            of(&|outcome| at(&outcome.latencies, 0.99)),
            of(&|outcome| at(&outcome.latencies, 0.999)),
            of(&|outcome| precise(outcome.failed)),
            each(&|outcome| outcome.cpu.lobbies),
            each(&|outcome| outcome.cpu.redis),
            each(&|outcome| outcome.cpu.relays),
            each(&|outcome| outcome.cpu.load),
        );
    }
    println!(
        "\nMedians of {rounds} rounds in turn. A placement is a create or a join; latency counts from when it was due."
    );
}

fn count(outcome: &Outcome) -> f64 {
    precise(outcome.latencies.len())
}

/// A quantile of ascending values, in milliseconds: the smallest value that so large a part does not exceed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
fn at(ascending: &[Duration], part: f64) -> f64 {
    let rank = (precise(ascending.len()) * part).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).map_or(f64::NAN, |value| value.as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far smaller than 2^52")]
const fn precise(count: usize) -> f64 {
    count as f64
}

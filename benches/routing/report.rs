//! The tables, as Markdown.

use crate::speed::Speed;
use crate::splits::Judged;
use crate::world::{Choice, Outcome, Pools, World};

pub(crate) fn print(splits: &[Judged], world: &World, speed: &Speed) {
    println!("### Where the model has not seen\n");
    println!(
        "| fitted on | judged on | clients | nearest by distance: mean | p99 | model: mean | p50 | p90 | p99 | median error |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for split in splits {
        println!(
            "| {} | {} | {} | {:.2} | {:.1} | {} | {:.1} |",
            split.fitted_on,
            split.on,
            split.places,
            split.nearest.mean(),
            split.nearest.quantile(0.99),
            split.model.cells(),
            median_error(split),
        );
    }
    println!("\nRegret in milliseconds; the last column is how far an estimate is from its measurement.\n");
    println!("### A world of ten thousand sessions\n");
    for pools in [Pools::Demo, Pools::Drawn] {
        let outcomes = [1, 2, 5].map(|parties| world.run(pools, parties));
        regret_table(&outcomes);
        worst_party_table(&outcomes);
    }
    coverage(world);
    println!("### Speed\n");
    println!(
        "One estimate from two points: {:.0} ns. One client against 100 pools whose spots are known: {:.2} µs.",
        speed.pair_ns,
        speed.hundred_pools_ns / 1_000.0
    );
}

fn median_error(split: &Judged) -> f64 {
    let mut errors: Vec<f64> = split.pairs.iter().map(|pair| (pair.estimated_ms - pair.measured_ms).abs()).collect();
    crate::data::median(&mut errors)
}

fn regret_table(outcomes: &[Outcome; 3]) {
    println!("Regret of the worst party, ms; {}:\n", pools_of(outcomes));
    println!(
        "| what is known | 1 party: mean | p50 | p90 | p99 | 2 parties: mean | p50 | p90 | p99 | 5 parties: mean | p50 | p90 | p99 |"
    );
    println!("|---|{}", "---:|".repeat(12));
    for (index, (choice, ..)) in outcomes[0].rows.iter().enumerate() {
        let cells: Vec<String> = outcomes.iter().map(|outcome| outcome.rows[index].1.cells()).collect();
        println!("| {} | {} |", choice.as_str(), cells.join(" | "));
    }
    println!();
}

fn worst_party_table(outcomes: &[Outcome; 3]) {
    println!(
        "Round trip of the worst party, p95, ms, and beside the best for the host alone; {}:\n",
        pools_of(outcomes)
    );
    println!("| chosen by | 2 parties | | 5 parties | |");
    println!("|---|---:|---:|---:|---:|");
    let p95 = |outcome: &Outcome, choice: Choice| {
        outcome.rows.iter().find(|row| row.0 == choice).map_or(0.0, |row| row.2.quantile(0.95))
    };
    let line = |name: &str, of: &dyn Fn(&Outcome) -> f64| {
        let cells = outcomes[1..].iter().map(|outcome| {
            let host = p95(outcome, Choice::NearestToHost);
            format!("{:.0} | {:+.0} %", of(outcome), 100.0 * (of(outcome) / host - 1.0))
        });
        println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
    };
    line("the best there is", &|outcome| outcome.best.quantile(0.95));
    for choice in [
        Choice::Measured,
        Choice::Network,
        Choice::Coordinates,
        Choice::GeoIp,
        Choice::NearestByDistance,
        Choice::NearestToHost,
    ] {
        line(choice.as_str(), &|outcome| p95(outcome, choice));
    }
    println!();
}

fn pools_of(outcomes: &[Outcome; 3]) -> &'static str {
    match outcomes[0].pools {
        Pools::Demo => "pools at the demo's six regions",
        Pools::Drawn => "six pools drawn from all measured places, anew for each session",
    }
}

fn coverage(world: &World) {
    println!("### What the truth does not cover\n");
    println!("| | people of the listed cities that are covered | cities that are not |");
    println!("|---|---:|---|");
    for (continent, share, missing) in world.coverage() {
        println!("| {continent} | {:.0} % | {} |", 100.0 * share, missing.join(", "));
    }
    println!();
}

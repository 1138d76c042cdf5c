//! How long a choice of a relay takes: the pure function alone, without HTTP, store and signatures (those are
//! `make bench-lobby`'s).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark looks at the clock, and its report is the output"
)]

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use convene::decide::route::{self, Ask};
use convene::decide::sessions::{RunView, View};
use convene::wire::routing::{Inside, Routing};
use convene::wire::session::{ClientPlace, GeoPoint};
use convene::wire::stats::RelayStats;
use convene::wire::table::{PoolEntry, RelayEntry, RelayTable};

/// Choices that one figure is the median of.
const ROUNDS: usize = 2_000;

fn main() {
    let quick = std::env::var_os("QUICK").is_some();
    let rounds = if quick { ROUNDS / 10 } else { ROUNDS };
    println!("| pools | relays | what | median µs | p99 µs |");
    println!("|---|---|---|---|---|");
    for (pools, relays) in [(100, 1), (100, 100)] {
        let (table, view) = (table(pools, relays), view(pools, relays));
        let seen = view.pools(&table);
        for (inside, word) in [(Inside::Pack, "pack"), (Inside::Spread, "spread")] {
            let routing = Routing { inside, ..Routing::default() };
            let choose = |place: &ClientPlace, draw| {
                black_box(route::choose(black_box(&seen), &Ask { draw, ..Ask::of(place) }, &routing));
            };
            row(pools, relays, &format!("choose, by coordinates, {word}"), rounds, at, choose);
            row(pools, relays, &format!("choose, measured, {word}"), rounds, |n| measured(pools, n), choose);
        }
        let routing = Routing::default();
        row(pools, relays, "choose, with a reason for each pool", rounds, at, |place, _| {
            black_box(route::place(black_box(&seen), &Ask::of(place), &routing));
        });
        row(pools, relays, "pools from table and view", rounds, at, |_, _| {
            black_box(view.pools(black_box(&table)));
        });
    }
    println!("\nMedians of {rounds} choices, each for another place; the places are made before the clock starts.");
}

/// Runs `work` for different clients, and prints how long it takes.
fn row(
    pools: u32,
    relays: u32,
    what: &str,
    rounds: usize,
    place: impl Fn(u64) -> ClientPlace,
    work: impl Fn(&ClientPlace, u64),
) {
    let places: Vec<(u64, ClientPlace)> = (0..rounds as u64).map(|n| (n, place(n))).collect();
    let timed = |(n, place): &(u64, ClientPlace)| {
        let begin = Instant::now();
        work(place, *n);
        begin.elapsed()
    };
    let mut took: Vec<Duration> = places.iter().map(timed).collect();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
    println!("| {pools} | {} | {what} | {:.1} | {:.1} |", pools * relays, at(50), at(99));
}

fn spread_over(n: u64, span: f64) -> f64 {
    // By the golden ratio: even, and never twice the same.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let part = (n as f64 * 0.618_033_988_749_895).fract();
    (part - 0.5) * span
}

fn at(n: u64) -> ClientPlace {
    let location = GeoPoint { latitude: spread_over(n, 140.0), longitude: spread_over(n * 7 + 3, 360.0) };
    ClientPlace { location: Some(location), ..ClientPlace::default() }
}

fn measured(pools: u32, n: u64) -> ClientPlace {
    let latencies = (0..pools).map(|pool| (region(pool), 150.0 + spread_over(n + u64::from(pool), 280.0)));
    ClientPlace { latencies: latencies.collect(), ..ClientPlace::default() }
}

fn region(pool: u32) -> String {
    format!("region-{pool}")
}

fn pod_uid(pool: u32, relay: u32) -> String {
    format!("uid-{pool}-{relay}")
}

fn table(pools: u32, relays: u32) -> RelayTable {
    let relay = |pool, n| RelayEntry {
        name: format!("pool-{pool}-{n}"),
        pod_uid: pod_uid(pool, n),
        url: "wss://relay.example.com".to_owned(),
        capacity: 100,
        cordoned: false,
        leaving: false,
    };
    let pool = |pool: u32| PoolEntry {
        namespace: "default".to_owned(),
        name: format!("pool-{pool}"),
        region: region(pool),
        latitude: spread_over(pool.into(), 140.0),
        longitude: spread_over(u64::from(pool) * 5 + 1, 360.0),
        relays: (0..relays).map(|n| relay(pool, n)).collect(),
    };
    RelayTable { pools: (0..pools).map(pool).collect(), ..RelayTable::default() }
}

fn view(pools: u32, relays: u32) -> View {
    let run = |used| RunView {
        boot_id: "boot".to_owned(),
        home: None,
        linked: true,
        told: true,
        silence: Duration::ZERO,
        stats: RelayStats { capacity: 100, sessions: used, ..RelayStats::default() },
        held: used,
        keys: Vec::new(),
        in_flight: 0,
    };
    let of_pool = |pool| (0..relays).map(move |n| (pod_uid(pool, n), run((pool * 31 + n * 17) % 100)));
    let runs: HashMap<String, RunView> = (0..pools).flat_map(of_pool).collect();
    View { runs, age: Duration::ZERO, silent: Duration::from_secs(5) }
}

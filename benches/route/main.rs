//! How long the choice of a relay takes: the pure function alone, without HTTP, store and signatures (those are
//! `make bench-lobby`'s). Measured by Criterion; what is printed last are its medians.

#![allow(clippy::print_stdout, reason = "the report is the output")]

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use convene::decide::geo::distance_km;
use convene::decide::route::Ask;
use convene::decide::sessions::{Asked, Board, RunView, View};
use convene::wire::routing::{Cap, Inside, Overflow, RegionRule, Routing};
use convene::wire::session::{ClientPlace, GeoPoint};
use convene::wire::stats::RelayStats;
use convene::wire::table::{PoolEntry, RelayEntry, RelayTable};
use criterion::{BatchSize, Criterion};

/// Different clients; each choice is for the next one.
const CLIENTS: u64 = 512;
/// Seats that others have asked for at the same moment, each at another relay.
const IN_FLIGHT: u32 = 16;
/// A host and four guests.
const PARTIES: usize = 5;
/// Regions that a client measures at most.
const AT_ONCE: u32 = 32;
/// Regions of which a lobby says something at most.
const RULES: u32 = 64;

fn main() -> Result<(), String> {
    let results = tempfile::tempdir().map_err(|error| format!("a directory for Criterion's results: {error}"))?;
    let quick = std::env::var_os("QUICK").is_some();
    let (measure, warm_up) = if quick { (300, 100) } else { (4000, 1000) };
    let mut criterion = Criterion::default()
        .output_directory(results.path())
        .measurement_time(Duration::from_millis(measure))
        .warm_up_time(Duration::from_millis(warm_up));
    for (pools, relays) in [(100, 1), (100, 100)] {
        bench(&mut criterion, pools, relays);
    }
    criterion.final_summary();
    report(results.path())
}

fn name(pools: u32, relays: u32) -> String {
    format!("{pools} pools {} relays", pools * relays)
}

fn bench(criterion: &mut Criterion, pools: u32, relays: u32) {
    let (table, view) = (table(pools, relays), Arc::new(view(pools, relays)));
    let by = |inside| {
        let table = RelayTable { routing: Routing { inside, ..Routing::default() }, ..table.clone() };
        Board::new(Arc::new(table), Arc::clone(&view))
    };
    let (pack, spread) = (by(Inside::Pack), by(Inside::Spread));
    let somewhere: Vec<ClientPlace> = (0..CLIENTS).map(at).collect();
    let measured: Vec<ClientPlace> = (0..CLIENTS).map(|n| measured(pools, n)).collect();
    let nobody = Asked::new();
    let others: Asked = (0..IN_FLIGHT).map(|n| (pod_uid(n * 7 % pools, n % relays).into(), 1)).collect();
    let mut group = criterion.benchmark_group(name(pools, relays));
    let choices = [
        ("choice by coordinates, pack", &pack, &somewhere, &nobody),
        ("choice by coordinates, spread", &spread, &somewhere, &nobody),
        ("choice by what all regions measured, pack", &pack, &measured, &nobody),
        ("choice by coordinates, pack, 16 others at once", &pack, &somewhere, &others),
    ];
    for (what, board, clients, asked) in choices {
        let mut next = (0..CLIENTS).cycle().zip(clients.iter().cycle());
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                let (draw, place) = next.next().expect("it goes on for ever");
                board
                    .choose(&Ask { draw: draw.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..Ask::of(black_box(place)) }, asked)
            });
        });
    }
    // As much as there is to look at: all parties, 64 rules, a residency that the host asks for, caps.
    let bound = by_rules(pools, &table, &view);
    let first: Vec<ClientPlace> = (0..CLIENTS).map(|n| measured_first(pools, n)).collect();
    for (what, clients) in [
        ("five parties with rules, residency and caps, by coordinates", &somewhere),
        ("five parties with rules, residency and caps, by what all regions measured", &measured),
        (
            "five parties with rules, residency and caps, each of which measured 32 other regions and tells no more",
            &first,
        ),
    ] {
        let resident = |place: &ClientPlace| ClientPlace { residency: Some("eu".to_owned()), ..place.clone() };
        let clients: Vec<ClientPlace> = clients.iter().map(resident).collect();
        let mut next = (0..clients.len() - PARTIES).cycle();
        group.bench_function(what, |bencher| {
            bencher.iter(|| {
                let from = next.next().expect("it goes on for ever");
                let parties = black_box(&clients[from..from + PARTIES]).iter().collect();
                let ask = Ask { parties, waited: Some(Duration::from_secs(3)), draw: 7, asked: &[] };
                bound.choose(&ask, &nobody)
            });
        });
    }
    let mut next = somewhere.iter().cycle();
    group.bench_function("the same with a reason for each pool", |bencher| {
        bencher.iter(|| pack.explain(&Ask::of(black_box(next.next().expect("it goes on for ever"))), &nobody));
    });
    let mut next = somewhere.iter().filter_map(|place| place.location).cycle();
    group.bench_function("for comparison: the nearest pool by great circle, and nothing else", |bencher| {
        bencher.iter(|| {
            let from = black_box(next.next().expect("it goes on for ever"));
            let km = |entry: &&PoolEntry| {
                distance_km(from, GeoPoint { latitude: entry.latitude, longitude: entry.longitude })
            };
            pack.table.pools.iter().min_by(|a, b| km(a).total_cmp(&km(b))).map(|entry| entry.name.as_str())
        });
    });
    group.bench_function("a new board, off the choices' way", |bencher| {
        let both = || (Arc::clone(&pack.table), Arc::clone(&view));
        bencher.iter_batched(both, |(table, view)| Board::new(table, view), BatchSize::LargeInput);
    });
    group.finish();
}

/// Prints the medians of all that Criterion has measured, in the order of its directories.
fn report(results: &Path) -> Result<(), String> {
    println!("| pools and relays | what | median µs | 95 % interval of the median |");
    println!("|---|---|---|---|");
    let under = |path: &Path| {
        let mut found: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.sort();
        found
    };
    for group in under(results) {
        for one in under(&group).into_iter().filter(|path| path.join("new/estimates.json").exists()) {
            let text = |file: &str| fs::read_to_string(one.join("new").join(file)).map_err(|error| error.to_string());
            let json =
                |file| serde_json::from_str::<serde_json::Value>(&text(file)?).map_err(|error| error.to_string());
            let (of, estimates) = (json("benchmark.json")?, json("estimates.json")?);
            let us = |at: &str| estimates.pointer(at).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN) / 1000.0;
            let word = |at: &str| of.pointer(at).and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
            let (low, high) = ("/median/confidence_interval/lower_bound", "/median/confidence_interval/upper_bound");
            println!(
                "| {} | {} | {:.2} | {:.2} to {:.2} |",
                word("/group_id"),
                word("/function_id"),
                us("/median/point_estimate"),
                us(low),
                us(high)
            );
        }
    }
    Ok(())
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

/// The same of 32 regions alone, others than the client before.
fn measured_first(pools: u32, n: u64) -> ClientPlace {
    let mut place = measured(pools, n);
    let first = u32::try_from(n * 13 % u64::from(pools)).expect("below the number of pools");
    let told: Vec<String> = (0..AT_ONCE).map(|k| region((first + k) % pools)).collect();
    place.latencies.retain(|region, _| told.contains(region));
    place
}

/// A board of a lobby that says something of as many regions as it may.
fn by_rules(pools: u32, table: &RelayTable, view: &Arc<View>) -> Board {
    let rule = |pool: u32| RegionRule {
        name: region(pool),
        residency: Some(["eu", "us"][pool as usize % 2].to_owned()),
        priority: pool / 2 % 2,
        distance_percent: 80 + pool % 50,
    };
    let routing = Routing {
        overflow: Overflow::SameResidency,
        caps: vec![Cap { at_most_ms: 50, for_seconds: 2 }, Cap { at_most_ms: 150, for_seconds: 10 }],
        regions: (0..pools.min(RULES)).map(rule).collect(),
        ..Routing::default()
    };
    Board::new(Arc::new(RelayTable { routing, ..table.clone() }), Arc::clone(view))
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

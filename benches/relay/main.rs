//! Measures the relay beside other WebSocket servers: same machine, same load, taking turns.
//!
//! Server and load each have a core of their own. Run it by `make bench-relay`, which installs the others.

mod client;
mod load;
mod report;
mod server;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser as _;

use load::{Load, Pace};
use report::Report;
use server::{Kind, Server};

/// Measure relays and print a table.
#[derive(Clone, Debug, clap::Parser)]
pub(crate) struct Args {
    /// The built `convene`.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_convene"))]
    relay: PathBuf,
    /// Folder with the `node_modules` of the others.
    #[arg(long, env = "CONVENE_BENCH_NPM")]
    npm: Option<PathBuf>,
    /// The built server in `benches/relay/peers/centrifuge`.
    #[arg(long, env = "CONVENE_BENCH_CENTRIFUGE")]
    centrifuge: Option<PathBuf>,
    /// Which servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Convene, Kind::Ws, Kind::Centrifuge, Kind::YWebsocket])]
    servers: Vec<Kind>,
    /// Which measurements; all by default: saturation, small, large, idle, highest (not under QUICK).
    #[arg(long, value_delimiter = ',')]
    what: Vec<String>,
    /// How often the servers take turns; the median counts. 5, or 1 under QUICK.
    #[arg(long)]
    runs: Option<usize>,
    /// Seconds of each measurement. 6, or 3 under QUICK.
    #[arg(long)]
    seconds: Option<f64>,
    /// Idle connections.
    #[arg(long, default_value_t = 5000)]
    idle: usize,
    /// Core of the servers.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// One short run.
    #[arg(long, env = "QUICK", value_parser = clap::builder::FalseyValueParser::new(), default_value = "")]
    quick: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    fn runs(&self) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { 5 })
    }

    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 3.0 } else { 6.0 })
    }

    fn what(&self) -> Vec<String> {
        let all = ["saturation", "small", "large", "idle", "highest"];
        let all = if self.quick { &all[..4] } else { &all[..] };
        if self.what.is_empty() { all.iter().map(ToString::to_string).collect() } else { self.what.clone() }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (core, me) = (args.load_core.to_string(), std::process::id().to_string());
    let pinned = Command::new("taskset").args(["-cp", &core, &me]).stdout(Stdio::null()).status();
    ensure!(
        pinned.is_ok_and(|status| status.success()),
        "cannot stay on core {core}: two cores and taskset are needed"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::new(&args);
    for run in 0..args.runs() {
        for what in &args.what() {
            for kind in &args.servers {
                let measured = runtime.block_on(measure(&args, *kind, what, run));
                report.add(*kind, what, measured.with_context(|| format!("{what} of {}", kind.name())))?;
            }
        }
    }
    report.finish()
}

/// The figures of one measurement; none where it is not repeated.
async fn measure(args: &Args, kind: Kind, what: &str, run: usize) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let time = Duration::from_secs_f64(args.seconds());
    let start = || Server::start(kind, args);
    let (rooms, members, bytes, pace) = match what {
        "saturation" => (50, 5, 256, Pace::Window(16)),
        "small" => (100, 5, 256, Pace::Rate(10.0)),
        "large" => (20, 20, 1024, Pace::Rate(5.0)),
        "idle" => {
            let idle = load::idle(&start()?, args.idle).await?;
            return Ok(vec![
                ("connects/s", idle.connects),
                ("connects per CPU-second", idle.per_cpu),
                ("bytes per idle connection", idle.bytes),
            ]);
        }
        // It takes long and is steady.
        "highest" if run > 1 => return Ok(Vec::new()),
        "highest" => return Ok(vec![("deliveries/s", load::highest(start, time / 2).await?)]),
        other => anyhow::bail!("--what={other}: saturation, small, large, idle or highest"),
    };
    let outcome = load::run(&start()?, Load { rooms, members, bytes, pace, time }).await?;
    let [p50, p99, p999] = outcome.latency;
    Ok(vec![
        ("delivered per CPU-second", outcome.per_cpu),
        ("deliveries/s", outcome.delivered),
        ("p50 ms", p50),
        ("p99 ms", p99),
        ("p99.9 ms", p999),
    ])
}

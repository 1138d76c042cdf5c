//! The one binary: each subcommand calls one `run`. No logic here.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use convene::process::{shutdown, telemetry};
use convene::{client, demo, generate, kubectl, lobby, operator, relay, router, simulate, standalone};

/// musl's own allocator is slow under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Collaboration infrastructure for Kubernetes: operator, lobby, relay and client in one binary.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// What to log, in the syntax of RUST_LOG.
    #[arg(long, global = true, env = "CONVENE_LOG", default_value = "info")]
    log: String,
    /// Form of the log lines.
    #[arg(long, global = true, env = "CONVENE_LOG_FORMAT", default_value = "text")]
    log_format: telemetry::LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reconcile Lobbies and RelayPools.
    Operator(operator::Args),
    /// Serve the lobby: sessions, placement, tokens.
    Lobby(lobby::Args),
    /// Serve a relay: carry session bytes.
    Relay(relay::Args),
    /// Serve the router: answer DNS questions with the nearest relays, and redirect to them.
    Router(router::Args),
    /// Run a lobby and a relay in one process on this machine, to try `share` and `join` without Kubernetes.
    Standalone(standalone::Args),
    /// Share a TCP port or a terminal with teammates, end-to-end encrypted, through the nearest relay.
    Share(client::ShareArgs),
    /// Join what a teammate shares: opens a local port, or shows the terminal.
    Join(client::JoinArgs),
    /// Measure how far the regions of a lobby are from here.
    Measure(client::MeasureArgs),
    /// Play hosts and guests around the world against a lobby, and print where they were sent.
    Demo(demo::Args),
    /// Replay sessions against a scaling policy, and print what it costs, beside two other autoscalers.
    Simulate(simulate::Args),
    /// Look at lobbies and relay pools, and tell relays to leave or to stay: as `kubectl convene`, without kubectl.
    Ctl(kubectl::Args),
    /// Print the custom resource definitions, or write them where the repository keeps them.
    Crds(generate::CrdsArgs),
    /// Print the reference of all metrics, or write it where the repository keeps it.
    Metrics(generate::MetricsArgs),
    /// Print the OpenAPI document of the lobby's API, or write it where the repository keeps it.
    #[command(name = "openapi")]
    OpenApi(generate::OpenApiArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let shutdown = shutdown::on_signal()?;
    if kubectl::is_plugin() {
        return kubectl::plugin(shutdown).await;
    }
    let cli = Cli::parse();
    telemetry::init(cli.log_format, &cli.log)?;
    let done = match cli.command {
        Command::Operator(args) => operator::run(args, shutdown).await,
        Command::Lobby(args) => lobby::run(args, shutdown).await,
        Command::Relay(args) => relay::run(args, shutdown).await,
        Command::Router(args) => router::run(args, shutdown).await,
        Command::Standalone(args) => standalone::run(args, shutdown).await,
        Command::Share(args) => return client::run_share(args, shutdown).await,
        Command::Join(args) => return client::run_join(args, shutdown).await,
        Command::Measure(args) => return client::run_measure(args, shutdown).await,
        Command::Ctl(args) => return kubectl::run(args, shutdown).await,
        Command::Demo(args) => demo::run(args, shutdown).await,
        Command::Simulate(args) => simulate::run(&args),
        Command::Crds(args) => generate::crds(&args),
        Command::Metrics(args) => generate::metrics(&args),
        Command::OpenApi(args) => generate::openapi(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

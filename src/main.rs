//! The one binary: each subcommand calls one `run`. No logic here.

use clap::{Parser, Subcommand};
use convene::process::{shutdown, telemetry};
use convene::{demo, generate, lobby, operator, relay};

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
    /// Play hosts and guests around the world against a lobby, and print where they were sent.
    Demo(demo::Args),
    /// Print the custom resource definitions, or write them where the repository keeps them.
    Crds(generate::CrdsArgs),
    /// Print the reference of all metrics, or write it where the repository keeps it.
    Metrics(generate::MetricsArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    telemetry::init(cli.log_format, &cli.log)?;
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let shutdown = shutdown::on_signal()?;
    match cli.command {
        Command::Operator(args) => operator::run(args, shutdown).await,
        Command::Lobby(args) => lobby::run(args, shutdown).await,
        Command::Relay(args) => relay::run(args, shutdown).await,
        Command::Demo(args) => demo::run(args, shutdown).await,
        Command::Crds(args) => generate::crds(&args),
        Command::Metrics(args) => generate::metrics(&args),
    }
}

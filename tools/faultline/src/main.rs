//! The proxy as a program: doors, a plan, a log, and the control interface.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser as _;
use faultline::{Authority, Plan, Proxy, Upstream, control};

/// A proxy before a Kubernetes API server that makes faults where a plan says so, and writes down what went through.
#[derive(Debug, clap::Parser)]
#[command(version)]
struct Args {
    /// The real API server, such as https://127.0.0.1:6443.
    #[arg(long)]
    server: String,
    /// File with the authority of its certificate, as PEM.
    #[arg(long, required_unless_present = "insecure")]
    ca: Option<PathBuf>,
    /// Take any certificate of it.
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// A door: the name by which rules and log know who comes through it, and where it listens (plain HTTP; keep it on
    /// loopback). One for each replica.
    #[arg(long = "door", value_name = "NAME=ADDRESS", required = true, value_parser = door)]
    doors: Vec<(String, SocketAddr)>,
    /// Where the control interface listens.
    #[arg(long, default_value = "127.0.0.1:8009")]
    control: SocketAddr,
    /// File with the plan to begin with; none = no faults.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// File for the log; none = standard output.
    #[arg(long)]
    log: Option<PathBuf>,
}

fn door(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=ADDRESS, such as first=127.0.0.1:8001")?;
    let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
    Ok((name.to_owned(), address))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let authority = match &args.ca {
        Some(path) => Authority::Pem(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?),
        None => Authority::Any,
    };
    let proxy = Proxy::new(Upstream::new(&args.server, &authority)?);
    match &args.log {
        Some(path) => {
            let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            proxy.log().write_to(Box::new(file));
        }
        None => proxy.log().write_to(Box::new(std::io::stdout())),
    }
    if let Some(path) = &args.plan {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let plan: Plan = serde_json::from_slice(&text).with_context(|| format!("{} is no plan", path.display()))?;
        proxy.set_plan(plan);
    }
    let mut doors = Vec::new();
    for (name, address) in &args.doors {
        let door = proxy.open(name, address, None).await;
        doors.push(door.with_context(|| format!("cannot listen on {address} for {name}"))?);
    }
    let listener = tokio::net::TcpListener::bind(args.control).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.control))?;
    let ended = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, control::router(proxy)).with_graceful_shutdown(ended).await?;
    Ok(())
}

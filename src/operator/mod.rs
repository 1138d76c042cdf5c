//! The operator: Kubernetes I/O around [`crate::decide`].
//!
//! Two kinds, one pass each ([`lobby`], [`pool`]): fetch → valid → plan → apply → status. Only [`apply`], [`status`],
//! [`lease`] and [`control`] write. A pass starts from nothing and may be cut off at any await.

mod apply;
mod authority;
mod context;
mod control;
mod controllers;
mod ears;
mod ending;
mod error;
mod fence;
mod fetch;
mod finalizer;
mod grants;
mod kept;
mod keys;
mod lease;
mod lobby;
mod memory;
mod metrics;
mod orders;
mod pool;
mod relays;
mod samples;
mod status;
mod streams;
mod watch;
mod x509;

use std::time::Duration;

use anyhow::Context as _;
use kube::client::ClientBuilder;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use metrics::Metrics;

use crate::decide::plan::OperatorConfig;
use crate::decide::valid::UrlFolder;
use crate::process::health::{self, Readiness};
use crate::process::http;
use crate::process::metrics::Catalogue;

/// Name under which events are reported.
const CONTROLLER: &str = "convene-operator";

/// Arguments of `convene operator`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "CONVENE_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: std::net::SocketAddr,
    /// Namespace in which the operator runs and keeps its Lease.
    #[arg(long, env = "CONVENE_NAMESPACE")]
    pub namespace: String,
    /// Name of this replica in the Lease: the Pod's name.
    #[arg(long, env = "CONVENE_IDENTITY", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub identity: String,
    /// Image of the lobbies and relays that are created; by default the operator's own.
    #[arg(long, env = "CONVENE_IMAGE")]
    pub image: String,
    /// Pull policy of that image: Always, IfNotPresent or Never.
    #[arg(long, env = "CONVENE_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub image_pull_policy: String,
    /// Ports on which the API server may listen, behind its Service: lobbies watch their ConfigMap there, and network
    /// policies see these ports, not the Service's.
    #[arg(long, env = "CONVENE_API_SERVER_PORTS", value_delimiter = ',', required = true, value_parser = clap::value_parser!(u16).range(1..))]
    pub api_server_ports: Vec<u16>,
    /// Below which URLs Lobbies may let their processes download databases of places, such as
    /// https://mirror.example.com/geo/; none = they may not.
    #[arg(long, env = "CONVENE_ALLOW_GEOIP_FROM", value_delimiter = ',')]
    pub allow_geoip_from: Vec<UrlFolder>,
    /// Namespaces whose objects are reconciled; none = all namespaces. Either way the operator needs a RoleBinding there.
    #[arg(long, env = "CONVENE_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
}

/// Runs the operator until `shutdown`. An error, and so the end of the process, when leadership is lost.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config =
        Config::infer().await.context("cannot find the cluster: neither a kubeconfig nor a pod's own settings")?;
    run_with(config, args, shutdown).await
}

/// Runs the operator against the cluster of `config`.
pub async fn run_with(mut config: Config, args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Passes have their own backoff and deadline, leases must not wait: the client's own retries would only hide both.
    config.default_retry = false;
    let fence = fence::Fence::default();
    let client = ClientBuilder::try_from(config.clone()).context("cannot make a client for the API server")?;
    let client = client.with_layer(&fence).build();
    let lease_client = Client::try_from(config).context("cannot make a client for the Lease")?;

    let mut catalogue = Catalogue::with_process();
    let metrics = Metrics::new(&mut catalogue);
    metrics.leader.with_label_values::<&str>(&[]).set(0);
    let readiness = Readiness::default();
    let listener = TcpListener::bind(args.health_listen)
        .await
        .with_context(|| format!("cannot listen on {} for health checks", args.health_listen))?;
    let router = health::router(readiness.clone(), catalogue.registry());
    let health = tokio::spawn(http::serve(listener, router, http::Limits::default(), shutdown.child_token()));
    // A standby is ready: it waits for its turn.
    readiness.set(Ok(()));

    let mut candidate = lease::Candidate::new(lease_client, &args.namespace, args.identity.clone(), fence);
    tracing::info!(identity = args.identity, "waiting for leadership");
    if shutdown.run_until_cancelled(candidate.acquire()).await.is_none() {
        return Ok(());
    }
    tracing::info!(identity = args.identity, "leading");
    metrics.leader.with_label_values::<&str>(&[]).set(1);

    let config = OperatorConfig {
        image: args.image,
        image_pull_policy: args.image_pull_policy,
        operator_namespace: args.namespace,
        api_server_ports: args.api_server_ports,
        allow_geoip_from: args.allow_geoip_from,
    };
    let ended = shutdown.child_token();
    let work = controllers::run(client, config, args.watch_namespaces, metrics, ended.clone());
    tokio::select! {
        () = work => {}
        () = candidate.hold() => anyhow::bail!("leadership was lost: ending, so that nothing acts without it"),
    }
    candidate.release().await;
    let _ = tokio::time::timeout(Duration::from_secs(5), health).await;
    Ok(())
}

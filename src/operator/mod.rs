//! The operator: Kubernetes I/O around [`crate::decide`].

use tokio_util::sync::CancellationToken;

mod metrics;

pub use metrics::Metrics;

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
    #[arg(long, env = "CONVENE_IDENTITY")]
    pub identity: String,
    /// Image of the lobbies and relays that are created; by default the operator's own.
    #[arg(long, env = "CONVENE_IMAGE")]
    pub image: String,
    /// Pull policy of that image: Always, IfNotPresent or Never.
    #[arg(long, env = "CONVENE_IMAGE_PULL_POLICY", default_value = "IfNotPresent")]
    pub image_pull_policy: String,
    /// Namespaces whose objects are reconciled; none = all namespaces. Either way the operator needs a RoleBinding there.
    #[arg(long, env = "CONVENE_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
}

/// Runs the operator until `shutdown`.
pub async fn run(_args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}

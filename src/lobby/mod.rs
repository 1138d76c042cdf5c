//! The lobby: creates and controls sessions, picks relays, signs tokens.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

mod metrics;

pub use metrics::Metrics;

/// Arguments of `convene lobby`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the public API and of the relay link.
    #[arg(long, env = "CONVENE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "CONVENE_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Folder with `signing-key.pem` (PKCS#8, P-256) and `admin-token`.
    #[arg(long, env = "CONVENE_KEYS_DIR", default_value = "/etc/convene/keys")]
    pub keys_dir: PathBuf,
    /// File with the relay table (JSON): used until the ConfigMap is read, or alone where there is no cluster.
    #[arg(long, env = "CONVENE_TABLE_FILE", default_value = "/etc/convene/table/relays.json")]
    pub table_file: PathBuf,
    /// `<namespace>/<name>` of the ConfigMap with the relay table, to be watched through the API server.
    #[arg(long, env = "CONVENE_TABLE_CONFIG_MAP")]
    pub table_config_map: Option<String>,
}

/// Runs the lobby until `shutdown`.
pub async fn run(_args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}

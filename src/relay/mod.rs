//! The relay: carries session bytes over WebSocket; knows nothing but tokens and rooms, and keeps no bytes.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

mod metrics;

pub use metrics::Metrics;

/// Arguments of `convene relay`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address for clients.
    #[arg(long, env = "CONVENE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "CONVENE_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Address of the control port: the event stream.
    #[arg(long, env = "CONVENE_CONTROL_LISTEN", default_value = "0.0.0.0:8082")]
    pub control_listen: SocketAddr,
    /// Base URL of the lobby, to which the relay link is dialled.
    #[arg(long, env = "CONVENE_LOBBY_URL")]
    pub lobby_url: String,
    /// UID of the Lobby object: issuer of the tokens that are taken.
    #[arg(long, env = "CONVENE_LOBBY_UID")]
    pub lobby_uid: String,
    /// File with the service-account token (audience = the Lobby's UID) with which the relay proves who it is.
    #[arg(long, env = "CONVENE_IDENTITY_FILE", default_value = "/var/run/secrets/convene.dev/lobby/token")]
    pub identity_file: PathBuf,
    /// File with the lobby's public keys (JSON Web Key Set); read again when it changes.
    #[arg(long, env = "CONVENE_JWKS_FILE", default_value = "/etc/convene/lobby/jwks.json")]
    pub jwks_file: PathBuf,
    /// UID of this Pod.
    #[arg(long, env = "CONVENE_POD_UID")]
    pub pod_uid: String,
    /// Seats: sessions that this relay takes.
    #[arg(long, env = "CONVENE_CAPACITY", default_value_t = 100)]
    pub capacity: u32,
    /// Seconds to wait for sessions to end after SIGTERM before they are closed.
    #[arg(long, env = "CONVENE_DRAIN_SECONDS", default_value_t = 300)]
    pub drain_seconds: u64,
    /// Participants that one session takes.
    #[arg(long, env = "CONVENE_PARTICIPANTS_PER_SESSION", default_value_t = 64)]
    pub participants_per_session: u32,
    /// Largest message of a participant, in bytes.
    #[arg(long, env = "CONVENE_MAX_MESSAGE_BYTES", default_value_t = 1024 * 1024)]
    pub max_message_bytes: usize,
    /// Origins (scheme, host, port) from which browsers may connect; none given = any, since tokens are never cookies.
    #[arg(long, env = "CONVENE_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,
}

/// Runs the relay until `shutdown`, then drains it.
pub async fn run(_args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    shutdown.cancelled().await;
    Ok(())
}

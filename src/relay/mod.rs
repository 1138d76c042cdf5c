//! The relay: carries session bytes over WebSocket; knows nothing but tokens and rooms, and keeps no bytes.
//!
//! Concurrency, as a law: every task hangs on [`serve`], none outlives it; a participant's connection is one task;
//! locks are held for one call into [`crate::decide`] and never across an await.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

mod config;
mod connection;
mod connections;
mod control;
mod credentials;
mod farewell;
mod keys;
mod link;
mod memory;
mod metrics;
mod notices;
mod outbox;
mod probe;
mod public;
mod refusal;
mod remote;
mod scratch;
mod serve;
mod socket;
mod state;
mod turns;
mod upgrade;
mod websocket;

pub use config::Config;
pub use metrics::Metrics;
pub use serve::{Listeners, serve};

use crate::process::control as control_port;
use crate::process::files;
use crate::process::http::PublicArgs;
use crate::wire::link::LOAD_INTERVAL_MS;

/// How often the load is told when nothing changes.
const LOAD_EVERY: Duration = Duration::from_millis(LOAD_INTERVAL_MS);
/// Changes so close to one another are told together.
const LOAD_GAP: Duration = Duration::from_millis(20);

/// Arguments of `convene relay`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address for clients.
    #[arg(long, env = "CONVENE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "CONVENE_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Base URL of the lobby, to which the relay link is dialled.
    #[arg(long, env = "CONVENE_LOBBY_URL")]
    pub lobby_url: String,
    /// File with the CA certificates (PEM) by one of which the lobby's own must be signed; read for each dial. None
    /// given = the system's.
    #[arg(long, env = "CONVENE_LOBBY_CA")]
    pub lobby_ca: Option<PathBuf>,
    /// UID of the Lobby object: issuer of the tokens that are taken. With --pool-key the lobby says it.
    #[arg(long, env = "CONVENE_LOBBY_UID", required_unless_present = "pool_key")]
    pub lobby_uid: Option<String>,
    /// File with the service-account token (audience = the Lobby's UID) with which the relay proves who it is.
    #[arg(long, env = "CONVENE_IDENTITY_FILE", default_value = "/var/run/secrets/convene.dev/lobby/token")]
    pub identity_file: PathBuf,
    /// For a lobby of another cluster.
    #[command(flatten)]
    pub pool: PoolArgs,
    /// File with the lobby's public keys (JSON Web Key Set); read again when it changes.
    #[arg(long, env = "CONVENE_JWKS_FILE", default_value = "/etc/convene/lobby/jwks.json")]
    pub jwks_file: PathBuf,
    /// UID of this Pod.
    #[arg(long, env = "CONVENE_POD_UID")]
    pub pod_uid: String,
    /// Seats: sessions that this relay takes.
    #[arg(long, env = "CONVENE_CAPACITY", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub capacity: u32,
    /// Seconds to wait for sessions to end after SIGTERM before they are closed.
    #[arg(long, env = "CONVENE_DRAIN_SECONDS", default_value_t = 300)]
    pub drain_seconds: u64,
    /// Participants that one session takes.
    #[arg(long, env = "CONVENE_PARTICIPANTS_PER_SESSION", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub participants_per_session: u32,
    /// Largest message of a participant, in bytes.
    #[arg(long, env = "CONVENE_MAX_MESSAGE_BYTES", default_value_t = 1024 * 1024)]
    pub max_message_bytes: usize,
    /// Origins (scheme, host, port) from which browsers may connect; none given = any, since tokens are never cookies.
    #[arg(long, env = "CONVENE_ALLOWED_ORIGINS", value_delimiter = ',')]
    pub allowed_origins: Vec<String>,
    /// Seconds that a session without participants keeps its seat.
    #[arg(long, env = "CONVENE_IDLE_SECONDS", default_value_t = 60)]
    pub idle_seconds: u64,
    /// Messages per second of one participant; twice as many at once. Faster ones are read more slowly.
    #[arg(long, env = "CONVENE_MESSAGES_PER_SECOND", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub messages_per_second: u32,
    /// Bytes per second of one participant. Faster ones are read more slowly.
    #[arg(long, env = "CONVENE_BYTES_PER_SECOND", default_value_t = 8 * 1024 * 1024, value_parser = clap::value_parser!(u32).range(1024..))]
    pub bytes_per_second: u32,
    /// Messages that may wait for one participant before it is closed as a slow reader.
    #[arg(long, env = "CONVENE_QUEUE_MESSAGES", default_value_t = 4096)]
    pub queue_messages: usize,
    /// Bytes that may wait for one participant before it is closed as a slow reader; at least two largest messages.
    #[arg(long, env = "CONVENE_QUEUE_BYTES", default_value_t = 4 * 1024 * 1024)]
    pub queue_bytes: usize,
    /// Bytes of messages that may wait for all participants together, with those that are still arriving. When most of
    /// them are taken, queues become shorter, so that the slowest readers leave first; when all are, senders wait.
    #[arg(long, env = "CONVENE_QUEUE_BYTES_TOTAL", default_value_t = 256 * 1024 * 1024)]
    pub queue_bytes_total: usize,
    /// Attempts to connect per second from one address (IPv6: one /64); twice as many at once.
    #[arg(long, env = "CONVENE_ATTEMPTS_PER_SECOND", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub attempts_per_second: u32,
    /// Probes per second from one address (IPv6: one /64), by which clients measure how far it is to this relay; twice as
    /// many at once. Beyond that they are refused, and count as attempts to connect.
    #[arg(long, env = "CONVENE_PROBES_PER_SECOND", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub probes_per_second: u32,
    /// Probes per second from all addresses together; twice as many at once.
    #[arg(long, env = "CONVENE_PROBES_PER_SECOND_TOTAL", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub probes_per_second_total: u32,
    /// Participants at a time from one address (IPv6: one /64); further ones are told to come back later. Behind a NAT or
    /// a proxy, a whole company is one address.
    #[arg(long, env = "CONVENE_PARTICIPANTS_PER_ADDRESS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub participants_per_address: u32,
    /// Used tokens that are remembered until they can no longer be used; beyond that, joins wait. A token takes some 16
    /// bytes for at most 128 seconds: the default serves 8,000 joins a second for any time, and takes 36 MiB at most.
    #[arg(long, env = "CONVENE_REMEMBERED_TOKENS", default_value_t = 1_048_576)]
    pub remembered_tokens: usize,
    /// Limits and TLS of the port for clients.
    #[command(flatten)]
    pub public: PublicArgs,
    /// The control port: the event stream, and the operator's orders.
    #[command(flatten)]
    pub control: control_port::Args,
}

/// How a relay links to a lobby of another cluster, which knows its pool by a key.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "pool")]
pub struct PoolArgs {
    /// File with the pool's private key (PKCS#8 PEM, P-256), with which the relay proves to a lobby of another cluster who
    /// it is; read for each dial.
    #[arg(long, env = "CONVENE_POOL_KEY", requires_all = ["pool_name", "relay_name"])]
    pub pool_key: Option<PathBuf>,
    /// Name under which that lobby lists the pool.
    #[arg(long, env = "CONVENE_POOL_NAME", requires = "pool_key")]
    pub pool_name: Option<String>,
    /// Name of the relay.
    #[arg(long, env = "CONVENE_RELAY_NAME", requires = "pool_key")]
    pub relay_name: Option<String>,
    /// File with the WebSocket URLs for clients of the pool's relays, by their names (JSON); read again when it changes.
    #[arg(long, env = "CONVENE_ADDRESSES_FILE", default_value = "/etc/convene/lobby/addresses.json")]
    pub addresses_file: PathBuf,
}

/// Runs the relay until `shutdown`, then drains it.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    files::raise_limit();
    let listeners = Listeners::bind(args.listen, args.health_listen, args.control.listen).await?;
    serve(Config::from(args), listeners, shutdown).await
}

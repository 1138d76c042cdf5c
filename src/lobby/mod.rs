//! The lobby: creates and controls sessions, picks relays, signs tokens.
//!
//! Accepts requests and relay links, lets [`crate::decide`] decide, and answers. It must not talk to relays in any way
//! but the link that they dial, and must not need the API server to serve.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::decide::sessions::{Book, Limits};
use crate::process::health::{self, Readiness};
use crate::process::http;
use crate::process::metrics::Catalogue;
use crate::wire::link::{LINK_PATH, SILENT_AFTER_MS};

mod api;
mod extract;
mod keys;
mod limits;
mod link;
mod metrics;
mod openapi;
mod problem;
mod service;
mod state;
mod table;

pub use metrics::Metrics;

/// How often leases, keys and gauges are looked after.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// How long an idempotency key is known, and the answer with its secrets under it.
const KEY_LIFE: Duration = Duration::from_mins(10);
const ANSWER_LIFE: Duration = Duration::from_mins(1);
/// How long sessions of a lost relay, and closed ones, are remembered.
const ORPHAN_LIFE: Duration = Duration::from_mins(10);

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
    /// Creates and joins a second that one address may ask for; twice as many at once. 0 = any number.
    #[arg(long, env = "CONVENE_RATE_PER_ADDRESS", default_value_t = 200)]
    pub rate_per_address: u32,
    /// Sessions that this lobby takes.
    #[arg(long, env = "CONVENE_MAX_SESSIONS", default_value_t = 100_000)]
    pub max_sessions: usize,
    /// Seconds for which a seat is kept for a session to which nobody has connected.
    #[arg(long, env = "CONVENE_LEASE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub lease_seconds: u32,
}

/// Bound sockets of one lobby.
#[derive(Debug)]
pub struct Listeners {
    /// For the API and the relay link.
    pub public: TcpListener,
    /// For health and metrics.
    pub health: TcpListener,
}

/// What handlers share.
#[derive(Clone, Debug)]
struct Shared {
    lobby: Arc<state::Lobby>,
    gate: Arc<limits::Gate>,
    /// Relay links: no task outlives the lobby.
    tasks: TaskTracker,
    shutdown: CancellationToken,
    openapi: Arc<serde_json::Value>,
}

/// Runs the lobby until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let listeners = Listeners { public: bind(args.listen).await?, health: bind(args.health_listen).await? };
    serve(args, listeners, shutdown).await
}

/// Runs the lobby on sockets that are already bound.
pub async fn serve(args: Args, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let keys = keys::Keys::read(&args.keys_dir)?;
    let source = table::Source::new(args.table_config_map.as_deref()).await?;
    let mut catalogue = Catalogue::with_process();
    let metrics = Metrics::new(&mut catalogue);
    let readiness = Readiness::default();
    let lease = Duration::from_secs(u64::from(args.lease_seconds));
    let limits = Limits {
        sessions: args.max_sessions,
        keys: args.max_sessions,
        lease,
        key_life: KEY_LIFE,
        answer_life: ANSWER_LIFE,
        silent: Duration::from_millis(SILENT_AFTER_MS),
        orphan: ORPHAN_LIFE,
    };
    let lobby = Arc::new(state::Lobby::new(keys, metrics, Book::new(limits), lease, readiness.clone()));
    if args.table_config_map.is_some() {
        table::read_file(&lobby, &args.table_file).await;
    }
    let shared = Shared {
        lobby: Arc::clone(&lobby),
        gate: Arc::new(limits::Gate::new(args.rate_per_address)),
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
        openapi: Arc::new(serde_json::to_value(openapi::document()).context("the OpenAPI document")?),
    };
    let health = health::router(readiness, catalogue.registry());
    tokio::join!(
        source.follow(lobby, &args.table_file, shutdown.clone()),
        sweep(&shared, &shutdown),
        http::serve(listeners.health, health, http::Limits::default(), shutdown.clone()),
        http::serve(listeners.public, router(shared.clone()), http::Limits::default(), shutdown.clone()),
    );
    shared.tasks.close();
    shared.tasks.wait().await;
    Ok(())
}

async fn sweep(shared: &Shared, shutdown: &CancellationToken) {
    let mut rounds: u32 = 0;
    while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        shared.lobby.sweep();
        rounds = rounds.wrapping_add(1);
        if rounds.is_multiple_of(40) {
            shared.gate.sweep();
        }
    }
}

fn router(shared: Shared) -> Router {
    let guard = axum::middleware::from_fn_with_state(shared.clone(), limits::guard);
    Router::new()
        .route("/v1/sessions", post(api::create).get(api::list))
        .route("/v1/sessions/{id}", get(api::get).delete(api::close))
        .route("/v1/sessions/{id}/join", post(api::join))
        .route("/v1/regions", get(api::regions))
        .route("/v1/jwks.json", get(api::jwks))
        .route("/.well-known/jwks.json", get(api::jwks))
        .route("/openapi.json", get(openapi_document))
        .route("/j/{id}", get(api::join_page))
        .route(LINK_PATH, get(link::accept))
        .fallback(async || problem::Refusal::not_found())
        .method_not_allowed_fallback(async || problem::Refusal::method_not_allowed())
        .layer(guard)
        .with_state(shared)
}

async fn openapi_document(axum::extract::State(shared): axum::extract::State<Shared>) -> axum::response::Response {
    axum::Json(&*shared.openapi).into_response()
}

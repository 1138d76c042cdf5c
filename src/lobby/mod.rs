//! The lobby: creates and controls sessions, picks relays, signs tokens.
//!
//! Accepts requests and relay links, lets [`crate::decide`] decide, and answers. It must not talk to relays in any way
//! but the link that they dial, and must not need the API server to serve.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use anyhow::Context as _;
use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::decide::sessions::Limits;
use crate::process::control::{self as control_port, Control};
use crate::process::files;
use crate::process::health::{self, Readiness};
use crate::process::http::{self, Door};
use crate::process::metrics::Catalogue;
use crate::process::table as way_in;
use crate::process::tls::{self, Paths, Port, Tls};
use crate::wire::link::{LINK_PATH, SILENT_AFTER_MS};

mod api;
mod boards;
mod caller;
mod codes;
mod control;
mod cors;
mod cuts;
mod demand;
mod events;
mod extract;
mod guests;
mod keys;
mod limits;
mod link;
mod loads;
mod metrics;
mod moving;
mod openapi;
pub mod origins;
mod problem;
mod query;
mod regions;
mod relays;
mod renewal;
mod route;
mod service;
mod sharing;
mod state;
pub mod store;
mod table;
mod waiting;
mod watch;

pub use metrics::Metrics;
pub use openapi::document as openapi_document;

/// How often leases, keys and gauges are looked after.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// How long an idempotency key is known, and the answer with its secrets under it.
const KEY_LIFE: Duration = Duration::from_mins(10);
const ANSWER_LIFE: Duration = Duration::from_mins(1);
/// How long sessions of a lost relay, and closed ones, are remembered.
const ORPHAN_LIFE: Duration = Duration::from_mins(10);

/// Longest prefix of keys in Redis.
const MAX_PREFIX: usize = 128;

/// Arguments of `convene lobby`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the public API and of the relay link.
    #[arg(long, env = "CONVENE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "CONVENE_HEALTH_LISTEN", default_value = "0.0.0.0:8081")]
    pub health_listen: SocketAddr,
    /// Folder with `admin-token` and private keys `signing-key*.pem` (PKCS#8, P-256), read again when they change. Where the
    /// relay table does not say which count, all do, and the last by name signs for each relay that has it.
    #[arg(long, env = "CONVENE_KEYS_DIR", default_value = "/etc/convene/keys")]
    pub keys_dir: PathBuf,
    /// Folder with private keys `*.pem` that count instead of those of the keys folder.
    #[arg(long, env = "CONVENE_SIGNING_KEYS_DIR")]
    pub signing_keys_dir: Option<PathBuf>,
    /// File with the relay table (JSON): used until the ConfigMap is read, or alone where there is no cluster.
    #[arg(long, env = "CONVENE_TABLE_FILE", default_value = "/etc/convene/table/relays.json")]
    pub table_file: PathBuf,
    /// `<namespace>/<name>` of the ConfigMap with the relay table, to be watched through the API server.
    #[arg(long, env = "CONVENE_TABLE_CONFIG_MAP")]
    pub table_config_map: Option<String>,
    /// Creates, joins and lists of regions a second that one address may ask for; twice as many at once. 0 = any number.
    #[arg(long, env = "CONVENE_RATE_PER_ADDRESS", default_value_t = 200)]
    pub rate_per_address: u32,
    /// Sessions that this lobby takes.
    #[arg(long, env = "CONVENE_MAX_SESSIONS", default_value_t = 100_000)]
    pub max_sessions: usize,
    /// Seconds for which a seat is kept for a session to which nobody has connected.
    #[arg(long, env = "CONVENE_LEASE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub lease_seconds: u32,
    /// Origins (scheme, host, port) whose web pages may call the API; none given = any, since secrets are never cookies.
    #[arg(long, env = "CONVENE_ALLOWED_ORIGINS", value_delimiter = ',', value_parser = cors::origin)]
    pub allowed_origins: Vec<HeaderValue>,
    /// Where sessions are kept: in the memory of this one process, or in a Redis that several processes share.
    #[arg(long, env = "CONVENE_STORE", default_value = "memory")]
    pub store: StoreKind,
    /// File with the URL of the Redis: `redis://` or `rediss://` (TLS), with user and password. Read again when it changes.
    #[arg(long, env = "CONVENE_REDIS_URL_FILE", default_value = "/etc/convene/store/url")]
    pub redis_url_file: PathBuf,
    /// File with the authorities (PEM) by one of which the certificate of a `rediss://` server is signed; not there, or
    /// empty = those of the system, of which the image has none. Read again when it changes.
    #[arg(long, env = "CONVENE_REDIS_CA_FILE", default_value = "/etc/convene/store/ca.crt")]
    pub redis_ca_file: PathBuf,
    /// What this lobby's keys in Redis begin with; another for each lobby that shares the server.
    #[arg(long, env = "CONVENE_REDIS_PREFIX", default_value = "convene")]
    pub redis_prefix: String,
    /// Who is believed about addresses and places.
    #[command(flatten)]
    pub origins: origins::Args,
    /// Limits and TLS of the public port.
    #[command(flatten)]
    pub public: http::PublicArgs,
    /// The port of the relay link.
    #[command(flatten)]
    pub link: LinkArgs,
    /// The control port: the event stream of what the lobby is asked for.
    #[command(flatten)]
    pub control: control_port::Args,
}

/// A port of its own for the relay link, under a certificate that is not the one for clients.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "link")]
pub struct LinkArgs {
    /// Address at which relays link by TLS, where there is a certificate for it. They may also link at the public port.
    #[arg(id = "link_listen", long = "link-listen", env = "CONVENE_LINK_LISTEN", default_value = "0.0.0.0:8083")]
    pub listen: SocketAddr,
    /// File with the certificate chain of that port (PEM); read again when it changes, and waited for.
    #[arg(id = "link_cert", long = "link-cert", env = "CONVENE_LINK_CERT", requires = "link_key")]
    pub certificate: Option<PathBuf>,
    /// File with the private key of that certificate (PEM).
    #[arg(id = "link_key", long = "link-key", env = "CONVENE_LINK_KEY", requires = "link_cert")]
    pub key: Option<PathBuf>,
}

impl LinkArgs {
    /// The two files, where there is such a port.
    fn files(&self) -> Option<Paths> {
        let (certificate, key) = self.certificate.clone().zip(self.key.clone())?;
        Some(Paths { certificate, key, authorities: None })
    }
}

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// In this process.
    Memory,
    /// In Redis.
    Redis,
}

/// Bound sockets of one lobby.
#[derive(Debug)]
pub struct Listeners {
    /// For the API and the relay link.
    pub public: TcpListener,
    /// For health and metrics.
    pub health: TcpListener,
    /// For the event stream.
    pub control: TcpListener,
    /// For relays that link by TLS, where the settings name a certificate.
    pub link: Option<TcpListener>,
}

/// What handlers share.
#[derive(Clone, Debug)]
struct Shared {
    lobby: Arc<state::Lobby>,
    gate: Arc<limits::Gate>,
    listing: Arc<regions::Listing>,
    probes: Arc<regions::Probes>,
    streams: Arc<events::Streams>,
    /// Relay links: no task outlives the lobby.
    tasks: TaskTracker,
    shutdown: CancellationToken,
    openapi: Arc<serde_json::Value>,
    /// Whether the public port speaks TLS.
    is_tls: bool,
}

/// Runs the lobby until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    files::raise_limit();
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
    };
    let listeners = Listeners {
        public: bind(args.listen).await?,
        health: bind(args.health_listen).await?,
        control: bind(args.control.listen).await?,
        link: match args.link.files() {
            Some(_) => Some(bind(args.link.listen).await?),
            None => None,
        },
    };
    // Boxed: all that a lobby does at once is one large value.
    Box::pin(serve(args, listeners, shutdown)).await
}

/// Runs the lobby on sockets that are already bound.
pub async fn serve(args: Args, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let keys = keys::Keys::read(&args.keys_dir, args.signing_keys_dir.as_deref())?;
    let source = way_in::Source::new(args.table_config_map.as_deref()).await?;
    let mut catalogue = Catalogue::with_process();
    let metrics = Metrics::new(&mut catalogue);
    let tls = Tls::load(&args.public.tls, metrics.tls.clone()).await.context("--tls-cert and --tls-key")?;
    let origins = origins::Origins::new(&args.origins, metrics.origins.clone()).context("--trusted-proxies")?;
    let port = Control::open(&args.control, listeners.control, metrics.tls.clone()).await?;
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
    let links = store::Links::default();
    let store: Arc<dyn store::Store> = match args.store {
        StoreKind::Memory => Arc::new(store::Memory::new(limits, links.clone())),
        StoreKind::Redis => Arc::new(redis(&args, limits, links.clone()).await?),
    };
    let lobby = Arc::new(state::Lobby::new(keys, metrics, store, links, lease, origins, readiness.clone()));
    if args.table_config_map.is_some() {
        way_in::read_file(&*lobby, &args.table_file).await;
    }
    let shared = Shared {
        lobby: Arc::clone(&lobby),
        gate: Arc::new(limits::Gate::new(args.rate_per_address)),
        listing: Arc::default(),
        probes: Arc::default(),
        streams: Arc::default(),
        tasks: TaskTracker::new(),
        shutdown: shutdown.clone(),
        openapi: Arc::new(openapi::document()),
        is_tls: tls.is_some(),
    };
    let door = door(&lobby, tls.clone());
    let health = health::router(readiness, catalogue.registry());
    let control = demand::router(Arc::clone(&lobby), shutdown.clone());
    let public = router(shared.clone()).layer(cors::layer(args.allowed_origins));
    tokio::join!(
        source.follow(&*lobby, &args.table_file, shutdown.clone()),
        sweep(&shared, &shutdown),
        shared.lobby.keys.follow(&shared.lobby.metrics, &shutdown),
        moving::run(&shared.lobby, &shutdown),
        cuts::run(&shared.lobby, &shutdown),
        boards::run(&shared.lobby, &shutdown),
        waiting::run(&shared.lobby, &shutdown),
        watch::run(&shared.lobby, &shutdown),
        shared.lobby.origins.geoip.follow(&shutdown),
        sharing::run(&shared.lobby, &shutdown),
        shared.lobby.store.run(shutdown.clone()),
        http::serve(listeners.health, health, http::Limits::default(), shutdown.clone()),
        http::serve_at(door, listeners.public, public, args.public.limits(), shutdown.clone()),
        tls::follow(tls, shutdown.clone()),
        serve_links(listeners.link, &args.link, &shared, &shutdown),
        port.serve(control, http::Limits::default(), shutdown.clone()),
    );
    shared.tasks.close();
    shared.tasks.wait().await;
    Ok(())
}

/// The public port's door. Proxies may have more connections than one client: many are behind them.
fn door(lobby: &Arc<state::Lobby>, tls: Option<Tls>) -> Door {
    let of = Arc::clone(lobby);
    Door {
        refused: Some(lobby.metrics.connections_refused.clone()),
        tls,
        many_behind: Some(Arc::new(move |address| of.origins.is_proxy(address))),
        ..Door::default()
    }
}

async fn redis(args: &Args, limits: Limits, links: store::Links) -> anyhow::Result<store::Redis> {
    anyhow::ensure!(
        (1..=MAX_PREFIX).contains(&args.redis_prefix.len()) && !args.redis_prefix.contains(['{', '}']),
        "--redis-prefix: must be 1 to {MAX_PREFIX} characters without braces"
    );
    let files = store::Files { url: args.redis_url_file.clone(), ca: args.redis_ca_file.clone() };
    let settings = store::Settings { files, prefix: args.redis_prefix.clone(), time: None };
    store::Redis::new(&settings, limits, links).await.context("where the Redis is")
}

async fn sweep(shared: &Shared, shutdown: &CancellationToken) {
    let mut rounds: u32 = 0;
    while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        shared.lobby.sweep().await;
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
        .route("/v1/sessions/{id}", get(api::get).patch(api::rename).delete(api::close))
        .route("/v1/sessions/{id}/join", post(api::join))
        .route("/v1/sessions/{id}/move", post(api::relocate))
        .route("/v1/sessions/{id}/guests", get(guests::list))
        .route("/v1/sessions/{id}/guests/{guest}/approve", post(guests::approve))
        .route("/v1/sessions/{id}/guests/{guest}/refuse", post(guests::refuse))
        .route("/v1/sessions/{id}/events", get(events::stream))
        .route("/v1/regions", get(regions::list))
        .route("/v1/relays", get(relays::list))
        .route("/v1/relays/{pool}/{relay}/drain", post(relays::drain))
        .route("/v1/relays/{pool}/{relay}/uncordon", post(relays::uncordon))
        .route("/v1/route", get(route::explain))
        .route("/v1/jwks.json", get(api::jwks))
        .route("/.well-known/jwks.json", get(api::jwks))
        .route("/openapi.json", get(served_document))
        .route("/j/{id}", get(api::join_page))
        .route(LINK_PATH, get(link::accept))
        .fallback(async || problem::Refusal::not_found())
        .method_not_allowed_fallback(async || problem::Refusal::method_not_allowed())
        .layer(guard)
        .with_state(shared)
}

/// The relay link alone, by TLS.
async fn serve_links(listener: Option<TcpListener>, args: &LinkArgs, shared: &Shared, shutdown: &CancellationToken) {
    let Some((listener, files)) = listener.zip(args.files()) else { return };
    let tls = Tls::when_there(Port::Link, files, shared.lobby.metrics.tls.clone()).await;
    let door = Door { tls: Some(tls.clone()), ..Door::default() };
    let guard = axum::middleware::from_fn_with_state(shared.clone(), limits::guard);
    let router = Router::new()
        .route(LINK_PATH, get(link::accept))
        // The lobby's routers reach this port only.
        .route("/v1/regions", get(loads::list))
        .fallback(async || problem::Refusal::not_found())
        .layer(guard)
        .with_state(shared.clone());
    tokio::join!(
        http::serve_at(door, listener, router, http::Limits::default(), shutdown.clone()),
        tls::follow(Some(tls), shutdown.clone()),
    );
}

async fn served_document(axum::extract::State(shared): axum::extract::State<Shared>) -> axum::response::Response {
    axum::Json(&*shared.openapi).into_response()
}

//! The router: answers clients that know only a name, by DNS and by HTTP redirects.
//!
//! Reads the same relay table as the lobby, lets [`crate::decide::dns`] choose with the lobby's own function, and answers.
//! It must not create sessions or know of tokens, and must not need the API server or the lobby to serve: whatever is away,
//! the last known good keeps being answered.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::decide::address::Proxies;
use crate::decide::dns::{MAX_ZONE, Name, Nameserver, Zone};
use crate::process::geoip::{self, GeoIp};
use crate::process::health::{self, Readiness};
use crate::process::http::{self, Door};
use crate::process::listen::everywhere;
use crate::process::metrics::Catalogue;
use crate::process::table::{Source, read_file};
use crate::process::tls::{self, Tls};
use crate::process::{callers, files};

mod limiter;
pub mod message;
mod metrics;
mod query;
mod redirect;
mod server;
mod sources;
mod state;

pub use metrics::Metrics;

/// How often ages and rates are looked after.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Arguments of `convene router`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Address of the DNS port, by UDP and by TCP. Several are separated by commas, or given each by itself. By default all of
    /// the machine; one that has several, and is asked at another than the one by which it reaches who asks, must be told each: an
    /// answer by UDP leaves from the address that was asked only where that has a socket of its own.
    #[arg(long, env = "CONVENE_DNS_LISTEN", value_delimiter = ',', default_values_t = [everywhere(5353)])]
    pub dns_listen: Vec<SocketAddr>,
    /// Address of the HTTP port, which redirects to the nearest relay, or to the lobby.
    #[arg(long, env = "CONVENE_LISTEN", default_value_t = everywhere(8080))]
    pub listen: SocketAddr,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, env = "CONVENE_HEALTH_LISTEN", default_value_t = everywhere(8081))]
    pub health_listen: SocketAddr,
    /// The zone that is answered for, such as relays.example.com; at most 125 characters. All else is refused.
    #[arg(long, env = "CONVENE_DNS_ZONE", value_parser = zone)]
    pub zone: Name,
    /// The zone's nameservers, the primary first, as its delegation names them: `ns1.example.net`, or with addresses where the
    /// name is in the zone itself: `ns1.relays.example.com=192.0.2.53`, several joined by `+`. Several are separated by commas.
    #[arg(long, env = "CONVENE_DNS_NAMESERVERS", value_delimiter = ',', required = true, value_parser = nameserver)]
    pub nameservers: Vec<Nameserver>,
    /// Seconds for which resolvers may keep an answer: how long a relay that is gone is still tried, and how often is asked.
    #[arg(long, env = "CONVENE_DNS_TTL", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub ttl: u32,
    /// Answers a second by UDP for one network (an IPv4 /24, an IPv6 /56), twice as many at once; above that, some are told
    /// to come by TCP and the others get nothing. 0 = any number.
    #[arg(long, env = "CONVENE_DNS_RATE", default_value_t = 1000)]
    pub rate: u32,
    /// File with the relay table (JSON): used until the ConfigMap is read, or alone where there is no cluster.
    #[arg(long, env = "CONVENE_TABLE_FILE", default_value = "/etc/convene/table/relays.json")]
    pub table_file: PathBuf,
    /// `<namespace>/<name>` of the ConfigMap with the relay table, to be watched through the API server.
    #[arg(long, env = "CONVENE_TABLE_CONFIG_MAP")]
    pub table_config_map: Option<String>,
    /// Base URL of the lobby, which is asked every 2 seconds which regions serve and have room. Without it, and a minute after
    /// it was last heard, the table alone says where to go.
    #[arg(long, env = "CONVENE_LOBBY_URL")]
    pub lobby_url: Option<String>,
    /// File with the authorities (PEM) by one of which the lobby's certificate may be signed, besides those of the system.
    #[arg(long, env = "CONVENE_LOBBY_CA")]
    pub lobby_ca: Option<PathBuf>,
    /// Who is believed about addresses and places at the HTTP port.
    #[command(flatten)]
    pub callers: callers::Args,
    /// Databases of places.
    #[command(flatten)]
    pub geoip: geoip::Args,
    /// Limits and TLS of the HTTP port.
    #[command(flatten)]
    pub public: http::PublicArgs,
}

fn zone(text: &str) -> Result<Name, String> {
    if text.trim_end_matches('.').len() > MAX_ZONE {
        return Err(format!("must have at most {MAX_ZONE} characters: relays have names below it"));
    }
    Name::parse(text).map_err(|error| error.to_string())
}

fn nameserver(text: &str) -> Result<Nameserver, String> {
    let (name, addresses) = text.split_once('=').map_or((text, ""), |(name, addresses)| (name, addresses));
    let name = Name::parse(name.trim()).map_err(|error| error.to_string())?;
    let addresses = addresses.split('+').map(str::trim).filter(|address| !address.is_empty());
    let addresses: Result<Vec<IpAddr>, _> = addresses.map(str::parse).collect();
    let addresses = addresses.map_err(|_| format!("{text}: what follows = must be addresses, joined by +"))?;
    Ok(Nameserver { name, addresses })
}

impl Args {
    /// The zone, if its parts fit together.
    fn zone(&self) -> anyhow::Result<Zone> {
        let Self { zone, nameservers, ttl, .. } = self;
        for nameserver in nameservers {
            let below = nameserver.name.below(zone);
            anyhow::ensure!(below != Some(&[]), "--nameservers: {} is the zone itself", nameserver.name);
            anyhow::ensure!(
                below.is_none() || !nameserver.addresses.is_empty(),
                "--nameservers: {} is in the zone, so its addresses must be said: {}=192.0.2.53",
                nameserver.name,
                nameserver.name
            );
        }
        Ok(Zone { name: zone.clone(), ttl: *ttl, nameservers: nameservers.clone() })
    }
}

/// Bound sockets of one router.
#[derive(Debug)]
pub struct Listeners {
    /// For DNS by UDP.
    pub udp: Vec<UdpSocket>,
    /// For DNS by TCP.
    pub tcp: Vec<TcpListener>,
    /// For redirects.
    pub public: TcpListener,
    /// For health and metrics.
    pub health: TcpListener,
}

/// Runs the router until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    files::raise_limit();
    let failed = |address: SocketAddr| format!("cannot listen on {address}");
    let bind = async |address: SocketAddr| TcpListener::bind(address).await.with_context(|| failed(address));
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for address in &args.dns_listen {
        udp.push(UdpSocket::bind(address).await.with_context(|| failed(*address))?);
        tcp.push(bind(*address).await?);
    }
    let listeners = Listeners { udp, tcp, public: bind(args.listen).await?, health: bind(args.health_listen).await? };
    // Boxed: all that a router does at once is one large value.
    Box::pin(serve(args, listeners, shutdown)).await
}

/// Runs the router on sockets that are already bound.
pub async fn serve(args: Args, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let zone = args.zone()?;
    let source = Source::new(args.table_config_map.as_deref()).await?;
    let mut catalogue = Catalogue::with_process();
    let metrics = Metrics::new(&mut catalogue);
    let tls = Tls::load(&args.public.tls, metrics.tls.clone()).await.context("--tls-cert and --tls-key")?;
    let callers::Args { trusted_proxies, forwarded_header, distrust_location } = &args.callers;
    let proxies = Proxies::read(trusted_proxies, forwarded_header.name()).context("--trusted-proxies")?;
    let geoip = GeoIp::new(&args.geoip, metrics.geoip.clone());
    let readiness = Readiness::default();
    let settings = state::Settings {
        zone,
        rate: args.rate,
        proxies,
        distrust_location: *distrust_location,
        asks_lobby: args.lobby_url.is_some(),
    };
    let state = Arc::new(state::State::new(settings, geoip, metrics, readiness.clone()));
    if args.table_config_map.is_some() {
        read_file(&*state, &args.table_file).await;
    }
    let of = Arc::clone(&state);
    let door = Door {
        refused: Some(state.metrics.connections_refused.clone()),
        tls: tls.clone(),
        many_behind: Some(Arc::new(move |address| of.proxies.trusts(address))),
        ..Door::default()
    };
    let open = server::Open::default();
    let health = health::router(readiness, catalogue.registry());
    let regions = async {
        if let Some(url) = &args.lobby_url {
            sources::follow_regions(url, args.lobby_ca.as_deref(), &state, &shutdown).await;
        }
    };
    tokio::join!(
        source.follow(&*state, &args.table_file, shutdown.clone()),
        regions,
        sources::follow_names(&state, &shutdown),
        state.geoip.follow(&shutdown),
        sweep(&state, &shutdown),
        join_all(listeners.udp.into_iter().map(|socket| server::udp(socket, Arc::clone(&state), shutdown.clone()))),
        join_all(listeners.tcp.into_iter().map(|at| server::tcp(
            at,
            open.clone(),
            Arc::clone(&state),
            shutdown.clone()
        ))),
        http::serve(listeners.health, health, http::Limits::default(), shutdown.clone()),
        http::serve_at(
            door,
            listeners.public,
            redirect::router(Arc::clone(&state)),
            args.public.limits(),
            shutdown.clone()
        ),
        tls::follow(tls, shutdown.clone()),
    );
    Ok(())
}

async fn sweep(state: &state::State, shutdown: &CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_EVERY)).await.is_some() {
        state.limiter.sweep();
        state.show_ages();
    }
}

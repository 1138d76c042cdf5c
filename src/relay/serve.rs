//! The life of a relay process: start all tasks, wait, drain, stop all tasks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::state::Relay;
use super::{Config, Metrics, control, link, public};
use crate::decide::room::End;
use crate::process::control::Control;
use crate::process::http::Limits;
use crate::process::metrics::Catalogue;
use crate::process::tls::{self, Tls};
use crate::process::{health, http};

/// How often seats whose time is over are looked for.
const TICK: Duration = Duration::from_millis(250);
/// Time for participants to answer their close at the end of a drain, and then for everything else to stop: together
/// less than a second.
const FAREWELL: Duration = Duration::from_millis(600);
const STOP: Duration = Duration::from_millis(300);

/// The three ports of a relay.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub public: TcpListener,
    /// For probes and metrics.
    pub health: TcpListener,
    /// For the operator.
    pub control: TcpListener,
}

impl Listeners {
    /// Opens the ports.
    pub async fn bind(public: SocketAddr, health: SocketAddr, control: SocketAddr) -> anyhow::Result<Self> {
        let listen = |address| async move {
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
        };
        Ok(Self { public: listen(public).await?, health: listen(health).await?, control: listen(control).await? })
    }
}

/// Ends the connections of participants however [`serve`] ends.
struct Abandon(Arc<Relay>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.connections.abandon();
    }
}

/// Serves until `shutdown`, then drains: takes no new sessions, waits for the held ones to end, closes the rest.
/// Also drains if one of its own tasks fails, and then returns an error.
pub async fn serve(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut catalogue = Catalogue::with_process();
    let metrics = Metrics::new(&mut catalogue);
    let relay = Arc::new(Relay::new(config, metrics));
    let _abandon = Abandon(Arc::clone(&relay));
    // The public port closes before the others, which tell of the drain until the end.
    let (closed, stop) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    let limits = Limits { shutdown_grace: STOP / 2, ..relay.config.public.limits() };
    let few = Limits { connections: 64, connections_per_ip: 32, half_open_per_ip: 32, ..limits };
    let tls =
        Tls::load(&relay.config.public.tls, relay.metrics.tls.clone()).await.context("--tls-cert and --tls-key")?;
    let [public, health, control] = [&listeners.public, &listeners.health, &listeners.control]
        .map(|port| port.local_addr().ok().map(|a| a.to_string()));
    let port = Control::open(&relay.config.control, listeners.control, relay.metrics.tls.clone()).await?;
    let (door, router) = public::open(&relay, tls.clone());
    tracing::info!(
        boot_id = relay.boot_id,
        seats = relay.config.seats.capacity,
        public,
        health,
        control,
        "relay started"
    );
    tasks.spawn(http::serve_at(door, listeners.public, router, limits, closed.clone()));
    let health = health::router(relay.readiness.clone(), catalogue.registry());
    tasks.spawn(http::serve(listeners.health, health, few, stop.clone()));
    let control = control::router(Arc::clone(&relay), stop.clone());
    tasks.spawn(port.serve(control, few, stop.clone()));
    tasks.spawn(link::run(Arc::clone(&relay), stop.clone()));
    tasks.spawn(follow_keys(Arc::clone(&relay), stop.clone()));
    tasks.spawn(tick(Arc::clone(&relay), stop.clone()));
    tasks.spawn(tls::follow(tls, stop.clone()));

    let failed = tokio::select! {
        () = shutdown.cancelled() => false,
        Some(ended) = tasks.join_next() => {
            tracing::error!(?ended, "a part of the relay failed; draining");
            true
        }
    };
    drain(&relay, &closed).await;
    stop.cancel();
    let stopped = async { while tasks.join_next().await.is_some() {} };
    if timeout(STOP, stopped).await.is_err() {
        tracing::warn!("stopped without waiting for everything to end");
    }
    anyhow::ensure!(!failed, "a part of the relay failed");
    Ok(())
}

/// Waits for all sessions to end, and closes those that have not in time.
async fn drain(relay: &Relay, closed: &CancellationToken) {
    let stats = relay.report().borrow().stats.clone();
    tracing::info!(stats.sessions, stats.leases, stats.participants, "draining");
    relay.drain();
    let empty = async {
        while !relay.is_empty() {
            sleep(TICK / 10).await;
        }
    };
    let outcome = if timeout(relay.config.drain, empty).await.is_ok() { "empty" } else { "deadline" };
    relay.metrics.drains.with_label_values(&[outcome]).inc();
    tracing::info!(outcome, "drained");
    closed.cancel();
    relay.end_all(End::Draining);
    if timeout(FAREWELL, relay.connections.ended()).await.is_err() {
        tracing::info!(open = relay.connections.count(), "not every participant answered its close");
    }
}

async fn follow_keys(relay: Arc<Relay>, stop: CancellationToken) {
    let config = &relay.config;
    let follow = relay.keys.follow(&config.jwks_file, config.jwks_every, &relay.metrics, || relay.keys_changed());
    tokio::select! {
        () = follow => {}
        () = stop.cancelled() => {}
    }
}

async fn tick(relay: Arc<Relay>, stop: CancellationToken) {
    let ticks = async {
        loop {
            sleep(TICK).await;
            relay.tick();
        }
    };
    tokio::select! {
        () = ticks => {}
        () = stop.cancelled() => {}
    }
}

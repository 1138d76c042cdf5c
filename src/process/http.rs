//! Serving HTTP/1.1 with every limit set: connections in all and per address, those that have not said anything yet,
//! time to send a header, header size. Over TLS where [`Door::tls`] is set.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::metrics::Catalogue;
use super::peers::{Guard, PerAddress};
use super::tls::Tls;

/// Limits of one listening port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections in all; further ones wait in the backlog.
    pub connections: usize,
    /// Open connections of one address; further ones are closed at once.
    pub connections_per_ip: usize,
    /// Connections of one address on which no whole request has come yet, TLS included; further ones are closed at once.
    pub half_open_per_ip: usize,
    /// Time in which a client must have sent a request's header, and before it ended its TLS handshake.
    pub header_timeout: Duration,
    /// Bytes of a request's header.
    pub header_bytes: usize,
    /// How long open requests may go on after shutdown began.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 1_000,
            half_open_per_ip: 500,
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Settings of a public port. An address is an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Clone, Debug, clap::Args)]
pub struct PublicArgs {
    /// Connections to the public port in all, those that became WebSockets not counted; further ones wait.
    #[arg(long, env = "CONVENE_CONNECTIONS", default_value_t = 10_000, value_parser = positive)]
    pub connections: usize,
    /// Connections of one address to the public port, those that became WebSockets not counted; further ones are closed.
    #[arg(long, env = "CONVENE_CONNECTIONS_PER_ADDRESS", default_value_t = 1_000, value_parser = positive)]
    pub connections_per_address: usize,
    /// Connections of one address on which no whole request has come yet; further ones are closed.
    #[arg(long, env = "CONVENE_HALF_OPEN_PER_ADDRESS", default_value_t = 500, value_parser = positive)]
    pub half_open_per_address: usize,
    /// Seconds in which a client must have sent a request's header, and before that ended its TLS handshake.
    #[arg(long, env = "CONVENE_HEADER_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub header_seconds: u64,
    /// Certificate and key.
    #[command(flatten)]
    pub tls: super::tls::Args,
}

impl Default for PublicArgs {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            connections: limits.connections,
            connections_per_address: limits.connections_per_ip,
            half_open_per_address: limits.half_open_per_ip,
            header_seconds: limits.header_timeout.as_secs(),
            tls: super::tls::Args::default(),
        }
    }
}

impl PublicArgs {
    /// The limits that these settings say.
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.connections,
            connections_per_ip: self.connections_per_address,
            half_open_per_ip: self.half_open_per_address,
            header_timeout: Duration::from_secs(self.header_seconds),
            ..Limits::default()
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// What a public port has beyond its limits.
#[derive(Clone, Default)]
pub struct Door {
    /// Where connections are counted that end before their first request; nowhere if absent.
    pub refused: Option<IntCounterVec>,
    /// Speaks TLS only, with this certificate; plain if absent.
    pub tls: Option<Tls>,
    /// Whether somebody from this address is listened to at all; everybody is if absent. Asked before anything is done
    /// for a connection.
    pub listens_to: Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>,
    /// Whether this is the address of a proxy, behind which there are many: its connections count only among all.
    pub many_behind: Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl Door {
    /// Declares the counter of a process's public port.
    pub fn refused(catalogue: &mut Catalogue) -> IntCounterVec {
        catalogue.counters(
            "convene_http_connections_refused_total",
            "Connections to the public port that ended before a whole request had come. Closed at once: `rate` (too many attempts of one address), `address` (too many of one address), `half_open` (too many of one address that say nothing). Later: `header_timeout`, `bad_request` (no HTTP, or too large a header), `tls` (no TLS, or a handshake that failed or took too long).",
            &["reason"],
        )
    }

    fn refuse(&self, peer: SocketAddr, reason: &'static str) {
        tracing::debug!(%peer, reason, "connection refused");
        if let Some(refused) = &self.refused {
            refused.with_label_values(&[reason]).inc();
        }
    }
}

/// Serves `router` until `shutdown`, then lets open requests end within the grace time.
/// Handlers get the peer as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    serve_at(Door::default(), listener, router, limits, shutdown).await;
}

/// The same, at a public port.
pub async fn serve_at(door: Door, listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let slots = Arc::new(tokio::sync::Semaphore::new(limits.connections));
    let (open, half_open) = (PerAddress::new(limits.connections_per_ip), PerAddress::new(limits.half_open_per_ip));
    let tasks = TaskTracker::new();
    loop {
        let slot = tokio::select! {
            () = shutdown.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors and the like: wait instead of spinning.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        match let_in(&door, &open, &half_open, peer) {
            Err(reason) => door.refuse(peer, reason),
            Ok((guard, silent)) => {
                let connection =
                    Connection { peer, router: router.clone(), limits, door: door.clone(), shutdown: shutdown.clone() };
                tasks.spawn(async move {
                    connection.accept(stream, silent).await;
                    drop((guard, slot));
                });
            }
        }
        // A flood of connections is not a reason to leave all others waiting.
        tokio::task::yield_now().await;
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.shutdown_grace, tasks.wait()).await.is_err() {
        tracing::info!(open = tasks.len(), "closing connections that did not end in time");
    }
}

/// The places of a connection among those of its address, and among those of which nothing was heard yet; of an address
/// with many behind it there are none to take.
type Places = (Option<Guard>, Option<Guard>);

/// The places of a connection, or why it has none.
fn let_in(door: &Door, open: &PerAddress, half_open: &PerAddress, peer: SocketAddr) -> Result<Places, &'static str> {
    if door.listens_to.as_ref().is_some_and(|listens_to| !listens_to(peer.ip())) {
        return Err("rate");
    }
    if door.many_behind.as_ref().is_some_and(|many_behind| many_behind(peer.ip())) {
        return Ok((None, None));
    }
    let guard = open.enter(peer.ip()).ok_or("address")?;
    Ok((Some(guard), Some(half_open.enter(peer.ip()).ok_or("half_open")?)))
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    door: Door,
    shutdown: CancellationToken,
}

impl Connection {
    /// `silent` counts the connection among those that have not sent a request.
    async fn accept(self, stream: TcpStream, silent: Option<Guard>) {
        // Small frames must not wait for the other side's acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.door.tls else { return self.serve(stream, silent).await };
        let handshake = tokio::time::timeout(self.limits.header_timeout, tls.accept(stream));
        match self.shutdown.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => self.serve(stream, silent).await,
            Some(Ok(Err(_)) | Err(_)) => self.door.refuse(self.peer, "tls"),
            None => {}
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, silent: Option<Guard>) {
        let Self { peer, router, limits, door, shutdown } = self;
        let silent = Arc::new(Mutex::new(Some(silent)));
        let spoken = Arc::clone(&silent);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            spoken.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        let Err(error) = ended else { return };
        if silent.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            if error.is_timeout() {
                door.refuse(peer, "header_timeout");
            } else if error.is_parse() {
                door.refuse(peer, "bad_request");
            }
        }
        tracing::debug!(%peer, %error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: PublicArgs,
    }

    #[test]
    fn the_settings_default_to_the_limits_and_none_is_zero() {
        let parsed = Cli::parse_from(["x"]).args;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", PublicArgs::default()));
        assert_eq!(format!("{:?}", parsed.limits()), format!("{:?}", Limits::default()));
        for wrong in ["--connections=0", "--half-open-per-address=x", "--header-seconds=0", "--tls-cert=only.pem"] {
            assert!(Cli::try_parse_from(["x", wrong]).is_err(), "{wrong}");
        }
    }
}

//! Serving HTTP/1.1 with every limit set: connections in all and per address, time to send a header, header size.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Limits of one listening port.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections in all; further ones wait in the backlog.
    pub connections: usize,
    /// Open connections of one address; further ones are closed at once.
    pub connections_per_ip: usize,
    /// Time in which a client must have sent a request's header.
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
            header_timeout: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Serves `router` until `shutdown`, then lets open requests end within the grace time.
/// Handlers get the peer as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, shutdown: CancellationToken) {
    let slots = Arc::new(tokio::sync::Semaphore::new(limits.connections));
    let per_ip = PerIp::default();
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
        let Some(guard) = per_ip.enter(peer.ip(), limits.connections_per_ip) else { continue };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        tasks.spawn(async move {
            connection(stream, peer, router, limits, shutdown).await;
            drop((guard, slot));
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(limits.shutdown_grace, tasks.wait()).await.is_err() {
        tracing::info!(open = tasks.len(), "closing connections that did not end in time");
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: Limits, shutdown: CancellationToken) {
    // Small frames must not wait for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
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
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Open connections by address.
#[derive(Clone, Debug, Default)]
struct PerIp(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl PerIp {
    fn enter(&self, ip: IpAddr, most: usize) -> Option<PerIpGuard> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(ip).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(PerIpGuard { open: self.clone(), ip })
    }
}

struct PerIpGuard {
    open: PerIp,
    ip: IpAddr,
}

impl Drop for PerIpGuard {
    fn drop(&mut self) {
        let mut open = self.open.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_let_in_up_to_its_limit_and_forgotten_when_it_left() {
        let per_ip = PerIp::default();
        let ip = IpAddr::from([127, 0, 0, 1]);
        let first = per_ip.enter(ip, 2);
        let second = per_ip.enter(ip, 2);
        assert!(first.is_some() && second.is_some());
        assert!(per_ip.enter(ip, 2).is_none());
        assert!(per_ip.enter(IpAddr::from([127, 0, 0, 2]), 2).is_some());
        drop((first, second));
        assert!(per_ip.0.lock().expect("not poisoned").is_empty());
    }
}

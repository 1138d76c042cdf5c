//! The public port: `GET /s/{session}`. Checks who knocks, in an order that tells strangers nothing, and lets in.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::refusal::Refusal;
use super::state::{Membership, Relay};
use super::{connection, credentials};
use crate::decide::quota::PerKey;
use crate::process::clock;

/// Addresses whose attempts are remembered at a time.
const ADDRESSES: usize = 16 * 1024;
/// Bytes that a connection reads at a time. Each keeps so many also when idle, and there are many; it grows for the
/// time of a larger message.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Bytes that a connection collects before it writes; none are kept when idle.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug)]
struct Public {
    relay: Arc<Relay>,
    attempts: Arc<Mutex<PerKey<IpAddr>>>,
}

/// The routes of the public port.
pub(super) fn router(relay: Arc<Relay>) -> Router {
    let attempts = Arc::new(Mutex::new(PerKey::new(relay.config.attempts_per_address, ADDRESSES)));
    Router::new().route("/s/{session}", get(join)).with_state(Public { relay, attempts })
}

async fn join(
    State(public): State<Public>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    session: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match public.may_try(peer.ip()).and_then(|()| upgrade.map_err(|_| Refusal::NotWebSocket)) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return public.refuse(refusal),
    };
    match public.admit(session.ok().as_deref(), &headers, query.as_deref()) {
        Ok(membership) => accept(upgrade, &headers, membership),
        Err(refusal) => public.refuse(refusal),
    }
}

impl Public {
    fn may_try(&self, address: IpAddr) -> Result<(), Refusal> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.admits(network(address), clock::monotonic()) { Ok(()) } else { Err(Refusal::TooManyAttempts) }
    }

    fn admit(&self, session: Option<&String>, headers: &HeaderMap, query: Option<&str>) -> Result<Membership, Refusal> {
        let config = &self.relay.config;
        if !credentials::origin_allowed(headers, &config.allowed_origins) {
            return Err(Refusal::Origin);
        }
        let token = credentials::token(headers, query).ok_or(Refusal::NoToken)?;
        let keys = self.relay.keys.current();
        let claims = keys
            .verify_join(token, &config.lobby_uid, &self.relay.audience, clock::unix_seconds())
            .map_err(|_| Refusal::BadToken)?;
        if session != Some(&claims.sid) {
            return Err(Refusal::OtherSession);
        }
        self.relay.admit(&claims)
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        self.relay.metrics.refused(refusal.reason());
        refusal.into_response()
    }
}

fn accept(upgrade: WebSocketUpgrade, headers: &HeaderMap, membership: Membership) -> Response {
    let relay = membership.relay();
    let largest = relay.config.max_message_bytes;
    let mut upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        // One whole message beyond what is collected, and some control frames.
        .max_write_buffer_size(2 * WRITE_BUFFER_BYTES + largest)
        .max_message_size(largest)
        .max_frame_size(largest)
        .accept_unmasked_frames(false);
    if let Some(protocol) = credentials::subprotocol(headers) {
        upgrade.set_selected_protocol(protocol);
    }
    let task = relay.connections.token();
    // If the handshake fails the closure is dropped, and the membership with it.
    upgrade.on_upgrade(move |socket: WebSocket| async move {
        connection::run(socket, membership).await;
        drop(task);
    })
}

/// Whoever has one IPv6 address has the /64 around it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_together() {
        let network_of = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network_of("192.0.2.7"), "192.0.2.7");
        assert_eq!(network_of("::ffff:192.0.2.7"), "192.0.2.7");
    }
}

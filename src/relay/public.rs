//! The public port: `GET /s/{session}`, and probes. Checks who knocks, in an order that tells strangers nothing, and lets in.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use super::probe::Probes;
use super::refusal::Refusal;
use super::socket::Socket;
use super::state::{Membership, Relay};
use super::upgrade::Upgrade;
use super::{connection, credentials};
use crate::decide::quota::{PerKey, Rate};
use crate::decide::room::Mode;
use crate::process::clock;
use crate::process::http::Door;
use crate::process::peers::{Guard, PerAddress, network};
use crate::process::tls::Tls;
use crate::wire::relay::PROBE_PATH;

/// Addresses whose attempts are remembered at a time.
pub(super) const ADDRESSES: usize = 16 * 1024;

/// Attempts to connect, by address. Who has used up its rate is told so at a tenth of that rate; beyond that its
/// connections are closed unheard, since an answer costs several times what that does.
#[derive(Clone, Debug)]
struct Attempts(Arc<Mutex<Rates>>);

#[derive(Debug)]
struct Rates {
    attempts: PerKey<IpAddr>,
    answers: PerKey<IpAddr>,
}

impl Attempts {
    /// At most so many of one address.
    fn new(rate: Rate) -> Self {
        let answers = Rate { per_second: rate.per_second / 10.0, burst: (rate.burst / 10.0).max(1.0) };
        let [attempts, answers] = [rate, answers].map(|rate| PerKey::new(rate, ADDRESSES));
        Self(Arc::new(Mutex::new(Rates { attempts, answers })))
    }

    /// Takes one.
    fn admits(&self, address: IpAddr) -> bool {
        self.lock().attempts.admits(network(address), clock::monotonic())
    }

    /// Whether there is one to take.
    fn has_left(&self, address: IpAddr) -> bool {
        !self.lock().attempts.is_spent(&network(address), clock::monotonic())
    }

    /// Whether a new connection is worth listening to.
    fn listens_to(&self, address: IpAddr) -> bool {
        let (address, now) = (network(address), clock::monotonic());
        let mut rates = self.lock();
        !rates.attempts.is_spent(&address, now) || rates.answers.admits(address, now)
    }

    fn lock(&self) -> MutexGuard<'_, Rates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Public {
    relay: Arc<Relay>,
    attempts: Attempts,
    probes: Arc<Probes>,
    /// Participants by address.
    present: PerAddress,
}

/// The door and the routes of the public port.
pub(super) fn open(relay: &Arc<Relay>, tls: Option<Tls>) -> (Door, Router) {
    let relay = Arc::clone(relay);
    let attempts = Attempts::new(relay.config.attempts_per_address);
    let listening = attempts.clone();
    let door = Door {
        refused: Some(relay.metrics.connections_refused.clone()),
        tls,
        listens_to: Some(Arc::new(move |address| listening.listens_to(address))),
        ..Door::default()
    };
    let probes = Arc::new(Probes::new(&relay.config));
    let present = PerAddress::new(relay.config.participants_per_address);
    let routes = Router::new().route("/s/{session}", get(join)).route(PROBE_PATH, get(probe)).fallback(elsewhere);
    (door, routes.with_state(Public { relay, attempts, probes, present }))
}

/// Tells nothing but how far it is to this relay, however full it is or whether it is to leave. One that is refused is an
/// attempt like any other.
async fn probe(
    State(public): State<Public>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let peer = peer.ip();
    if !public.attempts.has_left(peer) {
        return public.refuse(Refusal::TooManyAttempts);
    }
    let token = credentials::token(&headers, query.as_deref());
    match public.probes.answer(&public.relay, peer, token).await {
        Ok(answer) => answer,
        Err(refusal) => public.refuse(public.may_try(peer).err().unwrap_or(refusal)),
    }
}

async fn join(
    State(public): State<Public>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    session: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    upgrade: Result<Upgrade, Refusal>,
) -> Response {
    let upgrade = match public.may_try(peer.ip()).and(upgrade) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return public.refuse(refusal),
    };
    let protocol = credentials::subprotocol(&headers);
    let mode = credentials::mode(protocol.as_ref());
    let admit = || public.admit(peer.ip(), session.ok().as_deref(), &headers, query.as_deref(), mode);
    match public.relay.turns.take(admit).await {
        Ok((membership, present)) => accept(upgrade, protocol, membership, present),
        Err(refusal) => public.refuse(refusal),
    }
}

/// Whatever is no session's path: an attempt like any other, so that asking for it is no way around the rate.
async fn elsewhere(State(public): State<Public>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    public.refuse(public.may_try(peer.ip()).err().unwrap_or(Refusal::NotFound))
}

impl Public {
    fn may_try(&self, address: IpAddr) -> Result<(), Refusal> {
        if self.attempts.admits(address) { Ok(()) } else { Err(Refusal::TooManyAttempts) }
    }

    fn admit(
        &self,
        peer: IpAddr,
        session: Option<&String>,
        headers: &HeaderMap,
        query: Option<&str>,
        mode: Mode,
    ) -> Result<(Membership, Guard), Refusal> {
        let config = &self.relay.config;
        if !credentials::origin_allowed(headers, &config.allowed_origins) {
            return Err(Refusal::Origin);
        }
        let token = credentials::token(headers, query).ok_or(Refusal::NoToken)?;
        let keys = self.relay.keys.current();
        let issuer = config.lobby_uid.clone().or_else(|| self.relay.issuer()).ok_or(Refusal::BadToken)?;
        let claims = keys
            .verify
            .verify_join(token, &issuer, &self.relay.audience, clock::unix_seconds())
            .map_err(|_| Refusal::BadToken)?;
        if session != Some(&claims.sid) {
            return Err(Refusal::OtherSession);
        }
        // Only whoever has a good token learns that others of its address are here, and only for now: the token stays good.
        let present = self.present.enter(peer).ok_or(Refusal::TooManyOfAddress)?;
        Ok((self.relay.admit(claims, mode)?, present))
    }

    fn refuse(&self, refusal: Refusal) -> Response {
        self.relay.metrics.refused(refusal.reason());
        refusal.into_response()
    }
}

fn accept(upgrade: Upgrade, protocol: Option<HeaderValue>, membership: Membership, present: Guard) -> Response {
    let relay = Arc::clone(membership.relay());
    let (answer, socket) = upgrade.accept(protocol);
    // If the handshake fails, the membership goes.
    relay.connections.spawn(async move {
        if let Ok(socket) = socket.await {
            let (socket, read) = Socket::new(socket);
            connection::run(socket, read, membership).await;
        }
        drop(present);
    });
    answer
}

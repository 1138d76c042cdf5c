//! What the session book is made of and what it hands out: values without behaviour of their own.

use std::time::Duration;

use crate::decide::route::Placement;
use crate::wire::claims::audience;
use crate::wire::session::{ClientPlace, GeoPoint, SessionState, SessionView};
use crate::wire::table::{PoolEntry, RelayEntry};

/// How long the book waits beyond a lease for a claim that is under way.
pub const LEASE_GRACE: Duration = Duration::from_secs(2);

/// Bounds of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions; live ones that relays return on link-up are taken beyond it.
    pub sessions: usize,
    /// Idempotency keys; the oldest is forgotten for a new one.
    pub keys: usize,
    /// How long a seat is kept for a session that nobody has claimed.
    pub lease: Duration,
    /// How long an idempotency key is known.
    pub key_life: Duration,
    /// How long the answer under it, with its secrets, is kept.
    pub answer_life: Duration,
    /// A relay that was not heard for so long gets no new sessions, and loses those that somebody joins.
    pub silent: Duration,
    /// How long sessions of a lost relay, and closed sessions, are remembered.
    pub orphan: Duration,
}

/// A run of a relay, with all that is needed to send somebody there.
#[derive(Clone, Debug, PartialEq)]
pub struct Home {
    /// UID of its Pod.
    pub pod_uid: String,
    /// Name of this run of its process.
    pub boot_id: String,
    /// Its pool.
    pub pool: String,
    /// The pool's region.
    pub region: String,
    /// The relay's name.
    pub relay: String,
    /// WebSocket base URL for clients.
    pub url: String,
    /// Where it is.
    pub point: GeoPoint,
}

impl Home {
    /// Audience of tokens for it.
    pub fn audience(&self) -> String {
        audience(&self.pod_uid, &self.boot_id)
    }

    pub(super) fn of(pool: &PoolEntry, relay: &RelayEntry, boot_id: &str) -> Self {
        Self {
            pod_uid: relay.pod_uid.clone(),
            boot_id: boot_id.to_owned(),
            pool: pool.name.clone(),
            region: pool.region.clone(),
            relay: relay.name.clone(),
            url: relay.url.clone(),
            point: GeoPoint { latitude: pool.latitude, longitude: pool.longitude },
        }
    }
}

/// Hashes of a session's two secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretHashes {
    /// Of the host token.
    pub host_token: String,
    /// Of the join key.
    pub join_key: String,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// When it was created, seconds since 1970.
    pub created_at: i64,
    /// Raised by each move.
    pub epoch: u64,
    /// Whether somebody has connected.
    pub state: SessionState,
    /// What its secrets are checked against.
    pub secrets: SecretHashes,
    /// Where its host is, as far as that was told.
    pub place: ClientPlace,
    /// Where it lives.
    pub home: Home,
    /// Its relay has lost it: whoever joins next moves it.
    pub(super) homeless: bool,
    /// When it ends unless something happens; none while it is open on a relay.
    pub(super) ends_at: Option<Duration>,
}

impl Session {
    /// What is told about it.
    pub fn view(&self) -> SessionView {
        SessionView {
            id: self.id.clone(),
            created_at: self.created_at,
            epoch: self.epoch,
            region: self.home.region.clone(),
            relay: self.home.relay.clone(),
            state: self.state,
        }
    }
}

/// What a relay must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// UID of its Pod.
    pub pod_uid: String,
    /// The session.
    pub session: String,
    /// Its epoch.
    pub epoch: u64,
    /// To keep a seat for it, or to close it.
    pub kind: OrderKind,
}

/// Kinds of orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Keep a seat and the session's record.
    Hold,
    /// Close the session, up to the epoch.
    Close,
}

/// A session to be created; ids and hashes are given, the book is not random.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Its id.
    pub id: String,
    /// Hashes of its secrets.
    pub secrets: SecretHashes,
    /// When, in seconds since 1970.
    pub created_at: i64,
    /// Where its host is.
    pub place: ClientPlace,
}

/// Why a session has no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// No relay is linked.
    #[error("no relay is linked")]
    NoRelay,
    /// No relay has room.
    #[error("no relay has room")]
    NoCapacity,
    /// The book is full.
    #[error("too many sessions")]
    TooManySessions,
    /// There is no such session.
    #[error("no such session")]
    Unknown,
}

/// A session that was created or joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    /// The session, with its home.
    pub session: Session,
    /// How it was placed; absent where it stayed.
    pub placement: Option<Placement>,
    /// What relays must be told.
    pub orders: Vec<Order>,
}

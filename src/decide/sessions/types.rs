//! What the session book is made of and what it hands out: values without behaviour of their own.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::claims::audience;
use crate::wire::session::{ClientPlace, GeoPoint, SessionCreated, SessionState, SessionView};
use crate::wire::table::{PoolEntry, RelayEntry};

use super::{Party, Recall};

/// How long the book waits beyond a lease for a claim that is under way.
pub const LEASE_GRACE: Duration = Duration::from_secs(2);

/// Up to which a session is closed that nobody knows. Small enough to be a number wherever orders pass.
pub const EVERY_EPOCH: u64 = u32::MAX as u64;

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

    /// The home that a run of a relay of the table is.
    pub fn of(pool: &PoolEntry, relay: &RelayEntry, boot_id: &str) -> Self {
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

/// A relay's dial, numbered by the store before the relay is answered. What the relay says comes after the answer, so a
/// later run of it, and a later link of the same run, has a higher number, however late each word of theirs arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Higher than those of all earlier dials.
    pub number: u64,
    /// The incarnation of the store that gave it; in another, nobody knows what it comes after.
    pub store: String,
}

/// A hello that came later than the hello of a later dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outrun;

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
    /// What people call it.
    pub name: Option<String>,
    /// When it was created, seconds since 1970.
    pub created_at: i64,
    /// Raised by each move.
    pub epoch: u64,
    /// Whether somebody has connected.
    pub state: SessionState,
    /// What its secrets are checked against.
    pub secrets: SecretHashes,
    /// Whether its host is asked before a guest comes in.
    pub approval: bool,
    /// Where its host is, as far as that is known.
    pub place: ClientPlace,
    /// Where guests of it are, as far as that is known.
    pub parties: Vec<Party>,
    /// When it moved last, in seconds since 1970; 0 = not since it began, as far as is known.
    pub moved_at: i64,
    /// Where it lives.
    pub home: Home,
    /// Its relay has lost it: whoever joins next moves it.
    pub homeless: bool,
    /// How many participants have come to where it lives now, as far as relays tell; not counted before its first move.
    pub came: u32,
    /// When it ends unless something happens, by the store's clock; none while it is open on a relay.
    pub ends_at: Option<Duration>,
}

impl Session {
    /// A new session at a relay, under its first epoch.
    pub fn begin(new: NewSession, home: Home) -> Self {
        let NewSession { id, name, secrets, approval, created_at, place } = new;
        let (epoch, state) = (1, SessionState::Leased);
        Self {
            id,
            name,
            created_at,
            epoch,
            state,
            secrets,
            approval,
            place,
            parties: Vec::new(),
            moved_at: 0,
            home,
            homeless: false,
            came: 0,
            ends_at: None,
        }
    }

    /// The session after a move to `home`, in seconds since 1970. Its guests are on their way there; those that never came
    /// are forgotten.
    #[must_use]
    pub fn moved(self, home: Home, at: i64) -> Self {
        let (epoch, state) = (self.epoch + 1, SessionState::Leased);
        let there = self.parties.into_iter().filter(|guest| guest.may_be_there(at));
        let parties = there.map(|guest| Party { since: at, here: false, ..guest }).collect();
        Self { epoch, state, home, parties, moved_at: at, homeless: false, came: 0, ends_at: None, ..self }
    }

    /// What is told about it.
    pub fn view(&self) -> SessionView {
        SessionView {
            id: self.id.clone(),
            name: self.name.clone(),
            created_at: self.created_at,
            epoch: self.epoch,
            approval: self.approval,
            region: self.home.region.clone(),
            relay: self.home.relay.clone(),
            state: self.state,
        }
    }
}

/// What a run of a relay must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// UID of its Pod.
    pub pod_uid: String,
    /// Name of the run; another run of that Pod is not meant.
    pub boot_id: String,
    /// The session; nothing where the relay itself is meant.
    pub session: String,
    /// Its epoch.
    pub epoch: u64,
    /// What to do with it.
    pub kind: OrderKind,
}

/// Kinds of orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Keep a seat and the session's record, which is made of this.
    Hold(Box<Facts>),
    /// Somebody joins a session whose seat was kept: its lease starts anew.
    Renew,
    /// Close the session, up to the epoch.
    Close,
    /// The session lives elsewhere now: send its members back to the lobby and forget it, up to the epoch.
    Move,
    /// The relay is to leave.
    Leave,
    /// The relay is to stay after all.
    Stay,
}

impl OrderKind {
    /// In one word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Hold(_) => "hold",
            Self::Renew => "renew",
            Self::Close => "close",
            Self::Move => "move",
            Self::Leave => "leave",
            Self::Stay => "stay",
        }
    }
}

/// What stays the same of a session, wherever it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What its secrets are checked against.
    pub secrets: SecretHashes,
    /// Whether its host is asked before a guest comes in.
    pub approval: bool,
    /// When it was created, seconds since 1970.
    pub created_at: i64,
}

/// A session to be created; ids and hashes are given, the book is not random.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSession {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// Hashes of its secrets.
    pub secrets: SecretHashes,
    /// Whether its host is asked before a guest comes in.
    pub approval: bool,
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

/// A session that is to begin at a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// The session, under its first epoch.
    pub session: Session,
    /// Seats of the relay by the plan.
    pub capacity: u32,
    /// The idempotency key of the request, if it has one.
    pub keyed: Option<Keyed>,
}

/// An answer and the key under which it is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// Hash of the idempotency key.
    pub key: String,
    /// Hash of the request.
    pub request: String,
    /// The answer.
    pub answer: SessionCreated,
}

/// A session that is to move.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// The session.
    pub id: String,
    /// The epoch that it must have now.
    pub from: u64,
    /// Where it goes, under the next epoch.
    pub home: Home,
    /// Seats of that relay by the plan.
    pub capacity: u32,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// Why the store has not granted.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// The request was answered before.
    Answered(Recall),
    /// There is no room at this relay, or it takes no sessions (any more): look again and choose another.
    NotThere,
    /// The session has changed meanwhile: look again.
    Changed,
    /// There is no such session.
    Unknown,
    /// There are as many sessions as there may be.
    TooManySessions,
}

/// What is known of a session id.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// It lives.
    Live(Box<Session>),
    /// It was closed not long ago: closing it again with this hash of a host token is no error.
    Closed {
        /// Hash of the host token.
        host_token: String,
    },
    /// Nothing.
    Nothing,
}

/// What a sweep has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Leases that ran out.
    pub expired: usize,
    /// Sessions that nobody has connected to yet.
    pub leased: usize,
    /// Sessions that somebody has connected to.
    pub open: usize,
}

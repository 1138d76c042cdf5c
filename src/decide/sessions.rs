//! The session book: which session lives on which relay, which seats are taken, and what must be told to whom.
//!
//! The heart of the memory store. Every change is one call with the time as a value; what follows for relays comes back
//! as [`Order`]s, in the order in which they must be sent. It checks no secrets (it keeps their hashes for those who do),
//! signs nothing and makes no ids: they are given.
//!
//! What holds after every call: a session has one home, at its highest epoch; a relay is given no session unless
//! `max(reported, held)` is below its seats; a seat that nobody claims returns with its lease.

mod answers;
mod links;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::route::{self, Chosen, Placement, Pool, Relay, RelayState};
use crate::wire::claims::audience;
use crate::wire::session::{ClientPlace, GeoPoint, SessionState, SessionView};
use crate::wire::stats::RelayStats;
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

use answers::Answers;
pub use answers::Recall;
pub use links::LinkUp;

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

    fn of(pool: &PoolEntry, relay: &RelayEntry, boot_id: &str) -> Self {
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
    homeless: bool,
    /// When it ends unless something happens; none while it is open on a relay.
    ends_at: Option<Duration>,
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

/// A run of a relay, as the book knows it.
#[derive(Clone, Debug)]
struct Run {
    boot_id: String,
    /// Its link; none while there is none.
    link: Option<u64>,
    heard: Duration,
    stats: RelayStats,
    held: HashSet<String>,
}

/// A session that was closed on purpose: no relay brings it back.
#[derive(Clone, Debug)]
struct Closed {
    epoch: u64,
    host_token_hash: String,
}

/// The book.
#[derive(Clone, Debug)]
pub struct Book {
    limits: Limits,
    sessions: HashMap<String, Session>,
    /// By age, for listing.
    order: BTreeSet<(i64, String)>,
    /// By the time at which they end.
    deadlines: BTreeSet<(Duration, String)>,
    /// By UID of the Pod.
    runs: HashMap<String, Run>,
    closed: HashMap<String, Closed>,
    closed_until: VecDeque<(Duration, String)>,
    answers: Answers,
}

impl Book {
    /// An empty book.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: HashMap::new(),
            order: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            runs: HashMap::new(),
            closed: HashMap::new(),
            closed_until: VecDeque::new(),
            answers: Answers::new(limits.keys, limits.key_life, limits.answer_life),
        }
    }

    /// Creates a session where there is room.
    pub fn create(&mut self, table: &RelayTable, new: NewSession, now: Duration) -> Result<Granted, NoSeat> {
        if self.sessions.len() >= self.limits.sessions || self.sessions.contains_key(&new.id) {
            return Err(NoSeat::TooManySessions);
        }
        let (placement, home) = self.find_home(table, &new.place, now)?;
        let NewSession { id, secrets, created_at, place } = new;
        let session = Session {
            id,
            created_at,
            epoch: 1,
            state: SessionState::Leased,
            secrets,
            place,
            home,
            homeless: false,
            ends_at: None,
        };
        let orders = vec![hold(&session)];
        self.insert(session.clone(), Some(now + self.limits.lease + LEASE_GRACE));
        Ok(Granted { session, placement: Some(placement), orders })
    }

    /// Lets somebody join a session: where it lives, or, when its relay is lost, where there is room, under the next epoch.
    pub fn join(&mut self, table: &RelayTable, id: &str, now: Duration) -> Result<Granted, NoSeat> {
        let session = self.sessions.get(id).ok_or(NoSeat::Unknown)?;
        if !self.serves(session, now) {
            return self.replace(table, id, now);
        }
        let mut orders = Vec::new();
        if session.state == SessionState::Leased {
            // Whoever got a token must find a seat: the lease starts anew, here and on the relay.
            orders.push(hold(session));
            self.set_deadline(id, Some(now + self.limits.lease + LEASE_GRACE));
        }
        let session = self.sessions.get_mut(id).ok_or(NoSeat::Unknown)?;
        if let Some((pool, relay)) = find(table, &session.home.pod_uid) {
            // Its address may have changed.
            session.home = Home::of(pool, relay, &session.home.boot_id);
        }
        Ok(Granted { session: session.clone(), placement: None, orders })
    }

    fn replace(&mut self, table: &RelayTable, id: &str, now: Duration) -> Result<Granted, NoSeat> {
        let session = self.sessions.get(id).ok_or(NoSeat::Unknown)?;
        let place = if session.place == ClientPlace::default() {
            // Not told, or forgotten with a restart: near where it was.
            ClientPlace { location: Some(session.home.point), ..ClientPlace::default() }
        } else {
            session.place.clone()
        };
        let (placement, home) = self.find_home(table, &place, now)?;
        let mut session = self.take(id).ok_or(NoSeat::Unknown)?;
        let mut orders: Vec<Order> = self.close_order(&session).into_iter().collect();
        session.epoch += 1;
        session.state = SessionState::Leased;
        session.home = home;
        session.homeless = false;
        orders.push(hold(&session));
        self.insert(session.clone(), Some(now + self.limits.lease + LEASE_GRACE));
        Ok(Granted { session, placement: Some(placement), orders })
    }

    /// Closes a session for good.
    pub fn close(&mut self, id: &str, now: Duration) -> Vec<Order> {
        let Some(session) = self.take(id) else { return Vec::new() };
        let order = self.close_order(&session);
        if self.closed.len() >= self.limits.sessions
            && let Some((_, oldest)) = self.closed_until.pop_front()
        {
            self.closed.remove(&oldest);
        }
        self.closed_until.push_back((now + self.limits.orphan, session.id.clone()));
        let closed = Closed { epoch: session.epoch, host_token_hash: session.secrets.host_token };
        self.closed.insert(session.id, closed);
        order.into_iter().collect()
    }

    /// A session.
    pub fn get(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// Hash of the host token of a session that was closed not long ago: closing it again is no error.
    pub fn closed_host_token(&self, id: &str) -> Option<&str> {
        self.closed.get(id).map(|closed| closed.host_token_hash.as_str())
    }

    /// Up to `limit` sessions that come after `after` (creation time and id), oldest first.
    pub fn page(&self, after: Option<&(i64, String)>, limit: usize) -> Vec<&Session> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.order.range::<(i64, String), _>((from, Bound::Unbounded)).take(limit);
        keys.filter_map(|(_, id)| self.sessions.get(id)).collect()
    }

    /// The answers that were given under idempotency keys.
    pub fn recall(&self, key: &str, request: &str, now: Duration) -> Recall {
        self.answers.recall(key, request, now, |session| self.sessions.contains_key(session))
    }

    /// Remembers the answer to a request under its key.
    pub fn remember(
        &mut self,
        key: String,
        request: String,
        answer: crate::wire::session::SessionCreated,
        now: Duration,
    ) {
        self.answers.remember(key, request, answer, now);
    }

    /// Ends what is over: leases, sessions of lost relays, keys. Returns how many leases ran out.
    pub fn sweep(&mut self, now: Duration) -> usize {
        let mut expired = 0;
        while let Some((at, id)) = self.deadlines.first().cloned()
            && at <= now
        {
            self.deadlines.remove(&(at, id.clone()));
            let ended = self.take(&id);
            expired += usize::from(ended.is_some_and(|session| session.state == SessionState::Leased));
        }
        while let Some((until, _)) = self.closed_until.front()
            && *until <= now
        {
            if let Some((_, id)) = self.closed_until.pop_front() {
                self.closed.remove(&id);
            }
        }
        self.sweep_runs(now);
        self.answers.sweep(now);
        expired
    }

    /// All pools of `table` as placement sees them.
    pub fn pools<'a>(&'a self, table: &'a RelayTable, now: Duration) -> Vec<Pool<'a>> {
        let relay = |entry: &'a RelayEntry| {
            let run = self.runs.get(&entry.pod_uid);
            Relay {
                name: &entry.name,
                state: self.state(entry, run, now),
                // Both the plan and the relay bind.
                capacity: run.map_or(entry.capacity, |run| run.stats.capacity.min(entry.capacity)),
                used: run.map_or(0, used),
            }
        };
        let pool = |entry: &'a PoolEntry| Pool {
            name: &entry.name,
            region: &entry.region,
            point: GeoPoint { latitude: entry.latitude, longitude: entry.longitude },
            relays: entry.relays.iter().map(relay).collect(),
        };
        table.pools.iter().map(pool).collect()
    }

    /// How many sessions there are: leased, open.
    pub fn counts(&self) -> (usize, usize) {
        let leased = self.sessions.values().filter(|session| session.state == SessionState::Leased).count();
        (leased, self.sessions.len() - leased)
    }

    fn find_home(&self, table: &RelayTable, place: &ClientPlace, now: Duration) -> Result<(Placement, Home), NoSeat> {
        let placement = route::place(&self.pools(table, now), place);
        let home = placement.chosen.and_then(|Chosen { pool, relay, rung: _ }| {
            let pool = table.pools.get(pool)?;
            let relay = pool.relays.get(relay)?;
            let run = self.runs.get(&relay.pod_uid)?;
            Some(Home::of(pool, relay, &run.boot_id))
        });
        match home {
            Some(home) => Ok((placement, home)),
            None if self.runs.values().any(|run| run.link.is_some()) => Err(NoSeat::NoCapacity),
            None => Err(NoSeat::NoRelay),
        }
    }

    fn state(&self, entry: &RelayEntry, run: Option<&Run>, now: Duration) -> RelayState {
        let Some(run) = run.filter(|run| run.link.is_some()) else { return RelayState::NotLinked };
        if entry.cordoned || run.stats.draining {
            RelayState::Cordoned
        } else if self.is_silent(run, now) {
            RelayState::Silent
        } else if entry.url.is_empty() {
            RelayState::NoAddress
        } else {
            RelayState::Serving
        }
    }

    fn is_silent(&self, run: &Run, now: Duration) -> bool {
        now.saturating_sub(run.heard) > self.limits.silent
    }

    /// Whether somebody can be sent to a session's home. A link may be away for as long as a relay may be silent.
    fn serves(&self, session: &Session, now: Duration) -> bool {
        let run = self.runs.get(&session.home.pod_uid);
        !session.homeless && run.is_some_and(|run| run.boot_id == session.home.boot_id && !self.is_silent(run, now))
    }

    fn close_order(&self, session: &Session) -> Option<Order> {
        let run = self.runs.get(&session.home.pod_uid)?;
        (run.link.is_some() && run.boot_id == session.home.boot_id).then(|| close(session, session.epoch))
    }

    fn insert(&mut self, mut session: Session, ends_at: Option<Duration>) {
        session.ends_at = ends_at;
        if let Some(at) = ends_at {
            self.deadlines.insert((at, session.id.clone()));
        }
        if let Some(run) = self.runs.get_mut(&session.home.pod_uid)
            && run.boot_id == session.home.boot_id
        {
            run.held.insert(session.id.clone());
        }
        self.order.insert((session.created_at, session.id.clone()));
        self.sessions.insert(session.id.clone(), session);
    }

    fn take(&mut self, id: &str) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        self.order.remove(&(session.created_at, session.id.clone()));
        if let Some(at) = session.ends_at {
            self.deadlines.remove(&(at, session.id.clone()));
        }
        if let Some(run) = self.runs.get_mut(&session.home.pod_uid) {
            run.held.remove(id);
        }
        Some(session)
    }

    fn set_deadline(&mut self, id: &str, ends_at: Option<Duration>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(at) = session.ends_at.take() {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        session.ends_at = ends_at;
        if let Some(at) = ends_at {
            self.deadlines.insert((at, id.to_owned()));
        }
    }
}

/// Seats taken on a relay: what it reports and what was granted there since, whichever is more.
fn used(run: &Run) -> u32 {
    let held = u32::try_from(run.held.len()).unwrap_or(u32::MAX);
    run.stats.sessions.saturating_add(run.stats.leases).max(held)
}

fn hold(session: &Session) -> Order {
    order(session, session.epoch, OrderKind::Hold)
}

fn close(session: &Session, epoch: u64) -> Order {
    order(session, epoch, OrderKind::Close)
}

fn order(session: &Session, epoch: u64, kind: OrderKind) -> Order {
    Order { pod_uid: session.home.pod_uid.clone(), session: session.id.clone(), epoch, kind }
}

/// The relay of a Pod, and its pool.
pub fn find<'a>(table: &'a RelayTable, pod_uid: &str) -> Option<(&'a PoolEntry, &'a RelayEntry)> {
    table.pools.iter().find_map(|pool| {
        let relay = pool.relays.iter().find(|relay| relay.pod_uid == pod_uid)?;
        Some((pool, relay))
    })
}

#[cfg(test)]
mod tests;

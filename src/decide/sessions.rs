//! The session book: which session lives on which relay, which seats are taken, and what must be told to whom.
//!
//! The heart of the memory store. Every change is one call with the time as a value; what follows for relays comes back
//! as [`Order`]s, in the order in which they must be sent. It checks no secrets (it keeps their hashes for those who do),
//! signs nothing and makes no ids: they are given.
//!
//! What holds after every call: a session has one home, at its highest epoch; a relay is given no session unless
//! `max(reported, held)` is below its seats; a seat that nobody claims returns with its lease.

mod answers;
mod homes;
mod links;
mod types;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::wire::session::{ClientPlace, SessionCreated, SessionState};
use crate::wire::stats::RelayStats;
use crate::wire::table::RelayTable;

use answers::Answers;
pub use answers::Recall;
pub use homes::find;
pub use links::LinkUp;
pub use types::{Granted, Home, LEASE_GRACE, Limits, NewSession, NoSeat, Order, OrderKind, SecretHashes, Session};

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
    pub fn remember(&mut self, key: String, request: String, answer: SessionCreated, now: Duration) {
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

    /// How many sessions there are: leased, open.
    pub fn counts(&self) -> (usize, usize) {
        let leased = self.sessions.values().filter(|session| session.state == SessionState::Leased).count();
        (leased, self.sessions.len() - leased)
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

fn hold(session: &Session) -> Order {
    order(session, session.epoch, OrderKind::Hold)
}

fn close(session: &Session, epoch: u64) -> Order {
    order(session, epoch, OrderKind::Close)
}

fn order(session: &Session, epoch: u64, kind: OrderKind) -> Order {
    Order { pod_uid: session.home.pod_uid.clone(), session: session.id.clone(), epoch, kind }
}

#[cfg(test)]
mod tests;

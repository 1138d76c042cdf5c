//! The session book: which session lives on which relay, which seats are taken, and what must be told to whom.
//!
//! The whole of the memory store, and what the Redis store must do alike. Where a session goes is chosen outside, by a
//! [`View`]; the book only grants or refuses. Every change is one call with the time as a value; what follows for relays
//! comes back as [`Order`]s, in the order in which they must be sent. It checks no secrets (it keeps their hashes for
//! those who do), signs nothing and makes no ids: they are given.
//!
//! What holds after every call: a session has one home, at its highest epoch; a relay is given no session unless
//! `max(reported, held)` is below its seats; a seat that nobody claims returns with its lease.

mod answers;
mod board;
mod guests;
mod links;
mod parties;
mod placing;
mod relays;
mod remote;
mod target;
mod types;
mod view;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::wire::session::SessionState;
use crate::wire::stats::RelayStats;

use answers::Answers;
pub use answers::Recall;
pub use board::{Asked, Board};
use guests::Guests;
pub use guests::in_order;
pub use guests::{APPROVED_LIFE, MAX_GUESTS, MAX_WAITING, NotAsked, REFUSED_LIFE, Seen, WAITING_LIFE};
pub use links::LinkUp;
pub use parties::{MAX_PLACES, ON_THE_WAY, Party, Present, REST, kept};
pub use placing::Try;
pub use relays::{Named, NotOne};
pub use remote::{is_of, remote_pools};
pub use target::{NoMove, Target};
pub use types::{
    Dial, EVERY_EPOCH, Facts, Grant, Home, Keyed, Known, LEASE_GRACE, Limits, NewSession, NoSeat, Order, OrderKind,
    Outrun, Refused, SecretHashes, Session, Shift, Swept,
};
pub use view::{Choice, RunView, Standing, View, find, readdressed};

/// A run of a relay, as the book knows it.
#[derive(Clone, Debug)]
struct Run {
    boot_id: String,
    home: Arc<Home>,
    /// Its link; none while there is none.
    link: Option<u64>,
    /// Number of the dial of its last hello.
    dial: u64,
    heard: Duration,
    stats: RelayStats,
    held: HashSet<String>,
    keys: Vec<String>,
    /// Orders to hold a session over this link.
    holds: u64,
    /// Sessions that it was told to hold and has not reported since, with the number of the last such order.
    in_flight: HashMap<String, u64>,
}

impl Run {
    fn view(&self, now: Duration) -> RunView {
        RunView {
            boot_id: self.boot_id.clone(),
            home: Some(Arc::clone(&self.home)),
            linked: self.link.is_some(),
            told: true,
            silence: now.saturating_sub(self.heard),
            stats: self.stats.clone(),
            held: count(self.held.len()),
            in_flight: count(self.in_flight.len()),
            keys: self.keys.clone(),
        }
    }
}

/// A session that was closed on purpose: no relay brings it back.
#[derive(Clone, Debug)]
struct Closed {
    until: Duration,
    epoch: u64,
    host_token_hash: String,
}

/// The book.
#[derive(Clone, Debug)]
pub struct Book {
    limits: Limits,
    began: Duration,
    /// Number of the last dial.
    dials: u64,
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
    guests: Guests,
}

impl Book {
    /// A book that is empty and begins now.
    pub fn new(limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            began: now,
            dials: 0,
            sessions: HashMap::new(),
            order: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            runs: HashMap::new(),
            closed: HashMap::new(),
            closed_until: VecDeque::new(),
            answers: Answers::new(limits.keys, limits.key_life, limits.answer_life),
            guests: Guests::default(),
        }
    }

    /// All relays as placement needs them.
    pub fn view(&self, now: Duration) -> View {
        let runs = self.runs.iter().map(|(pod_uid, run)| (pod_uid.clone(), run.view(now))).collect();
        View { runs, age: now.saturating_sub(self.began), silent: self.limits.silent }
    }

    /// The keys that a run of a relay said it has; none if it is not here.
    pub fn keys_of(&self, home: &Home) -> &[String] {
        let run = self.runs.get(&home.pod_uid).filter(|run| run.boot_id == home.boot_id);
        run.map_or(&[], |run| &run.keys)
    }

    /// Begins a session at its home, and remembers the answer under the request's key, or does neither.
    pub fn grant(&mut self, grant: Grant, now: Duration) -> Result<(Session, Vec<Order>), Refused> {
        let Grant { session, capacity, keyed } = grant;
        if let Some(Keyed { key, request, answer: _ }) = &keyed {
            match self.recall(key, request, now) {
                Recall::New => {}
                known => return Err(Refused::Answered(known)),
            }
        }
        if self.sessions.len() >= self.limits.sessions || self.sessions.contains_key(&session.id) {
            return Err(Refused::TooManySessions);
        }
        if !self.takes(&session.home, capacity, now) {
            return Err(Refused::NotThere);
        }
        let session = self.lease(session, now);
        if let Some(Keyed { key, request, answer }) = keyed {
            self.answers.remember(key, request, answer, now);
        }
        let order = self.hold(&session);
        Ok((session, vec![order]))
    }

    /// Moves a session, if it still has the epoch that the mover knows.
    pub fn shift(&mut self, shift: Shift, now: Duration) -> Result<(Session, Vec<Order>), Refused> {
        let Shift { id, from, home, capacity, at } = shift;
        let session = self.sessions.get(&id).ok_or(Refused::Unknown)?;
        if session.epoch != from {
            return Err(Refused::Changed);
        }
        if !self.takes(&home, capacity, now) {
            return Err(Refused::NotThere);
        }
        let before = self.take(&id).ok_or(Refused::Unknown)?;
        let leave = self.order_if_linked(&before, OrderKind::Move);
        let session = self.lease(before.moved(home, at), now);
        let orders = std::iter::once(self.hold(&session)).chain(leave).collect();
        Ok((session, orders))
    }

    /// Somebody joins a session where it is: whoever got a token must find a seat, so its lease starts anew, here and on
    /// the relay.
    pub fn renew(&mut self, id: &str, epoch: u64, now: Duration) -> Result<(Session, Vec<Order>), Refused> {
        let session = self.sessions.get(id).ok_or(Refused::Unknown)?;
        if session.epoch != epoch || session.homeless {
            return Err(Refused::Changed);
        }
        if session.state == SessionState::Open {
            return Ok((session.clone(), Vec::new()));
        }
        let order = order(session, OrderKind::Renew);
        self.set_deadline(id, Some(now + self.limits.lease + LEASE_GRACE));
        let session = self.sessions.get(id).ok_or(Refused::Unknown)?;
        Ok((session.clone(), vec![order]))
    }

    /// Gives a session another name.
    pub fn rename(&mut self, id: &str, name: String) -> Result<Session, Refused> {
        let session = self.sessions.get_mut(id).ok_or(Refused::Unknown)?;
        session.name = Some(name);
        Ok(session.clone())
    }

    fn takes(&self, home: &Home, capacity: u32, now: Duration) -> bool {
        let run = self.runs.get(&home.pod_uid);
        run.is_some_and(|run| run.view(now).takes(&home.boot_id, capacity, self.limits.silent))
    }

    /// The order to hold a session where it lives; counted until the relay reports a load that was taken after it.
    fn hold(&mut self, session: &Session) -> Order {
        if let Some(run) = self.runs.get_mut(&session.home.pod_uid)
            && run.boot_id == session.home.boot_id
        {
            run.holds += 1;
            run.in_flight.insert(session.id.clone(), run.holds);
        }
        let facts =
            Facts { secrets: session.secrets.clone(), approval: session.approval, created_at: session.created_at };
        order(session, OrderKind::Hold(Box::new(facts)))
    }

    fn lease(&mut self, session: Session, now: Duration) -> Session {
        let ends_at = Some(now + self.limits.lease + LEASE_GRACE);
        self.insert(session.clone(), ends_at);
        Session { ends_at, ..session }
    }

    /// Closes a session for good.
    pub fn close(&mut self, id: &str, now: Duration) -> Vec<Order> {
        let Some(session) = self.take(id) else { return Vec::new() };
        self.guests.forget(id);
        let order = self.order_if_linked(&session, OrderKind::Close);
        while self.closed.len() >= self.limits.sessions && self.forget_closed() {}
        let until = now + self.limits.orphan;
        self.closed_until.push_back((until, session.id.clone()));
        let closed = Closed { until, epoch: session.epoch, host_token_hash: session.secrets.host_token };
        self.closed.insert(session.id, closed);
        order.into_iter().collect()
    }

    /// A session.
    pub fn get(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// What is known of an id.
    pub fn find(&self, id: &str) -> Known {
        match (self.sessions.get(id), self.closed.get(id)) {
            (Some(session), _) => Known::Live(Box::new(session.clone())),
            (None, Some(closed)) => Known::Closed { host_token: closed.host_token_hash.clone() },
            (None, None) => Known::Nothing,
        }
    }

    /// Up to `limit` open sessions of a Pod's relay, by id.
    pub fn open_on(&self, pod_uid: &str, limit: usize) -> Vec<&Session> {
        let held = self.runs.get(pod_uid).into_iter().flat_map(|run| &run.held);
        let mut open: Vec<&Session> =
            held.filter_map(|id| self.sessions.get(id)).filter(|session| session.state == SessionState::Open).collect();
        open.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        open.truncate(limit);
        open
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
            self.forget_closed();
        }
        self.sweep_runs(now);
        self.answers.sweep(now);
        self.guests.sweep(now);
        expired
    }

    /// Forgets the session that was closed first, unless it was closed again since; false = there is none.
    fn forget_closed(&mut self) -> bool {
        let Some((until, id)) = self.closed_until.pop_front() else { return false };
        if self.closed.get(&id).is_some_and(|closed| closed.until == until) {
            self.closed.remove(&id);
        }
        true
    }

    /// How many sessions there are: leased, open.
    pub fn counts(&self) -> (usize, usize) {
        let leased = self.sessions.values().filter(|session| session.state == SessionState::Leased).count();
        (leased, self.sessions.len() - leased)
    }

    /// An order about a session to its home, unless nobody is there to hear it.
    fn order_if_linked(&self, session: &Session, kind: OrderKind) -> Option<Order> {
        let run = self.runs.get(&session.home.pod_uid)?;
        (run.link.is_some() && run.boot_id == session.home.boot_id).then(|| order(session, kind))
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

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn order(session: &Session, kind: OrderKind) -> Order {
    let Session { id, epoch, home, .. } = session;
    Order { pod_uid: home.pod_uid.clone(), boot_id: home.boot_id.clone(), session: id.clone(), epoch: *epoch, kind }
}

#[cfg(test)]
mod tests;

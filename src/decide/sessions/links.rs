//! What relays say over their links, and what follows for the book.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Book, Dial, EVERY_EPOCH, Home, LEASE_GRACE, Order, OrderKind, Outrun, Run, SecretHashes, Session, count};
use crate::decide::cuts::Came;
use crate::wire::claims::RecordClaims;
use crate::wire::link::Load;
use crate::wire::session::SessionState;
use crate::wire::stats::RelayStats;

/// A relay has linked up.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkUp {
    /// Number of the link, another for each; what comes later over an older link of the same Pod is passed over.
    pub link: u64,
    /// Which dial of a relay it came by: what it holds was said after that, so of two hellos the one of the later dial is true.
    pub dial: Dial,
    /// The run, as the table has it.
    pub home: Home,
    /// Its seats.
    pub capacity: u32,
    /// The records that it returned, verified.
    pub records: Vec<RecordClaims>,
    /// Which sessions it says have participants or had them within the idle time.
    pub open: HashSet<String>,
    /// Ids of the lobby's keys that it has.
    pub keys: Vec<String>,
}

impl Book {
    /// Numbers a relay's dial, before the relay is answered and so before it can say hello.
    pub fn dial(&mut self) -> Dial {
        self.dials += 1;
        Dial { number: self.dials, store: String::new() }
    }

    /// A relay has linked up: what it holds is taken into the book before anything is granted there. Nothing is taken of a
    /// hello that was held up on its way until a later dial's had come: its run may be over, and what it says is.
    pub fn link_up(&mut self, up: LinkUp, now: Duration) -> Result<Vec<Order>, Outrun> {
        let LinkUp { link, dial, home, capacity, mut records, open, keys } = up;
        if self.runs.get(&home.pod_uid).is_some_and(|run| dial.number < run.dial) {
            return Err(Outrun);
        }
        let (known, is_known_run) = self.start_run(&home, link, &dial, now);
        if let Some(run) = self.runs.get_mut(&home.pod_uid) {
            let leases = records.iter().filter(|record| !open.contains(&record.sid)).count();
            run.stats =
                RelayStats { capacity, sessions: count(open.len()), leases: count(leases), ..RelayStats::default() };
            run.keys = keys;
        }
        // Of two records of one session the newer counts.
        records.sort_by_key(|record| Reverse(record.epoch));
        let mut returned = HashSet::new();
        let mut orders = Vec::new();
        for record in records {
            let is_open = open.contains(&record.sid);
            returned.insert(record.sid.clone());
            orders.extend(self.take_in(&home, record, is_open, now));
        }
        // Closes free seats, so they stand before the holds.
        let mut unrecorded: Vec<&String> = open.iter().filter(|id| !returned.contains(*id)).collect();
        unrecorded.sort_unstable();
        for id in unrecorded {
            orders.extend(self.opened_unheard(&home, id, is_known_run));
        }
        for id in known {
            if !returned.contains(&id) {
                orders.extend(self.missed(&id, open.contains(&id), now));
            }
        }
        Ok(orders)
    }

    /// Makes the run current; returns the sessions that it had before and whether it is the same one.
    fn start_run(&mut self, home: &Home, link: u64, dial: &Dial, now: Duration) -> (Vec<String>, bool) {
        let before = self.runs.remove(&home.pod_uid);
        let same = before.as_ref().is_some_and(|run| run.boot_id == home.boot_id);
        let held = before.map(|run| run.held).unwrap_or_default();
        let mut known: Vec<String> = held.iter().cloned().collect();
        known.sort_unstable();
        let run = Run {
            boot_id: home.boot_id.clone(),
            home: Arc::new(home.clone()),
            link: Some(link),
            dial: dial.number,
            heard: now,
            stats: RelayStats::default(),
            held: if same { held } else { HashSet::new() },
            keys: Vec::new(),
            holds: 0,
            in_flight: HashMap::new(),
        };
        self.runs.insert(home.pod_uid.clone(), run);
        if same {
            return (known, true);
        }
        for id in &known {
            self.lose_home(id, now);
        }
        (Vec::new(), false)
    }

    /// A session's relay is gone: whoever joins moves it; if nobody does it is forgotten in time.
    fn lose_home(&mut self, id: &str, now: Duration) {
        let orphan = now + self.limits.orphan;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.homeless = true;
        if session.ends_at.is_none() {
            self.set_deadline(id, Some(orphan));
        }
    }

    /// One record that a relay returned.
    fn take_in(&mut self, home: &Home, record: RecordClaims, is_open: bool, now: Duration) -> Option<Order> {
        let tell = |epoch, kind| Order {
            pod_uid: home.pod_uid.clone(),
            boot_id: home.boot_id.clone(),
            session: record.sid.clone(),
            epoch,
            kind,
        };
        if let Some(closed) = self.closed.get(&record.sid)
            && record.epoch <= closed.epoch
        {
            return Some(tell(closed.epoch, OrderKind::Close));
        }
        let known = self.sessions.get(&record.sid);
        let here = known.is_some_and(|known| known.home.pod_uid == home.pod_uid && known.home.boot_id == home.boot_id);
        if let Some(known) = known
            && (record.epoch < known.epoch || (record.epoch == known.epoch && !here))
        {
            // It lives elsewhere now. If it moved on within this relay, only the older epoch is meant.
            return Some(tell(record.epoch, OrderKind::Move));
        }
        let before = self.take(&record.sid);
        let elsewhere =
            before.as_ref().filter(|_| !here).and_then(|before| self.order_if_linked(before, OrderKind::Move));
        let lease = (!is_open).then(|| {
            let kept = before.as_ref().filter(|_| here).and_then(|before| before.ends_at);
            kept.unwrap_or(now + self.limits.lease + LEASE_GRACE)
        });
        // Signed by an older lobby, its record may not say that the host is to be asked.
        let approval = record.approval || before.as_ref().is_some_and(|before| before.approval);
        let (name, place, parties, moved_at) =
            before.map_or_else(Default::default, |before| (before.name, before.place, before.parties, before.moved_at));
        let session = Session {
            id: record.sid,
            name,
            created_at: record.iat,
            epoch: record.epoch,
            state: if is_open { SessionState::Open } else { SessionState::Leased },
            secrets: SecretHashes { host_token: record.host_token_hash, join_key: record.join_key_hash },
            approval,
            place,
            parties,
            moved_at,
            home: home.clone(),
            homeless: false,
            came: 0,
            ends_at: None,
        };
        self.insert(session, lease);
        elsewhere
    }

    /// A session that somebody opened at a relay while it had no link, before it was told to hold it. If it lives
    /// elsewhere or was closed, the relay is told. If nobody knows it, it has ended, unless this book did not know the run
    /// either: then it may be what another book granted, and lives on without being known.
    fn opened_unheard(&self, home: &Home, id: &str, is_known_run: bool) -> Option<Order> {
        let tell = |epoch, kind| {
            let (pod_uid, boot_id) = (home.pod_uid.clone(), home.boot_id.clone());
            Some(Order { pod_uid, boot_id, session: id.to_owned(), epoch, kind })
        };
        let Some(session) = self.sessions.get(id) else {
            let ended = is_known_run || self.closed.contains_key(id);
            return ended.then(|| tell(EVERY_EPOCH, OrderKind::Close)).flatten();
        };
        let here = session.home.pod_uid == home.pod_uid && session.home.boot_id == home.boot_id;
        (!here).then(|| tell(session.epoch - 1, OrderKind::Move)).flatten()
    }

    /// A session that the book has on a relay which did not return its record.
    fn missed(&mut self, id: &str, is_open: bool, now: Duration) -> Option<Order> {
        let session = self.sessions.get(id)?;
        if !is_open && session.state == SessionState::Open {
            // It ended while the link was away.
            self.take(id);
            return None;
        }
        // The order to hold it was lost with the link.
        let order = self.hold(&session.clone());
        if is_open {
            self.set_open(id);
        } else {
            // The relay's lease begins with this order.
            self.set_deadline(id, Some(now + self.limits.lease + LEASE_GRACE));
        }
        Some(order)
    }

    /// A link has ended. The relay keeps its sessions: it serves without the lobby.
    pub fn link_down(&mut self, pod_uid: &str, link: u64) {
        if let Some(run) = self.runs.get_mut(pod_uid)
            && run.link == Some(link)
        {
            run.link = None;
        }
    }

    /// A relay reports its load.
    pub fn load(&mut self, pod_uid: &str, link: u64, load: Load, now: Duration) {
        if let Some(run) = self.heard(pod_uid, link, now) {
            run.stats = load.stats;
            run.in_flight.retain(|_, number| load.holds.is_some_and(|holds| *number > holds));
        }
    }

    /// Orders a relay to leave, or to stay after all; none = it has no link, or is silent, so that nobody can tell it. Nothing
    /// is remembered of it here: the relay says with its load that it is to leave.
    pub fn leave(&self, pod_uid: &str, leave: bool, now: Duration) -> Option<Order> {
        let run = self.runs.get(pod_uid).filter(|run| run.link.is_some())?;
        (now.saturating_sub(run.heard) <= self.limits.silent).then(|| Order {
            pod_uid: pod_uid.to_owned(),
            boot_id: run.boot_id.clone(),
            session: String::new(),
            epoch: 0,
            kind: if leave { OrderKind::Leave } else { OrderKind::Stay },
        })
    }

    /// A relay has other keys of the lobby.
    pub fn keys(&mut self, pod_uid: &str, link: u64, keys: Vec<String>, now: Duration) {
        if let Some(run) = self.heard(pod_uid, link, now) {
            run.keys = keys;
        }
    }

    /// The first participant of a session has connected.
    pub fn opened(&mut self, pod_uid: &str, link: u64, session: &str, epoch: u64, now: Duration) -> Option<Order> {
        let boot_id = self.heard(pod_uid, link, now)?.boot_id.clone();
        let here = self.sessions.get(session).is_some_and(|known| {
            known.epoch == epoch && known.home.pod_uid == pod_uid && known.home.boot_id == boot_id
        });
        if here {
            self.set_open(session);
            return None;
        }
        // Known here under another epoch or elsewhere: it has moved. Not known at all: it has ended.
        let kind = if self.sessions.contains_key(session) { OrderKind::Move } else { OrderKind::Close };
        Some(Order { pod_uid: pod_uid.to_owned(), boot_id, session: session.to_owned(), epoch, kind })
    }

    /// Participants have come to sessions that have moved to this relay.
    pub fn came(&mut self, pod_uid: &str, link: u64, came: &[Came], now: Duration) {
        let Some(boot_id) = self.heard(pod_uid, link, now).map(|run| run.boot_id.clone()) else { return };
        for Came { session, epoch, joined } in came {
            let here = |known: &&mut Session| {
                known.epoch == *epoch && known.home.pod_uid == pod_uid && known.home.boot_id == boot_id
            };
            if let Some(known) = self.sessions.get_mut(session).filter(here) {
                known.came = *joined;
            }
        }
    }

    /// A relay does not hold a session (any more): it ended, or the relay would not take it.
    pub fn ended(&mut self, pod_uid: &str, link: u64, session: &str, epoch: u64, now: Duration) {
        let Some(boot_id) = self.heard(pod_uid, link, now).map(|run| run.boot_id.clone()) else { return };
        let Some(known) = self.sessions.get_mut(session) else { return };
        if known.home.pod_uid != pod_uid || known.home.boot_id != boot_id || epoch < known.epoch {
            return;
        }
        let running = known.ends_at.is_some_and(|at| at > now + LEASE_GRACE);
        if known.state == SessionState::Open || !running {
            self.take(session);
            return;
        }
        // Refused, or given up just before the lease was renewed: who holds a token may join again, elsewhere.
        known.homeless = true;
        if let Some(run) = self.runs.get_mut(pod_uid) {
            run.held.remove(session);
        }
    }

    /// Sessions whose relay was not heard for too long are forgotten, whether or not somebody believes it linked.
    pub(super) fn sweep_runs(&mut self, now: Duration) {
        let gone = |run: &Run| now.saturating_sub(run.heard) >= self.limits.orphan;
        let gone: Vec<String> = self.runs.iter().filter(|(_, run)| gone(run)).map(|(pod, _)| pod.clone()).collect();
        for pod in gone {
            let held = self.runs.remove(&pod).map(|run| run.held).unwrap_or_default();
            for id in held {
                self.take(&id);
            }
        }
    }

    pub(super) fn heard(&mut self, pod_uid: &str, link: u64, now: Duration) -> Option<&mut Run> {
        let run = self.runs.get_mut(pod_uid).filter(|run| run.link == Some(link))?;
        run.heard = now;
        Some(run)
    }

    fn set_open(&mut self, id: &str) {
        self.set_deadline(id, None);
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.state = SessionState::Open;
        session.homeless = false;
        let pod_uid = session.home.pod_uid.clone();
        if let Some(run) = self.runs.get_mut(&pod_uid) {
            run.held.insert(id.to_owned());
        }
    }
}

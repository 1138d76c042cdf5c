//! What relays say over their links, and what follows for the book.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Duration;

use super::{Book, Home, LEASE_GRACE, Order, OrderKind, Run, SecretHashes, Session, find, hold};
use crate::wire::claims::RecordClaims;
use crate::wire::session::{ClientPlace, SessionState};
use crate::wire::stats::RelayStats;
use crate::wire::table::RelayTable;

/// A relay has linked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkUp {
    /// UID of its Pod.
    pub pod_uid: String,
    /// Number of the link; what comes later over an older link of the same Pod is passed over.
    pub link: u64,
    /// Name of this run of the relay.
    pub boot_id: String,
    /// Its seats.
    pub capacity: u32,
    /// The records that it returned, verified.
    pub records: Vec<RecordClaims>,
    /// Which sessions it says have participants or had them within the idle time.
    pub open: HashSet<String>,
}

impl Book {
    /// A relay has linked up: what it holds is taken into the book before anything is granted there.
    pub fn link_up(&mut self, table: &RelayTable, up: LinkUp, now: Duration) -> Vec<Order> {
        let LinkUp { pod_uid, link, boot_id, capacity, mut records, open } = up;
        let known = self.start_run(&pod_uid, link, &boot_id, now);
        if let Some(run) = self.runs.get_mut(&pod_uid) {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let leases = records.iter().filter(|record| !open.contains(&record.sid)).count();
            run.stats =
                RelayStats { capacity, sessions: count(open.len()), leases: count(leases), ..RelayStats::default() };
        }
        let Some((pool, relay)) = find(table, &pod_uid) else { return Vec::new() };
        let home = Home::of(pool, relay, &boot_id);
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
        for id in known {
            if !returned.contains(&id) {
                orders.extend(self.missed(&id, open.contains(&id)));
            }
        }
        orders
    }

    /// Makes the run current; returns the sessions that it had before, if it is the same one.
    fn start_run(&mut self, pod_uid: &str, link: u64, boot_id: &str, now: Duration) -> Vec<String> {
        let before = self.runs.remove(pod_uid);
        let same = before.as_ref().is_some_and(|run| run.boot_id == boot_id);
        let held = before.map(|run| run.held).unwrap_or_default();
        let mut known: Vec<String> = held.iter().cloned().collect();
        known.sort_unstable();
        let stats = RelayStats::default();
        let run = Run { boot_id: boot_id.to_owned(), link: Some(link), heard: now, stats, held: HashSet::new() };
        self.runs.insert(pod_uid.to_owned(), run);
        if same {
            if let Some(run) = self.runs.get_mut(pod_uid) {
                run.held = held;
            }
            return known;
        }
        for id in &known {
            self.lose_home(id, now);
        }
        Vec::new()
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
        let closes =
            |epoch| Order { pod_uid: home.pod_uid.clone(), session: record.sid.clone(), epoch, kind: OrderKind::Close };
        if let Some(closed) = self.closed.get(&record.sid)
            && record.epoch <= closed.epoch
        {
            return Some(closes(closed.epoch));
        }
        let known = self.sessions.get(&record.sid);
        let here = known.is_some_and(|known| known.home.pod_uid == home.pod_uid && known.home.boot_id == home.boot_id);
        if let Some(known) = known
            && (record.epoch < known.epoch || (record.epoch == known.epoch && !here))
        {
            // It lives elsewhere now. If it moved on within this relay, only the older epoch is meant.
            return Some(closes(record.epoch));
        }
        let before = self.take(&record.sid);
        let elsewhere = before.as_ref().filter(|_| !here).and_then(|before| self.close_order(before));
        let lease = (!is_open).then(|| {
            let kept = before.as_ref().filter(|_| here).and_then(|before| before.ends_at);
            kept.unwrap_or(now + self.limits.lease + LEASE_GRACE)
        });
        let session = Session {
            id: record.sid,
            created_at: record.iat,
            epoch: record.epoch,
            state: if is_open { SessionState::Open } else { SessionState::Leased },
            secrets: SecretHashes { host_token: record.host_token_hash, join_key: record.join_key_hash },
            place: before.map_or_else(ClientPlace::default, |before| before.place),
            home: home.clone(),
            homeless: false,
            ends_at: None,
        };
        self.insert(session, lease);
        elsewhere
    }

    /// A session that the book has on a relay which did not return its record.
    fn missed(&mut self, id: &str, is_open: bool) -> Option<Order> {
        let session = self.sessions.get(id)?;
        if !is_open && session.state == SessionState::Open {
            // It ended while the link was away.
            self.take(id);
            return None;
        }
        // The order to hold it was lost with the link.
        let order = hold(session);
        if is_open {
            self.set_open(id);
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
    pub fn load(&mut self, pod_uid: &str, link: u64, stats: RelayStats, now: Duration) {
        if let Some(run) = self.heard(pod_uid, link, now) {
            run.stats = stats;
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
        let kind = OrderKind::Close;
        Some(Order { pod_uid: pod_uid.to_owned(), session: session.to_owned(), epoch, kind })
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

    /// Sessions whose relay was away for too long are forgotten.
    pub(super) fn sweep_runs(&mut self, now: Duration) {
        let gone = |run: &Run| run.link.is_none() && now.saturating_sub(run.heard) >= self.limits.orphan;
        let gone: Vec<String> = self.runs.iter().filter(|(_, run)| gone(run)).map(|(pod, _)| pod.clone()).collect();
        for pod in gone {
            let held = self.runs.remove(&pod).map(|run| run.held).unwrap_or_default();
            for id in held {
                self.take(&id);
            }
        }
    }

    /// Linked relays.
    pub fn linked(&self) -> usize {
        self.runs.values().filter(|run| run.link.is_some()).count()
    }

    /// Whether a Pod's relay was ever linked and is still known.
    pub fn knows(&self, pod_uid: &str) -> bool {
        self.runs.contains_key(pod_uid)
    }

    fn heard(&mut self, pod_uid: &str, link: u64, now: Duration) -> Option<&mut Run> {
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

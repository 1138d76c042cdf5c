//! What one lobby process holds: table, book, links. Takes the time and the randomness, checks secrets, signs, and sends
//! the book's orders; every decision is the book's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keys::Keys;
use super::metrics::Metrics;
use super::table::{Table, parse};
use crate::decide::sessions::{Book, LinkUp, Order, OrderKind, Session, find};
use crate::process::clock;
use crate::process::health::Readiness;
use crate::wire::claims::RecordClaims;
use crate::wire::link::FromLobby;
use crate::wire::stats::RelayStats;
use crate::wire::table::{PoolEntry, RelayEntry};

/// For how long after its start a lobby may not know of live sessions, at most.
const REBUILD_AT_MOST: Duration = Duration::from_secs(10);

/// One lobby process.
#[derive(Debug)]
pub(super) struct Lobby {
    pub(super) keys: Keys,
    pub(super) metrics: Metrics,
    pub(super) lease: Duration,
    readiness: Readiness,
    started: Duration,
    table: RwLock<Current>,
    state: Mutex<State>,
}

/// The table and what is known of its age.
#[derive(Debug, Default)]
struct Current {
    table: Option<Arc<Table>>,
    confirmed: Duration,
    /// Its source was last heard to be well.
    fresh: bool,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) book: Book,
    links: HashMap<String, Link>,
    last_link: u64,
    rebuilt: bool,
}

/// The way to one relay.
#[derive(Debug)]
struct Link {
    number: u64,
    orders: mpsc::Sender<FromLobby>,
    cut: CancellationToken,
}

impl Lobby {
    pub(super) fn new(keys: Keys, metrics: Metrics, book: Book, lease: Duration, readiness: Readiness) -> Self {
        readiness.set(Err("there is no relay table yet".to_owned()));
        let state = State { book, links: HashMap::new(), last_link: 0, rebuilt: false };
        let started = clock::monotonic();
        let (table, state) = (RwLock::default(), Mutex::new(state));
        Self { keys, metrics, lease, readiness, started, table, state }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table, once there is one.
    pub(super) fn table(&self) -> Option<Arc<Table>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).table.clone()
    }

    /// A table has come from a source; it applies at once if it is whole.
    pub(super) fn offer_table(&self, source: &str, text: &str) {
        let table = match parse(text) {
            Ok(table) => Arc::new(table),
            Err(why) => return self.broken_table(source, &why),
        };
        let relays: usize = table.table.pools.iter().map(|pool| pool.relays.len()).sum();
        tracing::info!(source, pools = table.table.pools.len(), relays, "the relay table applies");
        if table.cluster_keys.is_empty() {
            tracing::warn!(source, "the relay table has no keys of the cluster: no relay can prove who it is");
        }
        let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current { table: Some(table), confirmed: clock::monotonic(), fresh: true };
        drop(current);
        self.metrics.table_reads.with_label_values(&[source, "applied"]).inc();
        self.readiness.set(Ok(()));
    }

    /// The source still says the same.
    pub(super) fn confirm_table(&self) {
        let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
        (current.confirmed, current.fresh) = (clock::monotonic(), true);
    }

    /// The source cannot be asked.
    pub(super) fn doubt_table(&self) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).fresh = false;
    }

    pub(super) fn broken_table(&self, source: &str, why: &str) {
        self.doubt_table();
        self.metrics.table_reads.with_label_values(&[source, "broken"]).inc();
        tracing::error!(source, why, "the relay table is broken; the last good one keeps serving");
    }

    pub(super) fn missing_table(&self, name: &str) {
        self.doubt_table();
        self.metrics.table_reads.with_label_values(&["configMap", "gone"]).inc();
        tracing::warn!(name, "the relay table's ConfigMap is not there; the last table keeps serving");
    }

    /// Whether every relay of the table was heard since the start, or had time enough: before that, a session that is
    /// not known may be a live one that was not told yet.
    pub(super) fn is_rebuilt(&self, state: &mut State, table: &Table) -> bool {
        if !state.rebuilt {
            let mut relays = table.table.pools.iter().flat_map(|pool| &pool.relays);
            state.rebuilt = relays.all(|relay| relay.pod_uid.is_empty() || state.book.knows(&relay.pod_uid))
                || clock::monotonic().saturating_sub(self.started) > REBUILD_AT_MOST;
        }
        state.rebuilt
    }

    /// A relay has said hello: from now on the book may grant there.
    pub(super) fn link_up(
        &self,
        table: &Table,
        up: impl FnOnce(u64) -> LinkUp,
        orders: mpsc::Sender<FromLobby>,
        cut: CancellationToken,
    ) -> u64 {
        let mut state = self.lock();
        state.last_link += 1;
        let number = state.last_link;
        let up = up(number);
        // Welcome first, whatever else follows.
        let _ = orders.try_send(FromLobby::Welcome);
        if let Some(before) = state.links.insert(up.pod_uid.clone(), Link { number, orders, cut }) {
            self.metrics.links_refused.with_label_values(&["replaced"]).inc();
            before.cut.cancel();
        }
        let follows = state.book.link_up(&table.table, up, clock::monotonic());
        self.send(&mut state, table, follows);
        number
    }

    pub(super) fn link_down(&self, pod_uid: &str, number: u64) {
        let mut state = self.lock();
        if state.links.get(pod_uid).is_some_and(|link| link.number == number) {
            state.links.remove(pod_uid);
        }
        state.book.link_down(pod_uid, number);
    }

    pub(super) fn relay_load(&self, pod_uid: &str, link: u64, stats: RelayStats) {
        self.lock().book.load(pod_uid, link, stats, clock::monotonic());
    }

    pub(super) fn relay_opened(&self, pod_uid: &str, link: u64, session: &str, epoch: u64) {
        let mut state = self.lock();
        let order = state.book.opened(pod_uid, link, session, epoch, clock::monotonic());
        if let (Some(order), Some(table)) = (order, self.table()) {
            self.send(&mut state, &table, [order]);
        }
    }

    pub(super) fn relay_ended(&self, pod_uid: &str, link: u64, session: &str, epoch: u64) {
        self.lock().book.ended(pod_uid, link, session, epoch, clock::monotonic());
    }

    /// Sends the book's orders, in their order. A relay that takes none is cut off; it gets them on its next link.
    pub(super) fn send(&self, state: &mut State, table: &Table, orders: impl IntoIterator<Item = Order>) {
        for order in orders {
            let Some(link) = state.links.get(&order.pod_uid) else { continue };
            let message = match order.kind {
                OrderKind::Close => FromLobby::Close { session: order.session, epoch: order.epoch },
                OrderKind::Hold => {
                    let Some(session) = state.book.get(&order.session) else { continue };
                    FromLobby::Hold {
                        session: order.session,
                        epoch: order.epoch,
                        record: self.record(table, session),
                        lease_seconds: u32::try_from(self.lease.as_secs()).unwrap_or(u32::MAX),
                    }
                }
            };
            if link.orders.try_send(message).is_err() {
                link.cut.cancel();
            }
        }
    }

    fn record(&self, table: &Table, session: &Session) -> String {
        self.keys.signing.sign_record(&RecordClaims {
            iss: table.table.lobby_uid.clone(),
            sid: session.id.clone(),
            epoch: session.epoch,
            aud: session.home.audience(),
            host_token_hash: session.secrets.host_token.clone(),
            join_key_hash: session.secrets.join_key.clone(),
            iat: session.created_at,
        })
    }

    /// Ends what is over and shows the figures; called a few times a second.
    pub(super) fn sweep(&self) {
        let now = clock::monotonic();
        let table = self.table();
        let mut state = self.lock();
        let expired = state.book.sweep(now);
        let (leased, open) = state.book.counts();
        let linked = state.book.linked();
        let mut free: HashMap<String, u32> = HashMap::new();
        if let Some(table) = &table {
            for pool in state.book.pools(&table.table, now) {
                *free.entry(pool.region.to_owned()).or_default() += pool.free_seats();
            }
        }
        drop(state);
        let metrics = &self.metrics;
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        metrics.leases_expired.with_label_values::<&str>(&[]).inc_by(expired as u64);
        metrics.sessions.with_label_values(&["leased"]).set(gauge(leased));
        metrics.sessions.with_label_values(&["open"]).set(gauge(open));
        metrics.relays_linked.with_label_values::<&str>(&[]).set(gauge(linked));
        // Regions that are gone must not go on with their last number.
        metrics.free_seats.reset();
        for (region, seats) in free {
            metrics.free_seats.with_label_values(&[&region]).set(i64::from(seats));
        }
        self.show_table_age(now);
    }

    fn show_table_age(&self, now: Duration) {
        let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if current.table.is_none() {
            return;
        }
        if current.fresh {
            current.confirmed = now;
        }
        let age = now.saturating_sub(current.confirmed).as_secs();
        self.metrics.table_age_seconds.with_label_values::<&str>(&[]).set(i64::try_from(age).unwrap_or(i64::MAX));
    }
}

/// The relay of a verified Pod in the table: the Pod must be the very one that the table names.
pub(super) fn admitted<'a>(
    table: &'a Table,
    pod: &crate::decide::identity::PodIdentity,
) -> Option<(&'a PoolEntry, &'a RelayEntry)> {
    find(&table.table, &pod.uid).filter(|(pool, relay)| pool.namespace == pod.namespace && relay.name == pod.name)
}

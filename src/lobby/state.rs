//! What one lobby process holds: table, keys, links and the way to the store. Hands what relays say to the store, and
//! turns the store's orders into messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use super::boards::Boards;
use super::cuts::Absent;
use super::keys::Keys;
use super::metrics::Metrics;
use super::origins::Origins;
use super::store::{Away, Link, Links, Store};
use super::table::{Table, Tables, parse};
use super::waiting::Waiting;
use super::watch::Watch;
use crate::decide::cuts::Run;
use crate::decide::replay::Seen;
use crate::decide::sessions::{LinkUp, Order, OrderKind, Outrun, find};
use crate::process::health::Readiness;
use crate::process::table::{Standing, Taker};
use crate::wire::claims::{RecordClaims, audience};
use crate::wire::link::FromLobby;
use crate::wire::table::{PoolEntry, RelayEntry};

/// Proofs of relays of other clusters that are remembered at a time; each lives a minute.
const MAX_PROOFS: usize = 65_536;

/// One lobby process.
#[derive(Debug)]
pub(super) struct Lobby {
    pub(super) keys: Keys,
    pub(super) metrics: Metrics,
    pub(super) lease: Duration,
    pub(super) store: Arc<dyn Store>,
    pub(super) links: Links,
    pub(super) origins: Origins,
    pub(super) waiting: Waiting,
    pub(super) boards: Boards,
    pub(super) watch: Watch,
    /// A relay may be to leave: its sessions are to be looked after at once.
    pub(super) leaving: Notify,
    /// Participants that must come back.
    pub(super) absent: Absent,
    /// Proofs that relays of other clusters have shown: each is taken once.
    pub(super) shown: Mutex<Seen>,
    readiness: Readiness,
    standing: Standing,
    tables: Tables,
}

impl Lobby {
    pub(super) fn new(
        keys: Keys,
        metrics: Metrics,
        store: Arc<dyn Store>,
        links: Links,
        lease: Duration,
        origins: Origins,
        readiness: Readiness,
    ) -> Self {
        readiness.set(Err("there is no relay table yet".to_owned()));
        let (waiting, boards, watch) = (Waiting::default(), Boards::default(), Watch::default());
        let (standing, tables) = (Standing::new(metrics.table.clone()), Tables::default());
        let (leaving, absent, shown) = (Notify::new(), Absent::default(), Mutex::new(Seen::new(MAX_PROOFS)));
        Self {
            keys,
            metrics,
            lease,
            store,
            links,
            origins,
            waiting,
            boards,
            watch,
            leaving,
            absent,
            shown,
            readiness,
            standing,
            tables,
        }
    }

    /// The table, once there is one.
    pub(super) fn table(&self) -> Option<Arc<Table>> {
        self.tables.now()
    }

    /// Relays of other clusters may have come or gone: they are in the table while they are linked.
    pub(super) fn look_for_remote(&self) {
        if self.tables.look_for_remote(|| self.store.view()) {
            self.new_board();
        }
    }

    /// A relay has said hello: from now on the store may grant there.
    pub(super) async fn link_up(&self, up: LinkUp, link: Link) -> Result<Result<(), Outrun>, Away> {
        if self.links.has(&up.home.pod_uid) {
            self.metrics.links_refused.with_label_values(&["replaced"]).inc();
        }
        let run =
            Run { pod_uid: up.home.pod_uid.clone(), boot_id: up.home.boot_id.clone(), pool: up.home.pool.clone() };
        let number = up.link;
        let linked = self.store.link_up(up, link).await?;
        if linked.is_ok() {
            self.absent.link_up(number, run);
        }
        self.look_for_remote();
        Ok(linked)
    }

    /// What a relay is told. Signs the record of a session that it is to hold, so no lock may be held here.
    pub(super) fn message(&self, lobby_uid: &str, order: Order) -> FromLobby {
        let Order { pod_uid, boot_id, session, epoch, kind } = order;
        match kind {
            OrderKind::Close => FromLobby::Close { session, epoch },
            OrderKind::Renew => FromLobby::Renew { session, epoch, lease_seconds: self.lease_seconds() },
            OrderKind::Move => FromLobby::Move { session, epoch },
            OrderKind::Leave => FromLobby::Leave,
            OrderKind::Stay => FromLobby::Stay,
            OrderKind::Hold(facts) => {
                let ring = self.keys.ring();
                let claims = RecordClaims {
                    iss: lobby_uid.to_owned(),
                    sid: session.clone(),
                    epoch,
                    aud: audience(&pod_uid, &boot_id),
                    host_token_hash: facts.secrets.host_token,
                    join_key_hash: facts.secrets.join_key,
                    approval: facts.approval,
                    iat: facts.created_at,
                };
                // Without a key there is no record yet; the seat matters more.
                let record = ring.signer(&[]).map(|key| key.sign_record(&claims)).unwrap_or_default();
                FromLobby::Hold { session, epoch, record, lease_seconds: self.lease_seconds() }
            }
        }
    }

    fn lease_seconds(&self) -> u32 {
        u32::try_from(self.lease.as_secs()).unwrap_or(u32::MAX)
    }

    /// Ends what is over and shows the figures; called a few times a second.
    pub(super) async fn sweep(&self) {
        self.standing.show_age();
        self.look_for_remote();
        let metrics = &self.metrics;
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        if let Ok(swept) = self.store.sweep().await {
            metrics.leases_expired.with_label_values::<&str>(&[]).inc_by(swept.expired as u64);
            metrics.sessions.with_label_values(&["leased"]).set(gauge(swept.leased));
            metrics.sessions.with_label_values(&["open"]).set(gauge(swept.open));
        }
        metrics.store_up.with_label_values::<&str>(&[]).set(i64::from(!self.store.is_away()));
        let board = self.settled_board();
        metrics.relays_linked.with_label_values::<&str>(&[]).set(gauge(board.view.linked()));
        // Regions that are gone must not go on with their last number.
        metrics.free_seats.reset();
        metrics.waiting.reset();
        let Some(table) = self.table() else { return };
        for pool in self.demand(&table).pools {
            metrics.waiting.with_label_values(&[&pool.region]).add(i64::from(pool.waiting));
        }
        let mut free: HashMap<&str, u32> = HashMap::new();
        for pool in board.pools().iter() {
            *free.entry(pool.region()).or_default() += pool.free_seats();
        }
        for (region, seats) in free {
            metrics.free_seats.with_label_values(&[region]).set(i64::from(seats));
        }
    }
}

impl Taker for Lobby {
    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn take_table(&self, source: &str, text: &str) -> Result<(), String> {
        let table = Arc::new(parse(text)?);
        if table.proofs.cluster.is_empty() {
            tracing::warn!(source, "the relay table has no keys of the cluster: no relay can prove who it is");
        }
        self.keys.publish(table.table.keys.as_ref(), &self.metrics).map_err(|why| format!("keys: {why}"))?;
        self.tables.swap(Arc::clone(&table), || self.store.view());
        self.new_board();
        self.standing.applies(source, &table.table);
        self.readiness.set(Ok(()));
        self.leaving.notify_one();
        Ok(())
    }
}

/// The relay of a verified Pod in the table: the Pod must be the very one that the table names.
pub(super) fn admitted<'a>(
    table: &'a Table,
    pod: &crate::decide::identity::PodIdentity,
) -> Option<(&'a PoolEntry, &'a RelayEntry)> {
    find(&table.table, &pod.uid).filter(|(pool, relay)| pool.namespace == pod.namespace && relay.name == pod.name)
}

//! All relays of a lobby at one moment, as placement needs them: which of them serve, how full they are, and whether a
//! session's home is still one of them. A view may be a little old; only the store's grant is the truth.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::{Home, Session};
use crate::decide::route::{Chosen, Pool, Pools, Relay, RelayState, Terms};
use crate::wire::session::GeoPoint;
use crate::wire::stats::RelayStats;
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

/// For how long after its beginning a store may not know of live sessions, at most: in it every relay links up.
const REBUILD_AT_MOST: Duration = Duration::from_secs(10);

/// A run of a relay.
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    /// Name of this run of the relay's process.
    pub boot_id: String,
    /// The run as it linked up, if that is known.
    pub home: Option<Arc<Home>>,
    /// Whether some lobby replica has its link.
    pub linked: bool,
    /// Whether it has returned what it holds since the store began, or lost what it knew.
    pub told: bool,
    /// Time since it was heard.
    pub silence: Duration,
    /// What it said of itself last.
    pub stats: RelayStats,
    /// Sessions that were granted there and have not ended.
    pub held: u32,
    /// Ids of the lobby's keys that it said it has.
    pub keys: Vec<String>,
    /// Sessions that it was told to hold after it took the load that it reported last.
    pub in_flight: u32,
}

impl RunView {
    /// A run as most tests need one: linked, heard just now, and without sessions.
    #[cfg(test)]
    pub(crate) fn linked(boot_id: &str) -> Self {
        Self {
            boot_id: boot_id.to_owned(),
            home: None,
            linked: true,
            told: true,
            silence: Duration::ZERO,
            stats: RelayStats::default(),
            held: 0,
            keys: vec![],
            in_flight: 0,
        }
    }

    /// Seats taken. What is on its way to the relay comes on top of what it reports, even what has ended here meanwhile:
    /// the relay takes the seat first and returns it later.
    pub fn used(&self) -> u32 {
        let RelayStats { sessions, leases, .. } = self.stats;
        sessions.saturating_add(leases).saturating_add(self.in_flight).max(self.held)
    }

    /// Seats, of which the plan gives it `capacity`: both the plan and the relay bind.
    pub(super) fn capacity(&self, capacity: u32) -> u32 {
        self.stats.capacity.min(capacity)
    }

    /// Whether one more session may be granted there. `capacity` = seats by the plan, `silent` = the silence that it may keep.
    pub fn takes(&self, boot_id: &str, capacity: u32, silent: Duration) -> bool {
        self.boot_id == boot_id
            && self.linked
            && self.silence <= silent
            && !self.stats.cordoned
            && !self.stats.draining
            && self.used() < self.capacity(capacity)
    }
}

/// Where a session is to go.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Which relay was chosen, and from what its distance is known.
    pub chosen: Chosen,
    /// Namespace and name of the pool that it would rather go to, where that has no relay at all.
    pub wakes: Option<(String, String)>,
    /// The run.
    pub home: Home,
    /// Its seats by the plan.
    pub capacity: u32,
}

/// All runs at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// By UID of the Pod.
    pub runs: HashMap<String, RunView>,
    /// How long the store has been collecting.
    pub age: Duration,
    /// The silence that a relay may keep.
    pub silent: Duration,
}

impl View {
    /// All pools of `table` as placement sees them.
    pub fn pools(&self, table: &RelayTable) -> Pools {
        let relay = |entry: &RelayEntry| {
            let run = self.runs.get(&entry.pod_uid);
            Relay {
                name: entry.name.clone(),
                state: self.state(entry, run),
                capacity: run.map_or(entry.capacity, |run| run.capacity(entry.capacity)),
                used: run.map_or(0, RunView::used),
            }
        };
        let pool = |entry: &PoolEntry| {
            let point = GeoPoint { latitude: entry.latitude, longitude: entry.longitude };
            let terms = Terms::of(&table.routing, &entry.region);
            Pool::new(&entry.name, &entry.region, point, terms, entry.relays.iter().map(relay).collect())
        };
        table.pools.iter().map(pool).collect()
    }

    pub(super) fn state(&self, entry: &RelayEntry, run: Option<&RunView>) -> RelayState {
        let Some(run) = run.filter(|run| run.linked) else { return RelayState::NotLinked };
        if entry.cordoned || entry.leaving || run.stats.cordoned || run.stats.draining {
            RelayState::Cordoned
        } else if run.silence > self.silent {
            RelayState::Silent
        } else if entry.url.is_empty() {
            RelayState::NoAddress
        } else {
            RelayState::Serving
        }
    }

    /// How a session stands with its home. That is to leave if the table says so, or the relay itself.
    pub fn standing(&self, table: &RelayTable, session: &Session) -> Standing {
        let leaves = |run: &RunView| {
            run.stats.draining || find(table, &session.home.pod_uid).is_some_and(|(_, entry)| entry.leaving)
        };
        match self.run_of(session).filter(|run| !session.homeless && run.silence <= self.silent) {
            // A link may be away for as long as a relay may be silent.
            None => Standing::Lost,
            Some(run) if leaves(run) => Standing::Leaving,
            Some(_) => Standing::Serves,
        }
    }

    pub(super) fn run_of(&self, session: &Session) -> Option<&RunView> {
        self.runs.get(&session.home.pod_uid).filter(|run| run.boot_id == session.home.boot_id)
    }

    /// Pods whose relays are linked and are to leave, by the table or by their own word.
    pub fn leaving(&self, table: &RelayTable) -> BTreeSet<String> {
        let listed = table.pools.iter().flat_map(|pool| &pool.relays).filter(|relay| relay.leaving);
        let listed = listed.map(|relay| &relay.pod_uid);
        let told = self.runs.iter().filter(|(_, run)| run.stats.draining).map(|(pod_uid, _)| pod_uid);
        let is_linked = |pod_uid: &&String| self.runs.get(*pod_uid).is_some_and(|run| run.linked);
        listed.chain(told).filter(is_linked).cloned().collect()
    }

    /// Linked relays.
    pub fn linked(&self) -> usize {
        self.runs.values().filter(|run| run.linked).count()
    }

    /// Whether every relay of the table was heard since the store began, or had time enough: before that, a session
    /// that is not known may be a live one that was not told yet.
    pub fn is_whole(&self, table: &RelayTable) -> bool {
        let mut relays = table.pools.iter().flat_map(|pool| &pool.relays);
        // How many relays of other clusters there are, nobody says.
        self.age > REBUILD_AT_MOST
            || table.remote.is_empty()
                && relays
                    .all(|relay| relay.pod_uid.is_empty() || self.runs.get(&relay.pod_uid).is_some_and(|run| run.told))
    }
}

/// How a session stands with its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its relay has it.
    Serves,
    /// Its relay is to leave: it moves if there is room elsewhere, and stays if not.
    Leaving,
    /// Its relay is gone, silent, or does not hold it.
    Lost,
}

/// The session with the address that its relay has now, which may have changed.
pub fn readdressed(session: Session, table: &RelayTable) -> Session {
    match find(table, &session.home.pod_uid) {
        Some((pool, relay)) => Session { home: Home::of(pool, relay, &session.home.boot_id), ..session },
        None => session,
    }
}

/// The relay of a Pod, and its pool.
pub fn find<'a>(table: &'a RelayTable, pod_uid: &str) -> Option<(&'a PoolEntry, &'a RelayEntry)> {
    table.pools.iter().find_map(|pool| {
        let relay = pool.relays.iter().find(|relay| relay.pod_uid == pod_uid)?;
        Some((pool, relay))
    })
}

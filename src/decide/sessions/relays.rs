//! The relays of a lobby by their names, as its administrator sees and orders them.

use std::time::Duration;

use super::{RunView, View};
use crate::decide::route;
use crate::wire::admin::{RelayState, RelayView};
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

/// Which relay somebody means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// Namespace of its pool; none = any.
    pub namespace: Option<&'a str>,
    /// Name of its pool.
    pub pool: &'a str,
    /// Its name.
    pub relay: &'a str,
}

/// Why a name means no relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOne {
    /// There is none of this name.
    Nobody,
    /// Pools of several namespaces have one.
    Several,
}

impl View {
    /// All relays of the table.
    pub fn relays(&self, table: &RelayTable) -> Vec<RelayView> {
        let of = |pool: &PoolEntry| pool.relays.iter().map(|relay| self.relay(pool, relay)).collect::<Vec<_>>();
        table.pools.iter().flat_map(of).collect()
    }

    /// The relay that is meant: the UID of its Pod, and what is known of it. Where a relay of another cluster has come anew
    /// under its name while the link of the one before still stands, it is the one that was heard last.
    pub fn named(&self, table: &RelayTable, named: Named<'_>) -> Result<(String, RelayView), NotOne> {
        let is_meant = |pool: &&PoolEntry| {
            pool.name == named.pool && named.namespace.is_none_or(|namespace| pool.namespace == namespace)
        };
        let mut found = table.pools.iter().filter(is_meant).filter_map(|pool| {
            let relays = pool.relays.iter().filter(|relay| relay.name == named.relay);
            Some((pool, relays.min_by_key(|relay| self.distance(relay))?))
        });
        let (pool, relay) = found.next().ok_or(NotOne::Nobody)?;
        if found.next().is_some() {
            return Err(NotOne::Several);
        }
        Ok((relay.pod_uid.clone(), self.relay(pool, relay)))
    }

    /// For how long it was not heard; those without a link come last.
    fn distance(&self, relay: &RelayEntry) -> (bool, Duration) {
        self.runs.get(&relay.pod_uid).map_or((true, Duration::MAX), |run| (!run.linked, run.silence))
    }

    fn relay(&self, pool: &PoolEntry, entry: &RelayEntry) -> RelayView {
        let run = self.runs.get(&entry.pod_uid);
        let leaves = entry.leaving || run.is_some_and(|run| run.stats.draining);
        let state = match self.state(entry, run) {
            route::RelayState::Serving => RelayState::Serving,
            route::RelayState::Cordoned if leaves => RelayState::Leaving,
            route::RelayState::Cordoned => RelayState::Cordoned,
            route::RelayState::Silent => RelayState::Silent,
            route::RelayState::NotLinked => RelayState::NotLinked,
            route::RelayState::NoAddress => RelayState::NoAddress,
        };
        RelayView {
            namespace: pool.namespace.clone(),
            pool: pool.name.clone(),
            relay: entry.name.clone(),
            region: pool.region.clone(),
            state,
            capacity: run.map_or(entry.capacity, |run| run.capacity(entry.capacity)),
            used: run.map(RunView::used),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stats::RelayStats;

    fn pool(namespace: &str, name: &str, relays: &[(&str, &str)]) -> PoolEntry {
        let relay = |(name, pod_uid): &(&str, &str)| RelayEntry {
            name: (*name).to_owned(),
            pod_uid: (*pod_uid).to_owned(),
            url: "ws://x".to_owned(),
            capacity: 5,
            cordoned: false,
            leaving: false,
        };
        PoolEntry {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            region: "r".to_owned(),
            latitude: 0.0,
            longitude: 0.0,
            relays: relays.iter().map(relay).collect(),
        }
    }

    fn run(linked: bool, silence: u64) -> RunView {
        RunView {
            linked,
            silence: Duration::from_secs(silence),
            stats: RelayStats { capacity: 9, sessions: 2, leases: 1, ..RelayStats::default() },
            ..RunView::linked("boot")
        }
    }

    fn view(runs: Vec<(&str, RunView)>) -> View {
        let runs = runs.into_iter().map(|(pod_uid, run)| (pod_uid.to_owned(), run)).collect();
        View { runs, silent: Duration::from_secs(5), ..View::default() }
    }

    fn table(pools: Vec<PoolEntry>) -> RelayTable {
        RelayTable { pools, ..RelayTable::default() }
    }

    #[test]
    fn a_relay_is_named_by_pool_and_name_and_by_namespace_where_that_is_needed() {
        let table = table(vec![
            pool("a", "p", &[("p-0", "1"), ("p-1", "2")]),
            pool("b", "p", &[("p-0", "3")]),
            // Come anew under its name, twice.
            pool("", "q", &[("q-0", "old"), ("q-0", "gone"), ("q-0", "new")]),
        ]);
        let view = view(vec![("old", run(true, 4)), ("gone", run(false, 0)), ("new", run(true, 1))]);
        let of = |namespace, pool, relay| {
            view.named(&table, Named { namespace, pool, relay }).map(|(pod_uid, view)| (pod_uid, view.namespace))
        };
        let found = |pod_uid: &str, namespace: &str| Ok((pod_uid.to_owned(), namespace.to_owned()));
        assert_eq!(of(None, "p", "p-1"), found("2", "a"));
        assert_eq!(of(None, "p", "p-0"), Err(NotOne::Several));
        assert_eq!((of(Some("a"), "p", "p-0"), of(Some("b"), "p", "p-0")), (found("1", "a"), found("3", "b")));
        assert_eq!((of(None, "q", "q-0"), of(Some(""), "q", "q-0")), (found("new", ""), found("new", "")));
        for (namespace, pool, relay) in
            [(None, "p", "p-2"), (None, "q", "p-0"), (None, "", ""), (Some("c"), "p", "p-0"), (Some(""), "p", "p-0")]
        {
            assert_eq!(of(namespace, pool, relay), Err(NotOne::Nobody), "{namespace:?} {pool} {relay}");
        }
    }

    #[test]
    fn a_relay_shows_what_it_said_and_what_the_table_says() {
        let shown = |entry: fn(&mut RelayEntry), run: Option<RunView>| {
            let mut table = table(vec![pool("a", "p", &[("p-0", "1")])]);
            entry(&mut table.pools[0].relays[0]);
            let of = view(run.into_iter().map(|run| ("1", run)).collect()).relays(&table).remove(0);
            (of.state, of.capacity, of.used)
        };
        let said = |cordoned, draining| {
            let stats = RelayStats { cordoned, draining, ..run(true, 0).stats };
            Some(RunView { stats, ..run(true, 0) })
        };
        let known = |state| (state, 5, Some(3));
        assert_eq!(shown(|_| (), None), (RelayState::NotLinked, 5, None), "unknown is not zero");
        assert_eq!(shown(|_| (), Some(run(true, 5))), known(RelayState::Serving));
        assert_eq!(shown(|_| (), Some(run(true, 6))), known(RelayState::Silent));
        assert_eq!(shown(|_| (), Some(run(false, 0))), known(RelayState::NotLinked));
        assert_eq!(shown(|_| (), said(true, false)), known(RelayState::Cordoned));
        assert_eq!(shown(|_| (), said(false, true)), known(RelayState::Leaving));
        assert_eq!(shown(|entry| entry.leaving = true, said(true, false)), known(RelayState::Leaving));
        assert_eq!(shown(|entry| entry.cordoned = true, said(false, false)), known(RelayState::Cordoned));
        assert_eq!(shown(|entry| entry.url.clear(), said(false, false)), known(RelayState::NoAddress));
    }
}

//! Relays of other clusters: no table names them. They are those that link up as one of a pool that is listed.

use super::View;
use crate::wire::table::{MAX_RELAYS, PoolEntry, RelayEntry, RelayTable, RemotePool};

/// Whether what stands for a Pod's UID is that of a relay of this pool.
pub fn is_of(pool: &str, pod_uid: &str) -> bool {
    pod_uid.strip_prefix(pool).is_some_and(|rest| rest.starts_with('.'))
}

/// The listed pools of other clusters with those of their relays that are linked now, in declared order.
pub fn remote_pools(table: &RelayTable, view: &View) -> Vec<PoolEntry> {
    let relays = |pool: &RemotePool| {
        let linked = view.runs.iter().filter(|(pod_uid, run)| run.linked && is_of(&pool.name, pod_uid));
        let mut relays: Vec<RelayEntry> = linked
            .filter_map(|(pod_uid, run)| {
                let home = run.home.as_ref()?;
                Some(RelayEntry {
                    name: home.relay.clone(),
                    pod_uid: pod_uid.clone(),
                    url: home.url.clone(),
                    capacity: run.stats.capacity,
                    cordoned: false,
                    leaving: false,
                })
            })
            .collect();
        relays.sort_by(|a, b| (a.name.len(), &a.name, &a.pod_uid).cmp(&(b.name.len(), &b.name, &b.pod_uid)));
        relays.truncate(MAX_RELAYS);
        relays
    };
    let pools = table.remote.iter().map(|pool| PoolEntry {
        // Of none here: no Pod of this cluster is taken for one of theirs.
        namespace: String::new(),
        name: pool.name.clone(),
        region: pool.region.clone(),
        latitude: pool.latitude,
        longitude: pool.longitude,
        relays: relays(pool),
    });
    pools.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decide::sessions::{Home, RunView};
    use crate::wire::claims::remote_uid;
    use crate::wire::session::GeoPoint;
    use crate::wire::stats::RelayStats;

    fn run(pool: &str, relay: &str, linked: bool) -> (String, RunView) {
        let pod_uid = remote_uid(pool, &format!("uid-of-{relay}"));
        let home = Home {
            pod_uid: pod_uid.clone(),
            boot_id: "boot".to_owned(),
            pool: pool.to_owned(),
            region: pool.to_owned(),
            relay: relay.to_owned(),
            url: format!("wss://{relay}.example.com"),
            point: GeoPoint { latitude: 0.0, longitude: 0.0 },
        };
        let run = RunView {
            home: Some(Arc::new(home)),
            linked,
            stats: RelayStats { capacity: 7, ..RelayStats::default() },
            ..RunView::linked("boot")
        };
        (pod_uid, run)
    }

    fn listed(name: &str) -> RemotePool {
        let (latitude, longitude) = (1.0, 2.0);
        RemotePool { name: name.to_owned(), region: "r".to_owned(), latitude, longitude, keys: vec![] }
    }

    fn names(remote: &[&str], runs: Vec<(String, RunView)>) -> Vec<(String, Vec<String>)> {
        let table = RelayTable { remote: remote.iter().map(|name| listed(name)).collect(), ..RelayTable::default() };
        let view = View { runs: runs.into_iter().collect(), ..View::default() };
        let relays = |pool: PoolEntry| (pool.name, pool.relays.into_iter().map(|relay| relay.name).collect());
        remote_pools(&table, &view).into_iter().map(relays).collect()
    }

    #[test]
    fn relays_are_those_that_are_linked_under_a_listed_pool() {
        let runs = vec![
            run("b", "b-10", true),
            run("b", "b-9", true),
            run("b", "b-1", false),
            run("a", "a-0", true),
            run("a-b", "a-b-0", true),
            run("gone", "gone-0", true),
            ("uid-of-a-pod-here".to_owned(), run("b", "b-2", true).1),
        ];
        let of = |name: &str, relays: &[&str]| {
            (name.to_owned(), relays.iter().map(|relay| (*relay).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(names(&["b", "a", "empty"], runs), [of("b", &["b-9", "b-10"]), of("a", &["a-0"]), of("empty", &[])]);
    }

    #[test]
    fn a_pool_has_no_more_than_it_may() {
        let many = (0..MAX_RELAYS + 9).map(|n| run("a", &format!("a-{n}"), true)).collect();
        let found = names(&["a"], many).remove(0).1;
        assert_eq!((found.len(), found[0].as_str()), (MAX_RELAYS, "a-0"));
    }
}

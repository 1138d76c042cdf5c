//! What a lobby reads of its relay table, and the one that serves: put together off the way of requests, and swapped. Who
//! reads it takes no lock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use crate::decide::geo::on_earth;
use crate::decide::identity::ClusterKeys;
use crate::decide::sessions::{View, remote_pools};
use crate::decide::token::VerifyKeys;
use crate::wire::session::GeoPoint;
use crate::wire::table::RelayTable;

/// A table that was checked, with what follows from it.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) table: Arc<RelayTable>,
    pub(super) proofs: Arc<Proofs>,
}

/// By which keys relays prove who they are.
#[derive(Debug)]
pub(super) struct Proofs {
    /// Those of this cluster.
    pub(super) cluster: ClusterKeys,
    /// Those of other clusters, by the names of their pools.
    pub(super) remote: HashMap<String, VerifyKeys>,
}

/// The table of now, and those who make the next one.
#[derive(Debug, Default)]
pub(super) struct Tables {
    now: ArcSwapOption<Now>,
    /// Held by who makes one: tables are swapped in the order of the views that they were made of.
    making: Mutex<()>,
}

/// A table.
#[derive(Debug)]
struct Now {
    /// As it came.
    told: Arc<Table>,
    /// With the relays of other clusters that are linked.
    whole: Arc<Table>,
}

impl Tables {
    /// The table, once there is one.
    pub(super) fn now(&self) -> Option<Arc<Table>> {
        self.now.load().as_ref().map(|now| Arc::clone(&now.whole))
    }

    /// From now on it is this one. `view` is asked in turn with others who make one.
    pub(super) fn swap(&self, told: Arc<Table>, view: impl FnOnce() -> Arc<View>) {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = told.with_remote(view);
        self.now.store(Some(Arc::new(Now { told, whole })));
    }

    /// Relays of other clusters may have come or gone. Whether there is another table for it.
    pub(super) fn look_for_remote(&self, view: impl FnOnce() -> Arc<View>) -> bool {
        // Most lobbies have none, and wait for nobody here.
        if self.now.load().as_ref().is_none_or(|now| now.told.table.remote.is_empty()) {
            return false;
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(now) = self.now.load_full() else { return false };
        let whole = now.told.with_remote(view);
        if whole.table.pools == now.whole.table.pools {
            return false;
        }
        self.now.store(Some(Arc::new(Now { told: Arc::clone(&now.told), whole })));
        true
    }
}

impl Table {
    /// With the relays of other clusters that are linked in a view.
    fn with_remote(self: &Arc<Self>, view: impl FnOnce() -> Arc<View>) -> Arc<Self> {
        if self.table.remote.is_empty() {
            return Arc::clone(self);
        }
        let mut table = RelayTable::clone(&self.table);
        table.pools.extend(remote_pools(&self.table, &view()));
        Arc::new(Self { table: Arc::new(table), proofs: Arc::clone(&self.proofs) })
    }
}

/// Reads a table and checks what the lobby relies on.
pub(super) fn parse(text: &str) -> Result<Table, String> {
    let table: RelayTable = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if table.lobby_uid.is_empty() {
        return Err("lobbyUid is empty".to_owned());
    }
    let mut pods = HashSet::new();
    for pool in &table.pools {
        let of = format!("pool {}/{}", pool.namespace, pool.name);
        if !on_earth(GeoPoint { latitude: pool.latitude, longitude: pool.longitude }) {
            return Err(format!("{of}: latitude and longitude are not on earth"));
        }
        for relay in &pool.relays {
            if !relay.pod_uid.is_empty() && !pods.insert(relay.pod_uid.as_str()) {
                return Err(format!("{of}: relay {} has the Pod of another", relay.name));
            }
            if !(relay.url.is_empty() || relay.url.starts_with("ws://") || relay.url.starts_with("wss://")) {
                return Err(format!("{of}: relay {} has a url that is no WebSocket's", relay.name));
            }
        }
    }
    let cluster = ClusterKeys::from_jwks(&table.cluster.jwks).map_err(|error| format!("cluster.jwks: {error}"))?;
    let mut remote = HashMap::new();
    for pool in &table.remote {
        let of = format!("remote pool {}", pool.name);
        if !on_earth(GeoPoint { latitude: pool.latitude, longitude: pool.longitude }) {
            return Err(format!("{of}: latitude and longitude are not on earth"));
        }
        if pool.name.is_empty() || pool.name.contains('.') {
            return Err(format!("{of}: this is no name of a pool"));
        }
        let keys = VerifyKeys::from_keys(&pool.keys).map_err(|error| format!("{of}: keys: {error}"))?;
        if remote.insert(pool.name.clone(), keys).is_some() {
            return Err(format!("{of}: stands there twice"));
        }
    }
    Ok(Table { table: Arc::new(table), proofs: Arc::new(Proofs { cluster, remote }) })
}

#[cfg(test)]
mod tests {

    use serde_json::{Value, json};

    use super::*;
    use crate::decide::sessions::{Home, RunView};
    use crate::wire::table::RemotePool;

    fn table() -> Value {
        json!({
            "lobbyUid": "lobby", "url": "", "cluster": {"issuer": "https://issuer", "jwks": null},
            "pools": [{
                "namespace": "a", "name": "tokyo", "region": "asia-northeast1", "latitude": 35.68, "longitude": 139.69,
                "relays": [
                    {"name": "tokyo-0", "podUid": "0", "url": "ws://192.0.2.1:1", "capacity": 1, "cordoned": false},
                    {"name": "tokyo-1", "podUid": "1", "url": "", "capacity": 1, "cordoned": false},
                ],
            }],
        })
    }

    #[test]
    fn a_whole_table_is_taken_and_fields_of_later_versions_are_passed_over() {
        let mut later = table();
        later["pools"][0]["relays"][0]["weight"] = json!(3);
        for good in [table(), later] {
            assert_eq!(parse(&good.to_string()).expect("good").table.pools.len(), 1);
        }
    }

    #[test]
    fn broken_tables_are_refused_with_the_reason() {
        for (path, value, reason) in [
            ("/lobbyUid", json!(""), "lobbyUid"),
            ("/pools", json!(7), "invalid type"),
            ("/pools/0/latitude", json!(95), "latitude"),
            ("/pools/0/longitude", json!(-181), "longitude"),
            ("/pools/0/relays/1/podUid", json!("0"), "tokyo-1"),
            ("/pools/0/relays/0/url", json!("http://192.0.2.1"), "tokyo-0"),
            ("/pools/0/relays/0/capacity", json!(-1), "invalid value"),
            ("/cluster/jwks", json!({}), "cluster.jwks"),
        ] {
            let mut broken = table();
            *broken.pointer_mut(path).expect(path) = value;
            let why = parse(&broken.to_string()).expect_err(path);
            assert!(why.contains(reason), "{path}: {why}");
        }
        assert!(parse("").is_err() && parse("null").is_err() && parse("{").is_err());
    }
    fn told(remote: &[&str]) -> Arc<Table> {
        let Table { table, proofs } = parse(&table().to_string()).expect("good");
        let pool = |name: &&str| RemotePool {
            name: (*name).to_owned(),
            region: "eu-west-1".to_owned(),
            latitude: 53.3,
            longitude: -6.3,
            keys: vec![],
        };
        let table = RelayTable { remote: remote.iter().map(pool).collect(), ..RelayTable::clone(&table) };
        Arc::new(Table { table: Arc::new(table), proofs })
    }

    fn linked(pod_uid: &str) -> Arc<View> {
        let home = Home {
            pod_uid: pod_uid.to_owned(),
            boot_id: "1".to_owned(),
            pool: String::new(),
            region: String::new(),
            relay: pod_uid.to_owned(),
            url: "wss://192.0.2.1".to_owned(),
            point: GeoPoint { latitude: 53.3, longitude: -6.3 },
        };
        let run = RunView { home: Some(Arc::new(home)), ..RunView::linked("1") };
        Arc::new(View { runs: [(pod_uid.to_owned(), run)].into(), ..View::default() })
    }

    #[test]
    fn relays_of_other_clusters_are_in_the_table_while_they_are_linked() {
        let tables = Tables::default();
        let relays = || {
            let table = tables.now().expect("a table");
            table.table.pools.iter().map(|pool| pool.relays.len()).collect::<Vec<_>>()
        };
        assert!(tables.now().is_none() && !tables.look_for_remote(|| linked("far.0")), "none came yet");
        tables.swap(told(&["far"]), || linked("far.0"));
        assert_eq!(relays(), [2, 1]);
        assert!(!tables.look_for_remote(|| linked("far.0")), "the same");
        assert!(tables.look_for_remote(Arc::default));
        assert_eq!(relays(), [2, 0]);
        assert!(tables.look_for_remote(|| linked("far.1")));
        assert_eq!(relays(), [2, 1]);
        tables.swap(told(&[]), || unreachable!("who has none asks for no view"));
        assert!(!tables.look_for_remote(|| unreachable!("nor later")));
        assert_eq!(relays(), [2]);
    }
}

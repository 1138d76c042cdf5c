//! What a lobby reads of its relay table.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::decide::geo::on_earth;
use crate::decide::identity::ClusterKeys;
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
}

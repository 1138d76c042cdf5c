//! The relay table's way in: a file, or one ConfigMap that is watched by name. A table that is broken is counted and
//! logged, and the last good one keeps serving; so does it while the API server is away.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use super::state::Lobby;
use crate::decide::geo::on_earth;
use crate::decide::identity::ClusterKeys;
use crate::decide::token::VerifyKeys;
use crate::wire::session::GeoPoint;
use crate::wire::table::{RelayTable, TABLE_KEY};

/// How often the file is looked at where there is no ConfigMap.
const FILE_POLL: Duration = Duration::from_secs(1);

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

/// Where the table comes from.
pub(super) enum Source {
    /// The file alone; read again when it changes.
    File,
    /// A ConfigMap.
    ConfigMap { client: Client, namespace: String, name: String },
}

impl Source {
    /// The source that the arguments name.
    pub(super) async fn new(config_map: Option<&str>) -> anyhow::Result<Self> {
        let Some(config_map) = config_map else { return Ok(Self::File) };
        let parts = config_map.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let (namespace, name) = parts.context("the table's ConfigMap must be given as <namespace>/<name>")?;
        let client = Client::try_default().await.context("no way to the Kubernetes API")?;
        Ok(Self::ConfigMap { client, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Keeps the lobby's table current until `shutdown`.
    pub(super) async fn follow(self, lobby: Arc<Lobby>, file: &Path, shutdown: CancellationToken) {
        let follow = async {
            match self {
                Self::File => follow_file(&lobby, file).await,
                Self::ConfigMap { client, namespace, name } => {
                    follow_config_map(&lobby, Api::namespaced(client, &namespace), &name).await;
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = shutdown.cancelled() => {}
        }
    }
}

/// Reads the file once; it need not be there.
pub(super) async fn read_file(lobby: &Lobby, file: &Path) {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => lobby.offer_table("file", &text),
        Err(error) => tracing::info!(file = %file.display(), %error, "no relay table in a file"),
    }
}

async fn follow_file(lobby: &Lobby, file: &Path) {
    let mut seen = None;
    loop {
        match tokio::fs::read_to_string(file).await {
            Ok(text) if seen.as_ref() == Some(&text) => lobby.confirm_table(),
            Ok(text) => {
                lobby.offer_table("file", &text);
                seen = Some(text);
            }
            Err(error) => {
                lobby.doubt_table();
                tracing::debug!(file = %file.display(), %error, "the relay table cannot be read");
            }
        }
        tokio::time::sleep(FILE_POLL).await;
    }
}

async fn follow_config_map(lobby: &Lobby, api: Api<ConfigMap>, name: &str) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, only).default_backoff());
    let mut seen_in_list = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen_in_list = false,
            Ok(watcher::Event::InitApply(map) | watcher::Event::Apply(map)) => {
                seen_in_list = true;
                match map.data.as_ref().and_then(|data| data.get(TABLE_KEY)) {
                    Some(text) => lobby.offer_table("configMap", text),
                    None => lobby.broken_table("configMap", &format!("the ConfigMap has no key {TABLE_KEY}")),
                }
            }
            Ok(watcher::Event::InitDone) if seen_in_list => lobby.confirm_table(),
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => lobby.missing_table(name),
            Err(error) => {
                lobby.doubt_table();
                tracing::warn!(%error, "cannot watch the relay table; the last one keeps serving");
            }
        }
    }
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

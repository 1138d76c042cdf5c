//! The relay table: what the operator tells a lobby about its pools, compiled into one ConfigMap.
//!
//! Membership travels this way only; load and liveness travel by the relay link ([`super::link`]).

use serde::{Deserialize, Serialize};

use super::keys::KeySet;
use super::routing::Routing;

/// Key of the ConfigMap under which the table stands, as JSON.
pub const TABLE_KEY: &str = "relays.json";

/// All that a lobby knows about where sessions can go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayTable {
    /// UID of the Lobby object: issuer of the lobby's tokens and audience of the relays' own.
    pub lobby_uid: String,
    /// Public base URL of the lobby; empty while it has none.
    pub url: String,
    /// Whose service-account tokens prove that a relay is who it says.
    pub cluster: ClusterIssuer,
    /// Public keys of the lobby's tokens: which of its private keys count, and in which order. Absent where all that it
    /// was given count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<KeySet>,
    /// Pools of other clusters that may attach. Their relays are known by their links alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote: Vec<RemotePool>,
    /// How the lobby chooses among its pools.
    #[serde(default, skip_serializing_if = "Routing::is_default")]
    pub routing: Routing,
    /// Attached pools in declared order (age, then namespace, then name): the order that decides where nothing else is known.
    pub pools: Vec<PoolEntry>,
}

/// The issuer of a cluster's service-account tokens and its keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIssuer {
    /// The `iss` of the tokens.
    pub issuer: String,
    /// The cluster's public keys, a JSON Web Key Set (RFC 7517), as the API server publishes it.
    pub jwks: serde_json::Value,
}

/// One attached pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolEntry {
    /// Namespace of the RelayPool.
    pub namespace: String,
    /// Name of the RelayPool.
    pub name: String,
    /// Region as clients see it.
    pub region: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Its relays, by name.
    pub relays: Vec<RelayEntry>,
}

/// A pool of another cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemotePool {
    /// Name under which it attaches, of lower-case letters, digits and dashes.
    pub name: String,
    /// Region as clients see it.
    pub region: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Public keys by one of which its relays prove who they are, JSON Web Keys on P-256.
    pub keys: Vec<serde_json::Value>,
}

/// Relays that one pool may have at a time.
pub const MAX_RELAYS: usize = 64;

/// One relay of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayEntry {
    /// Name of the relay and of its Pod, `<pool>-<ordinal>`.
    pub name: String,
    /// UID of its Pod.
    pub pod_uid: String,
    /// WebSocket base URL for clients, such as `ws://203.0.113.7:31234`; empty while it has none.
    pub url: String,
    /// Seats.
    pub capacity: u32,
    /// Takes no new sessions.
    pub cordoned: bool,
    /// Is to leave: the sessions that it has are moved to other relays, as far as those have room. May be taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

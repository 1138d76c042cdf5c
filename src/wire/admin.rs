//! What a lobby tells its administrator of its relays, and is told by them: `GET /v1/relays`, and an order to one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Key of a lobby's Secret under which the administrator's token stands.
pub const ADMIN_TOKEN: &str = "admin-token";

/// Name of that Secret.
pub fn secret_of(lobby: &str) -> String {
    format!("{lobby}-lobby-keys")
}

/// Answer to `GET /v1/relays`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayList {
    /// All relays, by their pools in declared order.
    pub relays: Vec<RelayView>,
}

/// A relay as its lobby knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayView {
    /// Namespace of its pool; empty for a pool of another cluster.
    pub namespace: String,
    /// Name of its pool.
    pub pool: String,
    /// Its name, which is its Pod's.
    pub relay: String,
    /// The pool's region.
    pub region: String,
    /// Whether it takes new sessions, and what keeps it from that.
    pub state: RelayState,
    /// Seats.
    pub capacity: u32,
    /// Seats taken, leases included; absent where nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u32>,
}

/// Whether a relay takes new sessions, and what keeps it from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum RelayState {
    /// It takes new sessions while it has seats.
    Serving,
    /// It is to leave: its sessions move to other relays, as far as those have room.
    Leaving,
    /// It takes no new sessions, and keeps those that it has.
    Cordoned,
    /// Linked, but silent for too long.
    Silent,
    /// No lobby process has its link.
    NotLinked,
    /// It has no address for clients yet.
    NoAddress,
}

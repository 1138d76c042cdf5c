//! Load of one relay: sent over the relay link, and as server-sent events on the relay's control port. And what a lobby
//! is asked for, on the lobby's.

use serde::{Deserialize, Serialize};

/// Path of the event stream on the control port.
pub const EVENTS_PATH: &str = "/v1/events";

/// What a relay carries at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayStats {
    /// Seats.
    pub capacity: u32,
    /// Sessions with participants, or within their idle time.
    pub sessions: u32,
    /// Seats held by leases that nobody has claimed.
    pub leases: u32,
    /// Connected participants.
    pub participants: u32,
    /// Takes no new sessions until it is told otherwise: it obeys a cordon.
    #[serde(default)]
    pub cordoned: bool,
    /// It is to leave, and takes no new sessions: those that it has are to move to other relays, as far as those have room.
    /// Its process is ending; or the operator or the lobby has ordered it, who may take that back.
    pub draining: bool,
}

/// What a relay tells of itself on its control port: its load, and which of the operator's [`super::orders`] it obeys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayReport {
    /// Its load.
    #[serde(flatten)]
    pub stats: RelayStats,
    /// The number of the cordon that it obeys; absent while it obeys none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<u32>,
    /// The highest number of an order that this process has heard.
    #[serde(default)]
    pub highest: u32,
    /// Its lobby has ordered it to leave ([`super::link::FromLobby::Leave`]).
    #[serde(default)]
    pub asked: bool,
}

/// Name of the events that hold a [`RelayReport`].
pub const LOAD_EVENT: &str = "load";
/// Name of the events that hold a [`Demand`].
pub const DEMAND_EVENT: &str = "demand";
/// Name of the events that hold a [`StoreState`].
pub const STORE_EVENT: &str = "store";

/// Whether one lobby process reaches its store, as server-sent events named [`STORE_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreState {
    /// It can be asked. While it cannot, no session is created or moved, and those that run are not touched.
    pub available: bool,
}

/// What one lobby process is asked for beyond what runs, as server-sent events named [`DEMAND_EVENT`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Its pools, in declared order.
    pub pools: Vec<PoolDemand>,
}

/// What is asked of one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolDemand {
    /// Namespace of the pool.
    pub namespace: String,
    /// Its name.
    pub pool: String,
    /// Its region.
    pub region: String,
    /// Requests that wait at this process because no relay has room, and for which this pool would be best. Those of
    /// several lobby processes add up.
    pub waiting: u32,
    /// Seats that are kept for sessions to which nobody has connected yet. Every lobby process tells of the same ones.
    pub leases: u32,
}

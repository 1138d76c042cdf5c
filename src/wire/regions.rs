//! What a lobby tells its routers, at the port of the relay link: `GET /v1/regions` there.

use serde::{Deserialize, Serialize};

/// Most relays that are told not to be heard, of all regions together.
pub const MAX_NOT_HEARD: usize = 1000;

/// One region of the relay table, by its relays there. Those of other clusters do not count: routers name none of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionLoad {
    /// Name of the region.
    pub region: String,
    /// Relays that serve there now.
    pub relays: u32,
    /// Free seats there now.
    pub free_seats: u32,
    /// UIDs of the Pods of relays that have no link, or are silent on it. A lobby that says nothing of that may have such.
    #[serde(default)]
    pub not_heard: Vec<String>,
}

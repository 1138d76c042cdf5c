//! What a lobby tells of its regions: `GET /v1/regions`, to clients at its public port, to its routers at that of the relay
//! link.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One place, in the answer to `GET /v1/regions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionView {
    /// Name of the region.
    pub region: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Relays that serve there now.
    pub relays: u32,
    /// Free seats there now.
    pub free_seats: u32,
    /// Where to measure how far it is: up to two, of different relays where there are several. None where no relay
    /// answers probes now, as those of other images never do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
}

/// Where a client measures its round trip to a relay: the time of a `GET` there that is answered with 204, on a connection
/// that is open already. Any other answer is no measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// The whole URL, with a token that opens nothing else.
    pub url: String,
    /// Until when it is answered, seconds since 1970.
    pub expires_at: i64,
}

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

//! The lobby's HTTP API: requests and answers. The OpenAPI document is generated from these types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::claims::Role;

/// Where a client is, as far as it knows. The best source that is given counts: measured, then coordinates, then region.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientPlace {
    /// Round-trip times in milliseconds that the client measured, by region name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latencies: BTreeMap<String, f64>,
    /// Coordinates in decimal degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<GeoPoint>,
    /// Name of a region, of a public cloud or of a pool of this lobby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// A place on earth, in decimal degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoPoint {
    /// Degrees north, −90 to 90.
    #[schema(minimum = -90.0, maximum = 90.0)]
    pub latitude: f64,
    /// Degrees east, −180 to 180.
    #[schema(minimum = -180.0, maximum = 180.0)]
    pub longitude: f64,
}

/// Body of `POST /v1/sessions`. The header `Idempotency-Key` makes a repeated request give the same answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSession {
    /// Where the host is.
    #[serde(default)]
    pub place: ClientPlace,
}

/// Body of `POST /v1/sessions/{id}/join`. A guest gives the join key; the host gives its host token as
/// `Authorization: Bearer` instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinSession {
    /// Secret from the join link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_key: Option<String>,
}

/// A pass for one connection to the session's relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// WebSocket URL of the session on its relay, without the token.
    pub url: String,
    /// Token for one connection; send it as `Authorization: Bearer`.
    pub token: String,
    /// When the token expires, seconds since 1970.
    pub expires_at: i64,
    /// Who the token says the client is, unique in the session.
    pub participant: String,
    /// What the client may do.
    pub role: Role,
}

/// Answer to `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionCreated {
    /// The session.
    pub session: SessionView,
    /// Link for guests; the part behind `#` holds the join key and is sent to no server.
    pub join_link: String,
    /// The join key by itself.
    pub join_key: String,
    /// Secret of the host: reads and closes the session, and joins it as host.
    pub host_token: String,
    /// The host's own pass to the relay.
    pub connect: Connect,
    /// All pools, best first, with the reason for each.
    pub ranking: Vec<RankedPool>,
}

/// Answer to `POST /v1/sessions/{id}/join`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The session.
    pub session: SessionView,
    /// The pass to the relay.
    pub connect: Connect,
}

/// What is told about a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its id; grants nothing.
    pub id: String,
    /// When it was created, seconds since 1970.
    pub created_at: i64,
    /// Raised by each move of the session.
    pub epoch: u64,
    /// Region of its relay.
    pub region: String,
    /// Name of its relay.
    pub relay: String,
    /// Whether a participant has connected.
    pub state: SessionState,
}

/// Life of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    /// A seat is kept; nobody has connected yet.
    Leased,
    /// Somebody has connected.
    Open,
}

/// From which knowledge a distance was estimated; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Rung {
    /// Measured by this client.
    Measured,
    /// Coordinates that the client gave.
    Coordinates,
    /// A region that the client named.
    Region,
    /// Nothing is known about the client: the pools' declared order.
    DeclaredOrder,
}

impl Rung {
    /// The word in answers and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Coordinates => "coordinates",
            Self::Region => "region",
            Self::DeclaredOrder => "declaredOrder",
        }
    }
}

/// One pool in the order of preference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RankedPool {
    /// Name of the pool.
    pub pool: String,
    /// Its region.
    pub region: String,
    /// From which knowledge the estimate comes.
    pub rung: Rung,
    /// Estimated round trip in milliseconds; absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_ms: Option<f64>,
    /// Great-circle distance in kilometres; absent where the client's place is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_km: Option<f64>,
    /// Free seats on relays that are heard and not cordoned.
    pub free_seats: u32,
    /// Why it is where it is, in words.
    pub reason: String,
}

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
}

/// Answer to `GET /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// Sessions, oldest first.
    pub sessions: Vec<SessionView>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An error, as `application/problem+json` (RFC 9457). `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable word for programs, such as `no_capacity`.
    pub code: String,
    /// What happened, for people.
    pub title: String,
    /// What is wrong with this request, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

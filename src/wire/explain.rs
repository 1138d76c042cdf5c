//! The answer to `GET /v1/route`: where a session would go, and what the client's address says of its place.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::session::{GeoPoint, RankedPool};

/// Answer to `GET /v1/route`: where a session would go now. Nothing is kept for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteView {
    /// Name of the pool; absent where no pool that it may go to has room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Name of the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Name of the pool that would be best if all were empty, or of a clearly nearer one that nobody can measure since it has
    /// no relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What the client's address says of its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<AddressView>,
    /// All pools, best first, with the reason for each.
    pub ranking: Vec<RankedPool>,
}

/// What an address says of the place of a client, in the answer to `GET /v1/route`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressView {
    /// The address; absent where the client's is none of the public internet or not known for sure, and so says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What the databases of places say of it.
    pub known: AddressKnown,
    /// Where they place it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<GeoPoint>,
    /// The network whose clients have measured before what counts on the rung `network`; absent where too few have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Number of the autonomous system whose networks have measured what is not known of the network itself; absent where
    /// they do not add anything, or do not agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<u32>,
}

/// What the databases of places say of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum AddressKnown {
    /// Where it is.
    Found,
    /// They do not know it.
    Unknown,
    /// Coordinates that are none: the database is wrong.
    NotOnEarth,
    /// They were not asked: it is an address of a private network or of a proxy, or nobody who is trusted has said it.
    NoPublicAddress,
    /// The databases are missing, broken or too old.
    NoDatabase,
    /// The lobby has none.
    NotAsked,
}

impl AddressKnown {
    /// Its word in metrics.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Unknown => "unknown",
            Self::NotOnEarth => "not_on_earth",
            Self::NoPublicAddress => "no_public_address",
            Self::NoDatabase => "no_database",
            Self::NotAsked => "not_asked",
        }
    }
}

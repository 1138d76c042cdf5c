//! `spec.routing` of a Lobby: how it chooses among its pools.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dns::Dns;
use super::endpoints::ExternalDns;
use super::places::{ClientLocation, GeoIp};

/// How a lobby chooses among its pools: the nearest that has room, unless this says more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.caps) || self.caps.map(step, step.atMostMilliseconds).isSorted()",
    "caps must rise: no step may be nearer than the one before"
))]
#[x_kube(validation = (
    "!has(self.caps) || self.caps.map(step, step.forSeconds).sum() <= 60",
    "caps must take 60 seconds at most together: no request waits longer"
))]
pub struct Routing {
    /// For whom a session is placed when it is known where some of its guests are: for the party with the longest round trip
    /// (`Worst`), for all alike (`Average`), or for the `Host` alone. Unless it is `Host`, a session moves when a guest joins
    /// and another pool is clearly nearer: by 10 ms and by a third, and at most once a minute.
    #[serde(default)]
    pub strategy: Strategy,
    /// Where sessions go when the best pool has no room: to the `Nearest` that has, to the nearest of the `SameResidency`
    /// (of the same region, where `regions` names none for it), or `Never` to another region. Those who find no room are
    /// refused, or wait if they asked for that; the best pool hears of it either way.
    #[serde(default)]
    pub overflow: Overflow,
    /// Which relay of a pool a session goes to: the fullest that has room, so that others can empty and leave (`Pack`), or
    /// the emptier of two taken by chance (`Spread`).
    #[serde(default)]
    pub inside: Inside,
    /// How far pools may be for requests to create a session, while these wait: step after step, at most 8. Beyond the
    /// last step, any distance. A request that does not wait is held to the first step. What is not known is not far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub caps: Vec<Cap>,
    /// What holds for single regions, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub regions: Vec<RegionRule>,
    /// Whether coordinates and regions that clients give count. What they measure counts in any case.
    #[serde(default)]
    pub client_location: ClientLocation,
    /// Where clients are who tell nothing of their place, by their address. Default: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geoip: Option<GeoIp>,
    /// Names for clients that know nothing else, answered by nearness. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// Names for external-dns to publish, where the cluster has its kind DNSEndpoint. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_dns: Option<ExternalDns>,
}

/// For whom a session of several parties is placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// The party with the longest round trip.
    #[default]
    Worst,
    /// All parties alike.
    Average,
    /// The host alone.
    Host,
}

/// Where sessions go when the best pool has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// To the next best pool.
    #[default]
    Nearest,
    /// To the next best pool of the same residency.
    SameResidency,
    /// To no other region.
    Never,
}

/// Which relay of a pool sessions go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Inside {
    /// The fullest that has room.
    #[default]
    Pack,
    /// The emptier of two.
    Spread,
}

/// How far a pool may be for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cap {
    /// Largest estimated round trip in milliseconds, 1 to 60000. A step with less than one before it changes nothing.
    #[schemars(range(min = 1, max = 60000))]
    pub at_most_milliseconds: i32,
    /// For how many seconds of waiting, 1 to 60.
    #[schemars(range(min = 1, max = 60))]
    pub for_seconds: i32,
}

/// What holds for one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegionRule {
    /// Name of the region.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Where its sessions reside, such as `eu`: regions of the same word are one residency. Hosts may ask for one
    /// (`place.residency`); their sessions then go to its regions alone, whenever they move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub residency: Option<String>,
    /// 0 to 9. A region is used only when no region of a lower number has room, however near it is. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9))]
    pub priority: i32,
    /// How far the region counts, in percent of what is estimated, 10 to 1000: with 200 it is chosen where it is less than
    /// half as far as the next. Raised step by step it moves new sessions away from a region, first those to whom another is
    /// almost as near, and of those alone of whose distance something is known (not `declaredOrder`); `priority` moves all new ones.
    /// Default: 100.
    #[serde(default = "as_far_as_it_is")]
    #[schemars(range(min = 10, max = 1000))]
    pub distance_percent: i32,
}

fn as_far_as_it_is() -> i32 {
    100
}

//! `spec.routing.dns` of a Lobby: names for clients that know nothing else.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{DOMAIN_NAME, Exposure};
use super::schema;

/// Answers of the DNS by nearness, for clients that know only a name: the operator runs `convene router`, an authoritative
/// server for one zone that you delegate to it. Where an asker is, `routing.geoip` says, by the network that its resolver tells
/// (EDNS client subnet) or by the resolver's own address. `docs/dns.md` has the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.exposure) || !has(self.exposure.ingress)",
    "dns.exposure cannot be ingress: an Ingress carries HTTP only"
))]
#[x_kube(validation = (
    "self.nameservers.all(ns, !(ns.name == self.zone || ns.name.endsWith('.' + self.zone)) || (ns.name != self.zone && has(ns.addresses)))",
    "dns.nameservers whose name is in the zone need addresses, and none may be named as the zone itself"
))]
pub struct Dns {
    /// The zone, such as `relays.example.com`: it means the nearest pool's relays, and names below it regions, pools and
    /// relays. At most 125 characters.
    #[schemars(length(min = 3, max = 125), regex(pattern = DOMAIN_NAME))]
    pub zone: String,
    /// The zone's nameservers as its delegation names them, the primary first, 1 to 8: names that lead to `exposure`'s address.
    #[schemars(length(min = 1, max = 8))]
    pub nameservers: Vec<Nameserver>,
    /// How many routers run, 1 to 16. Each answers by itself. Default: 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 16))]
    pub replicas: i32,
    /// Seconds for which resolvers may keep an answer, 1 to 3600: for so long a relay that is gone may still be tried, and
    /// as often resolvers ask again. Default: 20.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 3600))]
    pub ttl_seconds: i32,
    /// Answers a second by UDP for one network (an IPv4 /24, an IPv6 /56), 1 to 1000000, twice as many at once; above that,
    /// some are told to come by TCP and the others get nothing. Default: 1000.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate_per_network: i32,
    /// CPU and memory of each router. Default: requests of 50m CPU and 64Mi memory, a limit of 512Mi memory. Databases of
    /// places are held in memory, and for a moment the largest of them twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,
    /// How resolvers reach it: port 53 by UDP and TCP, and port 80, which redirects by HTTP to the nearest relay. Default:
    /// `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
}

/// A nameserver of the zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nameserver {
    /// Its name, such as `ns1.example.net`.
    #[schemars(length(min = 3, max = 253), regex(pattern = DOMAIN_NAME))]
    pub name: String,
    /// Its addresses, at most 4: needed where its name is in the zone itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(min = 2, max = 45)))]
    #[x_kube(validation = ("self.all(address, isIP(address))", "addresses must be IP addresses"))]
    pub addresses: Vec<String>,
}

/// What the operator observed of the routers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DnsStatus {
    /// Routers that answer.
    #[serde(default)]
    pub ready: i32,
    /// Addresses or host names of the load balancer at which they are reached: what the zone's nameservers must lead to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

fn two() -> i32 {
    2
}

fn twenty() -> i32 {
    20
}

fn thousand() -> i32 {
    1000
}

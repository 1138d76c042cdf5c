//! Names that external-dns publishes: `spec.routing.externalDns` of a Lobby, and the kind DNSEndpoint by which external-dns is told,
//! in the shape of its own definition (kubernetes-sigs/external-dns, `endpoint/endpoint.go`, Apache-2.0), as far as we write it.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::DOMAIN_NAME;

/// Addresses of relays as DNSEndpoint objects, which external-dns publishes at the DNS provider that it is set up for. Names
/// mean relays that take sessions, and follow cordons and pools; they are the same for whoever asks (`dns` answers by nearness).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalDns {
    /// The name that gets relays of all pools, and below which each region has its own, such as `relays.example.com` and
    /// `eu-west-1.relays.example.com`. At most 125 characters.
    #[schemars(length(min = 3, max = 125), regex(pattern = DOMAIN_NAME))]
    pub domain: String,
    /// Seconds for which resolvers may keep an answer, 1 to 86400. Default: 60.
    #[serde(default = "a_minute")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl_seconds: i32,
}

fn a_minute() -> i32 {
    60
}

/// What external-dns is told.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "externaldns.k8s.io",
    version = "v1alpha1",
    kind = "DNSEndpoint",
    plural = "dnsendpoints",
    namespaced,
    derive = "PartialEq",
    doc = "What external-dns is told."
)]
#[serde(rename_all = "camelCase")]
pub struct DnsEndpointSpec {
    /// The records.
    pub endpoints: Vec<Endpoint>,
}

/// Records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// The name, without the dot at its end.
    #[serde(rename = "dnsName")]
    pub dns_name: String,
    /// Seconds for which they may be kept.
    #[serde(rename = "recordTTL")]
    pub record_ttl: i64,
    /// `A`, `AAAA` or `CNAME`.
    #[serde(rename = "recordType")]
    pub record_type: String,
    /// What they say.
    pub targets: Vec<String>,
}

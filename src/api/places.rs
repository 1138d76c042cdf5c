//! What a Lobby is told of its clients' addresses: which proxies stand before it, and which database says where an address
//! is.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The proxies before a lobby's API, such as the controller of an Ingress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.trusted.all(network, isIP(network) || (isCIDR(network) && cidr(network).prefixLength() >= (cidr(network).ip().family() == 4 || cidr('fc00::/7').containsCIDR(network) ? 8 : 16)))",
    "trusted must be addresses, or networks of at least 8 bits (public IPv6: 16) such as 10.0.0.0/8: who trusts nearly everybody believes what anybody says"
))]
pub struct Proxies {
    /// Their addresses or networks, 1 to 64. Of requests that these pass on, the client's address is the right-most one in
    /// their header that is none of theirs; limits and `routing.geoip` go by it. Nobody else's header is looked at.
    #[schemars(length(min = 1, max = 64), inner(length(min = 2, max = 43)))]
    pub trusted: Vec<String>,
    /// The header that they write. The other one they pass on as anybody wrote it, so it is never looked at.
    #[serde(default)]
    pub header: ForwardedHeader,
}

/// A header in which proxies say for whom they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForwardedHeader {
    /// Addresses, separated by commas.
    #[default]
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Whether the coordinates and regions that clients give count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientLocation {
    /// They do.
    #[default]
    Trusted,
    /// They are passed over.
    Ignored,
}

/// A database of places by address, in MaxMind's format (mmdb). Each lobby process holds it in memory, and reads it again when
/// it changes; while it is missing, broken or too old, clients that tell nothing of their place are placed by declared order.
/// Exactly one of secretRef, configMapRef, volumeClaimRef, download is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.secretRef), has(self.configMapRef), has(self.volumeClaimRef), has(self.download)].filter(x, x).size() == 1",
    "exactly one of secretRef, configMapRef, volumeClaimRef, download must be set"
))]
pub struct GeoIp {
    /// A Secret in the lobby's namespace; it may be made later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<FileOf>,
    /// A ConfigMap in the lobby's namespace (`binaryData`); it may be made later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<FileOf>,
    /// A PersistentVolumeClaim in the lobby's namespace, mounted read-only: for databases of more than a mebibyte, as those
    /// of cities are. While there is no such claim, the lobby runs without it, and says so; once there is one, its processes
    /// are started anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_claim_ref: Option<FileOf>,
    /// A web server, which each process of the lobby asks by itself. Only under URLs that whoever installed the operator
    /// allows (`--allow-geoip-from`; the chart's `geoip.allowFrom`); while one is not, the lobby runs without databases, and
    /// says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<Download>,
    /// Days after which a database is too old to be believed, up to 10000; 0 = never. Default: 365.
    #[serde(default = "a_year")]
    #[schemars(range(min = 0, max = 10000))]
    pub max_age_days: i32,
}

/// Largest database, in MiB, that is read or downloaded: each is held in memory. A whole city database has some 70 MB.
pub const MAX_DATABASE_MIB: u32 = 512;

/// Databases on a web server, each an mmdb of at most 512 MiB, packed by gzip or not. A process fetches them when it starts, and
/// asks again from time to time whether they have changed (`ETag`, `Last-Modified`). What it has fetched stays while the
/// server is away or has something broken. Redirects are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Download {
    /// Where they are, 1 to 8: `https://` or, where that is allowed, `http://`, without a user, a query or encoded characters.
    /// The first that knows an address counts. One with the numbers of autonomous systems (`autonomous_system_number`) lets
    /// what clients measure help others of their system.
    #[schemars(length(min = 1, max = 8), inner(length(max = 1024), regex(pattern = DATABASE_URL)))]
    pub urls: Vec<String>,
    /// Hours after which a process asks whether they have changed, 1 to 8760. Default: 24. After a failure it asks sooner: after
    /// a minute, and then after twice as long each time, up to an hour.
    #[serde(default = "a_day")]
    #[schemars(range(min = 1, max = 8760))]
    pub every_hours: i32,
    /// A ConfigMap in the lobby's namespace with authorities (PEM) that are believed for these servers besides the public
    /// ones, such as those of a mirror of yours; it may be made later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<Authorities>,
}

/// Nothing in it can be written in two ways, so that what is allowed can be read off its beginning.
const DATABASE_URL: &str =
    r"^https?://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[1-9][0-9]{0,4})?(/[A-Za-z0-9@_~+-][A-Za-z0-9@._~+-]*)+$";

/// Authorities in a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Authorities {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its entry. Default: ca.crt.
    #[serde(default = "usual_ca")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9][-._A-Za-z0-9]*$"))]
    pub key: String,
}

/// A file in something that can be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileOf {
    /// Name of what holds it.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Name of the file: the entry of a Secret or ConfigMap, or in the top folder of a volume.
    #[serde(default = "usual_file")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9][-._A-Za-z0-9]*$"))]
    pub key: String,
    /// Names of up to 7 further files in the same place, such as a database of IPv6 addresses beside one of IPv4. The first that
    /// knows an address counts. One with the numbers of autonomous systems (`autonomous_system_number`) lets what clients
    /// measure help others of their system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7), inner(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9][-._A-Za-z0-9]*$")))]
    pub more_keys: Vec<String>,
}

impl FileOf {
    /// The names of all files.
    pub fn files(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.key).chain(&self.more_keys)
    }
}

fn a_year() -> i32 {
    365
}

fn a_day() -> i32 {
    24
}

fn usual_ca() -> String {
    "ca.crt".to_owned()
}

fn usual_file() -> String {
    "geoip.mmdb".to_owned()
}

//! The kind `Lobby`: a server that creates sessions, picks relays and signs tokens.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, Exposure, Location, PodOverrides, ServerTls};
use super::dns::DnsStatus;
use super::places::Proxies;
use super::routing::Routing;
use super::schema;

/// A lobby: the server that creates and controls sessions, sends each client to a relay and signs the tokens for it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "convene.dev",
    version = "v1alpha1",
    kind = "Lobby",
    plural = "lobbies",
    shortname = "lob",
    category = "convene",
    namespaced,
    status = "LobbyStatus",
    derive = "PartialEq",
    doc = "A lobby: the server that creates and controls sessions, sends each client to a relay and signs the tokens for it.",
    validation = ("self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be at most 50 lower-case letters, digits and '-', and start with a letter: it becomes part of Service names"),
    validation = ("self.spec.replicas == 1 || (has(self.spec.store) && has(self.spec.store.redis))",
        "spec.replicas must be 1 unless spec.store.redis is set: what is in the memory of one process, no other knows"),
    validation = ("!(has(self.spec.store) && has(self.spec.store.redis) && has(self.spec.store.redis.managed)) || self.metadata.name.size() <= 40",
        "metadata.name must be at most 40 characters with spec.store.redis.managed: it becomes part of the name of a StatefulSet, whose pods carry it in a label with more"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Pools", type_ = "integer", json_path = ".status.pools", description = "Attached relay pools"),
    printcolumn(name = "Relays", type_ = "integer", json_path = ".status.relays", description = "Relays that serve"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(has(self.tls) && has(self.exposure) && has(self.exposure.ingress))",
    "tls and exposure.ingress exclude one another: an Ingress ends TLS itself, with exposure.ingress.tlsSecretName"
))]
#[x_kube(validation = (
    "!has(self.tls) || !has(self.url) || self.url.startsWith('https://')",
    "url must begin with https:// where tls is set"
))]
pub struct LobbySpec {
    /// Which software the lobby runs. Default: `convene`. Cannot change between members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<LobbyServer>,
    /// Base URL under which clients reach the lobby, without a trailing slash; join links start with it. Default: the
    /// address that the exposure gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^https?://[^\s/?#]+(/[^\s?#]*[^\s/?#])?$"))]
    pub url: Option<String>,
    /// Which relay pools may attach.
    #[serde(default)]
    pub relay_pools: AdmittedPools,
    /// How many processes the lobby has, 1 to 16; more than one needs a store that they share. With more than one,
    /// clients and relays are served while one of them is replaced.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 16))]
    pub replicas: i32,
    /// Where sessions are kept. Default: `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// How clients reach the lobby's API. Default: `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// The proxies before the lobby's API, and before the port of its routers that redirects. Default: none; behind one, all clients are one address then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Proxies>,
    /// TLS of the lobby's API, which is plain HTTP otherwise. Relays of the cluster link by TLS in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// The keys that sign tokens and session records. Default: keys of the lobby's own, rotated every 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// How it chooses among its pools. Default: the nearest that has room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Routing>,
    /// What may be set on the lobby's pods.
    #[serde(default)]
    pub template: PodOverrides,
}

/// Which software a lobby runs. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.convene)].filter(x, x).size() == 1", "exactly one of convene must be set"))]
#[x_kube(validation = ("has(self.convene) == has(oldSelf.convene)", "server cannot change between members: make a new lobby and delete this one"))]
pub struct LobbyServer {
    /// Convene's own lobby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convene: Option<Empty>,
}

/// Keys that sign. Another key signs for a relay only once the relay has it, and no key change ends a connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!(has(self.rotation) && has(self.secretRef))", "rotation and secretRef exclude one another: whoever gives the keys rotates them"))]
pub struct Tokens {
    /// When keys of the lobby's own are replaced. At other times: annotate the Lobby with `convene.dev/rotate-keys` and a
    /// value that it has not had; with `convene.dev/revoke-keys` and ids of keys (separated by commas), for keys that
    /// others may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<KeyRotation>,
    /// A Secret with keys that you make yourself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<KeySecret>,
}

/// When keys are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRotation {
    /// Days for which a key signs, 1 to 365; it verifies for an hour more. Default: 30.
    #[serde(default = "default_rotation_days")]
    #[schemars(range(min = 1, max = 365))]
    pub every_days: i32,
}

/// A Secret with private keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySecret {
    /// Its name, in the lobby's namespace. Each entry whose name ends in `.pem` is a private key on P-256 (PKCS#8, PEM), at
    /// most 16; the last by name signs for each relay that has it, and the others verify. An added key counts within two
    /// minutes, a removed one is revoked.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Where a lobby keeps its sessions. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.memory), has(self.redis)].filter(x, x).size() == 1", "exactly one of memory, redis must be set"))]
pub struct Store {
    /// In the memory of the one lobby process. A restarted lobby rebuilds live sessions from its relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Empty>,
    /// In Redis, or a server that speaks as it does, which all processes of the lobby share. While it is away no session is
    /// created or moved, and those that run are not touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStore>,
}

/// A Redis. Exactly one member that says which is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.secretRef), has(self.managed)].filter(x, x).size() == 1", "exactly one of secretRef, managed must be set"))]
#[x_kube(validation = ("!has(self.managed) || self.port == 6379", "port belongs to secretRef: the Redis that the operator runs listens on 6379"))]
pub struct RedisStore {
    /// A Secret in the lobby's namespace. Its key `url` holds `redis://` or `rediss://` (TLS), with user and password where
    /// the server wants them; it needs the commands of strings, hashes, lists, sets and sorted sets, scripts, TIME and INFO.
    /// For `rediss://`, the key `ca.crt` holds the certificates (PEM) of the authorities that the server's may be signed by.
    /// A changed Secret is followed without a restart, within some two minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<RedisSecret>,
    /// The operator runs one server for this lobby alone, with a volume and a password that nobody needs to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedRedis>,
    /// The port in the URL of `secretRef`, 1 to 65535: the lobby's network policy lets it out there. Default: 6379.
    #[serde(default = "default_redis_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

/// A Secret with the URL of a Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One Redis with a volume, made and removed with the lobby. What it loses costs what the loss of any Redis costs: seats
/// that nobody has taken yet, and keys of repeated requests; while it is replaced, no session is created or moved. Nodes,
/// tolerations, priority class and pull secrets of `spec.template` hold for its pod too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedRedis {
    /// Image of the server: Redis 7, or one that takes its file of settings and its flags. Default: redis:7.2.11-alpine.
    #[serde(default = "default_redis_image")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: String,
    /// Its volume.
    #[serde(default)]
    pub storage: RedisStorage,
    /// CPU and memory of the server. Default: requests of 50m CPU and 64Mi memory, a limit of 512Mi memory, which holds
    /// some 100,000 sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,
}

/// The volume of a Redis: a PersistentVolumeClaim that goes with the lobby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("quantity(self.size).isGreaterThan(quantity('0'))", "size must be greater than 0"))]
#[x_kube(validation = ("quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0", "size can only grow: a volume cannot be made smaller"))]
#[x_kube(validation = ("has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)", "className cannot change: a volume stays where it is"))]
pub struct RedisStorage {
    /// Its size. It can grow where its storage class allows that. Default: 1Gi.
    #[serde(default = "default_redis_size")]
    #[schemars(length(max = 32), regex(pattern = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[kMGTPE])?$"))]
    pub size: String,
    /// Its storage class. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
}

impl Default for RedisStorage {
    fn default() -> Self {
        Self { size: default_redis_size(), class_name: None }
    }
}

fn default_redis_image() -> String {
    "redis:7.2.11-alpine".to_owned()
}

fn default_redis_size() -> String {
    "1Gi".to_owned()
}

fn default_replicas() -> i32 {
    1
}

fn default_rotation_days() -> i32 {
    30
}

fn default_redis_port() -> i32 {
    6379
}

/// Which relay pools a lobby admits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.from == 'Selector') == has(self.selector)",
    "selector must be set if, and only if, from is Selector"
))]
pub struct AdmittedPools {
    /// Pools of which namespaces may attach: the lobby's own (`Same`), all, or those whose labels match `selector`.
    #[serde(default)]
    pub from: AdmitFrom,
    /// Labels of the namespaces whose pools may attach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Pools of other clusters that may attach, at most 64. Their relays dial the lobby's public URL, which must be https.
    /// A pool that is taken off this list gets no more sessions; those that it has go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub remote: Vec<RemotePool>,
}

/// A pool of another cluster: a RelayPool there whose `spec.lobbyRef.remote` names this lobby's URL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.region) || has(self.location)", "region or location must be set"))]
pub struct RemotePool {
    /// Name under which it attaches: that of the RelayPool, unless that says another.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Name of the region. Regions of the public clouds carry coordinates; any other name needs `location`. Default: `name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub region: Option<String>,
    /// Where its relays are; overrides the coordinates that `region` carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Public keys on P-256 (PEM, `openssl pkey -pubout`), one of which is that of the pool's own key: its relays prove by it
    /// who they are. Several while the key is replaced, at most 4.
    #[schemars(schema_with = "schema::public_keys")]
    pub public_keys: Vec<String>,
}

/// From which namespaces pools may attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AdmitFrom {
    /// The lobby's own namespace.
    #[default]
    Same,
    /// All namespaces.
    All,
    /// Namespaces with matching labels.
    Selector,
}

/// What the operator observed of a lobby.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LobbyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Available, Progressing, Ready, Reconciling, Stalled, StoreAvailable, Evaluation, NamesPublished; `docs/conditions.md` explains them.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Base URL under which clients reach the lobby; empty until it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How many relay pools are attached.
    #[serde(default)]
    pub pools: i32,
    /// How many relays of those pools serve.
    #[serde(default)]
    pub relays: i32,
    /// Keys of the lobby's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensStatus>,
    /// The certificates by which the cluster's relays know the lobby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkStatus>,
    /// The routers of `spec.routing.dns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
}

/// The certificates by which relays know a lobby. The operator renews them in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatus {
    /// Hash of the authority's certificate; it changes when that is made anew.
    pub authority: String,
    /// When the certificate of the lobby's link port ends. It is replaced when a third of its 90 days is left.
    pub ends: Time,
}

/// Keys of a lobby's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokensStatus {
    /// The keys that count, the one that signs first.
    #[serde(default)]
    pub keys: Vec<TokenKey>,
    /// Ids of keys that are still there and never count again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// The value of the annotation `convene.dev/rotate-keys` for which keys were rotated last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_for: Option<String>,
}

/// A signing key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenKey {
    /// Its id (RFC 7638), as in the lobby's `/v1/jwks.json`.
    pub id: String,
    /// What it does.
    pub state: TokenKeyState,
    /// Since when.
    pub since: Time,
}

/// What a signing key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TokenKeyState {
    /// It signs.
    Current,
    /// It signed before, and verifies what it signed.
    Previous,
    /// It stands by, known to every relay.
    Next,
}

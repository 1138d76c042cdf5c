//! The kind `RelayPool`: relays at one place, of one lobby or of another image.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Exposure, Location, PodOverrides, RelayTls};
use super::scaling::{Scaling, ScalingPast};
use super::server::RelayServer;

/// The most relays that one pool may have: each has an address of its own, kept in status.
pub const MAX_RELAYS: i32 = 64;

/// A relay pool: relays at one place, which carry the sessions' bytes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "convene.dev",
    version = "v1alpha1",
    kind = "RelayPool",
    plural = "relaypools",
    shortname = "rp",
    category = "convene",
    namespaced,
    status = "RelayPoolStatus",
    derive = "PartialEq",
    doc = "A relay pool: relays at one place, which carry the sessions' bytes.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.selector"),
    validation = ("self.metadata.name.size() <= 50 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be at most 50 lower-case letters, digits and '-', and start with a letter: it becomes part of Service names"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Lobby", type_ = "string", json_path = ".spec.lobbyRef.name"),
    printcolumn(name = "Region", type_ = "string", json_path = ".status.region"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredReplicas"),
    printcolumn(name = "Serving", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Sessions", type_ = "integer", json_path = ".status.sessions"),
    printcolumn(name = "Capacity", type_ = "integer", json_path = ".status.capacity", description = "Seats of the relays that serve"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.region) || has(self.location)", "region or location must be set"))]
#[x_kube(validation = (
    "has(self.region) == has(oldSelf.region) && (!has(self.region) || self.region == oldSelf.region)",
    "region is immutable: make a new pool and delete this one"
))]
#[x_kube(validation = (
    "has(self.location) == has(oldSelf.location) && (!has(self.location) || self.location == oldSelf.location)",
    "location is immutable: make a new pool and delete this one"
))]
#[x_kube(validation = (
    "!(has(self.tls) && has(self.exposure) && has(self.exposure.ingress))",
    "tls and exposure.ingress exclude one another: an Ingress ends TLS itself, with exposure.ingress.tlsSecretName"
))]
#[x_kube(validation = (
    "(has(self.server) && has(self.server.custom)) == (has(oldSelf.server) && has(oldSelf.server.custom))",
    "server cannot change between members: make a new pool and delete this one"
))]
#[x_kube(validation = (
    "has(self.lobbyRef) || (has(self.server) && has(self.server.custom))",
    "lobbyRef must be set: only relays of server.custom belong to no lobby"
))]
#[x_kube(validation = (
    "!(has(self.server) && has(self.server.custom)) || !has(self.lobbyRef)",
    "lobbyRef and server.custom exclude one another: a lobby grants seats on Convene's own relays only"
))]
#[x_kube(validation = (
    "!(has(self.server) && has(self.server.custom)) || !has(self.tls)",
    "tls and server.custom exclude one another: whether another image speaks TLS is its own matter"
))]
#[x_kube(validation = (
    "!(has(self.server) && has(self.server.custom)) || !has(self.scaling) || !has(self.scaling.scaleToZero)",
    "scaling.scaleToZero and server.custom exclude one another: without a lobby, nobody can wake the pool"
))]
pub struct RelayPoolSpec {
    /// The lobby to which these relays attach; without one only with `server.custom`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self == oldSelf", "lobbyRef is immutable: make a new pool and delete this one"))]
    pub lobby_ref: Option<LobbyRef>,
    /// Name of the region. Regions of the public clouds carry coordinates; any other name needs `location`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub region: Option<String>,
    /// Where the relays are; overrides the coordinates that `region` carries. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// Which software the relays run. Default: `convene`. Cannot change between members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<RelayServer>,
    /// How many sessions one relay takes (seats), 1 to 10,000.
    #[serde(default = "default_sessions_per_relay")]
    #[schemars(range(min = 1, max = 10_000))]
    pub sessions_per_relay: i32,
    /// How many relays, 0 to 64. For `kubectl scale`, autoscalers and manifests; ignored where `scaling` is set.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 64))]
    pub replicas: i32,
    /// How the number of relays follows the sessions; the decision stands in `status.scaling`. Default: `replicas` says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// How long a relay that must go waits for its sessions.
    #[serde(default)]
    pub drain: Drain,
    /// How relays of a changed spec take the place of those that run.
    #[serde(default)]
    pub rollout: Rollout,
    /// What becomes of the sessions when this pool is deleted. Default: `Drain`.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// How clients reach the relays; each relay has a stable address of its own. Default: `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
    /// TLS of the relays' port for clients, which is plain otherwise. Holds for relays made from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RelayTls>,
    /// What may be set on the relays' pods.
    #[serde(default)]
    pub template: PodOverrides,
}

fn default_sessions_per_relay() -> i32 {
    100
}

fn default_replicas() -> i32 {
    1
}

/// A lobby: of this cluster by name, or of another by its URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.name), has(self.remote)].filter(x, x).size() == 1", "exactly one of name, remote must be set"))]
#[x_kube(validation = ("!has(self.namespace) || has(self.name)", "namespace belongs to name"))]
pub struct LobbyRef {
    /// Name of the Lobby, in this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: Option<String>,
    /// Its namespace; it must admit this pool. Default: the pool's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// A lobby of another cluster, which lists this pool in its `spec.relayPools.remote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteLobby>,
}

/// A lobby of another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteLobby {
    /// Its public URL, exactly as in its `status.url`. Relays dial it.
    #[schemars(length(max = 512), regex(pattern = r"^https://[^\s/?#@]+(/[^\s?#]*[^\s/?#])?$"))]
    pub url: String,
    /// Name under which the lobby lists this pool. Default: the pool's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub pool_name: Option<String>,
    /// The key by which the lobby knows this pool.
    pub credential_secret_ref: CredentialSecret,
}

/// A Secret by which relays prove who they are to a lobby of another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSecret {
    /// Its name, in the pool's namespace. Its entry `key.pem` is the pool's private key on P-256 (PKCS#8, PEM), whose public
    /// half the lobby lists; `ca.crt` holds the certificates (PEM) of the authorities that the lobby's own may be signed by,
    /// a public or a private one. Both are read for each dial.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How long a relay that must go waits for its sessions. They are moved to other relays meanwhile, as far as those have room;
/// an empty relay leaves at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Seconds that a relay waits before it closes the sessions that it has left, 0 to 86,400. Also the time that a relay has
    /// when its Pod is deleted by somebody else; for that, what held when the relay was made.
    #[serde(default = "default_drain_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    pub timeout_seconds: i32,
    /// Other times for some causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causes: Option<DrainCauses>,
}

fn default_drain_seconds() -> i32 {
    300
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: default_drain_seconds(), causes: None }
    }
}

/// Seconds that a relay waits for its sessions, by what makes it leave. Default of each: `timeoutSeconds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainCauses {
    /// It is one too many. 0 to 604,800 (a week).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    pub scale_down_seconds: Option<i32>,
    /// It is of an earlier generation. 0 to 604,800 (a week).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 604_800))]
    pub rollout_seconds: Option<i32>,
    /// Its node takes no new Pods. 0 to 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub node_seconds: Option<i32>,
    /// A person asked for it. 0 to 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub person_seconds: Option<i32>,
    /// The pool is deleted. 0 to 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub deletion_seconds: Option<i32>,
}

/// How relays of a changed spec take the place of those that run: new ones are made first and take all new sessions, then
/// the old ones drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// How many relays there may be beyond their number meanwhile, 0 to 64. With 0, one leaves before the next is made.
    #[serde(default = "default_surge")]
    #[schemars(range(min = 0, max = 64))]
    pub surge: i32,
    /// Begin nothing new for a rollout, and let none of its deadlines pass. Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

fn default_surge() -> i32 {
    1
}

impl Default for Rollout {
    fn default() -> Self {
        Self { surge: default_surge(), paused: false }
    }
}

/// What becomes of the sessions when a pool is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Its relays drain first; the pool is gone when they are.
    #[default]
    Drain,
    /// Its relays go at once, with the sessions that they have.
    Now,
}

/// What the operator observed of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayPoolStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Available, Progressing, Ready, Reconciling, Stalled; `docs/conditions.md` explains them.
    #[serde(default)]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Name of the region as clients see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where the relays are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// How many relays there are that do not leave.
    #[serde(default)]
    pub replicas: i32,
    /// How many relays there are to be, by `spec.replicas` or by the scaling decision.
    #[serde(default)]
    pub desired_replicas: i32,
    /// How many relays serve: ready, with an address, not leaving.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Seats of the relays that serve.
    #[serde(default)]
    pub capacity: i32,
    /// Sessions on all relays that are heard, as of a moment ago.
    #[serde(default)]
    pub sessions: i32,
    /// The last scaling decision, and what the next one needs of the past; absent without `spec.scaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingStatus>,
    /// How far a rollout is; absent while all relays are of the present generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// What relays are made from, until the spec changes: so a new operator leaves running pools alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from: Option<MadeFrom>,
    /// Label selector of the relay pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The relays, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub relays: Vec<RelayStatus>,
}

/// A scaling decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStatus {
    /// What was decided, from what, and what held it.
    #[serde(default)]
    pub message: String,
    /// What asked for the most relays: Load, Minimum, Schedule, Forecast, Idle.
    #[serde(default)]
    pub rule: String,
    /// What kept the decision from following the rule at once: Maximum, UpWindow, UpStep, DownWindow, DownStep,
    /// OccupancyUnknown. Absent where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clamp: Option<String>,
    /// What the next decision needs of the past.
    #[serde(default)]
    pub past: ScalingPast,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Relays of the present generation that stay.
    pub updated: i32,
    /// Those of them that serve.
    pub ready: i32,
    /// Relays of earlier generations that drain or are being deleted.
    pub draining: i32,
    /// Relays of earlier generations that still take sessions.
    pub waiting: i32,
    /// How many relays there are to be.
    pub total: i32,
}

/// What relays are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeFrom {
    /// Hash of the spec, as far as it is about relays.
    pub spec: String,
    /// Image of the relays: the operator's own when that spec was first seen.
    pub image: String,
}

/// One relay of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayStatus {
    /// Name of the relay, of its Pod and of its Service: `<pool>-<ordinal>`.
    pub name: String,
    /// UID of the Pod; with it the relay proves to the lobby who it is.
    pub pod_uid: String,
    /// What the relay is doing.
    pub phase: RelayPhase,
    /// Seats that this relay was created with.
    #[serde(default)]
    pub capacity: i32,
    /// Hash of what the relay was created from.
    #[serde(default)]
    pub generation: String,
    /// WebSocket base URL under which clients reach the relay; empty until it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Node on which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it was seen ready first; absent until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_since: Option<Time>,
    /// Sessions with participants, or within their idle time; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<i32>,
    /// Seats kept for sessions to which nobody has connected yet; absent while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leases: Option<i32>,
    /// Its drain, while it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<RelayDrain>,
    /// What is wrong with it: NotReady, CrashLoop, NodeNotReady, PodFailed, NodeGone, Silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A relay that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayDrain {
    /// Why: ScaleDown, Rollout, Lobby, Node, Failed, Person, Deletion.
    pub cause: String,
    /// Since when.
    pub since: Time,
    /// Then it goes, whatever it holds; absent while its clock does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Time>,
    /// Seconds that its clock has left where it stands still: nobody knows whether sessions are there, or the rollout is
    /// paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_seconds: Option<i64>,
    /// When it will be empty if sessions go on ending as they did; absent where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Time>,
}

/// What a relay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RelayPhase {
    /// Starting, or without an address.
    Pending,
    /// Serving.
    Ready,
    /// Leaving: it takes no new sessions and waits for those it has.
    Draining,
    /// Its process failed or its node is gone.
    Failed,
}

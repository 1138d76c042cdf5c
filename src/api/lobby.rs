//! The kind `Lobby`: a server that creates sessions, picks relays and signs tokens.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Empty, Exposure, PodOverrides};

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
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(name = "Pools", type_ = "integer", json_path = ".status.pools", description = "Attached relay pools"),
    printcolumn(name = "Relays", type_ = "integer", json_path = ".status.relays", description = "Relays that serve"),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#, priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
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
    /// Where sessions are kept. Default: `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// How clients reach the lobby's API. Default: `internal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Exposure>,
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

/// Where a lobby keeps its sessions. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("[has(self.memory)].filter(x, x).size() == 1", "exactly one of memory must be set"))]
pub struct Store {
    /// In the memory of the one lobby process. A restarted lobby rebuilds live sessions from its relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Empty>,
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
    /// Accepted, Available, Progressing, Evaluation, Ready, Reconciling, Stalled; `docs/conditions.md` explains them.
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
}

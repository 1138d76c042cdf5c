//! Which software a pool's relays run: Convene's own, or another image.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Empty;

/// Which software the relays run. Exactly one member is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.convene), has(self.custom)].filter(x, x).size() == 1",
    "exactly one of convene, custom must be set"
))]
pub struct RelayServer {
    /// Convene's own relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convene: Option<Empty>,
    /// Another image, which belongs to no lobby: whoever sends people there reads the pool's status. Not with `lobbyRef`,
    /// `tls` or `scaling.scaleToZero`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomServer>,
}

/// A relay of another image. It runs as user 65532 under restricted Pod Security, with a read-only file system but for
/// `/tmp`, and is told its seats as `CONVENE_CAPACITY`; what else it must know stands in `template.env`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomServer {
    /// Image of the relays, run as it starts by itself.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: String,
    /// Port for clients, 1 to 65,535. A relay is ready when it takes connections there.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
    /// Where a relay tells how many sessions it has.
    pub metrics: CustomMetrics,
    /// How a relay is told to take no new sessions. Default: it cannot be told, and leaves once it was empty for a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<CustomDrain>,
}

/// Metrics of a relay, in Prometheus' text format. The operator alone reaches a port that is not the one for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomMetrics {
    /// Their port, 1 to 65,535. Default: the one for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<i32>,
    /// Their path.
    #[serde(default = "default_metrics_path")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/[^\s?#]*$"))]
    pub path: String,
    /// Name of the metric, a gauge, that says how many sessions there are; if it has several series, their sum does.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub sessions: String,
    /// Seconds from one look to the next, 1 to 60. More where the operator has very many relays to look at. A relay of which
    /// nothing was learnt for three of these times counts as unknown.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 1, max = 60))]
    pub interval_seconds: i32,
}

fn default_metrics_path() -> String {
    "/metrics".to_owned()
}

fn default_interval() -> i32 {
    5
}

/// How a relay of another image is told to take no new sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomDrain {
    /// Path at the port of the metrics. `POST` tells it to take no new sessions and keep those that it has, `DELETE` to take
    /// them again; 2xx means that it does. Both may come more than once.
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/[^\s?#]*$"))]
    pub path: String,
}

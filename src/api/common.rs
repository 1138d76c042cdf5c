//! Parts that both kinds share: how a server is reached and what a user may override on its pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// A domain name of two labels at least, each of 63 characters at most, in lower case and without its last dot.
pub(super) const DOMAIN_NAME: &str = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+$";

/// An empty object: the member of a union that has no settings yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// How clients reach a server. Exactly one member is set. Unions have no default in the schema: the API server would store
/// it, and a later change to another member would find two set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "[has(self.internal), has(self.nodePort), has(self.loadBalancer), has(self.ingress)].filter(x, x).size() == 1",
    "exactly one of internal, nodePort, loadBalancer, ingress must be set"
))]
pub struct Exposure {
    /// Reachable inside the cluster only, by the Service's cluster DNS name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<Empty>,
    /// Reachable on a port of the nodes. The address offered is the external address of a node, or
    /// its internal one where it has no external address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<Empty>,
    /// Reachable through a load balancer of the cloud, one for each server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerExposure>,
    /// Reachable through an Ingress controller, under a host name of its own for each server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressExposure>,
}

/// TLS of the port for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// Secret of type kubernetes.io/tls, in the same namespace: the certificate chain (`tls.crt`) and its private key
    /// (`tls.key`). A changed Secret is followed without a restart, within some two minutes.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// TLS of the port for clients of each relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelayTls {
    /// Secret of type kubernetes.io/tls, in the same namespace: the certificate chain (`tls.crt`) and its private key
    /// (`tls.key`), the same for all relays of the pool. A changed Secret is followed without a restart, within some two
    /// minutes; another name holds for relays made from then on.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Domain under which each relay has a host name, `<pool>-<ordinal>.<domain>`, which then stands in its URL: for
    /// certificates of names, such as `*.<domain>`. You point the names at the relays' addresses. Default: the URL has the
    /// address that the exposure gives, and the certificate must be for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 190),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub domain: Option<String>,
}

/// Settings of a Service of type LoadBalancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerExposure {
    /// `spec.loadBalancerClass` of the Services. Default: the cluster's default implementation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,
    /// Annotations for the Services; clouds take their settings from them. Keys of `convene.dev/` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = ("self.all(k, !k.startsWith('convene.dev/'))", "annotations of convene.dev/ are reserved"))]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// Settings of the Ingress rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressExposure {
    /// Domain under which each server gets a host name: `<lobby>-lobby.<domain>`, `<pool>-<ordinal>.<domain>`. Point a
    /// wildcard record at the controller.
    #[schemars(
        length(min = 1, max = 190),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub domain: String,
    /// `spec.ingressClassName`. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Secret of type kubernetes.io/tls, in the same namespace, with a certificate for `*.<domain>`. Default: no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
    /// Annotations for the Ingress; controllers take time-outs and the like from them. Keys of `convene.dev/` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = ("self.all(k, !k.startsWith('convene.dev/'))", "annotations of convene.dev/ are reserved"))]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

/// What a user may set on the pods. An allow-list, so that whoever writes the object gains no Secret,
/// volume or service account by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodOverrides {
    /// Further labels. Keys of `convene.dev/` and `app.kubernetes.io/` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = (
        "self.all(k, !k.startsWith('convene.dev/') && !k.startsWith('app.kubernetes.io/'))",
        "labels of convene.dev/ and app.kubernetes.io/ are reserved"
    ))]
    #[x_kube(validation = (
        "self.all(k, !format.qualifiedName().validate(k).hasValue())",
        "label keys are a name of letters, digits, '-', '_' and '.', at most 63 long, with or without a domain and a slash before it"
    ))]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = schema::label_values()))]
    pub labels: BTreeMap<String, String>,
    /// Further annotations. Keys of `convene.dev/` are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = ("self.all(k, !k.startsWith('convene.dev/'))", "annotations of convene.dev/ are reserved"))]
    #[x_kube(validation = (
        "self.all(k, !format.qualifiedName().validate(k.lowerAscii()).hasValue())",
        "annotation keys are a name of letters, digits, '-', '_' and '.', at most 63 long, with or without a domain and a slash before it"
    ))]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// CPU and memory of the container. Default: requests of 50m CPU and 64Mi memory, a limit of 512Mi memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,
    /// Nodes on which the pods may run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[x_kube(validation = (
        "self.all(k, !format.qualifiedName().validate(k).hasValue())",
        "label keys are a name of letters, digits, '-', '_' and '.', at most 63 long, with or without a domain and a slash before it"
    ))]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = schema::label_values()))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,
    /// Priority class of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Literal environment variables. Names that start with `CONVENE_` are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(validation = ("self.all(e, !e.name.startsWith('CONVENE_'))", "names that start with CONVENE_ are reserved"))]
    #[schemars(length(max = 32))]
    pub env: Vec<EnvLiteral>,
}

/// An environment variable with a literal value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvLiteral {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// A place on earth, in decimal degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Degrees north of the equator, −90 to 90.
    #[schemars(range(min = -90.0, max = 90.0))]
    pub latitude: f64,
    /// Degrees east of Greenwich, −180 to 180.
    #[schemars(range(min = -180.0, max = 180.0))]
    pub longitude: f64,
}

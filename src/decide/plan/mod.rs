//! What should be in the cluster for one object. Same inputs, same bytes.
//!
//! Builders make complete typed objects; [`Child::new`] turns them into the form that is applied and compared.

mod control;
pub mod custom;
pub mod endpoints;
mod link;
pub mod lobby;
pub mod names;
mod own_redis;
mod places;
mod policy;
pub mod pool;
mod rights;
pub mod router;
mod service;
pub mod table;
mod tls;
mod to_lobby;
mod workload;

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::ANNOTATION_PLAN;
use crate::api::endpoints::DNSEndpoint;
use crate::decide::valid::{Owner, UrlFolder};

/// What the operator was started with and every plan needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorConfig {
    /// Image of lobbies and relays.
    pub image: String,
    /// Its pull policy.
    pub image_pull_policy: String,
    /// Namespace of the operator, from which control ports are reached.
    pub operator_namespace: String,
    /// Ports on which the API server may listen, for network policies of what talks to it.
    pub api_server_ports: Vec<u16>,
    /// Below which URLs lobbies may download databases of places.
    pub allow_geoip_from: Vec<UrlFolder>,
}

/// Kinds of children that are applied, in the order in which they are: what others need comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    /// Identity of the pods.
    ServiceAccount,
    /// What the lobby may read.
    Role,
    /// Gives it to the lobby.
    RoleBinding,
    /// Relay table and public keys.
    ConfigMap,
    /// Who may talk to the pods.
    NetworkPolicy,
    /// How many pods may be evicted at a time.
    PodDisruptionBudget,
    /// Stable addresses.
    Service,
    /// Host names.
    Ingress,
    /// The volume of a lobby's Redis.
    PersistentVolumeClaim,
    /// A lobby's Redis.
    StatefulSet,
    /// The lobby's process.
    Deployment,
    /// Names that external-dns publishes; the cluster may have no such kind.
    DnsEndpoint,
}

impl ChildKind {
    /// All kinds, in order of application.
    pub const ALL: [Self; 12] = [
        Self::ServiceAccount,
        Self::Role,
        Self::RoleBinding,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Service,
        Self::Ingress,
        Self::PersistentVolumeClaim,
        Self::StatefulSet,
        Self::Deployment,
        Self::DnsEndpoint,
    ];

    /// Kinds that every cluster has.
    pub fn everywhere() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|kind| *kind != Self::DnsEndpoint)
    }

    /// Kinds that a pool's plan holds; a lobby's may hold all.
    pub const OF_POOLS: [Self; 6] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::NetworkPolicy,
        Self::PodDisruptionBudget,
        Self::Service,
        Self::Ingress,
    ];

    /// What the API server calls it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Role => ApiResource::erase::<Role>(&()),
            Self::RoleBinding => ApiResource::erase::<RoleBinding>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Ingress => ApiResource::erase::<Ingress>(&()),
            Self::PersistentVolumeClaim => ApiResource::erase::<PersistentVolumeClaim>(&()),
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::DnsEndpoint => ApiResource::erase::<DNSEndpoint>(&()),
        }
    }
}

/// One object that is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Its kind.
    pub kind: ChildKind,
    /// Its name.
    pub name: String,
    /// The whole object, with [`ANNOTATION_PLAN`] set.
    pub object: Value,
}

impl Child {
    fn new<K: Serialize + kube::Resource<DynamicType = ()>>(kind: ChildKind, mut object: K) -> Self {
        let name = object.meta().name.clone().unwrap_or_default();
        let hash = hash(&object);
        object.meta_mut().annotations.get_or_insert_default().insert(ANNOTATION_PLAN.to_owned(), hash);
        let object = serde_json::to_value(object).expect("Kubernetes objects are JSON");
        Self { kind, name, object }
    }

    /// Hash of the object as planned.
    pub fn plan_hash(&self) -> Option<&str> {
        self.object.pointer("/metadata/annotations")?.get(ANNOTATION_PLAN)?.as_str()
    }
}

/// All that should be in the cluster for one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Made once and never overwritten.
    pub secrets: Vec<Secret>,
    /// The same, but owned by a planned ConfigMap, with which they go.
    pub held_secrets: Vec<HeldSecret>,
    /// Applied, in order of [`ChildKind`]; what carries our labels and is not here goes.
    pub children: Vec<Child>,
    /// Relay Pods that are made now.
    pub pods: Vec<Pod>,
}

/// A Secret that a child owns. The operator may not delete Secrets; it deletes the child.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldSecret {
    /// Name of the ConfigMap.
    pub holder: String,
    /// The Secret, without a reference to its owner.
    pub secret: Secret,
}

/// First 16 characters of the base64url SHA-256 of a value's JSON; 96 bits tell plans apart.
pub fn hash<T: Serialize>(value: &T) -> String {
    let bytes = serde_json::to_vec(value).expect("plans are JSON");
    let mut text = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, &bytes));
    text.truncate(16);
    text
}

/// Metadata of a child.
fn meta(owner: &Owner, name: String, labels: names::Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(owner.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![owner.reference.clone()]),
        ..ObjectMeta::default()
    }
}

/// What stands in the cluster after a plan was applied.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Children as the API server returned them.
    pub children: BTreeMap<(ChildKind, String), Value>,
    /// Pods that were made.
    pub pods: Vec<Pod>,
}

impl Applied {
    /// One child, typed.
    pub fn child<K: DeserializeOwned>(&self, kind: ChildKind, name: &str) -> Option<K> {
        let object = self.children.get(&(kind, name.to_owned()))?;
        serde_json::from_value(object.clone()).ok()
    }
}

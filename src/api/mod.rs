//! The Kubernetes contract: the kinds of `convene.dev/v1alpha1`, their labels and their conditions.
//!
//! Types only. What a field means to the cluster is decided in [`crate::decide`]; a field enters a
//! schema together with the code that honours it.

#![allow(unreachable_pub, reason = "KubeSchema repeats each struct inside a function")]

pub mod common;
pub mod condition;
pub mod dns;
pub mod endpoints;
pub mod lobby;
pub mod places;
pub mod relay_pool;
pub mod routing;
pub mod scaling;
mod schema;
pub mod server;

pub use common::{Exposure, PodOverrides};
pub use lobby::{Lobby, LobbySpec, LobbyStatus};
pub use relay_pool::{RelayPool, RelayPoolSpec, RelayPoolStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

/// API group of all kinds.
pub const GROUP: &str = "convene.dev";
/// The only served version.
pub const VERSION: &str = "v1alpha1";
/// Field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "convene-operator";

/// Label on every child: which Lobby it belongs to.
pub const LABEL_LOBBY: &str = "convene.dev/lobby";
/// Label on every child: which RelayPool it belongs to.
pub const LABEL_POOL: &str = "convene.dev/relay-pool";
/// Label on relay Pods and their Services: the relay's name, `<pool>-<ordinal>`.
pub const LABEL_RELAY: &str = "convene.dev/relay";
/// Finalizer on a RelayPool: its relays drain before it goes.
pub const FINALIZER_DRAIN: &str = "convene.dev/drain";
/// Finalizer on a Lobby: it stays while pools are attached to it.
pub const FINALIZER_POOLS: &str = "convene.dev/pools";
/// Label on relay Pods that may hold sessions. The pool's disruption budget selects it, so that they are not evicted.
pub const LABEL_OCCUPIED: &str = "convene.dev/occupied";
/// Annotation on relay Pods: what is known of their drains, by the operator alone; `decide::drain::Note` as JSON.
pub const ANNOTATION_DRAIN: &str = "convene.dev/drain";
/// Annotation on relay Pods: what a person wants of the relay, [`WISH_LEAVE`] or [`WISH_STAY`].
pub const ANNOTATION_WISH: &str = "convene.dev/wish";
/// The relay is to leave.
pub const WISH_LEAVE: &str = "leave";
/// The relay is to stay, whatever scaling, a rollout or the lobby would have.
pub const WISH_STAY: &str = "stay";
/// Annotation on relay Pods: hash of what the relay was created from.
pub const ANNOTATION_GENERATION: &str = "convene.dev/generation";
/// Annotation on the pod of a lobby's own Redis: hash of the settings that it was started with.
pub const ANNOTATION_KEYS: &str = "convene.dev/keys";
/// Annotation on a Lobby: any new value has its signing keys rotated once.
pub const ANNOTATION_ROTATE_KEYS: &str = "convene.dev/rotate-keys";
/// Annotation on a Lobby: ids of signing keys, separated by commas, that must not count any more.
pub const ANNOTATION_REVOKE_KEYS: &str = "convene.dev/revoke-keys";
/// Annotation on applied children: hash of the planned object, so that a settled pass writes nothing.
pub const ANNOTATION_PLAN: &str = "convene.dev/plan";

/// The definitions of all kinds, in the order in which they are printed.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![Lobby::crd(), RelayPool::crd()]
}

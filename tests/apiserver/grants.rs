//! The operator's right to work in a namespace: where it is missing, made anew, and where it goes with the namespace.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{lobby, pool, says, within};
use crate::world::{World, lobby_says, pool_goes, pool_says, scene};

pub(crate) async fn a_namespace_must_be_granted(world: &World) {
    world.kubectl.ungranted_namespace("ungranted");
    world.kubectl.create("ungranted", &lobby(&json!({})));
    world.kubectl.create("ungranted", &pool("a", &json!({})));
    let pools = world.pools("ungranted");
    let lobbies = world.lobbies("ungranted");
    lobby_says(&lobbies, "demo", "Accepted", "False/NamespaceNotGranted").await;
    lobby_says(&lobbies, "demo", "Stalled", "True/NamespaceNotGranted").await;
    pool_says(&pools, "a", "Accepted", "False/NamespaceNotGranted").await;
    world.kubectl.grant("ungranted");
    lobby_says(&lobbies, "demo", "Accepted", "True/AsPlanned").await;
    pool_says(&pools, "a", "Accepted", "True/AsPlanned").await;
}

/// Refusals must have lasted for half a minute, and things go one after the other.
const GOES_WITHIN: u64 = 120;

/// Waits until a namespace is gone.
pub(crate) async fn is_gone(world: &World, namespace: &str) {
    within(GOES_WITHIN, &format!("namespace {namespace} is gone"), async || {
        let found = Api::<Namespace>::all(world.client.clone()).get_opt(namespace).await.expect("reads");
        found.map_or(Ok(()), |found| Err(format!("{:?}", found.status)))
    })
    .await;
}

/// The role of a RoleBinding cannot be changed, so who upgrades it deletes it for a moment.
pub(crate) async fn a_pool_still_drains_once_its_grant_is_made_anew(world: &World) {
    let namespace = scene(world, "granted-anew", &json!({})).await;
    let pools = world.pools(&namespace);
    world.process(&namespace, "a-0").await.holds(1, 0);
    world.kubectl.run(&["-n", &namespace, "delete", "rolebinding", "convene-operator"], None);
    world.kubectl.run(&["-n", &namespace, "delete", "relaypool/a", "--wait=false"], None);
    pool_says(&pools, "a", "Ready", "False/NamespaceNotGranted").await;
    world.kubectl.grant(&namespace);
    pool_says(&pools, "a", "Draining", "True/RelaysLeave").await;
    world.process(&namespace, "a-0").await.holds(0, 0);
    pool_goes(&pools, "a", GOES_WITHIN).await;
}

/// With the namespace, the operator's right to work in it is deleted: in what order, nobody says. Here it goes first.
pub(crate) async fn a_namespace_goes_with_all_that_is_in_it(world: &World) {
    let namespace = world.namespace("goes");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    for name in ["a", "b"] {
        world.kubectl.create(&namespace, &pool(name, &json!({"replicas": 2})));
    }
    world.pods_ready(&namespace, 4).await;
    pool_says(&world.pools(&namespace), "b", "Ready", "True/AsPlanned").await;
    for relay in ["a-0", "a-1", "b-0", "b-1"] {
        world.process(&namespace, relay).await.holds(1, 0);
    }
    world.kubectl.run(&["-n", &namespace, "delete", "rolebinding", "convene-operator"], None);
    world.kubectl.run(&["delete", "namespace", &namespace, "--wait=false"], None);
    is_gone(world, &namespace).await;
}

/// A lobby waits for its pools, also for those of other namespaces: but not without end where the operator may do nothing
/// for it any more. Its namespace's RoleBinding is kept here for a while by a finalizer.
pub(crate) async fn a_lobby_goes_with_its_namespace_though_pools_elsewhere_name_it(world: &World) {
    let (home, away) = (world.namespace("goes-home"), world.namespace("goes-away"));
    world.kubectl.create(&home, &lobby(&json!({"relayPools": {"from": "All"}})));
    world.kubectl.create(&away, &pool("a", &json!({"lobbyRef": {"name": "demo", "namespace": home}})));
    world.pods_ready(&away, 1).await;
    pool_says(&world.pools(&away), "a", "Ready", "True/AsPlanned").await;
    let bindings: Api<RoleBinding> = world.api(&home);
    let keep = async |finalizers: Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}});
        bindings.patch("convene-operator", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patches");
    };
    keep(json!(["convene.example/kept"])).await;
    world.kubectl.run(&["delete", "namespace", &home, "--wait=false"], None);
    let refused = lobby_says(&world.lobbies(&home), "demo", "Accepted", "False/PoolsAttached").await;
    let conditions = refused.status.expect("a status").conditions;
    let said = &conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is set").message;
    assert!(said.contains("goes-away/a") && said.contains("being terminated"), "{said}");
    assert_eq!(says(&conditions, "Stalled"), "Stalled=False/PoolsAttached");
    keep(json!(null)).await;
    is_gone(world, &home).await;
    pool_says(&world.pools(&away), "a", "Accepted", "False/RefNotPermitted").await;
    pool_says(&world.pools(&away), "a", "Available", "True/AsPlanned").await;
}

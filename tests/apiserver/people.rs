//! `kubectl convene`, as kubectl's plugin and with the rights that the chart has for people.

use convene::api::{ANNOTATION_WISH, LABEL_RELAY};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::{eventually, lobby, pool};
use crate::world::{World, pool_says};

async fn wish(pods: &Api<Pod>, name: &str) -> Option<String> {
    pods.get(name).await.expect("reads").annotations().get(ANNOTATION_WISH).cloned()
}

async fn two_relays(world: &World, namespace: &str) {
    world.kubectl.create(namespace, &lobby(&json!({})));
    world.kubectl.create(namespace, &pool("a", &json!({"replicas": 2})));
    world.pods_ready(namespace, 2).await;
    world.deployment_ready(namespace, "demo-lobby").await;
    pool_says(&world.pools(namespace), "a", "Ready", "True/AsPlanned").await;
}

pub(crate) async fn relays_are_told_to_leave_and_to_stay_by_kubectl_convene(world: &World) {
    let namespace = world.namespace("people");
    two_relays(world, &namespace).await;
    let person = world.person(&namespace, "person", "convene-relay-operator").await;
    let ask = |arguments: &[&str]| person.convene(&[&["-n", &namespace], arguments].concat());
    let pods: Api<Pod> = world.api(&namespace);
    // So that it is waited for.
    let relay = world.process(&namespace, "a-1").await;
    relay.holds(1, 0);

    let status = ask(&["status"]).expect("it may look");
    let row = status.lines().find(|line| line.starts_with("a ")).unwrap_or_else(|| panic!("{status}"));
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[..5], ["a", "demo", "eu-west-1", "True", "2/2"], "{status}");

    // One wrong name among several: nothing is written.
    let refused = ask(&["drain", "a-1", "a-7"]).expect_err("there is no a-7");
    assert!(refused.contains("there is no relay a-7 in namespace people"), "{refused}");
    let stranger = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger", "labels": {LABEL_RELAY: "stranger"}},
        "spec": {
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "x", "image": "localhost/x",
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    });
    world.kubectl.create(&namespace, &stranger);
    let refused = ask(&["drain", "a-1", "pod/stranger"]).expect_err("no relay");
    assert!(refused.contains("Pod stranger is not a relay"), "{refused}");
    assert_eq!((wish(&pods, "a-1").await, wish(&pods, "stranger").await), (None, None));

    let told = ask(&["drain", "a-1"]).expect("it may");
    assert!(told.starts_with("a-1 is to leave"), "{told}");
    assert_eq!(wish(&pods, "a-1").await.as_deref(), Some("leave"));
    let told = ask(&["keep", "pod/a-0"]).expect("it may");
    assert!(told.starts_with("a-0 is to stay"), "{told}");
    assert_eq!(wish(&pods, "a-0").await.as_deref(), Some("stay"));
    // What each write relies on: one that names another Pod's UID does nothing.
    let stale = json!({"metadata": {"uid": "another", "annotations": {ANNOTATION_WISH: "leave"}}});
    let refused = pods.patch("a-0", &PatchParams::default(), &Patch::Merge(&stale)).await;
    assert!(matches!(refused, Err(kube::Error::Api(_))), "{refused:?}");
    let told = ask(&["uncordon", "a-0", "a-1"]).expect("it may");
    assert!(told.contains("a-0 is no longer kept") && told.contains("a-1 is no longer to leave"), "{told}");
    assert_eq!((wish(&pods, "a-0").await, wish(&pods, "a-1").await), (None, None));

    // A wait ends when the Pod is gone, which is when its last session is.
    let (waiting, at) = (person.clone(), namespace.clone());
    let waited = tokio::task::spawn_blocking(move || {
        waiting.convene(&["drain", "a-1", "--wait", "--timeout", "60", "--namespace", &at])
    });
    eventually("it is to leave", async || {
        let found = wish(&pods, "a-1").await;
        if found.as_deref() == Some("leave") { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    relay.holds(0, 0);
    let told = waited.await.expect("no panic").expect("it is gone");
    assert!(told.ends_with("a-1 is gone\n"), "{told}");
}

pub(crate) async fn who_may_only_look_tells_relays_nothing(world: &World) {
    let namespace = world.namespace("onlookers");
    two_relays(world, &namespace).await;
    let onlooker = world.person(&namespace, "onlooker", "view").await;
    let ask = |arguments: &[&str]| onlooker.convene(&[arguments, &["-n", &namespace]].concat());
    eventually("the cluster's role has ours in it", async || ask(&["status"]).map(drop)).await;
    let refused = ask(&["drain", "a-0"]).expect_err("it may not");
    assert!(refused.contains("it takes `patch` on pods"), "{refused}");
    assert_eq!(wish(&world.api(&namespace), "a-0").await, None);
    let refused = ask(&["status", "-A"]).expect_err("in one namespace only");
    assert!(refused.contains("cannot list"), "{refused}");
}

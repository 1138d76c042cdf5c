//! Relays that leave, and others that take their place: for a changed spec, a number, a person, the end of a pool. Their
//! processes are stood in for by control ports that say what the case has them say.

use std::collections::BTreeMap;
use std::sync::Arc;

use convene::api::relay_pool::{RelayPhase, RelayStatus};
use convene::api::{ANNOTATION_GENERATION, ANNOTATION_WISH, LABEL_OCCUPIED, RelayPool};
use convene::wire::orders::Order;
use convene::wire::stats::{Demand, PoolDemand};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::support::processes::Said;
use crate::support::{eventually, lobby, pool, within};
use crate::world::{World, pool_says, scene};

async fn change(world: &World, namespace: &str, spec: Value) {
    let patch = json!({"spec": spec});
    world.pools(namespace).patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patches");
}

async fn annotate(world: &World, namespace: &str, relay: &str, wish: Option<&str>) {
    let patch = json!({"metadata": {"annotations": {ANNOTATION_WISH: wish}}});
    let pods: Api<Pod> = world.api(namespace);
    pods.patch(relay, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patches");
}

async fn pods(world: &World, namespace: &str) -> BTreeMap<String, Pod> {
    let pods = world.api::<Pod>(namespace).list(&ListParams::default().labels("convene.dev/relay")).await;
    pods.expect("lists").into_iter().map(|pod| (pod.name_any(), pod)).collect()
}

async fn relay(world: &World, namespace: &str, name: &str) -> Option<RelayStatus> {
    let pool = world.pools(namespace).get("a").await.expect("reads");
    pool.status.and_then(|status| status.relays.into_iter().find(|relay| relay.name == name))
}

/// Waits until just these relays are there, by name.
async fn left(world: &World, namespace: &str, expected: &[&str]) {
    eventually(&format!("just {expected:?} are there"), async || {
        let there: Vec<String> = pods(world, namespace).await.into_keys().collect();
        let told = async || world.pools(namespace).get_opt("a").await.expect("reads").and_then(|pool| pool.status);
        if there == expected { Ok(()) } else { Err(format!("{there:?}, {:?}", told().await)) }
    })
    .await;
}

/// Waits until a relay drains for this cause, has acknowledged its cordon, and its clock runs.
async fn drains(world: &World, namespace: &str, name: &str, cause: &str) -> RelayStatus {
    eventually(&format!("{name} drains: {cause}"), async || {
        let relay = relay(world, namespace, name).await.ok_or("it is not in status")?;
        let drain = relay.drain.clone().ok_or_else(|| format!("{relay:?}"))?;
        let process = world.process(namespace, name).await;
        let is_cordoned = process.cordon().is_some() && drain.deadline.is_some();
        if relay.phase == RelayPhase::Draining && drain.cause == cause && is_cordoned {
            Ok(relay)
        } else {
            Err(format!("{relay:?}, cordon {:?}", process.cordon()))
        }
    })
    .await
}

/// Waits until a relay serves and takes sessions.
async fn serves(world: &World, namespace: &str, name: &str) {
    eventually(&format!("{name} serves again"), async || {
        let relay = relay(world, namespace, name).await.ok_or("it is not in status")?;
        let process = world.process(namespace, name).await;
        if relay.phase == RelayPhase::Ready && relay.drain.is_none() && process.cordon().is_none() {
            Ok(())
        } else {
            Err(format!("{relay:?}, cordon {:?}", process.cordon()))
        }
    })
    .await;
}

/// Marks whatever relay Pod is new ready, once there are this many that do not leave.
async fn new_ones_ready(world: &World, namespace: &str, count: usize) {
    world.pods_ready(namespace, count).await;
}

fn generation(pod: &Pod) -> &str {
    &pod.annotations()[ANNOTATION_GENERATION]
}

pub(crate) async fn a_changed_spec_replaces_relays_without_a_cut(world: &World) {
    let namespace = scene(world, "rollout", &json!({"replicas": 2})).await;
    let before = pods(world, &namespace).await;
    for name in ["a-0", "a-1"] {
        world.process(&namespace, name).await.holds(3, 0);
    }
    // Nothing that a running relay can follow replaces it.
    change(world, &namespace, json!({"drain": {"timeoutSeconds": 600}, "rollout": {"surge": 2}})).await;
    pool_says(&world.pools(&namespace), "a", "Progressing", "False/AsPlanned").await;
    assert_eq!(pods(world, &namespace).await.into_keys().collect::<Vec<_>>(), ["a-0", "a-1"]);
    change(world, &namespace, json!({"sessionsPerRelay": 7})).await;
    new_ones_ready(world, &namespace, 4).await;
    for name in ["a-0", "a-1"] {
        let status = drains(world, &namespace, name, "Rollout").await;
        assert_eq!(status.sessions, Some(3));
    }
    let told = pool_says(&world.pools(&namespace), "a", "Progressing", "True/RollingOut").await;
    let rollout = told.status.and_then(|status| status.rollout).expect("it is counted");
    assert_eq!((rollout.updated, rollout.total, rollout.draining, rollout.waiting), (2, 2, 2, 0), "{rollout:?}");
    // Sessions are on them: they stay, and cannot be evicted.
    let evicted =
        Api::<Pod>::namespaced(world.impatient().await, &namespace).evict("a-0", &EvictParams::default()).await;
    assert!(matches!(&evicted, Err(kube::Error::Api(status)) if status.code == 429), "{evicted:?}");
    world.process(&namespace, "a-0").await.holds(0, 0);
    left(world, &namespace, &["a-1", "a-2", "a-3"]).await;
    world.process(&namespace, "a-1").await.holds(0, 1);
    assert!(pods(world, &namespace).await.contains_key("a-1"), "a lease is as good as a session");
    world.process(&namespace, "a-1").await.holds(0, 0);
    left(world, &namespace, &["a-2", "a-3"]).await;
    let settled = pool_says(&world.pools(&namespace), "a", "Progressing", "False/AsPlanned").await;
    let status = settled.status.expect("a status");
    assert_eq!((status.capacity, status.rollout), (14, None));
    let after = pods(world, &namespace).await;
    assert_ne!(generation(&after["a-2"]), generation(&before["a-0"]));
}

pub(crate) async fn a_rollout_is_paused_and_taken_back(world: &World) {
    let namespace = scene(world, "paused", &json!({"replicas": 2})).await;
    let before = pods(world, &namespace).await;
    world.process(&namespace, "a-0").await.holds(1, 0);
    world.process(&namespace, "a-1").await.holds(2, 0);
    change(world, &namespace, json!({"sessionsPerRelay": 7})).await;
    new_ones_ready(world, &namespace, 3).await;
    drains(world, &namespace, "a-0", "Rollout").await;
    change(world, &namespace, json!({"rollout": {"paused": true}})).await;
    let paused = pool_says(&world.pools(&namespace), "a", "Progressing", "False/Paused").await;
    let rollout = paused.status.and_then(|status| status.rollout).expect("it is counted");
    assert_eq!((rollout.draining, rollout.waiting), (1, 1), "{rollout:?}");
    eventually("its clock stands", async || {
        let drain = relay(world, &namespace, "a-0").await.and_then(|relay| relay.drain).ok_or("no drain")?;
        if drain.deadline.is_none() && drain.left_seconds.is_some() { Ok(()) } else { Err(format!("{drain:?}")) }
    })
    .await;
    // The spec of before: the old ones stay, the new one leaves, and nobody was cut.
    change(world, &namespace, json!({"rollout": {"paused": false}, "sessionsPerRelay": 100})).await;
    left(world, &namespace, &["a-0", "a-1"]).await;
    serves(world, &namespace, "a-0").await;
    serves(world, &namespace, "a-1").await;
    let after = pods(world, &namespace).await;
    for name in ["a-0", "a-1"] {
        assert_eq!(after[name].uid(), before[name].uid(), "{name} was replaced");
        assert!(after[name].labels().contains_key(LABEL_OCCUPIED));
    }
    pool_says(&world.pools(&namespace), "a", "Progressing", "False/AsPlanned").await;
}

pub(crate) async fn an_occupied_relay_is_waited_for_and_the_emptiest_leaves(world: &World) {
    let namespace = scene(world, "fewer", &json!({"replicas": 3})).await;
    world.process(&namespace, "a-0").await.holds(4, 0);
    world.process(&namespace, "a-2").await.holds(2, 0);
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=2"], None);
    left(world, &namespace, &["a-0", "a-2"]).await;
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=1"], None);
    drains(world, &namespace, "a-2", "ScaleDown").await;
    // Wanted again, it takes sessions again.
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=2"], None);
    serves(world, &namespace, "a-2").await;
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=1"], None);
    drains(world, &namespace, "a-2", "ScaleDown").await;
    let numbers: Vec<u32> = world.process(&namespace, "a-2").await.orders().iter().map(Order::number).collect();
    assert!(numbers.is_sorted() && numbers.last() > numbers.first(), "each drain has a higher number: {numbers:?}");
    world.process(&namespace, "a-2").await.holds(0, 0);
    left(world, &namespace, &["a-0"]).await;
    pool_says(&world.pools(&namespace), "a", "Draining", "False/AsPlanned").await;
}

pub(crate) async fn a_person_has_a_relay_leave_and_takes_it_back(world: &World) {
    let namespace = scene(world, "wishes", &json!({"replicas": 1})).await;
    world.process(&namespace, "a-0").await.holds(1, 0);
    annotate(world, &namespace, "a-0", Some("leave")).await;
    new_ones_ready(world, &namespace, 2).await;
    drains(world, &namespace, "a-0", "Person").await;
    annotate(world, &namespace, "a-0", Some("stay")).await;
    serves(world, &namespace, "a-0").await;
    // One is too many now, and the person has said which is not it.
    left(world, &namespace, &["a-0"]).await;
    annotate(world, &namespace, "a-0", Some("leave")).await;
    new_ones_ready(world, &namespace, 2).await;
    drains(world, &namespace, "a-0", "Person").await;
    world.process(&namespace, "a-0").await.holds(0, 0);
    left(world, &namespace, &["a-1"]).await;
}

pub(crate) async fn a_lobby_has_a_relay_leave_and_takes_it_back(world: &World) {
    let namespace = scene(world, "ordered", &json!({"replicas": 1})).await;
    let process = world.process(&namespace, "a-0").await;
    process.holds(1, 0);
    process.is_asked(true);
    new_ones_ready(world, &namespace, 2).await;
    drains(world, &namespace, "a-0", "Lobby").await;
    // Who is not heard has taken nothing back.
    world.silence(&namespace, "a-0").await;
    let silent = eventually("it is not heard", async || {
        let relay = relay(world, &namespace, "a-0").await.ok_or("it is not in status")?;
        if relay.sessions.is_none() { Ok(relay) } else { Err(format!("{relay:?}")) }
    });
    let drain = silent.await.drain.expect("it goes on");
    assert_eq!((drain.cause.as_str(), drain.deadline.is_some()), ("Lobby", true), "{drain:?}");
    world.heard_again(&namespace, "a-0").await;
    // A person's word is stronger, for as long as it stands.
    annotate(world, &namespace, "a-0", Some("leave")).await;
    drains(world, &namespace, "a-0", "Person").await;
    annotate(world, &namespace, "a-0", None).await;
    drains(world, &namespace, "a-0", "Lobby").await;
    process.is_asked(false);
    serves(world, &namespace, "a-0").await;
    // The one that came in its place is too many now, and empty.
    left(world, &namespace, &["a-0"]).await;
    process.is_asked(true);
    new_ones_ready(world, &namespace, 2).await;
    drains(world, &namespace, "a-0", "Lobby").await;
    process.holds(0, 0);
    left(world, &namespace, &["a-1"]).await;
}

pub(crate) async fn who_is_not_heard_does_not_leave(world: &World) {
    let namespace = scene(world, "silent", &json!({"replicas": 2, "drain": {"timeoutSeconds": 0}})).await;
    world.silence(&namespace, "a-0").await;
    world.silence(&namespace, "a-1").await;
    eventually("nobody is heard any more", async || {
        let known: Vec<_> = world.pools(&namespace).get("a").await.expect("reads").status.expect("a status").relays;
        let known: Vec<_> =
            known.into_iter().filter(|relay| relay.sessions.is_some()).map(|relay| relay.name).collect();
        if known.is_empty() { Ok(()) } else { Err(format!("{known:?}")) }
    })
    .await;
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=0"], None);
    pool_says(&world.pools(&namespace), "a", "Stalled", "True/OccupancyUnknown").await;
    assert_eq!(pods(world, &namespace).await.len(), 2, "a time of zero passed for relays that nobody hears");
    world.heard_again(&namespace, "a-0").await;
    left(world, &namespace, &["a-1"]).await;
    world.heard_again(&namespace, "a-1").await;
    left(world, &namespace, &[]).await;
    pool_says(&world.pools(&namespace), "a", "Stalled", "False/AsPlanned").await;
}

pub(crate) async fn a_pool_drains_before_it_goes_and_its_lobby_waits_for_it(world: &World) {
    let namespace = scene(world, "ends", &json!({"replicas": 2})).await;
    world.process(&namespace, "a-1").await.holds(1, 0);
    world.kubectl.run(&["-n", &namespace, "delete", "lobby/demo", "relaypool/a", "--wait=false"], None);
    left(world, &namespace, &["a-1"]).await;
    drains(world, &namespace, "a-1", "Deletion").await;
    pool_says(&world.pools(&namespace), "a", "Ready", "False/RelaysLeave").await;
    let lobby = crate::world::lobby_says(&world.lobbies(&namespace), "demo", "Ready", "False/PoolsAttached").await;
    let conditions = lobby.status.expect("a status").conditions;
    assert!(conditions.iter().any(|condition| condition.message.contains("ends/a")), "{conditions:?}");
    world.process(&namespace, "a-1").await.holds(0, 0);
    eventually("both are gone", async || {
        let pool = world.pools(&namespace).get_opt("a").await.expect("reads");
        let lobby = world.lobbies(&namespace).get_opt("demo").await.expect("reads");
        if pool.is_none() && lobby.is_none() { Ok(()) } else { Err("still there".to_owned()) }
    })
    .await;
    // Whoever says Now means it.
    let namespace = scene(world, "ends-now", &json!({"replicas": 1, "deletionPolicy": "Now"})).await;
    world.process(&namespace, "a-0").await.holds(1, 0);
    world.kubectl.run(&["-n", &namespace, "delete", "relaypool/a"], None);
    left(world, &namespace, &[]).await;
}

/// Nobody knows how to make a relay of such a pool, so each that leaves is one less; but who asks is obeyed.
pub(crate) async fn relays_of_a_pool_that_is_not_accepted_stay_and_still_obey(world: &World) {
    let namespace = scene(world, "not-accepted", &json!({"replicas": 2})).await;
    world.process(&namespace, "a-0").await.holds(1, 0);
    world.lobbies(&namespace).delete("demo", &DeleteParams::default()).await.expect("deletes");
    pool_says(&world.pools(&namespace), "a", "Accepted", "False/LobbyNotFound").await;
    change(world, &namespace, json!({"replicas": 0, "drain": {"timeoutSeconds": 0, "causes": {"personSeconds": 600}}}))
        .await;
    annotate(world, &namespace, "a-0", Some("leave")).await;
    drains(world, &namespace, "a-0", "Person").await;
    pool_says(&world.pools(&namespace), "a", "Draining", "True/RelaysLeave").await;
    annotate(world, &namespace, "a-0", None).await;
    serves(world, &namespace, "a-0").await;
    annotate(world, &namespace, "a-0", Some("leave")).await;
    drains(world, &namespace, "a-0", "Person").await;
    world.process(&namespace, "a-0").await.holds(0, 0);
    left(world, &namespace, &["a-1"]).await;
    let pool = pool_says(&world.pools(&namespace), "a", "Available", "True/AsPlanned").await;
    assert_eq!(pool.status.map(|status| (status.replicas, status.ready_replicas)), Some((1, 1)));
    pool_says(&world.pools(&namespace), "a", "Accepted", "False/LobbyNotFound").await;
}

/// A pool under `spec.scaling`: grows with its sessions and with who waits, and shrinks only when all is known.
pub(crate) async fn a_pool_follows_its_sessions(world: &World) {
    let namespace = world.namespace("follows");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    let scaling = json!({
        "maxReplicas": 4, "buffer": {"seats": 0},
        "up": {"stepReplicas": 4}, "down": {"windowSeconds": 0, "periodSeconds": 1, "stepReplicas": 4},
    });
    world.kubectl.create(&namespace, &pool("a", &json!({"replicas": 3, "sessionsPerRelay": 10, "scaling": scaling})));
    world.pods_ready(&namespace, 1).await;
    let pools = world.pools(&namespace);
    // No lobby process is heard: what it is asked for is not known.
    let limited = pool_says(&pools, "a", "Ready", "True/AsPlanned").await;
    assert_eq!(desired(&limited), 1, "spec.replicas is ignored under scaling");
    world.process(&namespace, "a-0").await.holds(10, 1);
    world.pods_ready(&namespace, 2).await;
    let asked = lobby_process(world, &namespace).await;
    let of = |waiting| PoolDemand {
        namespace: namespace.clone(),
        pool: "a".to_owned(),
        region: "eu-west-1".to_owned(),
        waiting,
        leases: 0,
    };
    asked.asks(&Demand { pools: vec![of(12)] });
    world.pods_ready(&namespace, 3).await;
    asked.asks(&Demand { pools: vec![of(0)] });
    world.process(&namespace, "a-0").await.holds(5, 0);
    left(world, &namespace, &["a-0"]).await;
    let status = pools.get("a").await.expect("reads").status.expect("a status");
    let scaling = status.scaling.expect("it is told");
    assert_eq!((scaling.past.replicas, scaling.rule.as_str()), (1, "Load"), "{scaling:?}");
    // What is not heard never shrinks.
    asked.asks(&Demand { pools: vec![of(20)] });
    world.process(&namespace, "a-0").await.holds(10, 0);
    world.pods_ready(&namespace, 3).await;
    world.silence(&namespace, "a-0").await;
    let held = within(30, "its shrinking is held", async || {
        let pool = pools.get("a").await.expect("reads");
        let scaling = pool.status.as_ref().and_then(|status| status.scaling.clone()).ok_or("no decision")?;
        let known = pool
            .status
            .iter()
            .flat_map(|status| &status.relays)
            .any(|relay| relay.name == "a-0" && relay.sessions.is_some());
        if known { Err(format!("{scaling:?}")) } else { Ok(pool) }
    })
    .await;
    assert_eq!(desired(&held), 3, "{:?}", held.status);
    asked.asks(&Demand { pools: vec![of(0)] });
    let held = pool_says(&pools, "a", "ScalingLimited", "True/OccupancyUnknown").await;
    assert_eq!(desired(&held), 3, "{:?}", held.status);
    world.heard_again(&namespace, "a-0").await;
    left(world, &namespace, &["a-0"]).await;
}

fn desired(pool: &RelayPool) -> i32 {
    pool.status.as_ref().expect("a status").desired_replicas
}

/// A Pod of the lobby, which no Deployment makes here, with a control port.
async fn lobby_process(world: &World, namespace: &str) -> Arc<Said> {
    let pod = json!({
        "metadata": {"name": "demo-lobby-x", "labels": {"app.kubernetes.io/name": "convene-lobby", "convene.dev/lobby": "demo"}},
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "lobby", "image": "none", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        },
    });
    let pod: Pod = serde_json::from_value(pod).expect("a Pod");
    world.api::<Pod>(namespace).create(&PostParams::default(), &pod).await.expect("creates");
    let said = Arc::new(Said::lobby(&world.client, namespace, "demo").await);
    world.serves(namespace, "demo-lobby-x", said.address).await;
    // Its pods are looked for when its Deployment says that there are some.
    world.deployment_ready(namespace, "demo-lobby").await;
    said
}

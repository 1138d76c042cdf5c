//! A lobby of two processes over a Redis that the operator runs, and what happens when that is lost.

use std::time::{Duration, Instant};

use convene::api::Lobby;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::client::talk;
use crate::faults::{kill, pair};
use crate::install::{Install, STARTED, setting};
use crate::support::{says, within};

/// Nothing makes volumes in this cluster: one of a folder on the first node, which `hack/test-e2e.sh` has made.
fn volume(install: &Install, namespace: &str) -> Value {
    install.kubectl.run(&["delete", "namespace", namespace, "--ignore-not-found"], None);
    install.kubectl.run(&["delete", "persistentvolume", namespace, "--ignore-not-found"], None);
    let nodes = install.kubectl.run(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"], None);
    let first = nodes.split(' ').find(|name| name.ends_with("-1")).expect("a first node");
    let node = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [first]});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": namespace,
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/var/lib/convene-e2e/redis"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
    }});
    install.kubectl.run(&["create", "-f", "-"], Some(&volume.to_string()));
    json!({"size": "1Gi", "className": namespace})
}

/// Pods but the Redis', with how often each was started: what must not change.
async fn processes(pods: &Api<Pod>) -> Vec<(String, Option<String>, i32)> {
    let list = pods.list(&ListParams::default()).await.expect("lists").items.into_iter();
    let others = list.filter(|pod| !pod.name_any().contains("redis"));
    let mut found: Vec<_> = others
        .map(|pod| {
            let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            (pod.name_any(), pod.uid(), status.into_iter().flatten().map(|container| container.restart_count).sum())
        })
        .collect();
    found.sort();
    found
}

pub(crate) async fn a_redis_of_ones_own_is_lost_and_comes_back_and_no_session_notices(install: &Install) {
    let namespace = "e2e-own-redis";
    let managed = json!({"image": setting("CONVENE_REDIS_IMAGE"), "storage": volume(install, namespace)});
    let spec = json!({"replicas": 2, "store": {"redis": {"managed": managed}}});
    let lobby = install.world_with(namespace, spec, &[("eu", json!({}))]).await;
    let lobbies: Api<Lobby> = Api::namespaced(install.client.clone(), namespace);
    let store_says = async |expected: &str| {
        within(STARTED, expected, async || {
            let status = lobbies.get("demo").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let said = says(&status.conditions, "StoreAvailable");
            if said == expected { Ok(()) } else { Err(said) }
        })
        .await;
    };
    store_says("StoreAvailable=True/AsPlanned").await;
    let (created, mut host, mut guest) = pair(&lobby).await;
    talk(&mut host, &mut guest).await.expect("each byte arrives");
    let pods: Api<Pod> = Api::namespaced(install.client.clone(), namespace);
    let before = processes(&pods).await;
    assert_eq!(before.len(), 3, "two lobby processes and a relay: {before:?}");

    let killed = Instant::now();
    kill(install, namespace, &["statefulset", "demo-lobby-redis", "--cascade=orphan"]);
    kill(install, namespace, &["pod", "demo-lobby-redis-0"]);
    let talking = tokio::spawn(async move {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            talk(&mut host, &mut guest).await.expect("a session needs no store");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        (host, guest)
    });
    // The operator makes it anew; how long that takes, the condition tells before it is over.
    let again = within(STARTED, "sessions are created again", async || {
        lobby.create(53.35, -6.26).await.map(|created| created.session.id)
    });
    let other = again.await;
    println!("Redis killed: sessions are created again after {:.1} s", killed.elapsed().as_secs_f64());
    assert_ne!(other, created.session.id);
    store_says("StoreAvailable=True/AsPlanned").await;
    let (mut host, mut guest) = talking.await.expect("the session was not cut");
    talk(&mut host, &mut guest).await.expect("each byte arrives");
    assert_eq!(processes(&pods).await, before, "something was started anew for it");
    let joined = lobby.join(&created.session.id, created.join_key.as_ref()).await.expect("a guest joins");
    assert_eq!(joined.session.epoch, created.session.epoch, "the session was moved");
}

//! Several operators, and operators that die. These cases have a control plane of their own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use convene::api::ANNOTATION_GENERATION;

use crate::support::{eventually, lobby, pool};
use crate::world::{SYSTEM, World, pool_says};

async fn leader(world: &World) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), SYSTEM);
    let lease = leases.get_opt("convene-operator").await.expect("reads")?;
    lease.spec?.holder_identity
}

async fn leads(world: &World, who: &str) {
    eventually(&format!("{who} leads"), async || match leader(world).await {
        Some(holder) if holder == who => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

pub(crate) async fn the_next_leads_after_an_orderly_end_at_once_and_after_a_crash_in_time(_shared: &World) {
    let world = World::start().await;
    let first = world.operator("first").await;
    leads(&world, "first").await;
    let second = world.operator("second").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(leader(&world).await.as_deref(), Some("first"), "two candidates, and the lease moved");
    first.stop().await;
    // Without the release it would take the 15 s of the lease.
    tokio::time::timeout(Duration::from_secs(10), leads(&world, "second")).await.expect("handed over at once");
    let third = world.operator("third").await;
    second.kill().await;
    // 15 s of lease and one look each 2 s.
    leads(&world, "third").await;
    let namespace = world.namespace("after");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({})));
    pool_says(&world.pools(&namespace), "a", "Accepted", "True/AsPlanned").await;
    third.stop().await;
}

pub(crate) async fn an_operator_killed_anywhere_leaves_nothing_wrong(_shared: &World) {
    let world = World::start().await;
    let namespace = world.namespace("killed");
    let secrets: Api<Secret> = world.api(&namespace);
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({"replicas": 4})));
    let system: Api<Secret> = world.api(SYSTEM);
    let (mut keys, mut authority) = (None, None);
    for milliseconds in [0, 40, 80, 120, 160, 200, 240, 280, 320, 400] {
        let operator = world.operator("mortal").await;
        leads(&world, "mortal").await;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        operator.kill().await;
        let now = secrets.get_opt("demo-lobby-keys").await.expect("reads").and_then(|secret| secret.data);
        assert!(keys.is_none() || keys == now, "the keys were made anew");
        keys = keys.or(now);
        let now = system.get_opt("convene-operator-authority").await.expect("reads").and_then(|secret| secret.data);
        assert!(authority.is_none() || authority == now, "the authority was made anew");
        authority = authority.or(now);
    }
    let operator = world.operator("mortal").await;
    world.pods_ready(&namespace, 4).await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    let pods: Api<Pod> = world.api(&namespace);
    let relays = pods.list(&ListParams::default().labels("convene.dev/relay-pool=a")).await.expect("lists").items;
    assert_eq!(relays.len(), 4);
    operator.stop().await;
}

pub(crate) async fn a_newer_operator_leaves_running_relays_alone(_shared: &World) {
    let world = World::start().await;
    let namespace = world.namespace("upgraded");
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", &json!({"replicas": 2})));
    let first = world.operator("first").await;
    world.pods_ready(&namespace, 2).await;
    let pools = world.pools(&namespace);
    pool_says(&pools, "a", "Ready", "True/AsPlanned").await;
    let relays = async || {
        let relays = world.api::<Pod>(&namespace).list(&ListParams::default().labels("convene.dev/relay-pool=a")).await;
        let seen = relays.expect("lists").items.into_iter().map(|pod| {
            let image = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).expect("an image");
            (pod.name_any(), pod.annotations()[ANNOTATION_GENERATION].clone(), pod.uid().expect("a UID"), image)
        });
        seen.collect::<Vec<_>>()
    };
    let before = relays().await;
    first.stop().await;
    let newer = world.newer_operator("newer").await;
    leads(&world, "newer").await;
    world.kubectl.run(&["-n", &namespace, "scale", "relaypool/a", "--replicas=3"], None);
    world.pods_ready(&namespace, 3).await;
    pool_says(&pools, "a", "Available", "True/AsPlanned").await;
    pool_says(&pools, "a", "Progressing", "False/AsPlanned").await;
    let grown = relays().await;
    assert_eq!(grown[..2], before[..], "running relays were touched");
    assert_eq!((&grown[2].1, &grown[2].3), (&before[0].1, &before[0].3), "one more of the same generation");
    // The next change of the spec brings what the newer operator has.
    let change = json!({"spec": {"replicas": 1, "sessionsPerRelay": 7}});
    pools.patch("a", &PatchParams::default(), &Patch::Merge(&change)).await.expect("patches");
    eventually("a relay of the newer image takes their place", async || {
        for pod in world.api::<Pod>(&namespace).list(&ListParams::default()).await.expect("lists") {
            world.pod_ready(&namespace, &pod).await;
        }
        let relays = relays().await;
        match &relays[..] {
            [(_, generation, _, image)] if image == "localhost/convene:newer" && *generation != before[0].1 => Ok(()),
            _ => Err(format!("{relays:?}")),
        }
    })
    .await;
    newer.stop().await;
}

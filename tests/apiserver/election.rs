//! Several operators, and operators that die. These cases have a control plane of their own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

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
    let mut keys = None;
    for milliseconds in [0, 40, 80, 120, 160, 200, 240, 280, 320, 400] {
        let operator = world.operator("mortal").await;
        leads(&world, "mortal").await;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        operator.kill().await;
        let now = secrets.get_opt("demo-lobby-keys").await.expect("reads").and_then(|secret| secret.data);
        assert!(keys.is_none() || keys == now, "the keys were made anew");
        keys = keys.or(now);
    }
    let operator = world.operator("mortal").await;
    world.pods_ready(&namespace, 4).await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    let pods: Api<Pod> = world.api(&namespace);
    let relays = pods.list(&ListParams::default().labels("convene.dev/relay-pool=a")).await.expect("lists").items;
    assert_eq!(relays.len(), 4);
    operator.stop().await;
}

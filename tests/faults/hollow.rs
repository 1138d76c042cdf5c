//! What nodes and the built-in controllers would do, on the real API server: there are neither here. Pods become ready
//! when a workload says so, and go as soon as they are deleted.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::within;
use crate::workload::PATIENCE;
use crate::world::World;

/// Waits until `count` relay Pods are there to stay, and marks them ready, and the lobby's Deployment as served.
pub(crate) async fn ready(world: &World, namespace: &str, count: usize) {
    let pods: Api<Pod> = world.api(namespace);
    let staying = within(PATIENCE, &format!("{count} relay pods"), async || {
        sweep(world, namespace).await;
        let found = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let staying: Vec<Pod> = found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        if staying.len() == count { Ok(staying) } else { Err(format!("{} pods", staying.len())) }
    })
    .await;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    for pod in staying {
        let is_ready = pod.status.and_then(|status| status.phase).as_deref() == Some("Running");
        if !is_ready {
            let name = pod.metadata.name.unwrap_or_default();
            pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&ready)).await.expect("patches");
        }
    }
    let deployments: Api<Deployment> = world.api(namespace);
    within(PATIENCE, "the lobby's Deployment", async || {
        let found = deployments.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let deployment = found.into_iter().next().ok_or("no Deployment")?;
        let generation = deployment.metadata.generation;
        let status = json!({"status": {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}});
        let patched =
            deployments.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await;
        patched.map(drop).map_err(|error| error.to_string())
    })
    .await;
}

/// Confirms the end of Pods that were deleted, as their kubelets would.
pub(crate) async fn sweep(world: &World, namespace: &str) {
    let pods: Api<Pod> = world.api(namespace);
    let Ok(found) = pods.list(&ListParams::default()).await else { return };
    for pod in found.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = pods.delete(&pod.name_any(), &now).await;
    }
}

//! What nodes and the built-in controllers would do, on the real API server: there are neither here. Pods become ready
//! when a workload says so, and go as soon as they are deleted.

use std::sync::Arc;

use convene::api::{LABEL_POOL, LABEL_RELAY};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::processes::{Processes, Said};
use crate::support::within;
use crate::workload::PATIENCE;
use crate::world::World;

/// A namespace, with what stands in for nodes and relays in it.
pub(crate) struct Scene<'a> {
    pub(crate) world: &'a World,
    pub(crate) namespace: String,
    processes: Processes,
}

impl<'a> Scene<'a> {
    /// A namespace of its own.
    pub(crate) async fn new(world: &'a World) -> Self {
        Self { world, namespace: world.namespace().await, processes: Processes::default() }
    }

    /// The Pods of relays.
    pub(crate) async fn relays(&self) -> Result<Vec<Pod>, String> {
        let params = ListParams::default().labels(LABEL_RELAY);
        let list = self.world.api::<Pod>(&self.namespace).list(&params).await;
        list.map(|list| list.items).map_err(|error| error.to_string())
    }

    /// Waits until `count` relay Pods are there to stay, and marks them ready, each with a control port of its own; and the
    /// lobby's Deployment as served.
    pub(crate) async fn ready(&self, count: usize) {
        let staying = within(PATIENCE, &format!("{count} relay pods"), async || {
            self.sweep().await;
            let found = self.relays().await?;
            let staying: Vec<Pod> = found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
            if staying.len() == count { Ok(staying) } else { Err(format!("{} pods", staying.len())) }
        })
        .await;
        for pod in staying {
            let is_ready = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            if !is_ready {
                self.serve(&pod).await;
            }
        }
        self.lobby_ready().await;
    }

    async fn serve(&self, pod: &Pod) {
        let pool = pod.labels().get(LABEL_POOL).expect("a relay has a pool");
        let process = Arc::new(Said::relay(&self.world.client, &self.namespace, pool).await);
        let address = process.address;
        self.processes.lock().expect("no run panics here").insert(pod.uid().expect("a UID"), process);
        let ready = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let pods = self.world.api::<Pod>(&self.namespace);
        match pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&ready)).await {
            Ok(_) => {}
            // It has gone meanwhile.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => panic!("cannot mark Pod {} ready: {error}", pod.name_any()),
        }
    }

    /// A relay serves, or does not for a while.
    pub(crate) async fn relay_is_ready(&self, relay: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let status = json!({"status": {"conditions": [{"type": "Ready", "status": status}]}});
        let pods = self.world.api::<Pod>(&self.namespace);
        pods.patch_status(relay, &PatchParams::default(), &Patch::Merge(&status)).await.expect("patches");
    }

    /// What stands in for a relay's process.
    pub(crate) async fn process(&self, relay: &str) -> Arc<Said> {
        let pod = self.world.api::<Pod>(&self.namespace).get(relay).await.expect("reads");
        let processes = self.processes.lock().expect("no run panics here");
        let process = processes.get(&pod.uid().expect("a UID"));
        Arc::clone(process.unwrap_or_else(|| panic!("relay {relay} was not marked ready")))
    }

    /// All relays hold nothing from now on.
    pub(crate) fn empty(&self) {
        for process in self.processes.lock().expect("no run panics here").values() {
            process.holds(0, 0);
        }
    }

    async fn lobby_ready(&self) {
        let deployments: Api<Deployment> = self.world.api(&self.namespace);
        within(PATIENCE, "the lobby's Deployment", async || {
            let found = deployments.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let deployment = found.into_iter().next().ok_or("no Deployment")?;
            let generation = deployment.metadata.generation;
            let status = json!({"status": {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}});
            let name = deployment.name_any();
            let patched = deployments.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await;
            patched.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Confirms the end of Pods that were deleted, as their kubelets would.
    pub(crate) async fn sweep(&self) {
        let Ok(found) = self.relays().await else { return };
        let pods: Api<Pod> = self.world.api(&self.namespace);
        for pod in found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            let _ = pods.delete(&pod.name_any(), &now).await;
        }
    }
}

//! What the cases share: a control plane with the chart's roles, operators that run as the real ServiceAccount, and
//! helpers to make objects and wait for them.
//!
//! There are no nodes: [`World::pods_ready`] marks Pods ready on the real API server, as a kubelet would, and gives each relay
//! a control port that says what the case has it say.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use convene::api::{LABEL_POOL, LABEL_RELAY, Lobby, RelayPool};
use convene::operator;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use crate::control_plane::SYSTEM;
use crate::control_plane::{ControlPlane, operator_args};
use crate::support::processes::{Processes, Said};
use crate::support::{Kubectl, eventually, lobby, pool, says, within};

/// A control plane on which the chart was installed, without its Deployment.
pub(crate) struct World {
    plane: ControlPlane,
    processes: Processes,
    pub(crate) kubectl: Kubectl,
    pub(crate) client: Client,
}

/// An operator that runs in this process as the chart's ServiceAccount.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        ended.expect("the operator ends within 10 s").expect("no panic").expect("no error");
    }

    /// Ends it wherever it is, as SIGKILL would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        // Whatever it had spawned goes with the process in reality.
        self.stop.cancel();
    }
}

impl World {
    /// Starts a control plane and installs CRDs and roles from the chart.
    pub(crate) async fn start() -> Self {
        let plane = ControlPlane::start().await;
        let client = plane.admin().await;
        let kubectl = plane.kubectl();
        Self { plane, processes: Processes::default(), kubectl, client }
    }

    /// A client that may do anything and takes no for an answer: the others try again what is refused with 429.
    pub(crate) async fn impatient(&self) -> Client {
        let mut config = self.plane.config("admin-token").await;
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// Starts an operator named `identity` with the rights of the chart's ServiceAccount.
    pub(crate) async fn operator(&self, identity: &str) -> Running {
        self.run(identity, "localhost/convene:test").await
    }

    /// Starts one that has another image for what it makes, as after an upgrade.
    pub(crate) async fn newer_operator(&self, identity: &str) -> Running {
        self.run(identity, "localhost/convene:newer").await
    }

    async fn run(&self, identity: &str, image: &str) -> Running {
        let token = self.plane.operator_token().await;
        let args = operator::Args { image: image.to_owned(), ..operator_args(SYSTEM, identity) };
        let stop = CancellationToken::new();
        let task = tokio::spawn(operator::run_with(self.plane.config(&token).await, args, stop.clone()));
        Running { stop, task }
    }

    /// `kubectl` of somebody who has this cluster role in one namespace and nothing else.
    pub(crate) async fn person(&self, namespace: &str, name: &str, role: &str) -> Kubectl {
        self.kubectl.run(&["-n", namespace, "create", "serviceaccount", name], None);
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={namespace}:{name}"));
        self.kubectl.run(&["-n", namespace, "create", "rolebinding", name, &role, &account], None);
        self.plane.kubectl_of(&format!("{namespace}-{name}"), &self.plane.token(namespace, name).await)
    }

    /// A namespace of a case's own, granted to the operator.
    pub(crate) fn namespace(&self, name: &str) -> String {
        self.kubectl.namespace(name);
        name.to_owned()
    }

    pub(crate) fn lobbies(&self, namespace: &str) -> Api<Lobby> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn pools(&self, namespace: &str) -> Api<RelayPool> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Waits until `count` relay Pods are there and marks them and the lobby's Deployment ready, as a kubelet and the
    /// Deployment's controller would.
    pub(crate) async fn pods_ready(&self, namespace: &str, count: usize) {
        let pods: Api<Pod> = self.api(namespace);
        let relays = ListParams::default().labels(LABEL_RELAY);
        eventually("relay pods are there", async || {
            let found = pods.list(&relays).await.expect("lists").items;
            let staying = found.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
            (staying == count).then_some(()).ok_or_else(|| format!("{staying} of {count} pods"))
        })
        .await;
        for pod in pods.list(&relays).await.expect("lists") {
            self.pod_ready(namespace, &pod).await;
        }
    }

    /// Marks one relay Pod ready, with a control port of its own; that of the relay.
    pub(crate) async fn pod_ready(&self, namespace: &str, pod: &Pod) -> Arc<Said> {
        let uid = pod.uid().expect("a UID");
        let known = self.processes.lock().expect("no case panics here").get(&uid).cloned();
        let process = if let Some(known) = known {
            known
        } else {
            let pool = pod.labels().get(LABEL_POOL).expect("a relay has a pool");
            Arc::new(Said::relay(&self.client, namespace, pool).await)
        };
        self.processes.lock().expect("no case panics here").insert(uid, Arc::clone(&process));
        self.serves(namespace, &pod.name_any(), process.address).await;
        process
    }

    /// Marks a Pod ready at this address.
    pub(crate) async fn serves(&self, namespace: &str, pod: &str, address: IpAddr) {
        let pods: Api<Pod> = self.api(namespace);
        let ready = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        match pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(&ready)).await {
            Ok(_) => {}
            // It has gone meanwhile.
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => panic!("cannot mark Pod {pod} ready: {error}"),
        }
    }

    /// Has a relay say nothing more.
    pub(crate) async fn silence(&self, namespace: &str, pod: &str) {
        self.process(namespace, pod).await.is_silent(true);
    }

    /// Has it say again what it holds.
    pub(crate) async fn heard_again(&self, namespace: &str, pod: &str) {
        self.process(namespace, pod).await.is_silent(false);
    }

    /// The control port of a relay that was marked ready.
    pub(crate) async fn process(&self, namespace: &str, pod: &str) -> Arc<Said> {
        let uid = self.api::<Pod>(namespace).get(pod).await.expect("reads").uid().expect("a UID");
        let processes = self.processes.lock().expect("no case panics here");
        Arc::clone(processes.get(&uid).unwrap_or_else(|| panic!("Pod {pod} was not marked ready")))
    }

    /// Marks the lobby's Deployment as served by one pod.
    pub(crate) async fn deployment_ready(&self, namespace: &str, name: &str) {
        self.deployment_counts(namespace, name, 1).await;
    }

    /// Marks the lobby's Deployment as served by so many pods of its present spec.
    pub(crate) async fn deployment_counts(&self, namespace: &str, name: &str, pods: i32) {
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = self.api(namespace);
        let generation = eventually("the lobby's Deployment is there", async || {
            let found = deployments.get_opt(name).await.expect("reads");
            found.and_then(|deployment| deployment.metadata.generation).ok_or_else(|| "no Deployment".to_owned())
        })
        .await;
        let status = json!({"status": {"observedGeneration": generation, "replicas": pods, "updatedReplicas": pods, "readyReplicas": pods, "availableReplicas": pods}});
        deployments.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.expect("patches");
    }
}

/// A lobby and a pool `a` whose relays serve.
pub(crate) async fn scene(world: &World, name: &str, spec: &Value) -> String {
    let namespace = world.namespace(name);
    world.kubectl.create(&namespace, &lobby(&json!({})));
    world.kubectl.create(&namespace, &pool("a", spec));
    let relays = spec["replicas"].as_u64().unwrap_or(1);
    world.pods_ready(&namespace, usize::try_from(relays).expect("few")).await;
    pool_says(&world.pools(&namespace), "a", "Ready", "True/AsPlanned").await;
    namespace
}

/// Waits until a pool is gone.
pub(crate) async fn pool_goes(pools: &Api<RelayPool>, name: &str, seconds: u64) {
    within(seconds, &format!("RelayPool {name} is gone"), async || {
        let found = pools.get_opt(name).await.expect("reads");
        found.map_or(Ok(()), |found| Err(format!("{:?}", found.status)))
    })
    .await;
}

/// Waits until a pool's condition says so.
pub(crate) async fn pool_says(pools: &Api<RelayPool>, name: &str, type_: &str, expected: &str) -> RelayPool {
    eventually(&format!("RelayPool {name}: {type_}={expected}"), async || {
        let pool = pools.get(name).await.expect("reads");
        let said = says(pool.status.as_ref().map_or(&[][..], |status| &status.conditions), type_);
        if said == format!("{type_}={expected}") { Ok(pool) } else { Err(said) }
    })
    .await
}

/// Waits until a lobby's condition says so.
pub(crate) async fn lobby_says(lobbies: &Api<Lobby>, name: &str, type_: &str, expected: &str) -> Lobby {
    eventually(&format!("Lobby {name}: {type_}={expected}"), async || {
        let lobby = lobbies.get(name).await.expect("reads");
        let said = says(lobby.status.as_ref().map_or(&[][..], |status| &status.conditions), type_);
        if said == format!("{type_}={expected}") { Ok(lobby) } else { Err(said) }
    })
    .await
}

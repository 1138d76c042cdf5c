//! What all cases share: a control plane with the chart's roles, and namespaces of their own.

use std::sync::atomic::{AtomicUsize, Ordering};

use faultline::{Authority, Proxy, Scope, Upstream};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Config, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::control_plane::{ControlPlane, SYSTEM};
use crate::support::eventually;

/// A control plane on which the chart was installed, without its Deployment.
pub(crate) struct World {
    plane: ControlPlane,
    pub(crate) client: Client,
    token: String,
    upstream: Upstream,
    /// What the chart lets the operator do in its own namespace.
    own_roles: Vec<Role>,
    namespaces: AtomicUsize,
    /// Runs at a time: they wait more than they work, but the machine is small.
    pub(crate) runs: Semaphore,
    /// Cases of a run that is to be short, chosen by this number; none = all.
    pub(crate) seed: Option<u64>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let plane = ControlPlane::start().await;
        let client = plane.admin().await;
        let token = plane.operator_token().await;
        let upstream = Upstream::new(&plane.url(), &Authority::Any).expect("a client");
        let roles: Api<Role> = Api::namespaced(client.clone(), SYSTEM);
        let own_roles = roles.list(&ListParams::default()).await.expect("the chart has some").items;
        let seed = seed();
        if let Some(seed) = seed {
            println!("a few by chance: QUICK=1 SEED={seed}");
        }
        Self {
            plane,
            client,
            token,
            upstream,
            own_roles,
            namespaces: AtomicUsize::default(),
            runs: Semaphore::new(6),
            seed,
        }
    }

    /// A proxy that goes through to the API server.
    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::new(self.upstream.clone())
    }

    /// Configuration of an operator that goes through a door.
    pub(crate) async fn config(&self, door: &faultline::Door) -> Config {
        self.plane.config_through(&door.url(), &self.token).await
    }

    /// Configuration of somebody who may do anything, and goes through a door.
    pub(crate) async fn admin_config(&self, door: &faultline::Door) -> Config {
        self.plane.config_through(&door.url(), "admin-token").await
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// A namespace granted to the operator, which keeps what is its own there too.
    pub(crate) async fn namespace(&self) -> String {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("faulty{number}namespace");
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        make(&Api::<Namespace>::all(self.client.clone()), namespace).await;
        let subjects = json!([{"kind": "ServiceAccount", "name": "convene-operator", "namespace": SYSTEM}]);
        let group = "rbac.authorization.k8s.io";
        let bind = async |name: &str, kind: &str, role: &str, of: &str| {
            let role = json!({"apiGroup": group, "kind": kind, "name": role});
            let binding = json!({"metadata": {"name": name}, "roleRef": role, "subjects": subjects});
            make(&self.api::<RoleBinding>(of), binding).await;
        };
        for role in &self.own_roles {
            let own = role.name_any();
            let copy = json!({"metadata": {"name": own}, "rules": role.rules});
            make(&self.api::<Role>(&name), copy).await;
            bind(&own, "Role", &own, &name).await;
        }
        bind("convene-operator", "ClusterRole", "convene-operator-namespace", &name).await;
        // What the controllers make in each namespace is there from the start.
        let accounts: Api<ServiceAccount> = self.api(&name);
        eventually("the default ServiceAccount", async || {
            let found = accounts.get_opt("default").await.map_err(|error| error.to_string())?;
            found.map(drop).ok_or_else(|| "none".to_owned())
        })
        .await;
        name
    }

    /// Shows an operator this namespace as if it were all.
    pub(crate) fn scope(namespace: &str) -> Scope {
        let resources = ["lobbies", "relaypools"].map(str::to_owned).to_vec();
        Scope { resources, namespace: namespace.to_owned() }
    }

    /// Has a namespace removed; nobody waits for it.
    pub(crate) async fn forget(&self, namespace: &str) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let _ = namespaces.delete(namespace, &DeleteParams::default()).await;
    }
}

async fn make<K>(api: &Api<K>, object: serde_json::Value)
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(object).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("creates");
}

/// By which a short run chooses its cases; none for a full one.
pub(crate) fn seed() -> Option<u64> {
    if std::env::var("QUICK").is_ok_and(|quick| !quick.is_empty()) {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        return Some(given.unwrap_or_else(|| u64::from(std::process::id())));
    }
    None
}

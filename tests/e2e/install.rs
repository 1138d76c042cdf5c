//! A cluster with nodes on which the chart is installed as a user would, and what the cases need of it.

use std::process::Command;

use convene::api::{Lobby, RelayPool};
use kube::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::LobbyApi;
use crate::places::Mirror;
use crate::support::{Kubectl, bin_dir, chart, lobby, pool, run, says, within};

/// How long pods may take to start on a small machine that runs everything else as well.
pub(crate) const STARTED: u64 = 90;

/// The installed operator.
pub(crate) struct Install {
    pub(crate) kubectl: Kubectl,
    pub(crate) client: kube::Client,
    /// What has databases of places.
    pub(crate) mirror: Mirror,
}

pub(crate) fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make test-e2e`"))
}

/// Deletes the namespaces of earlier cases: a node that is drained needs room on the other one for what is to go there.
fn clear(kubectl: &Kubectl) {
    let all = kubectl.run(&["get", "namespaces", "-o", "name"], None);
    let left: Vec<&str> = all.lines().filter(|name| name.starts_with("namespace/e2e-")).collect();
    if left.is_empty() {
        return;
    }
    kubectl.run(&[&["delete", "--wait=false"], &left[..]].concat(), None);
    // Kubernetes deletes Pods before all else, and looks again after half of the longest time that one of them may take to
    // leave: minutes, though they are gone in a second.
    for namespace in &left {
        let name = namespace.trim_start_matches("namespace/");
        kubectl.run(&["-n", name, "delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false"], None);
    }
    kubectl.run(&[&["wait", "--for=delete", "--timeout=180s"], &left[..]].concat(), None);
}

impl Install {
    /// Installs the chart with Helm. Namespaces are granted one by one, as their admins would.
    pub(crate) async fn new() -> Self {
        let kubectl = Kubectl { kubeconfig: setting("KUBECONFIG").into() };
        let image = setting("CONVENE_IMAGE");
        let (repository, tag) = image.rsplit_once(':').expect("CONVENE_IMAGE has a tag");
        let _ = kubectl.attempt(&["create", "namespace", "convene-system"], None);
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        kubectl.run(&["label", "--overwrite", "namespace", "convene-system", restricted], None);
        let mut helm = Command::new(bin_dir().join("helm"));
        helm.arg("--kubeconfig").arg(&kubectl.kubeconfig).args(["upgrade", "--install", "convene"]).arg(chart());
        helm.args(["--namespace", "convene-system", "--wait", "--timeout", "120s"]);
        helm.args(["--set", &format!("image.repository={repository}"), "--set", "image.pullPolicy=Never"]);
        helm.args(["--set-string", &format!("image.tag={tag}")]);
        let mirror = Mirror::start(&setting("CONVENE_HOST_ADDRESS")).await;
        helm.args(["--set", &format!("geoip.allowFrom={{{}}}", mirror.url)]);
        run(helm, None).unwrap_or_else(|error| panic!("helm upgrade --install: {error}"));
        clear(&kubectl);
        let kubeconfig = Kubeconfig::read_from(&kubectl.kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = kube::Client::try_from(config.expect("a configuration")).expect("a client");
        Self { kubectl, client, mirror }
    }

    /// A namespace of a case's own with a lobby and these pools, all on node ports; returns once all serve.
    pub(crate) async fn world(&self, namespace: &str, pools: &[(&str, Value)]) -> LobbyApi {
        self.world_with(namespace, json!({}), pools).await
    }

    /// The same with further fields of the lobby.
    pub(crate) async fn world_with(&self, namespace: &str, mut spec: Value, pools: &[(&str, Value)]) -> LobbyApi {
        self.kubectl.namespace(namespace);
        spec["exposure"] = json!({"nodePort": {}});
        self.kubectl.create(namespace, &lobby(&spec));
        for (name, more) in pools {
            let mut more = more.clone();
            more["exposure"] = json!({"nodePort": {}});
            self.kubectl.create(namespace, &pool(name, &more));
        }
        let url = self.lobby_url(namespace).await;
        for (name, _) in pools {
            self.pool_serves(namespace, name).await;
        }
        let api = LobbyApi::new(&url);
        let regions = pools.len();
        within(STARTED, "every relay is linked to the lobby", async || {
            let (_, body) = api.get("/v1/regions", None).await;
            let served: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
            let served = served.as_array().or_else(|| served["regions"].as_array()).cloned().unwrap_or_default();
            let linked = served.iter().filter(|region| region["relays"].as_u64() > Some(0)).count();
            if linked == regions { Ok(()) } else { Err(body) }
        })
        .await;
        api
    }

    /// The lobby's URL once it serves.
    pub(crate) async fn lobby_url(&self, namespace: &str) -> String {
        let lobbies: Api<Lobby> = Api::namespaced(self.client.clone(), namespace);
        within(STARTED, "the lobby serves", async || {
            let status = lobbies.get("demo").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let said = says(&status.conditions, "Ready");
            let url = status.url.filter(|_| said == "Ready=True/AsPlanned").ok_or(said)?;
            // kube-proxy opens a node port a moment after the Service has it.
            let address = url.strip_prefix("http://").unwrap_or_default();
            TcpStream::connect(address).await.map_err(|error| format!("{url}: {error}"))?;
            Ok(url)
        })
        .await
    }

    /// Says how many relays a pool is to have.
    pub(crate) fn scale(&self, namespace: &str, pool: &str, replicas: u32) {
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        self.kubectl.run(&["-n", namespace, "patch", "relaypool", pool, "--type=merge", "--patch", &patch], None);
    }

    /// Waits until all relays of a pool serve, and their node ports answer: kube-proxy opens them a moment after the
    /// Service has them.
    pub(crate) async fn pool_serves(&self, namespace: &str, name: &str) {
        let pools: Api<RelayPool> = Api::namespaced(self.client.clone(), namespace);
        within(STARTED, &format!("pool {name} serves"), async || {
            let status = pools.get(name).await.map_err(|error| error.to_string())?.status.unwrap_or_default();
            let said = says(&status.conditions, "Available");
            if said != "Available=True/AsPlanned" {
                return Err(said);
            }
            for relay in &status.relays {
                let url = relay.url.as_deref().unwrap_or_default();
                let address = url.strip_prefix("ws://").unwrap_or_default();
                TcpStream::connect(address).await.map_err(|error| format!("{url}: {error}"))?;
            }
            Ok(())
        })
        .await;
    }
}

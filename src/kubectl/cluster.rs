//! The cluster as the person at the keyboard reaches it, with that person's own rights. All that is read and written is here.

use std::path::PathBuf;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::relay::{Relay, Wish};
use crate::api::{ANNOTATION_WISH, Lobby, RelayPool};
use crate::wire::admin;

/// Field manager of what people write here.
const MANAGER: &str = "kubectl-convene";
/// Objects that are asked for at a time.
const PAGE: u32 = 500;

/// Which cluster and namespace, said as kubectl takes it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Where {
    /// Namespace; the one of the kubeconfig's context unless given.
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    context: Option<String>,
    /// The kubeconfig, instead of $KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// A cluster.
pub(super) struct Cluster {
    client: Client,
    pub(super) namespace: String,
}

impl Cluster {
    pub(super) async fn connect(at: &Where) -> anyhow::Result<Self> {
        let options = KubeConfigOptions { context: at.context.clone(), ..KubeConfigOptions::default() };
        let config = match &at.kubeconfig {
            Some(file) => {
                let name = || format!("--kubeconfig: {}", file.display());
                let read = Kubeconfig::read_from(file).with_context(name)?;
                Config::from_custom_kubeconfig(read, &options).await.with_context(name)?
            }
            None if at.context.is_some() => Config::from_kubeconfig(&options).await.context("--context")?,
            None => Config::infer().await.context("no way to a cluster: give --kubeconfig or set KUBECONFIG")?,
        };
        let namespace = at.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    /// All lobbies and pools, of one namespace or of all.
    pub(super) async fn all(&self, everywhere: bool) -> anyhow::Result<(Vec<Lobby>, Vec<RelayPool>)> {
        tokio::try_join!(self.list(everywhere, "lobbies"), self.list(everywhere, "relay pools"))
    }

    /// Page by page, so that no answer is larger than the API server likes.
    async fn list<K>(&self, everywhere: bool, what: &str) -> anyhow::Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        let api: Api<K> = if everywhere {
            Api::all(self.client.clone())
        } else {
            Api::namespaced(self.client.clone(), &self.namespace)
        };
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let page = ListParams { limit: Some(PAGE), continue_token: from, ..ListParams::default() };
            let list = api.list(&page).await.with_context(|| format!("cannot list {what}"))?;
            all.extend(list.items);
            from = list.metadata.continue_.filter(|token| !token.is_empty());
            if from.is_none() {
                return Ok(all);
            }
        }
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A Pod, if it is there.
    pub(super) async fn pod(&self, name: &str) -> kube::Result<Option<Pod>> {
        self.pods().get_opt(name).await
    }

    /// A pool, if it is there.
    pub(super) async fn pool(&self, name: &str) -> kube::Result<Option<RelayPool>> {
        Api::<RelayPool>::namespaced(self.client.clone(), &self.namespace).get_opt(name).await
    }

    /// A lobby, if it is there.
    pub(super) async fn lobby(&self, name: &str) -> kube::Result<Option<Lobby>> {
        Api::<Lobby>::namespaced(self.client.clone(), &self.namespace).get_opt(name).await
    }

    /// The administrator's token of a lobby, if its Secret has one.
    pub(super) async fn admin_token(&self, lobby: &str) -> anyhow::Result<Option<String>> {
        let name = admin::secret_of(lobby);
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &self.namespace);
        let read = secrets.get_opt(&name).await.with_context(|| format!("cannot read Secret {name}"))?;
        let token = read.and_then(|secret| secret.data?.remove(admin::ADMIN_TOKEN));
        Ok(token.and_then(|token| String::from_utf8(token.0).ok()))
    }

    /// Writes what is wanted of a relay on its Pod, on that very Pod and no later one of its name; none = nothing any more.
    pub(super) async fn wish(&self, relay: &Relay, wish: Option<Wish>) -> anyhow::Result<()> {
        let annotations = json!({ANNOTATION_WISH: wish.map(Wish::as_str)});
        let patch = json!({"metadata": {"uid": relay.pod_uid, "annotations": annotations}});
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let written = self.pods().patch_metadata(&relay.name, &params, &Patch::Merge(&patch)).await;
        written.map(drop).with_context(|| {
            format!("cannot write the annotation {ANNOTATION_WISH} on Pod {}; it takes `patch` on pods", relay.name)
        })
    }
}

//! What every pass needs and what outlives a pass.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Client, Resource as _};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::control::Control;
use super::ears::{OfLobby, OfRelay};
use super::error::{Error, not_granted, transient};
use super::grants::Grants;
use super::memory::Memories;
use super::orders::Orders;
use super::samples::Samples;
use super::streams::Streams;
use super::watch::{ChildWatches, LobbyRef, PoolRef, Wake};
use crate::api::{Lobby, RelayPool};
use crate::decide::backoff::{Attempt, Outrun, Passes};
use crate::decide::grant::Grant;
use crate::decide::plan::OperatorConfig;
use crate::process::clock;
use crate::process::secret::random_fraction;
use crate::wire::table::ClusterIssuer;

/// How long the cluster's published keys are taken as they were read.
const ISSUER_FRESH: Duration = Duration::from_secs(300);

/// The streams of lobbies' processes.
pub(crate) type LobbyStreams = Streams<LobbyRef, OfLobby>;
/// The streams of relays.
pub(crate) type RelayStreams = Streams<PoolRef, OfRelay>;

/// Shared by all passes.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) config: OperatorConfig,
    /// Namespaces to which the installation is limited; empty = none is refused.
    pub(crate) watch_namespaces: Vec<String>,
    pub(crate) lobbies: Store<DeserializeGuard<Lobby>>,
    pub(crate) pools: Store<DeserializeGuard<RelayPool>>,
    pub(crate) nodes: Store<Node>,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    pub(crate) children: ChildWatches,
    pub(crate) lobby_streams: LobbyStreams,
    pub(crate) relay_streams: RelayStreams,
    pub(crate) orders: Orders,
    pub(crate) samples: Samples,
    pub(crate) wake: Wake,
    pub(crate) control: Control,
    pub(crate) failures: Failures,
    pub(crate) grants: Grants,
    pub(crate) written: super::status::Written,
    pub(crate) filled: Filled,
    pub(crate) issuer: IssuerCache,
}

impl Context {
    /// Whether the installation is meant for this namespace. RBAC decides what it may do there.
    pub(crate) fn watches(&self, namespace: &str) -> bool {
        self.watch_namespaces.is_empty() || self.watch_namespaces.iter().any(|listed| listed == namespace)
    }

    /// Fails in a namespace that nobody granted: by one question for all that is in it, instead of a dozen lists for each
    /// object. Where children are watched already, only the lists themselves tell.
    pub(crate) async fn expect_granted(&self, namespace: &str) -> Result<(), Error> {
        if self.children.has_read(namespace) {
            return Ok(());
        }
        match self.grants.ask(&self.client, namespace).await? {
            Grant::Held { .. } => Ok(()),
            Grant::Denied { .. } => Err(not_granted(namespace).into()),
        }
    }

    /// What outlives passes over pools.
    pub(crate) fn memories(&self) -> &Memories {
        &self.wake.memories
    }

    /// Watches over a namespace end when none of our objects is in it any more.
    pub(crate) fn leave_if_empty(&self, namespace: &str) {
        let is_in = |object: &ObjectMeta| object.namespace.as_deref() == Some(namespace);
        self.children.leave(namespace, || {
            self.lobbies.find(|lobby| is_in(lobby.meta())).is_some()
                || self.pools.find(|pool| is_in(pool.meta())).is_some()
        });
    }

    /// Forgets a pool that is gone.
    pub(crate) fn forget_pool(&self, pool: &PoolRef) {
        self.relay_streams.forget(pool);
        self.samples.forget(pool);
        self.memories().forget(pool);
        self.metrics.forget_pool(pool.namespace.as_deref().unwrap_or_default(), &pool.name);
    }

    /// Issuer and keys of the cluster's service-account tokens, as the API server publishes them.
    pub(crate) async fn issuer(&self) -> Result<ClusterIssuer, Error> {
        let mut known = self.issuer.0.lock().await;
        if let Some((read, issuer)) = known.as_ref()
            && clock::monotonic().saturating_sub(*read) < ISSUER_FRESH
        {
            return Ok(issuer.clone());
        }
        let discovery: serde_json::Value = self.raw("/.well-known/openid-configuration").await?;
        let issuer = discovery.get("issuer").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let issuer = ClusterIssuer { issuer, jwks: self.raw("/openid/v1/jwks").await? };
        *known = Some((clock::monotonic(), issuer.clone()));
        Ok(issuer)
    }

    async fn raw(&self, path: &str) -> Result<serde_json::Value, Error> {
        let request = http::Request::get(path).body(vec![]).expect("a path is a request");
        self.client.request(request).await.map_err(|error| transient(&format!("read {path}"), error))
    }
}

/// What was last read of the cluster's published keys, and when.
#[derive(Debug, Default)]
pub(crate) struct IssuerCache(tokio::sync::Mutex<Option<(Duration, ClusterIssuer)>>);

/// Each is cancelled once that store holds what there is.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) lobbies: CancellationToken,
    pub(crate) pools: CancellationToken,
    pub(crate) nodes: CancellationToken,
}

impl Filled {
    /// Waits for all of them.
    pub(crate) async fn wait(&self) {
        self.lobbies.cancelled().await;
        self.pools.cancelled().await;
        self.nodes.cancelled().await;
    }
}

/// Objects whose last passes failed.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<String, Passes>>);

impl Failures {
    /// Takes note of one more; says how long to wait.
    pub(crate) fn another(&self, key: &str, attempt: &Attempt) -> Duration {
        self.lock().entry(key.to_owned()).or_default().failed(attempt, clock::monotonic(), random_fraction())
    }

    /// The same of a pass that somebody outran.
    pub(crate) fn outrun(&self, key: &str, attempt: &Attempt) -> Outrun {
        self.lock().entry(key.to_owned()).or_default().outrun(attempt, clock::monotonic(), random_fraction())
    }

    /// Forgets an object that went well, or is gone.
    pub(crate) fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Passes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

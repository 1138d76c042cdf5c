//! What wakes a pass: our kinds and nodes cluster-wide, children in each namespace that holds one of our objects.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::{DeserializeGuard, DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::error::{Error, not_granted, transient};
use super::fetch;
use super::kept::{Owners, kept};
use super::memory::Memories;
use crate::api::{ANNOTATION_REVOKE_KEYS, ANNOTATION_ROTATE_KEYS, Lobby, RelayPool};
use crate::decide::plan::{ChildKind, names};
use crate::process::clock;

/// Objects of a kind of ours; one that does not parse stops nothing.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// Asks for a pass over a lobby.
pub(crate) type WakeLobby = UnboundedSender<ObjectRef<Guarded<Lobby>>>;
/// Asks for a pass over a pool.
pub(crate) type WakePool = UnboundedSender<ObjectRef<Guarded<RelayPool>>>;

/// A lobby as the operator's stores name it.
pub(crate) type LobbyRef = ObjectRef<Guarded<Lobby>>;
/// A pool as the operator's stores name it.
pub(crate) type PoolRef = ObjectRef<Guarded<RelayPool>>;

/// Wakes passes. A closed channel means that the operator is ending.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    pub(crate) lobbies: WakeLobby,
    pub(crate) pools: WakePool,
    pub(crate) memories: Arc<Memories>,
}

impl Wake {
    /// Has a lobby looked at.
    pub(crate) fn lobby(&self, lobby: LobbyRef) {
        let _ = self.lobbies.send(lobby);
    }

    /// Has a pool's relays looked at: a Pod, a node or a report has changed.
    pub(crate) fn relays_of(&self, pool: PoolRef) {
        let _ = self.pools.send(pool);
    }

    /// Has all of a pool looked at: what its plan is made from, or what was made of it, has changed.
    pub(crate) fn pool(&self, pool: PoolRef) {
        self.memories.distrust(&pool);
        let _ = self.pools.send(pool);
    }

    /// Wakes the owner of a child.
    fn owner(&self, owner: Owner) {
        match owner {
            Owner::Lobby(lobby) => self.lobby(lobby),
            Owner::Pool(pool) => self.pool(pool),
        }
    }

    /// Wakes the pool of a relay.
    fn pool_of(&self, pod: &Pod) {
        let namespace = pod.namespace().unwrap_or_default();
        let owners = pod.owner_references().iter().filter(|owner| owner.kind == RelayPool::kind(&()));
        owners.for_each(|owner| self.relays_of(ObjectRef::new(&owner.name).within(&namespace)));
    }
}

/// Whom a child belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Lobby(LobbyRef),
    Pool(PoolRef),
}

fn owners(child: &PartialObjectMeta<DynamicObject>) -> Vec<Owner> {
    let namespace = child.namespace().unwrap_or_default();
    let ours = child.owner_references().iter().filter_map(|owner| {
        if owner.kind == Lobby::kind(&()) {
            Some(Owner::Lobby(ObjectRef::new(&owner.name).within(&namespace)))
        } else if owner.kind == RelayPool::kind(&()) {
            Some(Owner::Pool(ObjectRef::new(&owner.name).within(&namespace)))
        } else {
            None
        }
    });
    ours.collect()
}

/// The lobby of this cluster that a pool names, if it is one of this cluster.
pub(crate) fn lobby_of(pool: &RelayPool) -> Option<ObjectRef<Guarded<Lobby>>> {
    let reference = pool.spec.lobby_ref.as_ref()?;
    let namespace = reference.namespace.clone().or_else(|| pool.namespace()).unwrap_or_default();
    Some(ObjectRef::new(reference.name.as_ref()?).within(&namespace))
}

/// Changes of an object that its own pass must see: not its status, which the pass itself writes.
#[expect(clippy::unnecessary_wraps, reason = "kube's signature of a predicate")]
pub(crate) fn own_changes<K: Resource>(object: &K) -> Option<u64> {
    let meta = object.meta();
    let mut hasher = DefaultHasher::new();
    let commands = [ANNOTATION_ROTATE_KEYS, ANNOTATION_REVOKE_KEYS].map(|name| object.annotations().get(name));
    (&meta.generation, &meta.deletion_timestamp.is_some(), &meta.finalizers, commands).hash(&mut hasher);
    Some(hasher.finish())
}

/// Our objects of one kind, kept in a store; yields those that were touched, deletions included. `ready` is cancelled
/// once the store is filled.
pub(crate) fn objects<K>(
    client: &Client,
    ready: CancellationToken,
) -> (Store<Guarded<K>>, impl Stream<Item = Result<Guarded<K>, watcher::Error>> + use<K>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    let events = watcher(Api::<Guarded<K>>::all(client.clone()), watcher::Config::default());
    kept(events.default_backoff().modify(|object| object.managed_fields_mut().clear()), ready)
}

/// Nodes, reduced to their names, addresses, and whether they are well and take Pods.
pub(crate) fn nodes(
    client: &Client,
    ready: CancellationToken,
) -> (Store<Node>, impl Stream<Item = Result<Node, watcher::Error>> + use<>) {
    let events = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
    let small = events.default_backoff().modify(|node| {
        node.managed_fields_mut().clear();
        if let Some(status) = &mut node.status {
            status.images = None;
        }
    });
    kept(small, ready)
}

/// Watches over children, started once for each namespace that holds one of our objects, and ended once it holds none any
/// more. Relay Pods are kept in a store.
pub(crate) struct ChildWatches {
    client: Client,
    wake: Wake,
    ended: CancellationToken,
    namespaces: Mutex<HashMap<String, Relays>>,
    read_within: Duration,
}

/// The relay Pods of a namespace.
#[derive(Clone)]
struct Relays {
    pods: Store<Pod>,
    filled: CancellationToken,
    written: Arc<Mutex<HashMap<String, Written>>>,
    /// Ends all watches over the namespace.
    left: CancellationToken,
}

/// A Pod as this process wrote it, which the store has a moment later.
struct Written {
    /// The version that was written over; nothing where it was made.
    over: Option<String>,
    pod: Pod,
    at: Duration,
}

/// What was written is expected in the store within this time. A Pod that is not there by then was deleted before it came.
pub(super) const EXPECTED_WITHIN: Duration = Duration::from_secs(10);

/// How long a pass waits for the first list of a namespace's Pods: it occupies the place of another.
const READ_WITHIN: Duration = Duration::from_secs(5);

impl Relays {
    /// The Pods of an owner, with what was written and has not come back yet.
    fn of(&self, owner_uid: &str) -> Vec<Pod> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: HashMap<String, Arc<Pod>> =
            self.pods.state().into_iter().filter_map(|pod| Some((pod.uid()?, pod))).collect();
        written.retain(|uid, written| match kept.get(uid) {
            Some(pod) => written.over.is_some() && pod.resource_version() == written.over,
            None => written.over.is_none() && clock::monotonic().saturating_sub(written.at) < EXPECTED_WITHIN,
        });
        let is_owned = |pod: &Pod| pod.owner_references().iter().any(|owner| owner.uid == owner_uid);
        let stored = kept.iter().filter(|(uid, _)| !written.contains_key(*uid)).map(|(_, pod)| &**pod);
        let pods = stored.chain(written.values().map(|written| &written.pod));
        let mut owned: Vec<Pod> = pods.filter(|pod| is_owned(pod)).cloned().collect();
        owned.sort_by_key(kube::ResourceExt::name_any);
        owned
    }

    fn wrote(&self, over: Option<&str>, pod: Pod) {
        let Some(uid) = pod.uid() else { return };
        let written = Written { over: over.map(str::to_owned), pod, at: clock::monotonic() };
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, written);
    }
}

impl ChildWatches {
    /// None yet. All end with `ended`.
    pub(crate) fn new(client: Client, wake: Wake, ended: CancellationToken) -> Self {
        Self { client, wake, ended, namespaces: Mutex::default(), read_within: READ_WITHIN }
    }

    /// Watches the children in a namespace from now on.
    pub(crate) fn ensure(&self, namespace: &str) {
        self.relays(namespace);
    }

    /// Watches the children in a namespace no more, unless it is `needed`: holds one of our objects. A pass that comes to it
    /// later lists it anew; one of an object that is known by now finds it needed.
    pub(crate) fn leave(&self, namespace: &str, needed: impl FnOnce() -> bool) {
        let mut namespaces = self.lock();
        if !needed()
            && let Some(relays) = namespaces.remove(namespace)
        {
            relays.left.cancel();
        }
    }

    /// The relay Pods that an owner has, leaving ones included. Waits until they were read once, but not for long: whether
    /// they ever can be is asked.
    pub(crate) async fn pods(&self, namespace: &str, owner_uid: &str) -> Result<Vec<Pod>, Error> {
        let relays = self.relays(namespace);
        if tokio::time::timeout(self.read_within, relays.filled.cancelled()).await.is_ok() {
            return Ok(relays.of(owner_uid));
        }
        if !fetch::is_granted(&self.client, namespace).await? {
            return Err(not_granted(namespace).into());
        }
        let late = format!("no watch has listed them within {} s", self.read_within.as_secs());
        Err(transient(&format!("read the relays of namespace {namespace}"), kube::Error::Service(late.into())))
    }

    /// Whether the Pods in a namespace were read.
    pub(crate) fn has_read(&self, namespace: &str) -> bool {
        self.lock().get(namespace).is_some_and(|relays| relays.filled.is_cancelled())
    }

    /// Pods were made; they count from now on.
    pub(crate) fn made(&self, namespace: &str, pods: Vec<Pod>) {
        let relays = self.relays(namespace);
        for pod in pods {
            relays.wrote(None, pod);
        }
    }

    /// A Pod was written over this version of it; it counts so from now on.
    pub(crate) fn wrote(&self, over: &str, pod: Pod) {
        let relays = self.relays(&pod.namespace().unwrap_or_default());
        relays.wrote(Some(over), pod);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Relays>> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relays(&self, namespace: &str) -> Relays {
        let mut namespaces = self.lock();
        if let Some(relays) = namespaces.get(namespace) {
            return relays.clone();
        }
        let left = self.ended.child_token();
        for resource in ChildKind::everywhere().map(ChildKind::resource) {
            let api = Api::namespaced_with(self.client.clone(), namespace, &resource);
            tokio::spawn(left.clone().run_until_cancelled_owned(follow(api, self.wake.clone())));
        }
        let filled = CancellationToken::new();
        let (pods, touched) = relay_pods(Api::namespaced(self.client.clone(), namespace), filled.clone());
        tokio::spawn(left.clone().run_until_cancelled_owned(follow_relays(touched, self.wake.clone())));
        let relays = Relays { pods, filled, written: Arc::default(), left };
        namespaces.insert(namespace.to_owned(), relays.clone());
        relays
    }
}

async fn follow(api: Api<PartialObjectMeta<DynamicObject>>, wake: Wake) {
    let ours = names::MANAGED_BY;
    let config = watcher::Config::default().labels(&format!("{}={}", ours.0, ours.1));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut known = Owners::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => known.touched(&event, owners).into_iter().for_each(|owner| wake.owner(owner)),
            Err(error) => tracing::debug!(%error, "watching children: trying again"),
        }
    }
}

fn relay_pods(
    api: Api<Pod>,
    filled: CancellationToken,
) -> (Store<Pod>, impl Stream<Item = Result<Pod, watcher::Error>>) {
    let config = watcher::Config::default().labels(&names::selector_text(&names::relays_selector()));
    kept(watcher(api, config).default_backoff().modify(|pod| pod.managed_fields_mut().clear()), filled)
}

async fn follow_relays(touched: impl Stream<Item = Result<Pod, watcher::Error>>, wake: Wake) {
    let mut touched = std::pin::pin!(touched);
    while let Some(pod) = touched.next().await {
        match pod {
            Ok(pod) => wake.pool_of(&pod),
            Err(error) => tracing::debug!(%error, "watching relays: trying again"),
        }
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;

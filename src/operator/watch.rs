//! What wakes a pass: our kinds and nodes cluster-wide, children in each namespace that holds one of our objects.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::{ApiResource, DeserializeGuard, DynamicObject, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::api::{ANNOTATION_REVOKE_KEYS, ANNOTATION_ROTATE_KEYS, Lobby, RelayPool};
use crate::decide::plan::{ChildKind, names};

/// Objects of a kind of ours; one that does not parse stops nothing.
pub(crate) type Guarded<K> = DeserializeGuard<K>;

/// Asks for a pass over a lobby.
pub(crate) type WakeLobby = UnboundedSender<ObjectRef<Guarded<Lobby>>>;
/// Asks for a pass over a pool.
pub(crate) type WakePool = UnboundedSender<ObjectRef<Guarded<RelayPool>>>;

/// Wakes passes.
#[derive(Clone, Debug)]
pub(crate) struct Wake {
    pub(crate) lobby: WakeLobby,
    pub(crate) pool: WakePool,
}

impl Wake {
    /// Wakes the owner of a child. A closed channel means that the operator is ending.
    fn owner_of(&self, child: &PartialObjectMeta<DynamicObject>) {
        let namespace = child.namespace().unwrap_or_default();
        for owner in child.owner_references() {
            if owner.kind == Lobby::kind(&()) {
                let _ = self.lobby.send(ObjectRef::new(&owner.name).within(&namespace));
            } else if owner.kind == RelayPool::kind(&()) {
                let _ = self.pool.send(ObjectRef::new(&owner.name).within(&namespace));
            }
        }
    }
}

/// The lobby of this cluster that a pool names, if it is one of this cluster.
pub(crate) fn lobby_of(pool: &RelayPool) -> Option<ObjectRef<Guarded<Lobby>>> {
    let reference = &pool.spec.lobby_ref;
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

/// Marks a store as filled once the first list of its watch is complete. kube 5's own `wait_until_ready` wakes only one
/// of several waiters, and its controllers wait too.
fn filled<K>(event: &watcher::Event<K>, filled: &CancellationToken) {
    if matches!(event, watcher::Event::InitDone) {
        filled.cancel();
    }
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
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<Guarded<K>>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .inspect_ok(move |event| filled(event, &ready))
        .touched_objects();
    (reader, stream)
}

/// Nodes, reduced to their names and addresses.
pub(crate) fn nodes(
    client: &Client,
    ready: CancellationToken,
) -> (Store<Node>, impl Stream<Item = Result<Node, watcher::Error>> + use<>) {
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<Node>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|node| {
            node.managed_fields_mut().clear();
            node.spec = None;
            if let Some(status) = &mut node.status {
                status.images = None;
            }
        })
        .reflect(writer)
        .inspect_ok(move |event| filled(event, &ready))
        .touched_objects();
    (reader, stream)
}

/// Watches over children, started once for each namespace that holds one of our objects.
pub(crate) struct ChildWatches {
    client: Client,
    wake: Wake,
    ended: CancellationToken,
    namespaces: Mutex<HashSet<String>>,
}

impl ChildWatches {
    /// None yet. All end with `ended`.
    pub(crate) fn new(client: Client, wake: Wake, ended: CancellationToken) -> Self {
        Self { client, wake, ended, namespaces: Mutex::default() }
    }

    /// Watches the children in a namespace from now on.
    pub(crate) fn ensure(&self, namespace: &str) {
        let new = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.to_owned());
        if !new {
            return;
        }
        let kinds = ChildKind::ALL.map(ChildKind::resource).into_iter().chain([ApiResource::erase::<Pod>(&())]);
        for resource in kinds {
            let api = Api::namespaced_with(self.client.clone(), namespace, &resource);
            tokio::spawn(self.ended.clone().run_until_cancelled_owned(follow(api, self.wake.clone())));
        }
    }
}

async fn follow(api: Api<PartialObjectMeta<DynamicObject>>, wake: Wake) {
    let ours = names::MANAGED_BY;
    let config = watcher::Config::default().labels(&format!("{}={}", ours.0, ours.1));
    let mut stream = std::pin::pin!(watcher(api, config).default_backoff().touched_objects());
    while let Some(touched) = stream.next().await {
        match touched {
            Ok(child) => wake.owner_of(&child),
            Err(error) => tracing::debug!(%error, "watching children: trying again"),
        }
    }
}

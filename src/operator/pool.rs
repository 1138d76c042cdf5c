//! The pass over one relay pool: fetch, valid, plan, apply, status.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::apply::Writer;
use super::context::Context;
use super::error::{Error, not_granted};
use super::fetch::Children;
use super::{fetch, status, watch};
use crate::api::common::Location;
use crate::api::lobby::AdmitFrom;
use crate::api::{Lobby, RelayPool, RelayPoolStatus};
use crate::decide::plan::{self, ChildKind, names};
use crate::decide::regions;
use crate::decide::status as say;
use crate::decide::valid::{self, Invalid, LobbyOf, PoolInputs, ValidPool};
use crate::process::clock;

/// Brings one pool to its spec and writes its status, whatever came of it.
pub(crate) async fn reconcile(pool: &RelayPool, context: &Context) -> Result<(), Error> {
    let fetched = children(pool, context).await;
    let pods = fetched.as_ref().ok().map(|children| children.pods.clone());
    let passed = match fetched {
        Ok(observed) => pass(pool, observed, context).await,
        Err(error) => Err(error),
    };
    let invalid = |invalid: &Invalid| say::pool::invalid(pool, invalid, pods.as_deref(), clock::now());
    status::report(context, pool, pool.status.as_ref(), passed, invalid, |status| &status.conditions).await
}

/// What stands in the cluster for the pool; from now on, its changes wake the pool's pass.
async fn children(pool: &RelayPool, context: &Context) -> Result<Children, Error> {
    let namespace = pool.namespace().unwrap_or_default();
    if !context.watches(&namespace) {
        return Err(not_granted(&namespace).into());
    }
    let (uid, labels) = (pool.uid().unwrap_or_default(), names::pool_labels(&pool.name_any()));
    let observed = fetch::children(&context.client, &namespace, &uid, &labels, &ChildKind::OF_POOLS, true).await?;
    context.children.ensure(&namespace);
    Ok(observed)
}

async fn pass(pool: &RelayPool, observed: Children, context: &Context) -> Result<RelayPoolStatus, Error> {
    let namespace = pool.namespace().unwrap_or_default();
    let lobby = lobby_of(pool, context);
    let lobby_config = lobby_config(pool, context).await?;
    let tls_secret_there = match &pool.spec.tls {
        Some(tls) => fetch::has_secret(&context.client, &namespace, &tls.secret_name).await?,
        None => true,
    };
    let credential_there = match &pool.spec.lobby_ref.remote {
        Some(remote) => fetch::has_secret(&context.client, &namespace, &remote.credential_secret_ref.name).await?,
        None => true,
    };
    let namespace_labels = match lobby.as_ref().map(|lobby| lobby.spec.relay_pools.from) {
        Some(AdmitFrom::Selector) => {
            fetch::namespace_labels(&context.client, std::iter::once(namespace.clone())).await?
        }
        Some(AdmitFrom::Same | AdmitFrom::All) | None => BTreeMap::new(),
    };

    let mut valid = valid::pool(&PoolInputs {
        pool,
        lobby: lobby.as_ref(),
        lobby_config: lobby_config.as_ref(),
        tls_secret_there,
        credential_there,
        namespace_labels: &namespace_labels,
        locate,
    })?;

    let nodes = nodes_of(&observed, context);
    valid.addresses = addresses(&valid, &observed, &nodes);
    let plan = plan::pool::plan(&valid, &context.config);
    let writer = Writer { client: &context.client, owner: &valid.owner, metrics: &context.metrics };
    let applied = writer.apply(plan, observed, nodes).await?;
    Ok(say::pool::applied(pool, &valid, &applied, clock::now()))
}

/// Where clients reach the relays that there are. Relays tell a lobby of another cluster, which has no other way to know.
fn addresses(valid: &ValidPool, observed: &Children, nodes: &BTreeMap<String, Node>) -> BTreeMap<String, String> {
    let LobbyOf::Elsewhere { .. } = valid.lobby else { return BTreeMap::new() };
    let known = observed.pods.iter().filter_map(|pod| {
        let name = pod.name_any();
        let object = |kind| observed.objects.get(&(kind, name.clone())).cloned();
        let service = object(ChildKind::Service).and_then(|object| serde_json::from_value(object).ok());
        let ingress = object(ChildKind::Ingress).and_then(|object| serde_json::from_value(object).ok());
        let node = pod.spec.as_ref().and_then(|spec| nodes.get(spec.node_name.as_ref()?));
        let url = plan::pool::url(valid, pod, service.as_ref(), ingress.as_ref(), node)?;
        Some((name, url))
    });
    known.collect()
}

fn lobby_of(pool: &RelayPool, context: &Context) -> Option<Lobby> {
    let found = context.lobbies.get(&watch::lobby_of(pool)?)?;
    found.0.as_ref().ok().cloned()
}

/// The lobby's ConfigMap. In a namespace that is not ours it counts as absent: the pool then waits for its lobby.
async fn lobby_config(pool: &RelayPool, context: &Context) -> Result<Option<ConfigMap>, Error> {
    let Some(reference) = watch::lobby_of(pool) else { return Ok(None) };
    let namespace = reference.namespace.unwrap_or_default();
    match fetch::optional(&context.client, &namespace, &names::lobby(&reference.name)).await {
        Err(Error::Invalid(_)) => Ok(None),
        other => other,
    }
}

/// Coordinates of a region of a public cloud.
fn locate(region: &str) -> Option<Location> {
    regions::lookup(region).map(|known| Location { latitude: known.latitude, longitude: known.longitude })
}

/// The nodes on which the pool's relays run.
fn nodes_of(observed: &Children, context: &Context) -> BTreeMap<String, Node> {
    let named = observed.pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    let named: BTreeSet<String> = named.collect();
    let found = named.into_iter().filter_map(|name| {
        let node = context.nodes.get(&ObjectRef::new(&name))?;
        Some((name, Node::clone(&node)))
    });
    found.collect()
}

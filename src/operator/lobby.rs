//! The pass over one lobby: fetch, valid, plan, apply, status.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::ResourceExt as _;

use super::apply::Writer;
use super::context::Context;
use super::error::{Error, not_granted};
use super::fetch::Children;
use super::streams::LobbyRef;
use super::{authority, fetch, keys, status, watch};
use crate::api::lobby::AdmitFrom;
use crate::api::{Lobby, LobbyStatus, RelayPool};
use crate::decide::plan::{self, ChildKind, names, table};
use crate::decide::status as say;
use crate::decide::valid::{self, Invalid, KeyInputs, LinkInputs, LobbyInputs, Stored};
use crate::process::clock;
use crate::process::secret::random_secret;

/// Brings one lobby to its spec and writes its status, whatever came of it.
pub(crate) async fn reconcile(lobby: &Lobby, context: &Context) -> Result<(), Error> {
    let fetched = children(lobby, context).await;
    let standing = fetched.as_ref().ok().map(|children| deployment(lobby, children));
    let passed = match fetched {
        Ok(observed) => pass(lobby, observed, context).await,
        Err(error) => Err(error),
    };
    let standing = standing.as_ref().map(Option::as_ref);
    let invalid = |invalid: &Invalid| say::lobby::invalid(lobby, invalid, standing, clock::now());
    status::report(context, lobby, lobby.status.as_ref(), passed, invalid, |status| &status.conditions).await
}

/// What stands in the cluster for the lobby; from now on, its changes wake the lobby's pass.
async fn children(lobby: &Lobby, context: &Context) -> Result<Children, Error> {
    let namespace = lobby.namespace().unwrap_or_default();
    if !context.watches(&namespace) {
        return Err(not_granted(&namespace).into());
    }
    let (uid, labels) = (lobby.uid().unwrap_or_default(), names::lobby_labels(&lobby.name_any()));
    let observed = fetch::children(&context.client, &namespace, &uid, &labels, &ChildKind::ALL, false).await?;
    context.children.ensure(&namespace);
    Ok(observed)
}

fn deployment(lobby: &Lobby, children: &Children) -> Option<Deployment> {
    let object = children.objects.get(&(ChildKind::Deployment, names::lobby(&lobby.name_any())))?;
    serde_json::from_value(object.clone()).ok()
}

async fn pass(lobby: &Lobby, observed: Children, context: &Context) -> Result<LobbyStatus, Error> {
    let namespace = lobby.namespace().unwrap_or_default();
    let name = lobby.name_any();
    let secret = fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_keys(&name)).await?;
    let redis_secret = match Stored::from(lobby.spec.store.as_ref()) {
        Stored::Managed(_) => {
            fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_redis(&name)).await?
        }
        Stored::Memory | Stored::Redis { .. } => None,
    };
    let pools = pools_of(lobby, context);
    let namespace_labels = match lobby.spec.relay_pools.from {
        AdmitFrom::Selector => {
            fetch::namespace_labels(&context.client, pools.iter().filter_map(kube::ResourceExt::namespace)).await?
        }
        AdmitFrom::Same | AdmitFrom::All => BTreeMap::new(),
    };
    let issuer = context.issuer().await?;
    let slots = keys::slots(lobby, &observed, &context.client).await?;
    let link_secret = fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_link(&name)).await?;
    let tls_secret_there = match &lobby.spec.tls {
        Some(tls) => fetch::has_secret(&context.client, &namespace, &tls.secret_name).await?,
        None => true,
    };
    let certificates = authority::published(lobby, &observed);
    let host = names::lobby_link_host(&namespace, &name);

    let valid = valid::lobby(LobbyInputs {
        lobby,
        keys: KeyInputs {
            secret: secret.as_ref(),
            slots,
            published: keys::published(lobby, &observed),
            fresh: keys::fresh(),
            fresh_key: keys::fresh_key(),
            now: clock::now(),
        },
        link: LinkInputs {
            secret: link_secret.as_ref(),
            fresh: authority::fresh(),
            certify: &|keys| authority::certify(keys, &host, certificates.as_ref(), clock::now()),
        },
        tls_secret_there,
        redis_secret: redis_secret.as_ref(),
        fresh_password: random_secret(),
        pools,
        namespace_labels: &namespace_labels,
    })?;

    let node = any_node(context);
    let object = |kind| observed.objects.get(&(kind, names::lobby(&name))).cloned();
    let service = object(ChildKind::Service).and_then(|object| serde_json::from_value(object).ok());
    let ingress: Option<Ingress> = object(ChildKind::Ingress).and_then(|object| serde_json::from_value(object).ok());
    let url = plan::lobby::url(&valid, service.as_ref(), ingress.as_ref(), node.as_ref());
    let table = table::compile(&valid, url.as_deref(), &issuer);
    let plan = plan::lobby::plan(&valid, &table, &context.config);

    let writer = Writer { client: &context.client, owner: &valid.owner, metrics: &context.metrics };
    let applied = writer.apply(plan, observed, BTreeMap::new()).await?;
    let processes = match &valid.stored {
        Stored::Memory => BTreeMap::new(),
        Stored::Redis { .. } | Stored::Managed(_) => fetch::processes(&context.client, &namespace, &name).await?,
    };
    let heard = context.streams.follow(&LobbyRef::new(&name).within(&namespace), &processes);
    Ok(say::lobby::applied(lobby, &valid, url, &applied, &heard, clock::now()))
}

/// All pools that name this lobby, admitted or not.
fn pools_of(lobby: &Lobby, context: &Context) -> Vec<RelayPool> {
    let key = (lobby.namespace(), lobby.name_any());
    let pools = context.pools.state();
    let readable = pools.iter().filter_map(|pool| pool.0.as_ref().ok());
    let naming =
        readable.filter(|pool| watch::lobby_of(pool).is_some_and(|named| (named.namespace, named.name) == key));
    naming.cloned().collect()
}

/// The node whose address is offered for a lobby on node ports: the first by name that is ready, for as long as it is.
fn any_node(context: &Context) -> Option<Node> {
    let nodes = context.nodes.state();
    let ready = nodes.iter().filter(|node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    });
    ready.min_by_key(|node| node.name_any()).map(|node| Node::clone(node))
}

//! The pass over one lobby: fetch, valid, plan, apply, status.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Resource as _, ResourceExt as _};

use super::apply::Writer;
use super::context::Context;
use super::error::{Error, not_granted};
use super::fetch::Objects;
use super::watch::LobbyRef;
use super::{authority, control, fetch, finalizer, keys, status, watch};
use crate::api::condition::{NAMES_PUBLISHED, Reason};
use crate::api::lobby::AdmitFrom;
use crate::api::{FINALIZER_POOLS, Lobby, LobbyStatus, RelayPool};
use crate::decide::authority::ControlKey;
use crate::decide::heard::Heard;
use crate::decide::plan::{self, ChildKind, names, table};
use crate::decide::status as say;
use crate::decide::valid::{self, ControlInputs, GeoIpInputs, Invalid, KeyInputs, LinkInputs, LobbyInputs, Stored};
use crate::process::clock;
use crate::process::secret::random_secret;
use crate::wire::control::Server;
use crate::wire::stats::StoreState;

/// Brings one lobby to its spec and writes its status, whatever came of it. One that is being deleted goes once no pool is
/// attached to it; until then it serves.
pub(crate) async fn reconcile(lobby: &Lobby, context: &Context) -> Result<(), Error> {
    let mut waited_for = vec![];
    if lobby.meta().deletion_timestamp.is_some() {
        waited_for = self::waited_for(lobby, context).await?;
        if waited_for.is_empty() {
            context.lobby_streams.forget(&key(lobby));
            return finalizer::remove(lobby, FINALIZER_POOLS, context).await;
        }
    }
    let fetched = children(lobby, context).await;
    let standing = fetched.as_ref().ok().map(|children| deployment(lobby, children));
    let passed = match fetched {
        Ok(observed) => pass(lobby, observed, context).await,
        Err(error) => Err(error),
    };
    let passed = passed.map_err(|error| match error {
        // In a namespace that is being deleted nothing is made any more. That is not what the lobby waits for.
        Error::Invalid(why) if why.reason == Reason::Refused && !waited_for.is_empty() => {
            say::lobby::still_attached(&waited_for, &why).into()
        }
        other => other,
    });
    let standing = standing.as_ref().map(Option::as_ref);
    let invalid = |invalid: &Invalid| say::lobby::invalid(lobby, invalid, standing, clock::now());
    status::report(context, lobby, lobby.status.as_ref(), passed, invalid, |status| &status.conditions).await
}

fn key(lobby: &Lobby) -> LobbyRef {
    LobbyRef::new(&lobby.name_any()).within(&lobby.namespace().unwrap_or_default())
}

/// The pools for which a lobby that is being deleted stays; none: it may go. A pool that it does not admit cannot keep it,
/// and where the operator has lost its right to work, nothing can be kept running for any.
async fn waited_for(lobby: &Lobby, context: &Context) -> Result<Vec<RelayPool>, Error> {
    if finalizer::is_dismantled(lobby) || !lobby.finalizers().iter().any(|name| name == FINALIZER_POOLS) {
        return Ok(vec![]);
    }
    let pools = pools_of(lobby, context);
    let labels = labels(lobby, &pools, context).await?;
    let attached = valid::admitted(lobby, pools, &labels);
    let namespace = lobby.namespace().unwrap_or_default();
    if !attached.is_empty()
        && context.watches(&namespace)
        && context.grants.ask(&context.client, &namespace).await?.is_lost()
    {
        tracing::info!(lobby = %key(lobby), "a lobby goes although pools are attached: its namespace is granted no longer");
        return Ok(vec![]);
    }
    Ok(attached)
}

/// Labels of the pools' namespaces, where they matter.
async fn labels(
    lobby: &Lobby,
    pools: &[RelayPool],
    context: &Context,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, Error> {
    match lobby.spec.relay_pools.from {
        AdmitFrom::Selector => {
            fetch::namespace_labels(&context.client, pools.iter().filter_map(kube::ResourceExt::namespace)).await
        }
        AdmitFrom::Same | AdmitFrom::All => Ok(BTreeMap::new()),
    }
}

/// What stands in the cluster for the lobby; from now on, its changes wake the lobby's pass.
async fn children(lobby: &Lobby, context: &Context) -> Result<Objects, Error> {
    let namespace = lobby.namespace().unwrap_or_default();
    if !context.watches(&namespace) {
        return Err(not_granted(&namespace).into());
    }
    context.expect_granted(&namespace).await?;
    let (uid, labels) = (lobby.uid().unwrap_or_default(), names::lobby_labels(&lobby.name_any()));
    let observed =
        fetch::children(&context.client, &namespace, &uid, &labels, &ChildKind::everywhere().collect::<Vec<_>>())
            .await?;
    context.children.ensure(&namespace);
    Ok(observed)
}

fn deployment(lobby: &Lobby, children: &Objects) -> Option<Deployment> {
    let object = children.get(&(ChildKind::Deployment, names::lobby(&lobby.name_any())))?;
    serde_json::from_value(object.clone()).ok()
}

/// Adds what external-dns was told, where that matters; whether the cluster has the kind for it.
async fn endpoints(lobby: &Lobby, observed: &mut Objects, context: &Context) -> Result<bool, Error> {
    let wanted = lobby.spec.routing.as_ref().is_some_and(|routing| routing.external_dns.is_some());
    let conditions = lobby.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let was_wanted = conditions.iter().any(|condition| condition.type_ == NAMES_PUBLISHED);
    if !wanted && !was_wanted {
        return Ok(false);
    }
    let (uid, labels) = (lobby.uid().unwrap_or_default(), names::lobby_labels(&lobby.name_any()));
    let namespace = lobby.namespace().unwrap_or_default();
    let found = fetch::endpoints(&context.client, &namespace, &uid, &labels).await?;
    let is_there = found.is_some();
    observed.extend(found.into_iter().flatten());
    Ok(is_there)
}

async fn pass(lobby: &Lobby, mut observed: Objects, context: &Context) -> Result<LobbyStatus, Error> {
    let namespace = lobby.namespace().unwrap_or_default();
    let name = lobby.name_any();
    if lobby.meta().deletion_timestamp.is_none() {
        finalizer::ensure(lobby, FINALIZER_POOLS, context).await?;
    }
    let secret = fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_keys(&name)).await?;
    let redis_secret = match Stored::from(lobby.spec.store.as_ref()) {
        Stored::Managed(_) => {
            fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_redis(&name)).await?
        }
        Stored::Memory | Stored::Redis { .. } => None,
    };
    let pools = pools_of(lobby, context);
    let namespace_labels = labels(lobby, &pools, context).await?;
    let issuer = context.issuer().await?;
    let slots = keys::slots(lobby, &observed, &context.client).await?;
    let link_secret = fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_link(&name)).await?;
    let tls_secret_there = match &lobby.spec.tls {
        Some(tls) => fetch::has_secret(&context.client, &namespace, &tls.secret_name).await?,
        None => true,
    };
    let geoip_claim_there = match valid::geoip_claim(&lobby.spec) {
        Some(claim) => fetch::optional::<PersistentVolumeClaim>(&context.client, &namespace, claim).await?.is_some(),
        None => true,
    };
    let dns_endpoints_there = endpoints(lobby, &mut observed, context).await?;
    let authorities = context.control.authorities().await?;
    let control_secret = fetch::optional::<Secret>(&context.client, &namespace, &names::lobby_control(&name)).await?;
    let control_certificate = control::published(&observed, names::lobby(&name));
    let server = Server::lobby(&namespace, &name);
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
        control: ControlInputs {
            secret: control_secret.as_ref(),
            fresh: ControlKey(keys::fresh_key()),
            certify: &|key| authorities.certify(&server, key, control_certificate.as_deref(), clock::now()),
        },
        tls_secret_there,
        geoip: GeoIpInputs { claim_there: geoip_claim_there, allowed: &context.config.allow_geoip_from },
        dns_endpoints_there,
        redis_secret: redis_secret.as_ref(),
        fresh_password: random_secret(),
        pools,
        namespace_labels: &namespace_labels,
    })?;

    let node = any_node(context);
    let object = |kind| observed.get(&(kind, names::lobby(&name))).cloned();
    let service = object(ChildKind::Service).and_then(|object| serde_json::from_value(object).ok());
    let ingress: Option<Ingress> = object(ChildKind::Ingress).and_then(|object| serde_json::from_value(object).ok());
    let url = plan::lobby::url(&valid, service.as_ref(), ingress.as_ref(), node.as_ref());
    let table = table::compile(&valid, url.as_deref(), &issuer);
    let plan = plan::lobby::plan(&valid, &table, &context.config);

    let writer = Writer { client: &context.client, owner: &valid.owner, metrics: &context.metrics };
    let applied = writer.apply(plan, observed).await?;
    let processes = fetch::processes(&context.client, &namespace, &name).await?;
    let heard = context.lobby_streams.follow(&key(lobby), &processes);
    let heard: Vec<Heard<StoreState>> = match &valid.stored {
        // Its store is never away.
        Stored::Memory => vec![],
        Stored::Redis { .. } | Stored::Managed(_) => heard.values().map(|process| process.store).collect(),
    };
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

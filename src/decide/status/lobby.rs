//! Status of a lobby.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::conditions::{Conditions, Says};
use crate::api::condition::{EVALUATION, NAMES_PUBLISHED, Reason, STORE_AVAILABLE};
use crate::api::endpoints::DNSEndpoint;
use crate::api::lobby::LinkStatus;
use crate::api::relay_pool::RelayPhase;
use crate::api::{Lobby, LobbyStatus, RelayPool};
use crate::decide::authority::Certificates;
use crate::decide::heard::{Heard, Reached, reached};
use crate::decide::plan::{Applied, ChildKind, hash, names, router};
use crate::decide::valid::{Hindered, Invalid, Stored, Tokens, ValidLobby};
use crate::wire::stats::StoreState;

/// Status after a pass that applied its plan. `heard` is what the lobby's processes say of its store.
pub fn applied(
    lobby: &Lobby,
    valid: &ValidLobby,
    url: Option<String>,
    applied: &Applied,
    heard: &[Heard<StoreState>],
    now: Timestamp,
) -> LobbyStatus {
    let deployment: Option<Deployment> = applied.child(ChildKind::Deployment, &names::lobby(&valid.owner.name));
    let mut conditions = start(lobby, now);
    let reached = reached(heard);
    let mut available = available(deployment.as_ref(), url.as_deref());
    if let Some(hindered) = &valid.clients.geoip_hindered {
        available.message = format!("{}; {}", available.message, without_database(hindered));
    }
    if available.status {
        available = match &valid.stored {
            Stored::Memory => None,
            Stored::Redis { .. } => store_away(&conditions, reached),
            Stored::Managed(_) => {
                redis_not_ready(applied, &valid.owner.name).or_else(|| store_away(&conditions, reached))
            }
        }
        .unwrap_or(available);
    }
    let mut progressing = progressing(&available, deployment.as_ref());
    let mut ready = Says { message: available.message.clone(), ..available };
    if lobby.metadata.deletion_timestamp.is_some() {
        let waits = attached(&valid.pools);
        ready = Says::no(Reason::PoolsAttached, waits.clone());
        progressing = Says::yes(Reason::PoolsAttached, waits);
    }
    conditions.accepted(available, progressing, ready);
    store(&mut conditions, &valid.stored, reached);
    evaluation(&mut conditions, &valid.stored);
    names_published(&mut conditions, valid, applied);
    let relays = valid.pools.iter().filter_map(|pool| pool.status.as_ref()).flat_map(|status| &status.relays);
    LobbyStatus {
        observed_generation: lobby.metadata.generation,
        conditions: conditions.build(),
        url,
        pools: count(valid.pools.iter()),
        relays: count(relays.filter(|relay| relay.phase == RelayPhase::Ready)),
        tokens: match &valid.tokens {
            Tokens::Own { status, .. } => Some(status.clone()),
            Tokens::Given { .. } => None,
        },
        link: link(&valid.certificates),
        dns: valid.dns.as_ref().map(|_| {
            let name = names::lobby_dns(&valid.owner.name);
            let (deployment, service) =
                (applied.child(ChildKind::Deployment, &name), applied.child(ChildKind::Service, &name));
            router::status(deployment.as_ref(), service.as_ref())
        }),
    }
}

/// What a lobby that is being deleted waits for.
fn attached(pools: &[RelayPool]) -> String {
    const NAMED: usize = 5;
    let name = |pool: &RelayPool| format!("{}/{}", pool.namespace().unwrap_or_default(), pool.name_any());
    let named: Vec<String> = pools.iter().take(NAMED).map(name).collect();
    let more = pools.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("it is being deleted, and serves on until its pools are gone: delete RelayPool {}{more}", named.join(", "))
}

/// What is said of a lobby that is being deleted and of which something could not be made.
pub fn still_attached(pools: &[RelayPool], refused: &Invalid) -> Invalid {
    let message = format!("{}. Not all of it can be kept up until then: {}", attached(pools), refused.message);
    Invalid { reason: Reason::PoolsAttached, message }
}

/// A change of the authority here is what makes pools hand it to their relays.
fn link(certificates: &Certificates) -> Option<LinkStatus> {
    let ends = Time(Timestamp::from_second(certificates.link_ends).ok()?);
    Some(LinkStatus { authority: hash(&certificates.authority), ends })
}

/// Status after a pass that found the lobby invalid: children stay as they are. `standing` is what was seen of its
/// Deployment, the outer nothing where nothing could be read.
pub fn invalid(lobby: &Lobby, invalid: &Invalid, standing: Option<Option<&Deployment>>, now: Timestamp) -> LobbyStatus {
    let previous = lobby.status.clone().unwrap_or_default();
    // A lobby that never had anything has nothing to be said of.
    let standing = standing.filter(|deployment| deployment.is_some() || previous.url.is_some());
    let mut conditions = start(lobby, now);
    conditions.refused(invalid, standing.map(|deployment| available(deployment, previous.url.as_deref())));
    conditions.keep(STORE_AVAILABLE);
    if previous.conditions.iter().any(|condition| condition.type_ == NAMES_PUBLISHED) {
        // What was made for it is still to be found once it is not wanted any more.
        conditions.keep(NAMES_PUBLISHED);
    }
    evaluation(&mut conditions, &Stored::from(lobby.spec.store.as_ref()));
    LobbyStatus { observed_generation: lobby.metadata.generation, conditions: conditions.build(), ..previous }
}

fn start(lobby: &Lobby, now: Timestamp) -> Conditions<'_> {
    let previous = lobby.status.as_ref().map_or(&[][..], |status| &status.conditions);
    Conditions::new(previous, lobby.metadata.generation, now)
}

/// Whether the lobby answers now: pods that are ready, whichever spec they were made from.
fn available(deployment: Option<&Deployment>, url: Option<&str>) -> Says {
    let pods = deployment.and_then(|deployment| deployment.status.as_ref()?.available_replicas).unwrap_or(0);
    let wanted = deployment.map_or(1, wanted);
    match (pods, url) {
        (0, _) => Says::no(Reason::WaitingForPods, "no pod of the lobby is ready; see the pods of its Deployment"),
        (_, None) => Says::no(Reason::WaitingForPods, "the lobby has no address yet; see its Service and Ingress"),
        (pods, Some(url)) if pods < wanted => {
            Says::yes(Reason::PartlyAvailable, format!("{pods} of {wanted} pods serve at {url}"))
        }
        (_, Some(url)) => Says::yes(Reason::AsPlanned, format!("serving at {url}")),
    }
}

/// What there is to say where the databases of places cannot be used: the lobby serves all the same.
fn without_database(hindered: &Hindered) -> String {
    match hindered {
        Hindered::NoClaim(claim) => format!(
            "there is no PersistentVolumeClaim {claim}, so that clients are placed without spec.routing.geoip: make it, and the lobby's pods are started anew with it within five minutes"
        ),
        Hindered::NotAllowed(url) => format!(
            "{url} is not below a URL that this operator allows (its --allow-geoip-from, the chart's geoip.allowFrom), so that clients are placed without spec.routing.geoip"
        ),
    }
}

/// What there is to say of the Redis that the operator runs; nothing where it is ready.
fn redis_not_ready(applied: &Applied, lobby: &str) -> Option<Says> {
    let name = names::lobby_redis(lobby);
    let set: Option<StatefulSet> = applied.child(ChildKind::StatefulSet, &name);
    let ready = set.and_then(|set| set.status?.ready_replicas).unwrap_or(0);
    (ready == 0).then(|| {
        let message = format!(
            "the lobby's Redis is not ready, so that no session can be created; those that run go on. See pod {name}-0 and PersistentVolumeClaim {name}"
        );
        Says::no(Reason::WaitingForPods, message)
    })
}

fn progressing(available: &Says, deployment: Option<&Deployment>) -> Says {
    match deployment.and_then(rollout) {
        Some(what) => Says::yes(Reason::WaitingForPods, format!("the lobby's Deployment is being rolled out: {what}")),
        None if !available.status => Says::yes(available.reason, available.message.clone()),
        None => Says::no(Reason::AsPlanned, "the cluster is as the spec says"),
    }
}

/// What a rollout still waits for, by the same signs as `kubectl rollout status`; nothing once it is over.
fn rollout(deployment: &Deployment) -> Option<String> {
    let status = deployment.status.clone().unwrap_or_default();
    let wanted = wanted(deployment);
    let pods = status.replicas.unwrap_or(0);
    let updated = status.updated_replicas.unwrap_or(0);
    let available = status.available_replicas.unwrap_or(0);
    if status.observed_generation < deployment.metadata.generation {
        Some("its controller has not seen the new spec yet".to_owned())
    } else if updated < wanted {
        Some(format!("{updated} of {wanted} pods are of the new spec"))
    } else if pods > updated {
        Some(format!("{} pods of an earlier spec have not left", pods - updated))
    } else if available < updated {
        Some(format!("{available} of {updated} pods are ready"))
    } else {
        None
    }
}

/// Pods that the Deployment should have; the API server's default is one.
fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// What it means that nobody reaches the store.
const STORE_AWAY: &str =
    "no process of the lobby reaches its Redis, so that no session is created or moved; those that run are not touched";

/// That the lobby is not available for its store, where that is so, or was so and nobody has spoken since.
fn store_away(conditions: &Conditions<'_>, reached: Reached) -> Option<Says> {
    let away = match reached {
        Reached::Some { reach, .. } => reach == 0,
        Reached::NotYet => conditions.was_false(STORE_AVAILABLE),
        Reached::Unknown => false,
    };
    away.then(|| Says::no(Reason::StoreAway, STORE_AWAY))
}

/// Whether the store is reached, as the processes say it themselves. Nothing follows from it but words.
fn store(conditions: &mut Conditions<'_>, stored: &Stored, reached: Reached) {
    let says = match (stored, reached) {
        (Stored::Memory, _) => {
            Says::yes(Reason::AsPlanned, "sessions are kept in the memory of the lobby's one process")
        }
        (_, Reached::Some { reach: 0, .. }) => Says::no(Reason::StoreAway, STORE_AWAY),
        (_, Reached::Some { reach, of }) if reach < of => Says::yes(
            Reason::PartlyAvailable,
            format!("{reach} of {of} processes of the lobby reach its Redis; see the logs of the others"),
        ),
        (_, Reached::Some { .. }) => Says::yes(Reason::AsPlanned, "every process of the lobby reaches its Redis"),
        (_, Reached::NotYet) => return conditions.keep(STORE_AVAILABLE),
        (_, Reached::Unknown) => {
            let message = "no process of the lobby says whether it reaches its Redis";
            return conditions.unknown(STORE_AVAILABLE, Reason::Pending, message);
        }
    };
    conditions.set(STORE_AVAILABLE, says);
}

/// True until sessions outlive the process and creating them needs a login.
fn evaluation(conditions: &mut Conditions<'_>, stored: &Stored) {
    let says = match stored {
        Stored::Memory => Says::yes(
            Reason::MemoryStoreAndOpenAccess,
            "sessions are kept in memory and anyone who reaches the lobby may create them: for evaluation, or behind a gateway that asks who it is",
        ),
        Stored::Redis { .. } | Stored::Managed(_) => Says::yes(
            Reason::OpenAccess,
            "anyone who reaches the lobby may create sessions: for evaluation, or behind a gateway that asks who it is",
        ),
    };
    conditions.set(EVALUATION, says);
}

/// Whether external-dns is told of the lobby's names, where that is asked for.
fn names_published(conditions: &mut Conditions<'_>, valid: &ValidLobby, applied: &Applied) {
    if valid.external_dns.is_none() {
        return;
    }
    let name = names::lobby_dns(&valid.owner.name);
    let object: Option<DNSEndpoint> = applied.child(ChildKind::DnsEndpoint, &name);
    let says = match object.map(|object| object.spec.endpoints.len()) {
        None => Says::no(
            Reason::KindNotFound,
            "this cluster has no kind DNSEndpoint (externaldns.k8s.io/v1alpha1), or the operator may not look at it: install external-dns' definition and this version's chart, or take spec.routing.externalDns out. It is looked for again every 5 minutes",
        ),
        Some(0) => Says::no(Reason::WaitingForPods, "no relay has an address yet"),
        Some(records) => Says::yes(Reason::AsPlanned, format!("DNSEndpoint {name} holds {records} sets of records")),
    };
    conditions.set(NAMES_PUBLISHED, says);
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

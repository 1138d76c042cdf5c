//! From a pool's Pods, nodes and reports to the values that scaling and drains are decided from.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use serde_json::Value;

use super::drain::{self, Asked, Cause, Deletion, Health, Note, Occupancy, Relay, Sickness, Wish};
use super::listening::Listening;
use super::plan::{self, ChildKind, names};
use super::valid::{Custom, Exposed, ValidPool};
use super::{sampled, scale};
use crate::api::relay_pool::{DeletionPolicy, MAX_RELAYS, RelayPoolSpec};
use crate::api::{
    ANNOTATION_DRAIN, ANNOTATION_GENERATION, ANNOTATION_WISH, LABEL_OCCUPIED, RelayPool, WISH_LEAVE, WISH_STAY,
};

/// How long a relay that stays is empty before it may be evicted.
const EMPTY_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// How long a relay is sick before another takes its place.
const SICK_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How long a relay alone is not heard before another takes its place.
const SILENT_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// How long a relay starts before a rollout that waits for it is said to be stuck.
const START: SignedDuration = SignedDuration::from_secs(300);
/// Taints by which node autoscalers say that a node is about to go: the Kubernetes cluster autoscaler and Karpenter.
const LEAVING_TAINTS: [&str; 2] = ["ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted"];

/// What is seen of a pool's relays at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The pool.
    pub pool: &'a RelayPool,
    /// Its Pods, leaving ones included.
    pub pods: &'a [Pod],
    /// Their nodes, as far as those exist.
    pub nodes: &'a BTreeMap<String, Node>,
    /// What was heard of them, by UIDs of Pods.
    pub heard: &'a BTreeMap<String, Listening>,
    /// URLs of those that have one, by names.
    pub urls: &'a BTreeMap<String, String>,
    /// UIDs of those of which it was written down that they were ready.
    pub served: &'a BTreeSet<String>,
}

/// The pool as drains are decided from it, without the number that is wanted.
pub fn pool(sight: Sight<'_>, generation: String, now: Timestamp) -> drain::Pool {
    let spec = &sight.pool.spec;
    let deletion = sight.pool.metadata.deletion_timestamp.as_ref().map(|_| match spec.deletion_policy {
        DeletionPolicy::Drain => Deletion::Drain,
        DeletionPolicy::Now => Deletion::Now,
    });
    let custom = Custom::of(spec);
    drain::Pool {
        relays: relays(sight, now),
        desired: 0,
        generation,
        surge: count(spec.rollout.surge),
        paused: spec.rollout.paused,
        deletion,
        hands_over: custom.is_none(),
        refuses: custom.as_ref().is_none_or(|custom| custom.drain.is_some()),
        ordinals: ordinals(spec),
        policy: policy(spec, custom.as_ref()),
    }
}

/// The relays as scaling counts them.
pub fn load(sight: Sight<'_>, pool: &drain::Pool, demand: Option<scale::Demand>, now: Timestamp) -> scale::Seen {
    let relays = pool.relays.iter().map(|relay| {
        let name = names::relay(&sight.pool.name_any(), relay.ordinal);
        let seats = sight.pods.iter().find(|pod| pod.uid().as_ref() == Some(&relay.uid)).and_then(capacity);
        let seats = seats.unwrap_or(0);
        let silent = scale::Occupancy::Unknown { last: None };
        scale::Relay {
            name,
            ordinal: i32::try_from(relay.ordinal).unwrap_or(i32::MAX),
            phase: phase(pool, relay, now),
            seats,
            occupancy: sight.heard.get(&relay.uid).map_or(silent, |heard| heard.load(seats, now)),
        }
    });
    scale::Seen { relays: relays.collect(), demand }
}

fn phase(pool: &drain::Pool, relay: &Relay, now: Timestamp) -> scale::Phase {
    if matches!(relay.health, Health::Over(_)) || drain::has_failed(pool, relay, now) {
        scale::Phase::Failed
    } else if relay.terminating || relay.note.drain.is_some() || relay.asked.lobby {
        scale::Phase::Leaving
    } else if matches!(relay.health, Health::Starting { .. }) {
        scale::Phase::Starting
    } else {
        scale::Phase::Serving
    }
}

/// Addresses of the relays that have one, by name.
pub fn urls(
    pool: &ValidPool,
    pods: &[Pod],
    children: &BTreeMap<(ChildKind, String), Value>,
    nodes: &BTreeMap<String, Node>,
) -> BTreeMap<String, String> {
    let known = pods.iter().filter_map(|pod| {
        let name = pod.name_any();
        let object = |kind| children.get(&(kind, name.clone())).cloned();
        let service = object(ChildKind::Service).and_then(|object| serde_json::from_value(object).ok());
        let ingress = object(ChildKind::Ingress).and_then(|object| serde_json::from_value(object).ok());
        let node = pod.spec.as_ref().and_then(|spec| nodes.get(spec.node_name.as_ref()?));
        Some((name, plan::pool::url(pool, pod, service.as_ref(), ingress.as_ref(), node)?))
    });
    known.collect()
}

/// Relays may have the ordinals 0 to this, exclusive. Where an address takes minutes, all have theirs beforehand: as many as
/// there may be at a time. Elsewhere there are twice as many, for those that stand in for dead ones.
pub fn ordinals(spec: &RelayPoolSpec) -> u32 {
    let most = spec.scaling.as_ref().map_or(spec.replicas, |scaling| scaling.max_replicas);
    let times = if has_addresses_beforehand(&Exposed::from(spec.exposure.as_ref())) { 1 } else { 2 };
    count((most.saturating_mul(times)).saturating_add(spec.rollout.surge).clamp(1, MAX_RELAYS))
}

/// Ordinals that have an address: those in use, those that are made, and those whose address would take minutes.
pub fn addressed(spec: &RelayPoolSpec, pool: &drain::Pool, made: &BTreeSet<u32>) -> BTreeSet<u32> {
    let beforehand = if has_addresses_beforehand(&Exposed::from(spec.exposure.as_ref())) { pool.ordinals } else { 0 };
    let used = pool.relays.iter().map(|relay| relay.ordinal);
    (0..beforehand).chain(used).chain(made.iter().copied()).collect()
}

fn has_addresses_beforehand(exposed: &Exposed) -> bool {
    match exposed {
        Exposed::LoadBalancer(_) | Exposed::Ingress(_) => true,
        Exposed::Internal | Exposed::NodePort => false,
    }
}

fn policy(spec: &RelayPoolSpec, custom: Option<&Custom>) -> drain::Policy {
    // Who is looked at seldom is not silent sooner than that can be told.
    let silent_after = custom.map_or(SILENT_AFTER, |custom| SILENT_AFTER.max(sampled::silent_after(custom.interval)));
    let causes = spec.drain.causes.clone().unwrap_or_default();
    let timeout = spec.drain.timeout_seconds;
    let time = |seconds: Option<i32>| SignedDuration::from_secs(seconds.unwrap_or(timeout).into());
    drain::Policy {
        scale_down: time(causes.scale_down_seconds),
        rollout: time(causes.rollout_seconds),
        node: time(causes.node_seconds),
        person: time(causes.person_seconds),
        lobby: time(None),
        failed: time(None),
        deletion: time(causes.deletion_seconds),
        empty_grace: EMPTY_GRACE,
        sick_after: SICK_AFTER,
        silent_after,
        start: START,
    }
}

fn relays(sight: Sight<'_>, now: Timestamp) -> Vec<Relay> {
    let name = sight.pool.name_any();
    sight.pods.iter().filter_map(|pod| relay(sight, &name, pod, now)).collect()
}

/// A Pod without UID or with a foreign name is none of ours.
fn relay(sight: Sight<'_>, pool: &str, pod: &Pod, now: Timestamp) -> Option<Relay> {
    let uid = pod.uid()?;
    let seats = capacity(pod).unwrap_or(0);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    let is_drained = node.and_then(|node| sight.nodes.get(node)).is_some_and(is_to_be_empty);
    let person = match pod.annotations().get(ANNOTATION_WISH).map(String::as_str) {
        Some(WISH_LEAVE) => Some(Wish::Leave),
        Some(WISH_STAY) => Some(Wish::Stay),
        Some(_) | None => None,
    };
    let (heard, silent) = (sight.heard.get(&uid), Occupancy::Unknown { since: now, heard: None });
    let noted = Note::read(pod.annotations().get(ANNOTATION_DRAIN).map(String::as_str));
    // While nobody knows what the lobby wants, such a drain is neither begun nor given up.
    let drains_for_lobby = noted.drain.is_some_and(|drain| drain.cause == Cause::Lobby);
    let lobby = heard.and_then(|heard| heard.asked(seats, now)).unwrap_or(drains_for_lobby);
    Some(Relay {
        ordinal: names::ordinal(pool, &pod.name_any())?,
        health: health(sight, pod, &uid),
        resource_version: pod.resource_version()?,
        generation: pod.annotations().get(ANNOTATION_GENERATION).cloned().unwrap_or_default(),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        asked: Asked { person, node: is_drained, lobby },
        occupied: pod.labels().contains_key(LABEL_OCCUPIED),
        note: noted,
        occupancy: heard.map_or(silent, |heard| heard.occupancy(seats, now)),
        uid,
    })
}

/// What the cluster says of a Pod. One that was seen ready is sick when it no longer is; before that, it starts.
fn health(sight: Sight<'_>, pod: &Pod, uid: &str) -> Health {
    let status = pod.status.as_ref();
    if status.and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase == "Failed" || phase == "Succeeded")
    {
        return Health::Over(Sickness::PodFailed);
    }
    let served = sight.served.contains(uid);
    let ready = condition(pod, "Ready");
    if ready.is_some_and(|ready| ready.status == "True") && (served || sight.urls.contains_key(&pod.name_any())) {
        return Health::Serving;
    }
    let created = pod.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |created| created.0);
    if !served {
        return Health::Starting { since: created };
    }
    let since = ready.and_then(|ready| ready.last_transition_time.as_ref()).map_or(created, |time| time.0);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
    match node.map(|node| sight.nodes.get(node)) {
        Some(None) => Health::Over(Sickness::NodeGone),
        Some(Some(node)) if !is_ready(node) => Health::Sick { since, why: Sickness::NodeNotReady },
        _ if is_crashing(pod) => Health::Sick { since, why: Sickness::CrashLoop },
        _ => Health::Sick { since, why: Sickness::NotReady },
    }
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

fn is_crashing(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut waiting = statuses.filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    waiting.any(|reason| reason == "CrashLoopBackOff")
}

/// Whether a node is ready, as far as it says anything.
fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == "Ready").is_none_or(|condition| condition.status == "True")
}

/// Whether a node takes no new Pods because somebody wants it empty.
fn is_to_be_empty(node: &Node) -> bool {
    let Some(spec) = &node.spec else { return false };
    let mut taints = spec.taints.iter().flatten();
    spec.unschedulable == Some(true) || taints.any(|taint| LEAVING_TAINTS.contains(&taint.key.as_str()))
}

/// What of a node relays depend on; a change of anything else is nobody's business.
pub fn matters(node: &Node) -> (bool, bool) {
    (is_ready(node), is_to_be_empty(node))
}

/// Seats as the relay was told when it was created: a changed spec does not change a running relay.
pub fn capacity(pod: &Pod) -> Option<i32> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let variable = container.env.as_ref()?.iter().find(|variable| variable.name == names::SEATS)?;
    variable.value.as_ref()?.parse().ok()
}

fn count(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
#[path = "relays_tests.rs"]
mod tests;

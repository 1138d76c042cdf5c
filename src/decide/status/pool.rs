//! Status of a relay pool.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::conditions::{Conditions, Says};
use crate::api::condition::Reason;
use crate::api::relay_pool::{RelayPhase, RelayStatus};
use crate::api::{ANNOTATION_GENERATION, RelayPool, RelayPoolStatus};
use crate::decide::plan::{self, Applied, ChildKind, names};
use crate::decide::valid::{Invalid, ValidPool};

/// Status after a pass that applied its plan.
pub fn applied(pool: &RelayPool, valid: &ValidPool, applied: &Applied, now: Timestamp) -> RelayPoolStatus {
    let relays = relays(valid, applied);
    let serving: Vec<&RelayStatus> = relays.iter().filter(|relay| relay.phase == RelayPhase::Ready).collect();
    let staying = relays.iter().filter(|relay| relay.phase != RelayPhase::Draining);
    let ready_replicas = count(serving.len());
    let available = available(valid.replicas, ready_replicas);
    let earlier = serving.iter().filter(|relay| relay.generation != plan::pool::generation(valid)).count();
    let progressing = progressing(valid.replicas, ready_replicas, earlier);
    let ready = Says {
        status: available.status || available.reason == Reason::ScaledToZero,
        reason: available.reason,
        message: available.message.clone(),
    };
    let mut conditions = start(pool, now);
    conditions.accepted(available, progressing, ready);
    RelayPoolStatus {
        observed_generation: pool.metadata.generation,
        conditions: conditions.build(),
        region: Some(valid.region.clone()),
        location: Some(valid.location),
        replicas: count(staying.count()),
        ready_replicas,
        capacity: serving.iter().map(|relay| relay.capacity).sum(),
        selector: Some(names::selector_text(&names::pool_selector(&valid.owner.name))),
        relays,
    }
}

/// Status after a pass that found the pool invalid: its relays stay as they are, and none is made. `pods` are those that
/// are there, nothing where they could not be read.
pub fn invalid(pool: &RelayPool, invalid: &Invalid, pods: Option<&[Pod]>, now: Timestamp) -> RelayPoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    let had_relays = !status.relays.is_empty();
    let mut conditions = start(pool, now);
    let mut available = None;
    if let Some(pods) = pods.filter(|_| had_relays) {
        status.relays = still_there(&status.relays, pods);
        available = Some(count_relays(&mut status));
    }
    conditions.refused(invalid, available);
    RelayPoolStatus { observed_generation: pool.metadata.generation, conditions: conditions.build(), ..status }
}

/// The relays of before whose Pods are still there, as those are now.
fn still_there(before: &[RelayStatus], pods: &[Pod]) -> Vec<RelayStatus> {
    let kept = before.iter().filter_map(|relay| {
        let pod = pods.iter().find(|pod| pod.metadata.uid.as_ref() == Some(&relay.pod_uid))?;
        Some(RelayStatus { phase: phase(pod, relay.url.is_some()), ..relay.clone() })
    });
    kept.collect()
}

/// Sets the numbers of a refused pool by its relays, and says whether it serves.
fn count_relays(status: &mut RelayPoolStatus) -> Says {
    let serving = || status.relays.iter().filter(|relay| relay.phase == RelayPhase::Ready);
    let (ready, capacity) = (count(serving().count()), serving().map(|relay| relay.capacity).sum());
    let staying = count(status.relays.iter().filter(|relay| relay.phase != RelayPhase::Draining).count());
    (status.replicas, status.ready_replicas, status.capacity) = (staying, ready, capacity);
    if staying == 0 {
        let message = "its relays are gone, and none is made while the pool is not accepted";
        return Says::no(Reason::WaitingForPods, message);
    }
    available(staying, ready)
}

fn start(pool: &RelayPool, now: Timestamp) -> Conditions<'_> {
    let previous = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    Conditions::new(previous, pool.metadata.generation, now)
}

fn relays(valid: &ValidPool, applied: &Applied) -> Vec<RelayStatus> {
    let mut relays: Vec<RelayStatus> = applied.pods.iter().map(|pod| relay(valid, applied, pod)).collect();
    relays.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    relays.truncate(usize::try_from(crate::api::relay_pool::MAX_RELAYS).unwrap_or(usize::MAX));
    relays
}

fn relay(valid: &ValidPool, applied: &Applied, pod: &Pod) -> RelayStatus {
    let name = pod.name_any();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let service = applied.child(ChildKind::Service, &name);
    let ingress = applied.child(ChildKind::Ingress, &name);
    let on_node = node.as_ref().and_then(|node| applied.nodes.get(node));
    let url = plan::pool::url(valid, pod, service.as_ref(), ingress.as_ref(), on_node);
    RelayStatus {
        phase: phase(pod, url.is_some()),
        pod_uid: pod.uid().unwrap_or_default(),
        capacity: capacity(pod).unwrap_or(0),
        generation: pod.annotations().get(ANNOTATION_GENERATION).cloned().unwrap_or_default(),
        url,
        node,
        name,
        sessions: None,
        leases: None,
        drain: None,
        problem: None,
    }
}

fn phase(pod: &Pod, has_address: bool) -> RelayPhase {
    if pod.metadata.deletion_timestamp.is_some() {
        return RelayPhase::Draining;
    }
    let Some(status) = &pod.status else { return RelayPhase::Pending };
    if status.phase.as_deref().is_some_and(|phase| phase == "Failed" || phase == "Succeeded") {
        return RelayPhase::Failed;
    }
    let conditions = status.conditions.iter().flatten();
    let ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    if ready && has_address { RelayPhase::Ready } else { RelayPhase::Pending }
}

/// Seats as the relay was told when it was created: a changed spec does not change a running relay.
fn capacity(pod: &Pod) -> Option<i32> {
    let container = pod.spec.as_ref()?.containers.first()?;
    let variable = container.env.as_ref()?.iter().find(|variable| variable.name == "CONVENE_CAPACITY")?;
    variable.value.as_ref()?.parse().ok()
}

fn available(replicas: i32, ready: i32) -> Says {
    match (replicas, ready) {
        (0, _) => Says::no(Reason::ScaledToZero, "spec.replicas is 0"),
        (_, 0) => Says::no(
            Reason::WaitingForPods,
            format!("none of {replicas} relays serves yet; see status.relays and their pods"),
        ),
        (_, ready) if ready < replicas => {
            Says::yes(Reason::PartlyAvailable, format!("{ready} of {replicas} relays serve"))
        }
        (_, _) => Says::yes(Reason::AsPlanned, format!("all {replicas} relays serve")),
    }
}

fn progressing(replicas: i32, ready: i32, earlier: usize) -> Says {
    if ready < replicas {
        return Says::yes(
            Reason::WaitingForPods,
            format!("{ready} of {replicas} relays serve; see status.relays and their pods"),
        );
    }
    if earlier > 0 {
        let message = format!(
            "{earlier} relays run an earlier generation; the new one applies to a relay once its pod is replaced"
        );
        return Says::no(Reason::EarlierGeneration, message);
    }
    Says::no(Reason::AsPlanned, "the cluster is as the spec says")
}

fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}

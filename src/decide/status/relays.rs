//! What a pool's status says of each relay.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::pool::{Passed, number, whole_seconds};
use crate::api::ANNOTATION_GENERATION;
use crate::api::relay_pool::{MAX_RELAYS, RelayDrain, RelayPhase, RelayStatus};
use crate::decide::drain::{DrainView, View};
use crate::decide::relays::capacity;

/// All relays of an accepted pool, by their ordinals.
pub(super) fn all(passed: &Passed<'_>, before: &[RelayStatus], now: Timestamp) -> Vec<RelayStatus> {
    let mut relays: Vec<RelayStatus> = passed.pods.iter().map(|pod| relay(passed, before, pod, now)).collect();
    relays.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    relays.truncate(usize::try_from(MAX_RELAYS).unwrap_or(usize::MAX));
    relays
}

fn relay(passed: &Passed<'_>, before: &[RelayStatus], pod: &Pod, now: Timestamp) -> RelayStatus {
    let (name, pod_uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let view = passed.drains.relays.iter().find(|view| view.uid == pod_uid);
    let before = before.iter().find(|relay| relay.pod_uid == pod_uid);
    let phase = view.map_or(RelayPhase::Pending, |view| view.phase);
    let served_since = before.and_then(|relay| relay.served_since.clone());
    let serves = served_since.is_some() || phase == RelayPhase::Ready;
    let status = RelayStatus {
        phase,
        capacity: capacity(pod).unwrap_or(0),
        generation: pod.annotations().get(ANNOTATION_GENERATION).cloned().unwrap_or_default(),
        url: passed.urls.get(&name).cloned(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        served_since: serves.then(|| served_since.unwrap_or_else(|| whole_seconds(now))),
        sessions: None,
        leases: None,
        drain: None,
        problem: None,
        name,
        pod_uid,
    };
    match view {
        Some(view) => seen(status, view),
        None => status,
    }
}

/// The relays of before that are still there, as was decided of them: of a pool of which none is made, since it is being
/// deleted or is not accepted.
pub(super) fn kept(before: &[RelayStatus], views: &[View]) -> Vec<RelayStatus> {
    let kept = before.iter().filter_map(|relay| {
        let view = views.iter().find(|view| view.uid == relay.pod_uid)?;
        Some(seen(RelayStatus { phase: view.phase, ..relay.clone() }, view))
    });
    kept.collect()
}

fn seen(status: RelayStatus, view: &View) -> RelayStatus {
    RelayStatus {
        sessions: view.sessions.map(number),
        leases: view.leases.map(number),
        drain: view.drain.as_ref().map(drain),
        problem: view.sickness.map(|sickness| format!("{sickness:?}")),
        ..status
    }
}

fn drain(view: &DrainView) -> RelayDrain {
    RelayDrain {
        cause: format!("{:?}", view.cause),
        since: whole_seconds(view.since),
        deadline: view.deadline.map(whole_seconds),
        left_seconds: view.left.map(|left| left.as_secs()),
        estimate: view.estimate.map(whole_seconds),
    }
}

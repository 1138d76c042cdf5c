//! Status of a lobby.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::jiff::Timestamp;

use super::conditions::{Conditions, Says};
use crate::api::condition::{EVALUATION, Reason};
use crate::api::relay_pool::RelayPhase;
use crate::api::{Lobby, LobbyStatus};
use crate::decide::plan::{Applied, ChildKind, names};
use crate::decide::valid::{Invalid, ValidLobby};

/// Status after a pass that applied its plan.
pub fn applied(
    lobby: &Lobby,
    valid: &ValidLobby,
    url: Option<String>,
    applied: &Applied,
    now: Timestamp,
) -> LobbyStatus {
    let deployment: Option<Deployment> = applied.child(ChildKind::Deployment, &names::lobby(&valid.owner.name));
    let available = available(deployment.as_ref(), url.as_deref());
    let progressing = progressing(&available, deployment.as_ref());
    let ready = Says { message: available.message.clone(), ..available };
    let mut conditions = start(lobby, now);
    conditions.accepted(available, progressing, ready);
    evaluation(&mut conditions);
    let relays = valid.pools.iter().filter_map(|pool| pool.status.as_ref()).flat_map(|status| &status.relays);
    LobbyStatus {
        observed_generation: lobby.metadata.generation,
        conditions: conditions.build(),
        url,
        pools: count(valid.pools.iter()),
        relays: count(relays.filter(|relay| relay.phase == RelayPhase::Ready)),
    }
}

/// Status after a pass that found the lobby invalid: children stay as they are.
pub fn invalid(lobby: &Lobby, invalid: &Invalid, now: Timestamp) -> LobbyStatus {
    let mut conditions = start(lobby, now);
    conditions.refused(invalid);
    evaluation(&mut conditions);
    let previous = lobby.status.clone().unwrap_or_default();
    LobbyStatus { observed_generation: lobby.metadata.generation, conditions: conditions.build(), ..previous }
}

fn start(lobby: &Lobby, now: Timestamp) -> Conditions<'_> {
    let previous = lobby.status.as_ref().map_or(&[][..], |status| &status.conditions);
    Conditions::new(previous, lobby.metadata.generation, now)
}

fn available(deployment: Option<&Deployment>, url: Option<&str>) -> Says {
    let pods = deployment.and_then(|deployment| deployment.status.as_ref()?.available_replicas).unwrap_or(0);
    match (pods, url) {
        (0, _) => Says::no(Reason::WaitingForPods, "the lobby's pod is not ready; see the pods of its Deployment"),
        (_, None) => Says::no(Reason::WaitingForPods, "the lobby has no address yet; see its Service and Ingress"),
        (_, Some(url)) => Says::yes(Reason::AsPlanned, format!("serving at {url}")),
    }
}

fn progressing(available: &Says, deployment: Option<&Deployment>) -> Says {
    if !available.status {
        return Says::yes(available.reason, available.message.clone());
    }
    let settled = deployment.is_some_and(|deployment| {
        let status = deployment.status.clone().unwrap_or_default();
        status.observed_generation == deployment.metadata.generation && status.updated_replicas.unwrap_or(0) >= 1
    });
    if settled {
        Says::no(Reason::AsPlanned, "the cluster is as the spec says")
    } else {
        Says::yes(Reason::WaitingForPods, "the lobby's Deployment is being rolled out")
    }
}

/// True until sessions outlive the process and creating them needs a login.
fn evaluation(conditions: &mut Conditions<'_>) {
    let message = "sessions are kept in memory and anyone who reaches the lobby may create them: for evaluation, or behind a gateway that asks who it is";
    conditions.set(EVALUATION, Says::yes(Reason::MemoryStoreAndOpenAccess, message));
}

fn count<T>(items: impl Iterator<Item = T>) -> i32 {
    i32::try_from(items.count()).unwrap_or(i32::MAX)
}

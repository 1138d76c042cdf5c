//! A relay that a person names: whether it is one, what was asked of it, and how far its drain is.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::table::{harmless, span};
use crate::api::relay_pool::RelayStatus;
use crate::api::{ANNOTATION_WISH, GROUP, LABEL_POOL, LABEL_RELAY, RelayPool, WISH_LEAVE, WISH_STAY};

/// A relay, as its Pod tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relay {
    /// Name of the relay and of its Pod.
    pub(super) name: String,
    pub(super) pod_uid: String,
    /// Its pool.
    pub(super) pool: String,
    pub(super) wish: Option<Wish>,
    /// Its Pod is being deleted: nothing brings it back.
    pub(super) ends: bool,
}

/// What a person wants of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Leave,
    Stay,
}

impl Wish {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Leave => WISH_LEAVE,
            Self::Stay => WISH_STAY,
        }
    }
}

/// A Pod that is no relay of a pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Pod {0} is not a relay: no RelayPool owns it. `kubectl get pods -l {LABEL_RELAY}` lists the relays")]
pub(super) struct NotARelay(String);

/// The name that is meant; kubectl's own way of naming a Pod is understood.
pub(super) fn name(given: &str) -> &str {
    ["pod/", "pods/", "po/"].iter().find_map(|kind| given.strip_prefix(kind)).unwrap_or(given)
}

impl Relay {
    /// The relay of a Pod. Labels alone make none: anybody may set them.
    pub(super) fn of(pod: &Pod) -> Result<Self, NotARelay> {
        let name = pod.name_any();
        let pool = pod.labels().get(LABEL_POOL);
        let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let is_ours = owner.is_some_and(|owner| {
            let group = owner.api_version.split('/').next();
            group == Some(GROUP) && owner.kind == "RelayPool" && Some(&owner.name) == pool
        });
        let (Some(pool), true, Some(pod_uid)) =
            (pool, is_ours && pod.labels().get(LABEL_RELAY) == Some(&name), pod.uid())
        else {
            return Err(NotARelay(name));
        };
        let wish = match pod.annotations().get(ANNOTATION_WISH).map(String::as_str) {
            Some(WISH_LEAVE) => Some(Wish::Leave),
            Some(WISH_STAY) => Some(Wish::Stay),
            _ => None,
        };
        let ends = pod.metadata.deletion_timestamp.is_some();
        Ok(Self { pool: pool.clone(), pod_uid, wish, ends, name })
    }

    /// What the pool's status says of it.
    pub(super) fn status<'a>(&self, pool: &'a RelayPool) -> Option<&'a RelayStatus> {
        let relays = pool.status.iter().flat_map(|status| &status.relays);
        relays.into_iter().find(|relay| relay.name == self.name && relay.pod_uid == self.pod_uid)
    }
}

/// How far a relay's drain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Its Pod is no longer there.
    Gone,
    /// Somebody has taken the wish back, or wants it to stay.
    TakenBack,
    /// It leaves.
    Leaving {
        /// What changes by what happens.
        state: String,
        /// What changes by time alone.
        times: String,
    },
}

/// How far the drain of the Pod with this UID is.
pub(super) fn progress(pod_uid: &str, pod: Option<&Pod>, pool: Option<&RelayPool>, now: Timestamp) -> Progress {
    let Some(relay) = pod.and_then(|pod| Relay::of(pod).ok()).filter(|relay| relay.pod_uid == pod_uid) else {
        return Progress::Gone;
    };
    if relay.ends {
        return Progress::Leaving { state: "its process ends".to_owned(), times: String::new() };
    }
    if relay.wish != Some(Wish::Leave) {
        return Progress::TakenBack;
    }
    let Some(status) = pool.and_then(|pool| relay.status(pool)) else {
        return Progress::Leaving { state: "its pool says nothing of it".to_owned(), times: String::new() };
    };
    let Some(drain) = &status.drain else {
        return Progress::Leaving { state: "the operator has not taken it up yet".to_owned(), times: String::new() };
    };
    let mut times = Vec::new();
    if let Some(deadline) = &drain.deadline {
        times.push(format!("goes in {} at the latest", span(seconds(deadline.0, now))));
    } else if let Some(left) = drain.left_seconds {
        times.push(format!("its clock stands still with {} left", span(left)));
    }
    times.extend(drain.estimate.as_ref().map(|at| format!("empty in about {}", span(seconds(at.0, now)))));
    Progress::Leaving { state: holds(status), times: times.join(", ") }
}

/// What a relay holds, in words.
pub(super) fn holds(status: &RelayStatus) -> String {
    let count = |number: i32, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    match (status.sessions, status.leases) {
        (Some(sessions), Some(0) | None) => count(sessions, "session"),
        (Some(sessions), Some(leases)) => format!("{} and {}", count(sessions, "session"), count(leases, "lease")),
        (None, _) => "nobody knows how many sessions".to_owned(),
    }
}

/// Why a relay leaves although nobody asks it to, and whether it would stay if somebody did.
pub(super) fn other_cause(status: Option<&RelayStatus>) -> Option<(String, bool)> {
    let cause = status?.drain.as_ref()?.cause.as_str();
    let can_be_kept = matches!(cause, "ScaleDown" | "Rollout" | "Lobby");
    (cause != "Person").then(|| (harmless(cause), can_be_kept))
}

/// From now on until then.
pub(super) fn seconds(at: Timestamp, now: Timestamp) -> i64 {
    at.as_second() - now.as_second()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(labels: &Value, owner: &Value, annotations: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {
            "name": "eu-1", "uid": "u", "labels": labels, "ownerReferences": [owner], "annotations": annotations,
        }}))
        .expect("a Pod")
    }

    fn owner(kind: &str, api_version: &str, controller: bool) -> Value {
        json!({"kind": kind, "apiVersion": api_version, "name": "eu", "uid": "p", "controller": controller})
    }

    fn ours(wish: &Value) -> Pod {
        let labels = json!({"convene.dev/relay-pool": "eu", "convene.dev/relay": "eu-1"});
        pod(&labels, &owner("RelayPool", "convene.dev/v1alpha1", true), &json!({"convene.dev/wish": wish}))
    }

    fn pool(relay: &Value) -> RelayPool {
        let mut status = json!({"name": "eu-1", "podUid": "u", "phase": "Draining"});
        status.as_object_mut().expect("an object").extend(relay.as_object().expect("an object").clone());
        serde_json::from_value(json!({
            "apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool", "metadata": {"name": "eu"},
            "spec": {"lobbyRef": {"name": "meet"}}, "status": {"relays": [status]},
        }))
        .expect("a pool")
    }

    #[test]
    fn only_what_a_pool_owns_is_a_relay() {
        let relay = Relay::of(&ours(&json!("leave"))).expect("a relay");
        assert_eq!((relay.name.as_str(), relay.pool.as_str(), relay.wish), ("eu-1", "eu", Some(Wish::Leave)));
        assert_eq!(Relay::of(&ours(&json!("stay"))).expect("a relay").wish, Some(Wish::Stay));
        assert_eq!(Relay::of(&ours(&json!("whatever"))).expect("a relay").wish, None);
        let right = json!({"convene.dev/relay-pool": "eu", "convene.dev/relay": "eu-1"});
        for (labels, owner) in [
            (json!({}), owner("RelayPool", "convene.dev/v1alpha1", true)),
            (
                json!({"convene.dev/relay-pool": "eu", "convene.dev/relay": "eu-2"}),
                owner("RelayPool", "convene.dev/v1alpha1", true),
            ),
            (
                json!({"convene.dev/relay-pool": "us", "convene.dev/relay": "eu-1"}),
                owner("RelayPool", "convene.dev/v1alpha1", true),
            ),
            (right.clone(), owner("RelayPool", "example.org/v1alpha1", true)),
            (right.clone(), owner("ReplicaSet", "apps/v1", true)),
            (right, owner("RelayPool", "convene.dev/v1alpha1", false)),
        ] {
            let refused = Relay::of(&pod(&labels, &owner, &json!({})));
            assert_eq!(refused, Err(NotARelay("eu-1".to_owned())), "{labels} {owner}");
        }
        assert_eq!(["eu-1", "pod/eu-1", "po/eu-1", "pods/eu-1"].map(name), ["eu-1"; 4]);
    }

    #[test]
    fn a_drain_is_followed_to_its_end() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-01-01T00:00:00Z");
        let leaving = |state: &str, times: &str| Progress::Leaving { state: state.to_owned(), times: times.to_owned() };
        let drain = |more: Value| {
            let mut drain = json!({"cause": "Person", "since": "2026-01-01T00:00:00Z"});
            drain.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            drain
        };
        let pod = ours(&json!("leave"));
        for (relay, expected) in [
            (json!({}), leaving("the operator has not taken it up yet", "")),
            (json!({"drain": drain(json!({}))}), leaving("nobody knows how many sessions", "")),
            (
                json!({"sessions": 7, "leases": 1, "drain": drain(json!({"deadline": "2026-01-01T00:04:50Z", "estimate": "2026-01-01T00:01:00Z"}))}),
                leaving("7 sessions and 1 lease", "goes in 4m50s at the latest, empty in about 60s"),
            ),
            (
                json!({"sessions": 1, "leases": 0, "drain": drain(json!({"leftSeconds": 300}))}),
                leaving("1 session", "its clock stands still with 5m0s left"),
            ),
        ] {
            assert_eq!(progress("u", Some(&pod), Some(&pool(&relay)), now), expected, "{relay}");
        }
        assert_eq!(progress("u", Some(&pod), None, now), leaving("its pool says nothing of it", ""));
        let mut ends = pod.clone();
        ends.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).expect("a time");
        assert_eq!(progress("u", Some(&ends), None, now), leaving("its process ends", ""));
        assert_eq!(progress("u", Some(&ours(&json!("stay"))), None, now), Progress::TakenBack);
        assert_eq!(progress("u", None, None, now), Progress::Gone);
        assert_eq!(
            progress("earlier", Some(&pod), None, now),
            Progress::Gone,
            "another Pod of that name is another relay"
        );
    }

    #[test]
    fn who_else_wants_a_relay_to_leave_is_said() {
        let of = |cause: &str| {
            let pool = pool(&json!({"drain": {"cause": cause, "since": "2026-01-01T00:00:00Z"}}));
            let relay = Relay::of(&ours(&json!(""))).expect("a relay");
            other_cause(relay.status(&pool))
        };
        assert_eq!(of("ScaleDown"), Some(("ScaleDown".to_owned(), true)));
        assert_eq!(of("Node"), Some(("Node".to_owned(), false)));
        assert_eq!(of("Person"), None);
    }
}

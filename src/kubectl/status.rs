//! `kubectl convene status`: what a person asks first of lobbies and pools, from their own statuses alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::relay::seconds;
use super::table::{Table, span};
use crate::api::condition::{ACCEPTED, AVAILABLE, EVALUATION, READY, STALLED, STORE_AVAILABLE};
use crate::api::relay_pool::{LobbyRef, RelayPhase, RelayStatus};
use crate::api::{Lobby, RelayPool};

/// What is not known. Never shown as zero.
const UNKNOWN: &str = "?";
/// What there is none of.
const NONE: &str = "-";
/// Conditions that are fine while they are true, the first cause first.
const SHOULD_HOLD: [&str; 4] = [ACCEPTED, STORE_AVAILABLE, AVAILABLE, READY];
/// Conditions that are fine unless they are true.
const SHOULD_NOT_HOLD: [&str; 2] = [STALLED, EVALUATION];

/// The tables, one below the other; those with nothing in them are left out.
pub(super) fn render(lobbies: &[Lobby], pools: &[RelayPool], namespaces: bool, now: Timestamp) -> String {
    let of = Namespaces(namespaces);
    let mut tables = [
        of.table(&["LOBBY", "READY", "POOLS", "RELAYS", "URL"]),
        of.table(&["POOL", "LOBBY", "REGION", "READY", "RELAYS", "SESSIONS", "SEATS", "FREE"]),
        of.table(&["LEAVING", "CAUSE", "SESSIONS", "LEASES", "GOES IN", "EMPTY IN"]),
        of.table(&["PROBLEM", "WHAT"]),
    ];
    let [lobby_rows, pool_rows, leaving, problems] = &mut tables;
    for lobby in lobbies {
        of.row(lobby_rows, &lobby.metadata, lobby_row(lobby));
        let status = lobby.status.as_ref().map(|status| (status.observed_generation, status.conditions.as_slice()));
        for what in wrong(&lobby.metadata, status) {
            of.row(problems, &lobby.metadata, vec![format!("lobby/{}", lobby.name_any()), what]);
        }
    }
    for pool in pools {
        of.row(pool_rows, &pool.metadata, pool_row(pool));
        let status = pool.status.as_ref().map(|status| (status.observed_generation, status.conditions.as_slice()));
        for what in wrong(&pool.metadata, status) {
            of.row(problems, &pool.metadata, vec![format!("relaypool/{}", pool.name_any()), what]);
        }
        for relay in relays(pool) {
            if let Some(row) = leaving_row(relay, now) {
                of.row(leaving, &pool.metadata, row);
            }
            if let Some(problem) = &relay.problem {
                of.row(problems, &pool.metadata, vec![format!("relay/{}", relay.name), problem.clone()]);
            }
        }
    }
    let shown: Vec<String> = tables.iter().map(Table::render).filter(|text| !text.is_empty()).collect();
    shown.join("\n")
}

/// Whether objects of more than one namespace are shown.
struct Namespaces(bool);

impl Namespaces {
    fn table(&self, head: &[&str]) -> Table {
        let first: &[&str] = if self.0 { &["NAMESPACE"] } else { &[] };
        Table::new(&[first, head].concat())
    }

    fn row(&self, table: &mut Table, meta: &ObjectMeta, cells: Vec<String>) {
        let first = self.0.then(|| meta.namespace.clone().unwrap_or_default());
        table.row(first.into_iter().chain(cells).collect());
    }
}

fn relays(pool: &RelayPool) -> &[RelayStatus] {
    pool.status.as_ref().map_or(&[], |status| &status.relays)
}

fn lobby_row(lobby: &Lobby) -> Vec<String> {
    let status = lobby.status.as_ref();
    let number = |of: Option<i32>| of.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string());
    vec![
        lobby.name_any(),
        ready(status.map_or(&[], |status| &status.conditions)),
        number(status.map(|status| status.pools)),
        number(status.map(|status| status.relays)),
        status.and_then(|status| status.url.clone()).unwrap_or_else(|| NONE.to_owned()),
    ]
}

fn pool_row(pool: &RelayPool) -> Vec<String> {
    let status = pool.status.as_ref();
    let serving = status.map_or_else(|| UNKNOWN.to_owned(), |status| status.ready_replicas.to_string());
    vec![
        pool.name_any(),
        lobby_of(pool.spec.lobby_ref.as_ref(), pool.metadata.namespace.as_deref()),
        status.and_then(|status| status.region.clone()).or_else(|| pool.spec.region.clone()).unwrap_or_default(),
        ready(status.map_or(&[], |status| &status.conditions)),
        format!("{serving}/{}", status.map_or(pool.spec.replicas, |status| status.desired_replicas)),
        status.map_or_else(|| UNKNOWN.to_owned(), |_| sessions(relays(pool))),
        status.map_or_else(|| UNKNOWN.to_owned(), |status| status.capacity.to_string()),
        status.and_then(|_| free(relays(pool))).map_or_else(|| UNKNOWN.to_owned(), |free| free.to_string()),
    ]
}

/// As short as it is clear.
fn lobby_of(lobby: Option<&LobbyRef>, own: Option<&str>) -> String {
    let Some(lobby) = lobby else { return NONE.to_owned() };
    let name = lobby.name.clone().unwrap_or_default();
    match (&lobby.remote, lobby.namespace.as_deref()) {
        (Some(remote), _) => remote.url.clone(),
        (None, Some(namespace)) if Some(namespace) != own => format!("{namespace}/{name}"),
        (None, _) => name,
    }
}

/// How many sessions there are, as far as that is known.
fn sessions(relays: &[RelayStatus]) -> String {
    let known: Vec<i32> = relays.iter().filter_map(|relay| relay.sessions).collect();
    let sum: i32 = known.iter().sum();
    match (known.len() == relays.len(), known.is_empty()) {
        (true, _) => sum.to_string(),
        (false, true) => UNKNOWN.to_owned(),
        (false, false) => format!("{sum}+{UNKNOWN}"),
    }
}

/// Seats that new sessions could take now; none = not known of every relay that serves.
fn free(relays: &[RelayStatus]) -> Option<i32> {
    let serving = relays.iter().filter(|relay| relay.phase == RelayPhase::Ready && relay.drain.is_none());
    serving.map(|relay| Some((relay.capacity - relay.sessions? - relay.leases?).max(0))).sum()
}

fn leaving_row(relay: &RelayStatus, now: Timestamp) -> Option<Vec<String>> {
    let drain = relay.drain.as_ref()?;
    let number = |of: Option<i32>| of.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string());
    let goes = match (&drain.deadline, drain.left_seconds) {
        (Some(deadline), _) => span(seconds(deadline.0, now)),
        (None, Some(left)) => format!("{} (stands still)", span(left)),
        (None, None) => NONE.to_owned(),
    };
    let empty = drain.estimate.as_ref().map_or_else(|| NONE.to_owned(), |at| format!("~{}", span(seconds(at.0, now))));
    Some(vec![relay.name.clone(), drain.cause.clone(), number(relay.sessions), number(relay.leases), goes, empty])
}

fn ready(conditions: &[Condition]) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == READY);
    found.map_or_else(|| UNKNOWN.to_owned(), |condition| condition.status.clone())
}

/// What is not as it should be, by an object's status (the generation that it speaks of, and its conditions).
fn wrong(meta: &ObjectMeta, status: Option<(Option<i64>, &[Condition])>) -> Vec<String> {
    let Some((observed, conditions)) = status else {
        return vec!["no status yet: does an operator run, and look at this namespace?".to_owned()];
    };
    let mut all = Vec::new();
    if let (Some(generation), Some(observed)) = (meta.generation, observed)
        && observed < generation
    {
        all.push(format!("the operator has seen generation {observed} of the spec and not yet {generation}"));
    }
    let find = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    let broken = SHOULD_HOLD.iter().filter_map(|type_| find(type_)).filter(|condition| condition.status != "True");
    let raised = SHOULD_NOT_HOLD.iter().filter_map(|type_| find(type_)).filter(|condition| condition.status == "True");
    // One cause shows in several conditions, with the same words.
    let mut causes: Vec<(&Condition, Vec<&str>)> = Vec::new();
    for condition in broken.chain(raised) {
        let same = causes.iter_mut().find(|(cause, _)| {
            (&cause.status, &cause.reason, &cause.message) == (&condition.status, &condition.reason, &condition.message)
        });
        match same {
            Some((_, types)) => types.push(&condition.type_),
            None => causes.push((condition, vec![&condition.type_])),
        }
    }
    all.extend(causes.into_iter().map(|(Condition { status, reason, message, .. }, types)| {
        format!("{}={status} ({reason}): {message}", types.join(", "))
    }));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"})
    }

    fn lobby(name: &str, status: Option<Value>) -> Lobby {
        let mut lobby = json!({
            "apiVersion": "convene.dev/v1alpha1", "kind": "Lobby",
            "metadata": {"name": name, "namespace": "team", "generation": 2}, "spec": {},
        });
        if let Some(status) = status {
            lobby["status"] = status;
        }
        serde_json::from_value(lobby).expect("a lobby")
    }

    fn pool(name: &str, lobby: &Value, status: Option<Value>) -> RelayPool {
        let mut pool = json!({
            "apiVersion": "convene.dev/v1alpha1", "kind": "RelayPool",
            "metadata": {"name": name, "namespace": "team", "generation": 1},
            "spec": {"lobbyRef": lobby, "region": "eu-west-1", "replicas": 3},
        });
        if let Some(status) = status {
            pool["status"] = status;
        }
        serde_json::from_value(pool).expect("a pool")
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_person_sees_first_what_it_asks_first() {
        let fine = lobby(
            "meet",
            Some(json!({
                "observedGeneration": 2, "url": "https://meet.example.com", "pools": 2, "relays": 4,
                "conditions": [
                    condition(READY, "True", "AsPlanned", "all is as it should be"),
                    condition(EVALUATION, "True", "OpenAccess", "anyone may create sessions"),
                ],
            })),
        );
        let serving = |name: &str, sessions: Value, leases: Value| json!({"name": name, "podUid": name, "phase": "Ready", "capacity": 100, "sessions": sessions, "leases": leases});
        let drained = json!({
            "name": "eu-2", "podUid": "2", "phase": "Draining", "capacity": 100, "sessions": 7, "leases": 0,
            "drain": {"cause": "Person", "since": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:04:50Z", "estimate": "2026-01-01T00:01:30Z"},
        });
        let eu = pool(
            "eu",
            &json!({"name": "meet"}),
            Some(json!({
                "observedGeneration": 1, "region": "eu-west-1", "readyReplicas": 2, "desiredReplicas": 3, "capacity": 200,
                "conditions": [condition(READY, "True", "AsPlanned", "")],
                "relays": [serving("eu-0", json!(30), json!(1)), serving("eu-1", json!(11), json!(0)), drained],
            })),
        );
        let stuck = json!({
            "name": "us-1", "podUid": "1", "phase": "Draining", "problem": "Silent",
            "drain": {"cause": "ScaleDown", "since": "2026-01-01T00:00:00Z", "leftSeconds": 300},
        });
        let message = "1 of 3 relays serves\u{1b}[2J";
        let us = pool(
            "us",
            &json!({"name": "meet", "namespace": "lobbies"}),
            Some(json!({
                "observedGeneration": 0, "region": "us-east1", "readyReplicas": 1, "desiredReplicas": 3, "capacity": 100,
                "conditions": [
                    condition(AVAILABLE, "False", "PartlyAvailable", message),
                    condition(READY, "False", "PartlyAvailable", message),
                ],
                "relays": [serving("us-0", json!(5), json!(null)), stuck],
            })),
        );
        let (new, pools) = (
            lobby("new", None),
            [
                eu,
                us,
                pool(
                    "far",
                    &json!({"remote": {"url": "https://meet.example.net", "credentialSecretRef": {"name": "x"}}}),
                    None,
                ),
            ],
        );
        let shown = render(&[fine.clone(), new], &pools, false, now());
        let expected = "\
LOBBY   READY   POOLS   RELAYS   URL
meet    True    2       4        https://meet.example.com
new     ?       ?       ?        -

POOL   LOBBY                      REGION      READY   RELAYS   SESSIONS   SEATS   FREE
eu     meet                       eu-west-1   True    2/3      48         200     158
us     lobbies/meet               us-east1    False   1/3      5+?        100     ?
far    https://meet.example.net   eu-west-1   ?       ?/3      ?          ?       ?

LEAVING   CAUSE       SESSIONS   LEASES   GOES IN               EMPTY IN
eu-2      Person      7          0        4m50s                 ~90s
us-1      ScaleDown   ?          ?        5m0s (stands still)   -

PROBLEM         WHAT
lobby/meet      Evaluation=True (OpenAccess): anyone may create sessions
lobby/new       no status yet: does an operator run, and look at this namespace?
relaypool/us    the operator has seen generation 0 of the spec and not yet 1
relaypool/us    Available, Ready=False (PartlyAvailable): 1 of 3 relays serves [2J
relay/us-1      Silent
relaypool/far   no status yet: does an operator run, and look at this namespace?
";
        assert_eq!(shown, expected, "{shown}");
        let all = render(&[fine], &[], true, now());
        assert!(all.starts_with("NAMESPACE   LOBBY   READY"), "{all}");
        assert!(all.contains("\nteam        meet    True"), "{all}");
        assert_eq!(render(&[], &[], true, now()), "");
    }
}

//! Conditions on every pass, and what tools that read them conclude.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::api::{Lobby, LobbyStatus, RelayPool, RelayPoolStatus};
use crate::decide::fixtures::{self, NamespaceLabels, at, inputs, published_keys};
use crate::decide::listening::Listening;
use crate::decide::plan::pool::Relays;
use crate::decide::plan::{self, Applied, ChildKind, OperatorConfig, names};
use crate::decide::relays::Sight;
use crate::decide::status::{lobby, pool, waits};
use crate::decide::valid::{self, Invalid, ValidLobby, ValidPool};
use crate::decide::{self, drain, scale};
use crate::wire::stats::RelayReport;

mod what_a_lobby_needs;

const OF_LOBBY: [&str; 8] =
    ["Accepted", "Available", "Progressing", "Ready", "Reconciling", "Stalled", "StoreAvailable", "Evaluation"];
const OF_POOL: [&str; 7] = ["Accepted", "Available", "Progressing", "Ready", "Reconciling", "Stalled", "Draining"];
const REASONS: [Reason; 35] = [
    Reason::AsPlanned,
    Reason::LobbyNotFound,
    Reason::RefNotPermitted,
    Reason::LobbyNotReady,
    Reason::UnknownRegion,
    Reason::SecretInvalid,
    Reason::SecretNotFound,
    Reason::NameConflict,
    Reason::NamespaceNotGranted,
    Reason::Refused,
    Reason::ApiError,
    Reason::DeadlineExceeded,
    Reason::WaitingForPods,
    Reason::PartlyAvailable,
    Reason::NameInZone,
    Reason::ScalingInvalid,
    Reason::RollingOut,
    Reason::Paused,
    Reason::RelaysLeave,
    Reason::OccupancyUnknown,
    Reason::NotReady,
    Reason::NoAddress,
    Reason::KeptByPerson,
    Reason::Maximum,
    Reason::UpWindow,
    Reason::UpStep,
    Reason::DownWindow,
    Reason::DownStep,
    Reason::PoolsAttached,
    Reason::ScaledToZero,
    Reason::StoreAway,
    Reason::MemoryStoreAndOpenAccess,
    Reason::KindNotFound,
    Reason::OpenAccess,
    Reason::Pending,
];

fn hub() -> (Lobby, ValidLobby) {
    hub_with(json!({"memory": {}}))
}

#[expect(clippy::needless_pass_by_value, reason = "a literal is written where it is passed")]
fn hub_with(store: Value) -> (Lobby, ValidLobby) {
    let lobby = fixtures::lobby("here", "hub", json!({"exposure": {"nodePort": {}}, "store": store}));
    let labels = NamespaceLabels::new();
    let valid = valid::lobby(fixtures::lobby_inputs(&lobby, &labels)).expect("valid");
    (Lobby { status: None, ..lobby }, valid)
}

fn relays(replicas: i32) -> (RelayPool, ValidPool) {
    let pool = fixtures::pool("here", "p", json!({"replicas": replicas, "sessionsPerRelay": 7}));
    let lobby = fixtures::lobby("here", "hub", json!({}));
    let valid = valid::pool(&inputs(&pool, Some(&lobby), Some(&published_keys()), &NamespaceLabels::new()));
    (pool, valid.expect("valid"))
}

/// A lobby's Deployment in some state, and whether the lobby has an address.
fn lobby_status(deployment: &Value, url: Option<&str>) -> LobbyStatus {
    let (object, valid) = hub();
    let key = (ChildKind::Deployment, names::lobby("hub"));
    let applied = Applied { children: [(key, deployment.clone())].into(), ..Applied::default() };
    lobby::applied(&object, &valid, url.map(str::to_owned), &applied, &[], at(100))
}

fn config() -> OperatorConfig {
    OperatorConfig {
        image: "i".to_owned(),
        image_pull_policy: "Never".to_owned(),
        operator_namespace: "o".to_owned(),
        api_server_ports: vec![443],
        allow_geoip_from: vec![],
    }
}

/// The first Pods of a pool in these states: (ready, from this spec, leaving).
fn pods(states: &[(bool, bool, bool)]) -> Vec<Pod> {
    let (config, (_, many)) = (config(), relays(64));
    let planned = plan::pool::plan(&many, &Relays::first(&many, 64, &config), &config).pods.into_iter();
    let made = planned.zip(states).map(|(mut pod, (ready, current, leaving))| {
        let observed = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": if *ready { "True" } else { "False" }}]});
        pod.status = serde_json::from_value(observed).expect("a status");
        pod.metadata.uid = pod.metadata.name.as_ref().map(|name| format!("uid-of-{name}"));
        pod.metadata.resource_version = Some("1".to_owned());
        pod.metadata.creation_timestamp = Some(Time(at(90)));
        pod.metadata.deletion_timestamp = leaving.then(|| Time(at(1)));
        if !current {
            pod.metadata.annotations = None;
        }
        pod
    });
    made.collect()
}

/// Status of a pool of `wanted` relays with these pods: (ready, from this spec, leaving).
fn pool_status(wanted: i32, states: &[(bool, bool, bool)]) -> RelayPoolStatus {
    let (object, valid) = relays(wanted);
    passed(&object, &valid, &pods(states), None)
}

/// Status after a pass over these Pods, each heard to be empty.
fn passed(object: &RelayPool, valid: &ValidPool, pods: &[Pod], scaling: Option<&scale::Decision>) -> RelayPoolStatus {
    let planned = Relays::first(valid, 0, &config());
    let urls = urls(pods);
    let mut seen = sees(object, pods, &urls, planned.generation());
    seen.desired = u32::try_from(valid.replicas).expect("small");
    let drains = drain::decide(&seen, at(100));
    let passed =
        pool::Passed { valid, pods, urls: &urls, planned: &planned, desired: seen.desired, drains: &drains, scaling };
    pool::applied(object, passed, at(100))
}

/// What is decided of these Pods where the pool is not accepted.
fn kept(object: &RelayPool, pods: &[Pod]) -> drain::Decision {
    drain::keep(&sees(object, pods, &urls(pods), String::new()), at(100))
}

fn urls(pods: &[Pod]) -> BTreeMap<String, String> {
    pods.iter().map(|pod| (pod.name_any(), format!("ws://{}", pod.name_any()))).collect()
}

/// These Pods, each heard to be empty.
fn sees(object: &RelayPool, pods: &[Pod], urls: &BTreeMap<String, String>, generation: String) -> drain::Pool {
    let heard = pods.iter().map(|pod| {
        let mut listening = Listening::begin(at(95));
        listening.hear(RelayReport::default(), at(98));
        (pod.uid().expect("a UID"), listening)
    });
    let sight =
        Sight { pool: object, pods, nodes: &BTreeMap::new(), heard: &heard.collect(), urls, served: &BTreeSet::new() };
    decide::relays::pool(sight, generation, at(100))
}

fn types(conditions: &[Condition]) -> Vec<&str> {
    conditions.iter().map(|condition| condition.type_.as_str()).collect()
}

fn says(conditions: &[Condition], type_: &str) -> (String, String) {
    let found = conditions.iter().find(|condition| condition.type_ == type_).expect("every condition is set");
    (found.status.clone(), found.reason.clone())
}

fn pair(status: &str, reason: Reason) -> (String, String) {
    (status.to_owned(), reason.as_str().to_owned())
}

/// What kstatus concludes (sigs.k8s.io/cli-utils, `status.Compute`), in its own order: deletion, generation, standard
/// conditions, `Ready`.
fn kstatus<K: kube::Resource, S: serde::Serialize>(object: &K, status: &S) -> &'static str {
    let status = serde_json::to_value(status).expect("a status is JSON");
    if object.meta().deletion_timestamp.is_some() {
        return "Terminating";
    }
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    if observed.is_some() && observed != object.meta().generation {
        return "InProgress";
    }
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    for condition in &conditions {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Reconciling"), Some("True")) => return "InProgress",
            (Some("Stalled"), Some("True")) => return "Failed",
            _ => {}
        }
    }
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
    if ready.is_none_or(|ready| ready["status"] == "True") { "Current" } else { "InProgress" }
}

#[test]
fn every_condition_is_said_on_every_pass_in_one_order() {
    let said = include_str!("../../api/condition.rs").matches("=> \"").count();
    assert_eq!(REASONS.len(), said, "list every Reason here");
    for reason in REASONS {
        let invalid = Invalid { reason, message: "m".to_owned() };
        let ((lobby, _), (pool, _)) = (hub(), relays(1));
        assert_eq!(types(&lobby::invalid(&lobby, &invalid, None, at(1)).conditions), OF_LOBBY);
        assert_eq!(types(&pool::invalid(&pool, &invalid, None, at(1)).conditions), OF_POOL);
    }
    assert_eq!(types(&lobby_status(&json!({}), None).conditions), OF_LOBBY);
    assert_eq!(types(&pool_status(1, &[]).conditions), OF_POOL);
    for condition in lobby_status(&json!({}), None).conditions.iter().chain(&pool_status(1, &[]).conditions) {
        assert!(!condition.reason.is_empty() && !condition.message.is_empty(), "{condition:?}");
        assert_eq!(condition.observed_generation, Some(1), "{condition:?}");
    }
}

#[test]
fn a_refused_object_waits_or_needs_a_person_never_both() {
    for reason in REASONS {
        let invalid = Invalid { reason, message: "m".to_owned() };
        let (pool, _) = relays(1);
        let status = pool::invalid(&pool, &invalid, None, at(1));
        let flag = |yes: bool| if yes { "True" } else { "False" };
        assert_eq!(says(&status.conditions, "Accepted"), pair("False", reason));
        assert_eq!(says(&status.conditions, "Ready"), pair("False", reason));
        assert_eq!(says(&status.conditions, "Reconciling"), pair(flag(waits(reason)), reason));
        assert_eq!(says(&status.conditions, "Stalled"), pair(flag(!waits(reason)), reason));
        assert_eq!(says(&status.conditions, "Available"), pair("Unknown", Reason::Pending));
        assert_eq!(kstatus(&pool, &status), if waits(reason) { "InProgress" } else { "Failed" }, "{reason:?}");
    }
}

#[test]
fn a_refused_object_of_which_nothing_can_be_read_keeps_what_was_observed() {
    let (mut pool, _) = relays(2);
    let good = pool_status(2, &[(true, true, false), (true, true, false)]);
    pool.status = Some(good.clone());
    pool.metadata.generation = Some(2);
    let refused =
        pool::invalid(&pool, &Invalid { reason: Reason::NameConflict, message: "m".to_owned() }, None, at(900));
    assert_eq!((&refused.relays, refused.capacity, refused.ready_replicas), (&good.relays, 14, 2));
    assert_eq!(says(&refused.conditions, "Available"), pair("True", Reason::AsPlanned));
    assert_eq!(refused.observed_generation, Some(2));
    let (mut lobby, _) = hub();
    lobby.status =
        Some(LobbyStatus { url: Some("http://a".to_owned()), pools: 3, relays: 4, ..LobbyStatus::default() });
    let refused =
        lobby::invalid(&lobby, &Invalid { reason: Reason::SecretInvalid, message: "m".to_owned() }, None, at(900));
    assert_eq!((refused.url.as_deref(), refused.pools, refused.relays), (Some("http://a"), 3, 4));
}

#[test]
fn a_refused_pool_says_whether_the_relays_that_it_has_serve() {
    let (on, down, leaving) = ((true, true, false), (false, true, false), (true, true, true));
    let (mut pool, _) = relays(2);
    pool.status = Some(pool_status(2, &[on, on]));
    let refused = Invalid { reason: Reason::LobbyNotFound, message: "m".to_owned() };
    // What is there now → Available; how many relays are shown, stay, and serve.
    let table: [(&[_], _, _); 6] = [
        (&[on, on], pair("True", Reason::AsPlanned), (2, 2, 2)),
        (&[down, on], pair("True", Reason::PartlyAvailable), (2, 2, 1)),
        (&[on], pair("True", Reason::AsPlanned), (1, 1, 1)),
        (&[down, leaving], pair("False", Reason::WaitingForPods), (2, 1, 0)),
        (&[leaving], pair("False", Reason::WaitingForPods), (1, 0, 0)),
        (&[], pair("False", Reason::WaitingForPods), (0, 0, 0)),
    ];
    for (states, available, numbers) in table {
        let status = pool::invalid(&pool, &refused, Some(&kept(&pool, &pods(states))), at(900));
        let shown = i32::try_from(status.relays.len()).expect("few");
        assert_eq!((shown, status.replicas, status.ready_replicas), numbers, "{states:?}");
        assert_eq!(status.capacity, 7 * status.ready_replicas);
        assert_eq!(says(&status.conditions, "Available"), available, "{states:?}");
        assert_eq!(says(&status.conditions, "Ready"), pair("False", Reason::LobbyNotFound));
        // It stays said, also once nothing is left to look at.
        let later = RelayPool { status: Some(status.clone()), ..pool.clone() };
        assert_eq!(pool::invalid(&later, &refused, Some(&kept(&pool, &pods(states))), at(950)), status, "{states:?}");
    }
    // Somebody else's Pod of the same name is no relay of before.
    let mut other = pods(&[on]);
    other[0].metadata.uid = Some("another".to_owned());
    assert_eq!(pool::invalid(&pool, &refused, Some(&kept(&pool, &other)), at(900)).relays, vec![]);
    // A pool that was never accepted has nothing to be said of.
    let (fresh, _) = relays(2);
    let status = pool::invalid(&fresh, &refused, Some(&kept(&fresh, &[])), at(900));
    assert_eq!(says(&status.conditions, "Available"), pair("Unknown", Reason::Pending));
}

#[test]
fn a_refused_lobby_says_whether_its_pod_answers() {
    let (mut lobby, _) = hub();
    let refused = Invalid { reason: Reason::SecretInvalid, message: "m".to_owned() };
    let told = |lobby: &Lobby, standing: Option<&Value>| {
        let standing: Option<Deployment> =
            standing.map(|deployment| serde_json::from_value(deployment.clone()).expect("a Deployment"));
        says(&lobby::invalid(lobby, &refused, Some(standing.as_ref()), at(900)).conditions, "Available")
    };
    assert_eq!(told(&lobby, None), pair("Unknown", Reason::Pending), "never accepted");
    lobby.status = Some(lobby_status(&rolled(1, (1, 1), (1, 1, 1)), Some("http://a")));
    assert_eq!(told(&lobby, Some(&rolled(1, (1, 1), (1, 1, 1)))), pair("True", Reason::AsPlanned));
    assert_eq!(told(&lobby, Some(&rolled(1, (1, 1), (1, 1, 0)))), pair("False", Reason::WaitingForPods));
    assert_eq!(told(&lobby, None), pair("False", Reason::WaitingForPods), "somebody deleted it");
}

#[test]
fn transition_time_moves_only_with_the_status() {
    let (mut pool, _) = relays(1);
    let refuse = |pool: &RelayPool, reason, message: &str, now| {
        pool::invalid(pool, &Invalid { reason, message: message.to_owned() }, None, now).conditions
    };
    let time = |conditions: &[Condition], type_: &str| {
        conditions.iter().find(|c| c.type_ == type_).expect("it is set").last_transition_time.0
    };
    // The API server keeps whole seconds.
    let first = refuse(&pool, Reason::LobbyNotFound, "a", at(100) + jiff::SignedDuration::from_millis(700));
    assert_eq!(time(&first, "Accepted"), at(100));
    pool.status = Some(RelayPoolStatus { conditions: first.clone(), ..RelayPoolStatus::default() });
    assert_eq!(refuse(&pool, Reason::LobbyNotFound, "a", at(200)), first, "nothing new is said");
    let other = refuse(&pool, Reason::LobbyNotReady, "b", at(200));
    assert_eq!(time(&other, "Accepted"), at(100), "another reason is no transition");
    assert_eq!(says(&other, "Accepted"), pair("False", Reason::LobbyNotReady));
    let stalled = refuse(&pool, Reason::NameConflict, "c", at(300));
    assert_eq!((time(&stalled, "Accepted"), time(&stalled, "Stalled")), (at(100), at(300)));
}

/// A lobby's Deployment of `wanted` pods: (generation, the one that its controller saw), (pods, of this spec, available).
fn rolled(wanted: i32, generations: (i64, i64), pods: (i32, i32, i32)) -> Value {
    json!({"metadata": {"generation": generations.0},
        "spec": {"replicas": wanted, "selector": {}, "template": {}},
        "status": {"observedGeneration": generations.1, "replicas": pods.0, "updatedReplicas": pods.1,
            "availableReplicas": pods.2}})
}

#[test]
fn a_lobby_is_available_while_it_answers_and_progresses_while_it_is_rolled_out() {
    let url = Some("http://a");
    let table = [
        (json!({}), url, ("False", "True", "False"), "InProgress"),
        (rolled(1, (1, 1), (1, 1, 0)), url, ("False", "True", "False"), "InProgress"),
        (rolled(1, (1, 1), (1, 1, 1)), None, ("False", "True", "False"), "InProgress"),
        (rolled(1, (1, 1), (1, 1, 1)), url, ("True", "False", "True"), "Current"),
        // An upgrade of a lobby that is replaced: applied, the old pod answers still; it is told to leave; none is
        // left; the next one starts; it answers.
        (rolled(1, (2, 1), (1, 1, 1)), url, ("True", "True", "True"), "InProgress"),
        (rolled(1, (2, 2), (1, 0, 1)), url, ("True", "True", "True"), "InProgress"),
        (rolled(1, (2, 2), (0, 0, 0)), url, ("False", "True", "False"), "InProgress"),
        (rolled(1, (2, 2), (1, 1, 0)), url, ("False", "True", "False"), "InProgress"),
        (rolled(1, (2, 2), (1, 1, 1)), url, ("True", "False", "True"), "Current"),
        // An upgrade pod by pod: it answers all the time.
        (rolled(2, (2, 2), (3, 1, 2)), url, ("True", "True", "True"), "InProgress"),
        (rolled(2, (2, 2), (3, 2, 2)), url, ("True", "True", "True"), "InProgress"),
        (rolled(2, (2, 2), (2, 2, 1)), url, ("True", "True", "True"), "InProgress"),
        (rolled(2, (2, 2), (2, 2, 2)), url, ("True", "False", "True"), "Current"),
    ];
    for (deployment, url, expected, verdict) in table {
        let status = lobby_status(&deployment, url);
        let told = ["Available", "Progressing", "Ready"].map(|type_| says(&status.conditions, type_).0);
        assert_eq!((told[0].as_str(), told[1].as_str(), told[2].as_str()), expected, "{deployment} {url:?}");
        assert_eq!(kstatus(&hub().0, &status), verdict, "{deployment} {url:?}");
        assert_eq!(says(&status.conditions, "Evaluation"), pair("True", Reason::MemoryStoreAndOpenAccess));
    }
    let partly = lobby_status(&rolled(2, (1, 1), (2, 2, 1)), url);
    assert_eq!(says(&partly.conditions, "Available"), pair("True", Reason::PartlyAvailable));
}

#[test]
fn a_pool_says_how_many_relays_serve() {
    let (on, starting, old, leaving) =
        ((true, true, false), (false, true, false), (true, false, false), (true, true, true));
    let table: [(i32, &[_], _, _, _); 8] = [
        (0, &[], pair("False", Reason::ScaledToZero), pair("True", Reason::ScaledToZero), "Current"),
        (1, &[], pair("False", Reason::WaitingForPods), pair("False", Reason::WaitingForPods), "InProgress"),
        (1, &[starting], pair("False", Reason::WaitingForPods), pair("False", Reason::WaitingForPods), "InProgress"),
        (1, &[leaving], pair("False", Reason::WaitingForPods), pair("False", Reason::WaitingForPods), "InProgress"),
        (
            2,
            &[on, starting],
            pair("True", Reason::PartlyAvailable),
            pair("True", Reason::PartlyAvailable),
            "InProgress",
        ),
        (2, &[on, on], pair("True", Reason::AsPlanned), pair("True", Reason::AsPlanned), "Current"),
        (1, &[on, leaving], pair("True", Reason::AsPlanned), pair("True", Reason::AsPlanned), "Current"),
        (1, &[old], pair("True", Reason::AsPlanned), pair("True", Reason::AsPlanned), "InProgress"),
    ];
    for (wanted, pods, available, ready, verdict) in table {
        let status = pool_status(wanted, pods);
        assert_eq!(says(&status.conditions, "Available"), available, "{wanted} {pods:?}");
        assert_eq!(says(&status.conditions, "Ready"), ready, "{wanted} {pods:?}");
        assert_eq!(kstatus(&relays(wanted).0, &status), verdict, "{wanted} {pods:?}");
        assert_eq!(status.capacity, 7 * status.ready_replicas);
        assert_eq!(status.relays.len(), pods.len(), "leaving relays are shown too");
    }
    assert_eq!(says(&pool_status(1, &[old]).conditions, "Progressing"), pair("True", Reason::RollingOut));
}

#[test]
fn a_newer_spec_and_a_deletion_are_seen_by_tools() {
    let (mut pool, _) = relays(1);
    let status = pool_status(1, &[(true, true, false)]);
    assert_eq!(kstatus(&pool, &status), "Current");
    pool.metadata.generation = Some(2);
    assert_eq!(kstatus(&pool, &status), "InProgress");
    pool.metadata.deletion_timestamp = Some(Time(at(5)));
    assert_eq!(kstatus(&pool, &status), "Terminating");
}

#[test]
fn relays_stand_in_order_of_their_ordinals_and_within_bounds() {
    let status = pool_status(64, &[(true, true, false); 64]);
    let names: Vec<&str> = status.relays.iter().map(|relay| relay.name.as_str()).collect();
    assert_eq!((names.len(), names[2], names[10], names[63]), (64, "p-2", "p-10", "p-63"));
    let selector = names::selector_text(&names::pool_selector("p"));
    assert_eq!((status.replicas, status.selector), (64, Some(selector)));
}

#[test]
fn a_message_without_end_is_cut() {
    let (pool, _) = relays(1);
    let invalid = Invalid { reason: Reason::Refused, message: "é".repeat(40_000) };
    let status = pool::invalid(&pool, &invalid, None, at(1));
    assert!(status.conditions.iter().all(|condition| condition.message.len() <= 32_768));
}

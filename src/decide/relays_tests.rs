//! What a pool's relays count as, from what the cluster and they themselves say.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::decide::fixtures::{self, at};
use crate::wire::stats::{RelayReport, RelayStats};

/// What is seen, of one relay `p-0` on node `n`.
struct Scene {
    pool: RelayPool,
    pod: Pod,
    node: Option<Node>,
    heard: Option<Listening>,
    url: bool,
    served: bool,
}

impl Scene {
    fn new() -> Self {
        let pod = json!({
            "metadata": {"name": "p-0", "uid": "u", "resourceVersion": "7", "creationTimestamp": "1970-01-01T00:00:10Z",
                "labels": {"convene.dev/occupied": "true"}, "annotations": {"convene.dev/generation": "g"}},
            "spec": {"nodeName": "n", "containers": [{"name": "relay", "env": [{"name": "CONVENE_CAPACITY", "value": "7"}]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:20Z"}]},
        });
        Self {
            pool: fixtures::pool("here", "p", json!({})),
            pod: serde_json::from_value(pod).expect("a Pod"),
            node: Some(node(json!({}))),
            heard: None,
            url: true,
            served: true,
        }
    }

    fn with_status(mut self, status: Value) -> Self {
        self.pod.status = Some(serde_json::from_value(status).expect("a status"));
        self
    }

    fn seen(&self) -> drain::Pool {
        self.look(|sight| pool(sight, "g".to_owned(), at(100)))
    }

    fn relay(&self) -> Relay {
        self.seen().relays.remove(0)
    }

    fn load(&self) -> scale::Relay {
        self.look(|sight| load(sight, &pool(sight, "g".to_owned(), at(100)), None, at(100)).relays.remove(0))
    }

    fn look<T>(&self, look: impl FnOnce(Sight<'_>) -> T) -> T {
        let nodes = self.node.iter().map(|node| ("n".to_owned(), node.clone())).collect();
        let heard = self.heard.iter().map(|heard| ("u".to_owned(), heard.clone())).collect();
        let urls = self.url.then(|| ("p-0".to_owned(), "ws://a".to_owned())).into_iter().collect();
        let served = self.served.then(|| "u".to_owned()).into_iter().collect();
        let pods = [self.pod.clone()];
        look(Sight { pool: &self.pool, pods: &pods, nodes: &nodes, heard: &heard, urls: &urls, served: &served })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a literal is written where it is passed")]
fn node(spec: Value) -> Node {
    let status = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    serde_json::from_value(json!({"metadata": {"name": "n"}, "spec": spec, "status": status})).expect("a Node")
}

fn sick(ready: &str) -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "1970-01-01T00:01:00Z"}]})
}

#[test]
fn a_relay_serves_once_it_is_ready_and_has_an_address() {
    let starting = Health::Starting { since: at(10) };
    assert_eq!(Scene::new().relay().health, Health::Serving);
    assert_eq!(Scene { url: false, served: false, ..Scene::new() }.relay().health, starting);
    assert_eq!(Scene { served: false, ..Scene::new() }.relay().health, Health::Serving);
    let lost_address = Scene { url: false, ..Scene::new() };
    assert_eq!(lost_address.relay().health, Health::Serving, "its address may come back; its sessions are there");
    let never = Scene { served: false, ..Scene::new() }.with_status(sick("False"));
    assert_eq!(never.relay().health, starting, "what was never ready is not sick");
}

#[test]
fn a_relay_that_served_is_sick_for_the_reason_that_the_cluster_has() {
    let of = |why| Health::Sick { since: at(60), why };
    let scene = || Scene::new().with_status(sick("False"));
    assert_eq!(scene().relay().health, of(Sickness::NotReady));
    let mut crashing = sick("False");
    crashing["containerStatuses"] = json!([{"name": "relay", "image": "", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
    assert_eq!(Scene::new().with_status(crashing).relay().health, of(Sickness::CrashLoop));
    let mut lost = node(json!({}));
    lost.status = serde_json::from_value(json!({"conditions": [{"type": "Ready", "status": "Unknown"}]})).expect("one");
    assert_eq!(Scene { node: Some(lost), ..scene() }.relay().health, of(Sickness::NodeNotReady));
    assert_eq!(Scene { node: None, ..scene() }.relay().health, Health::Over(Sickness::NodeGone));
    let unseen = Scene { node: None, ..Scene::new() };
    assert_eq!(unseen.relay().health, Health::Serving, "a node that is not known yet takes nothing from a ready relay");
    for phase in ["Failed", "Succeeded"] {
        let over = Scene::new().with_status(json!({"phase": phase}));
        assert_eq!(over.relay().health, Health::Over(Sickness::PodFailed));
        assert_eq!(over.load().phase, scale::Phase::Failed);
    }
    // Sick for 40 s, which is more than a moment.
    assert_eq!(scene().load().phase, scale::Phase::Failed);
}

#[test]
fn a_node_that_is_to_be_empty_and_a_person_ask_a_relay_to_leave() {
    assert_eq!(Scene::new().relay().asked, Asked::default());
    let cordoned = Scene { node: Some(node(json!({"unschedulable": true}))), ..Scene::new() };
    assert!(cordoned.relay().asked.node);
    for key in LEAVING_TAINTS {
        let taints = json!({"taints": [{"key": key, "effect": "NoSchedule"}]});
        assert!(Scene { node: Some(node(taints)), ..Scene::new() }.relay().asked.node, "{key}");
    }
    let other = Scene { node: Some(node(json!({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}))), ..Scene::new() };
    assert!(!other.relay().asked.node, "a taint that relays tolerate, or that came later, is nobody's order");
    for (wish, expected) in [("leave", Some(Wish::Leave)), ("stay", Some(Wish::Stay)), ("", None), ("go", None)] {
        let mut scene = Scene::new();
        scene.pod.annotations_mut().insert(ANNOTATION_WISH.to_owned(), wish.to_owned());
        assert_eq!(scene.relay().asked.person, expected, "{wish}");
    }
}

#[test]
fn what_was_not_heard_is_not_known() {
    let silent = Scene::new();
    assert!(matches!(silent.relay().occupancy, Occupancy::Unknown { heard: None, .. }));
    assert_eq!(silent.load().occupancy, scale::Occupancy::Unknown { last: None });
    let mut listening = Listening::begin(at(90));
    let stats = RelayStats { capacity: 7, sessions: 2, leases: 1, ..RelayStats::default() };
    listening.hear(RelayReport { stats, cordon: Some(3), highest: 4, asked: false }, at(99));
    let heard = Scene { heard: Some(listening), ..Scene::new() };
    let Occupancy::Known(report) = heard.relay().occupancy else { panic!("it was heard") };
    assert_eq!((report.sessions, report.leases, report.cordon, report.highest), (2, 1, Some(3), 4));
    assert_eq!(heard.load().occupancy, scale::Occupancy::Known { sessions: 2, leases: 1 });
    assert_eq!((heard.load().seats, heard.load().phase), (7, scale::Phase::Serving));
}

#[test]
fn what_the_lobby_has_ordered_is_told_by_the_relay_and_else_by_the_drain_that_it_began() {
    let said = |asked, seconds| {
        let mut listening = Listening::begin(at(90));
        let stats = RelayStats { capacity: 7, sessions: 1, ..RelayStats::default() };
        listening.hear(RelayReport { stats, asked, ..RelayReport::default() }, at(seconds));
        Some(listening)
    };
    let drain = |cause: &str| {
        let drain = json!({"cause": cause, "since": "1970-01-01T00:00:30.000000Z", "clock": {"state": "ahead"}});
        Some(json!({"number": 2, "drain": drain}))
    };
    // It is 100 s: a report of 94 s is too old, one of 97 s is not.
    for (heard, note, expected, why) in [
        (said(true, 97), None, true, "it says so"),
        (said(false, 97), None, false, "it says so"),
        (said(false, 97), drain("Lobby"), false, "taken back"),
        (said(true, 97), drain("Person"), true, "beside another cause"),
        (None, None, false, "not known: none is begun"),
        (None, drain("Lobby"), true, "not known: none is given up"),
        (None, drain("Person"), false, "not known: nothing of the lobby's is there"),
        (said(true, 94), None, false, "silent since: none is begun"),
        (said(false, 94), drain("Lobby"), true, "silent since: none is given up"),
        (said(true, 94), drain("Lobby"), true, "silent since: it goes on"),
    ] {
        let mut scene = Scene { heard, ..Scene::new() };
        scene.pod.annotations_mut().extend(note.map(|note| (ANNOTATION_DRAIN.to_owned(), note.to_string())));
        assert_eq!(scene.relay().asked, Asked { lobby: expected, ..Asked::default() }, "{why}");
        let leaves = expected || scene.relay().note.drain.is_some();
        assert_eq!(scene.load().phase == scale::Phase::Leaving, leaves, "{why}");
    }
}

#[test]
fn what_drains_is_no_capacity_any_more() {
    let mut scene = Scene::new();
    scene.pod.metadata.deletion_timestamp = Some(Time(at(50)));
    assert_eq!(scene.load().phase, scale::Phase::Leaving);
    let mut scene = Scene::new();
    let drain = json!({"number": 2, "drain": {"cause": "Person", "since": "1970-01-01T00:00:30.000000Z", "clock": {"state": "ahead"}}});
    scene.pod.annotations_mut().insert(ANNOTATION_DRAIN.to_owned(), drain.to_string());
    assert_eq!((scene.load().phase, scene.relay().note.number), (scale::Phase::Leaving, 2));
}

#[test]
fn foreign_pods_are_none_of_its_relays() {
    for name in ["p", "p-x", "q-0", "pp-0", "p-0-1"] {
        let mut scene = Scene::new();
        scene.pod.metadata.name = Some(name.to_owned());
        assert_eq!(scene.seen().relays, vec![], "{name}");
    }
}

#[test]
fn times_of_causes_and_bounds_come_from_the_spec() {
    let scene = |spec: Value| Scene { pool: fixtures::pool("here", "p", spec), ..Scene::new() }.seen();
    let plain = scene(json!({"replicas": 3}));
    assert_eq!((plain.surge, plain.paused, plain.deletion, plain.ordinals), (1, false, None, 7));
    assert_eq!(
        (plain.policy.scale_down, plain.policy.person),
        (SignedDuration::from_secs(300), SignedDuration::from_secs(300))
    );
    let causes = json!({"timeoutSeconds": 20, "causes": {"rolloutSeconds": 4000, "nodeSeconds": 0}});
    let policy = scene(json!({"drain": causes})).policy;
    let seconds = |duration: SignedDuration| duration.as_secs();
    assert_eq!((seconds(policy.rollout), seconds(policy.node), seconds(policy.deletion)), (4000, 0, 20));
    let balanced = json!({"replicas": 3, "exposure": {"loadBalancer": {}}, "rollout": {"surge": 2}});
    let seen = scene(balanced.clone());
    assert_eq!(seen.ordinals, 5);
    let spec = fixtures::pool("here", "p", balanced).spec;
    assert_eq!(addressed(&spec, &seen, &BTreeSet::new()), (0..5).collect(), "a balancer takes minutes");
    let spec = fixtures::pool("here", "p", json!({"replicas": 3})).spec;
    assert_eq!(addressed(&spec, &plain, &[4].into()), [0, 4].into());
    let most = scene(json!({"scaling": {"maxReplicas": 60}, "rollout": {"surge": 9, "paused": true}}));
    assert_eq!((most.ordinals, most.paused), (64, true));
    let mut gone = fixtures::pool("here", "p", json!({"deletionPolicy": "Now"}));
    gone.metadata.deletion_timestamp = Some(Time(at(50)));
    assert_eq!(Scene { pool: gone, ..Scene::new() }.seen().deletion, Some(Deletion::Now));
}

#[test]
fn relays_of_another_image_hand_nothing_over_and_refuse_where_they_can_be_told() {
    let of = |interval: i32, drain: Value| {
        let metrics = json!({"sessions": "rooms", "intervalSeconds": interval});
        let server = json!({"custom": {"image": "i", "port": 80, "metrics": metrics, "drain": drain}});
        let spec = json!({"lobbyRef": null, "server": server});
        let seen = Scene { pool: fixtures::pool("here", "p", spec), ..Scene::new() }.seen();
        (seen.hands_over, seen.refuses, seen.policy.silent_after.as_secs())
    };
    let ours = Scene::new().seen();
    assert_eq!((ours.hands_over, ours.refuses, ours.policy.silent_after.as_secs()), (true, true, 60));
    assert_eq!(of(5, json!({"path": "/drain"})), (false, true, 60));
    assert_eq!(of(60, json!(null)), (false, false, 180), "not sooner than it can be told");
}

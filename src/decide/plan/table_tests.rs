//! What a lobby is told about each state of a relay.

use serde_json::{Value, json};

use super::*;
use crate::decide::fixtures::{self, NamespaceLabels};
use crate::decide::valid::{self, LobbyInputs};

fn table(pools: Vec<RelayPool>) -> RelayTable {
    let lobby = fixtures::lobby("here", "hub", json!({}));
    let labels = NamespaceLabels::new();
    let inputs = LobbyInputs { pools, ..fixtures::lobby_inputs(&lobby, &labels) };
    compile(&valid::lobby(inputs).expect("valid"), None, &ClusterIssuer::default())
}

fn pool(name: &str, status: Value) -> RelayPool {
    let mut pool = fixtures::pool("here", name, json!({}));
    pool.status = serde_json::from_value(status).expect("a status");
    pool
}

#[expect(clippy::needless_pass_by_value, reason = "a literal is written where it is passed")]
fn placed(relays: Value) -> Value {
    json!({"region": "r", "location": {"latitude": 1.0, "longitude": 2.0}, "relays": relays})
}

fn relay(phase: &str, url: Option<&str>, capacity: i32) -> Value {
    let served = "2026-01-01T00:00:00Z";
    json!({"name": "p-0", "podUid": "u", "phase": phase, "capacity": capacity, "url": url, "servedSince": served})
}

#[test]
fn only_a_relay_that_has_served_takes_sessions_and_one_that_leaves_gives_them_away() {
    let mut starting = relay("Pending", Some("ws://a"), 5);
    starting["servedSince"] = Value::Null;
    // A relay → cordoned, leaving, seats.
    let table_of = [
        (relay("Ready", Some("ws://a"), 5), Some((false, false, 5))),
        // It is in the table before it is ready, so that its link is taken.
        (starting, Some((true, false, 5))),
        // A moment of sickness; the link tells whether it can be used.
        (relay("Pending", Some("ws://a"), 5), Some((false, false, 5))),
        (relay("Pending", None, 5), Some((true, false, 5))),
        (relay("Ready", None, 5), Some((true, false, 5))),
        (relay("Draining", Some("ws://a"), 5), Some((true, true, 5))),
        (relay("Failed", Some("ws://a"), 5), Some((true, false, 5))),
        (relay("Ready", Some("ws://a"), 0), Some((false, false, 0))),
        // No seats can be less than none.
        (relay("Ready", Some("ws://a"), -1), None),
    ];
    for (status, expected) in table_of {
        let table = table(vec![pool("p", placed(json!([status])))]);
        let relays = &table.pools[0].relays;
        let told = relays.first().map(|relay| (relay.cordoned, relay.leaving, relay.capacity));
        assert_eq!(told, expected, "{status}");
    }
}

#[test]
fn a_pool_without_a_place_is_left_out_and_the_rest_keeps_its_order() {
    let pools = vec![
        pool("c", placed(json!([]))),
        pool("b", json!(null)),
        pool("d", json!({"relays": [relay("Ready", Some("ws://a"), 5)]})),
        pool("a", placed(json!([relay("Ready", Some("ws://a"), 5)]))),
    ];
    let names: Vec<String> = table(pools).pools.into_iter().map(|pool| pool.name).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn relays_of_a_pool_that_is_being_deleted_stay_until_their_sessions_have_gone() {
    let mut leaving = pool("p", placed(json!([relay("Ready", Some("ws://a"), 5)])));
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    let relay = table(vec![leaving]).pools.remove(0).relays.remove(0);
    assert!(relay.cordoned && relay.leaving, "{relay:?}");
}

#[test]
fn the_table_survives_its_own_json() {
    let table = table(vec![pool("p", placed(json!([relay("Ready", Some("ws://a"), 5)])))]);
    let text = serde_json::to_string(&table).expect("JSON");
    assert_eq!(serde_json::from_str::<RelayTable>(&text).expect("a table"), table);
    assert_eq!((table.lobby_uid.as_str(), table.url.as_str()), ("uid-of-hub", ""));
}

#[test]
fn settings_of_routing_reach_the_lobby_and_none_leave_the_table_as_it_was() {
    let of = |spec: Value| {
        let (lobby, labels) = (fixtures::lobby("here", "hub", spec), NamespaceLabels::new());
        let inputs = LobbyInputs { pools: vec![], ..fixtures::lobby_inputs(&lobby, &labels) };
        compile(&valid::lobby(inputs).expect("valid"), None, &ClusterIssuer::default())
    };
    for nothing in [json!({}), json!({"routing": {}})] {
        let told = serde_json::to_value(of(nothing)).expect("JSON");
        assert_eq!(told.get("routing"), None);
    }
    let spec = json!({"routing": {
        "strategy": "Average", "overflow": "Never", "inside": "Spread",
        "caps": [{"atMostMilliseconds": 50, "forSeconds": 10}],
        "regions": [{"name": "a", "residency": "eu", "priority": 1, "distancePercent": 150}, {"name": "b"}],
    }});
    let told = serde_json::to_value(of(spec)).expect("JSON");
    let expected = json!({
        "strategy": "Average", "overflow": "Never", "inside": "Spread", "caps": [{"atMostMs": 50, "forSeconds": 10}],
        "regions": [
            {"name": "a", "residency": "eu", "priority": 1, "distancePercent": 150},
            {"name": "b", "priority": 0, "distancePercent": 100},
        ],
    });
    assert_eq!(told["routing"], expected);
    // A lobby of a later version may be told less.
    let less: RelayTable = serde_json::from_value(json!({
        "lobbyUid": "l", "url": "", "cluster": {"issuer": "i", "jwks": null}, "pools": [], "routing": {"overflow": "Never"},
    }))
    .expect("read");
    assert!(!less.routing.is_default());
}

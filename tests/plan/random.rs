//! Random objects. Overrides also hold keys that the API server refuses: a plan must not depend on it.

use convene::api::common::EnvLiteral;
use convene::api::{Lobby, PodOverrides, RelayPool};
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use serde_json::{Value, json};

use crate::examples::complete;

/// A name as the API server takes it; now and then of full length.
pub(crate) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]([-a-z0-9]{0,6}[a-z0-9])?",
        1 => "[a-z][-a-z0-9]{48}[a-z0-9]",
    ]
}

/// Names that look like those of children, so that they meet.
pub(crate) fn colliding_name() -> impl Strategy<Value = String> {
    "(a|lobby|relays)(-(a|0|1|12|lobby|keys|relays)){0,3}"
}

/// A lobby of a given name.
pub(crate) fn lobby(name: impl Strategy<Value = String>) -> impl Strategy<Value = Lobby> {
    (name, exposure(), store(), tls(), overrides()).prop_map(|(name, exposure, store, tls, template)| {
        // The API server takes no longer name with a Redis of the lobby's own.
        let store = if name.len() > 40 { json!({"memory": {}}) } else { store };
        let spec = json!({"exposure": exposure, "store": store, "tls": tls, "template": template});
        let spec = serde_json::from_value(spec).expect("a spec");
        complete(Lobby::new(&name, spec), 1)
    })
}

/// A pool of a given name, for the lobby `hub` or of another image.
pub(crate) fn pool(name: impl Strategy<Value = String>) -> impl Strategy<Value = RelayPool> {
    (name, 0..5_i32, 1..=10_000_i32, 0..600_i32, exposure(), software(), overrides()).prop_map(
        |(name, replicas, seats, drain, exposure, (lobby, server, tls), template)| {
            let spec = json!({
                "lobbyRef": lobby, "region": "eu-west-1", "replicas": replicas, "sessionsPerRelay": seats, "server": server,
                "drain": {"timeoutSeconds": drain}, "exposure": exposure, "tls": tls, "template": template,
            });
            complete(RelayPool::new(&name, serde_json::from_value(spec).expect("a spec")), 1)
        },
    )
}

/// Lobby, server and TLS.
fn software() -> impl Strategy<Value = (Value, Value, Value)> {
    let metrics = json!({"sessions": "rooms", "port": 9100});
    let custom = json!({"custom": {"image": "other:1", "port": 1234, "metrics": metrics}});
    prop_oneof![
        tls().prop_map(|tls| (json!({"name": "hub"}), json!({"convene": {}}), tls)),
        Just((json!(null), custom, json!(null))),
    ]
}

fn store() -> impl Strategy<Value = Value> {
    let storage = json!({"size": "5Gi", "className": "fast"});
    let resources = json!({"limits": {"memory": "1Gi"}});
    prop_oneof![
        Just(json!({"memory": {}})),
        Just(json!({"redis": {"secretRef": {"name": "redis"}}})),
        Just(json!({"redis": {"managed": {"image": "redis:7", "storage": storage, "resources": resources}}})),
    ]
}

fn tls() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!(null)), Just(json!({"secretName": "mine"}))]
}

fn exposure() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"internal": {}})),
        Just(json!({"nodePort": {}})),
        Just(json!({"loadBalancer": {"annotations": {"a": "b", "convene.dev/plan": "mine"}}})),
        Just(json!({"ingress": {"domain": "example.com", "annotations": {"convene.dev/plan": "mine"}}})),
    ]
}

fn overrides() -> impl Strategy<Value = PodOverrides> {
    let label = prop_oneof![
        Just("app.kubernetes.io/name"),
        Just("app.kubernetes.io/managed-by"),
        Just("convene.dev/lobby"),
        Just("convene.dev/relay-pool"),
        Just("convene.dev/relay"),
        Just("team"),
    ];
    let annotation = prop_oneof![Just("convene.dev/plan"), Just("convene.dev/generation"), Just("note")];
    let variable = prop_oneof![
        Just("CONVENE_LOBBY_UID"),
        Just("CONVENE_POD_UID"),
        Just("CONVENE_CAPACITY"),
        Just("CONVENE_TABLE_CONFIG_MAP"),
        Just("CONVENE_LOG_FORMAT"),
        Just("CONVENE_KEYS_DIR"),
        Just("TZ"),
    ];
    let text = || "mine-[a-z]{1,4}";
    let env = (variable, text()).prop_map(|(name, value)| EnvLiteral { name: name.to_owned(), value });
    (
        btree_map(label.prop_map(str::to_owned), text(), 0..6),
        btree_map(annotation.prop_map(str::to_owned), text(), 0..3),
        vec(env, 0..6),
        any::<bool>(),
    )
        .prop_map(|(labels, annotations, env, scheduled)| {
            let scheduling = if scheduled {
                json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
                    "imagePullSecrets": [{"name": "pull"}], "resources": {"limits": {"cpu": "0.5"}}})
            } else {
                json!({})
            };
            let template: PodOverrides = serde_json::from_value(scheduling).expect("overrides");
            PodOverrides { labels, annotations, env, ..template }
        })
}

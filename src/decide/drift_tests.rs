//! An object settles against itself and what the API server adds to it, and against nothing else.

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::sample::Index;
use serde_json::{Map, json};

use super::*;
use crate::decide::plan::ChildKind;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_settles_against_itself_and_server_defaults(planned in object(), seed in any::<u64>()) {
        let child = child(&planned);
        prop_assert!(settled(&child, &child.object));
        let observed = with_defaults(&child.object, &mut { seed });
        prop_assert!(settled(&child, &observed), "{observed}");
        prop_assert!(settled(&child, &without_empties(&observed)));
    }

    #[test]
    fn a_changed_leaf_is_drift(planned in object(), which in any::<Index>(), to in leaf(), seed in any::<u64>()) {
        let child = child(&planned);
        let mut observed = with_defaults(&child.object, &mut { seed });
        let paths = leaves(&child.object, "");
        let at = observed.pointer_mut(which.get(&paths).as_str()).expect("defaults take nothing away");
        if *at != to {
            let was = std::mem::replace(at, to.clone());
            prop_assert!(!settled(&child, &observed), "{was} became {to}");
        }
    }

    #[test]
    fn a_missing_leaf_is_drift(planned in object(), which in any::<Index>()) {
        let child = child(&planned);
        let mut observed = child.object.clone();
        let paths = leaves(&child.object, "");
        let (parent, key) = which.get(&paths).rsplit_once('/').expect("a path");
        match observed.pointer_mut(parent).expect("it is there") {
            Value::Object(map) => drop(map.remove(&key.replace("~1", "/"))),
            Value::Array(list) => drop(list.pop()),
            _ => {}
        }
        prop_assert!(!settled(&child, &observed));
    }
}

#[test]
fn the_plan_that_it_was_made_from_counts() {
    // What a former plan had and this one has not stays in the object: only the hash tells.
    let child = child(&json!({"spec": {"a": 1}}));
    let mut observed = child.object.clone();
    observed["metadata"]["annotations"][ANNOTATION_PLAN] = json!("another");
    assert!(!settled(&child, &observed));
    observed["metadata"].as_object_mut().expect("metadata").remove("annotations");
    assert!(!settled(&child, &observed));
}

#[test]
fn a_selector_is_what_was_planned_and_nothing_more() {
    let (everything, some) = (json!({}), json!({"matchLabels": {"a": "b"}}));
    let more = json!({"matchLabels": {"a": "b", "c": "d"}});
    let narrower = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]});
    // As the API server returns what has no entries.
    let spelled_out = json!({"matchLabels": {}, "matchExpressions": []});
    let table = [
        (&everything, Some(&everything), true),
        (&everything, Some(&spelled_out), true),
        (&spelled_out, Some(&everything), true),
        (&everything, Some(&some), false),
        (&everything, None, false),
        (&some, Some(&some), true),
        (&some, Some(&more), false),
        (&some, Some(&narrower), false),
        (&some, Some(&everything), false),
        (&more, Some(&some), false),
    ];
    for key in ["selector", "podSelector", "namespaceSelector", "nodeSelector"] {
        for (planned, seen, expected) in table {
            let child = child(&json!({"spec": {"rules": [{key: planned, "port": 1}]}}));
            let mut observed = child.object.clone();
            let rule = observed["spec"]["rules"][0].as_object_mut().expect("an object");
            rule.insert("defaulted".to_owned(), json!("TCP"));
            match seen {
                Some(seen) => drop(rule.insert(key.to_owned(), seen.clone())),
                None => drop(rule.remove(key)),
            }
            assert_eq!(settled(&child, &observed), expected, "{key}: planned {planned}, seen {seen:?}");
        }
    }
}

#[test]
fn a_network_policy_lets_through_what_was_planned_and_nothing_more() {
    let spec =
        json!({"spec": {"ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"port": 1}]}], "egress": []}});
    let policy = Child { kind: ChildKind::NetworkPolicy, ..child(&spec) };
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut observed = policy.object.clone();
        change(&mut observed);
        settled(&policy, &observed)
    };
    assert!(changed(&|_| {}));
    assert!(changed(&|policy| drop(policy["spec"].as_object_mut().expect("a spec").remove("egress"))));
    assert!(changed(&|policy| policy["status"] = json!({"conditions": []})), "only the spec is compared so");
    assert!(!changed(&|policy| policy["spec"]["ingress"][0]["from"][0]["podSelector"] = json!({})));
    assert!(!changed(&|policy| policy["spec"]["ingress"][0]["ports"][0]["endPort"] = json!(65_535)));
    assert!(!changed(&|policy| policy["spec"]["egress"] = json!([{}])));
}

#[test]
fn amounts_are_compared_by_value_where_they_are_amounts_only() {
    let planned =
        json!({"resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}}, "env": [{"name": "A", "value": "1000"}]});
    let child = child(&planned);
    let observed = |cpu: &str, memory: &str, value: &str| {
        let mut object = child.object.clone();
        object["resources"]["limits"] = json!({"cpu": cpu, "memory": memory});
        object["env"][0]["value"] = json!(value);
        object
    };
    assert!(settled(&child, &observed("500m", "1024Mi", "1000")));
    assert!(!settled(&child, &observed("501m", "1Gi", "1000")));
    assert!(!settled(&child, &observed("0.5", "1G", "1000")));
    assert!(!settled(&child, &observed("0.5", "1Gi", "1k")), "a variable is text");
}

fn child(planned: &Value) -> Child {
    let mut object = planned.clone();
    object["metadata"] = json!({"annotations": {ANNOTATION_PLAN: "0123456789abcdef"}});
    Child { kind: ChildKind::Service, name: "a".to_owned(), object }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        prop_oneof![Just("1"), Just("1000m"), Just("1.0"), Just("1k"), Just("1000"), Just("text")]
            .prop_map(Value::from),
    ]
}

fn object() -> impl Strategy<Value = Value> {
    let value = leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-d]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    btree_map("[a-d]", value, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

/// Paths of all leaves.
fn leaves(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(map) => {
            // A key with a slash is escaped in a pointer.
            let key = |key: &str| key.replace('/', "~1");
            map.iter().flat_map(|(name, inner)| leaves(inner, &format!("{path}/{}", key(name)))).collect()
        }
        Value::Array(list) => {
            list.iter().enumerate().flat_map(|(at, inner)| leaves(inner, &format!("{path}/{at}"))).collect()
        }
        _ => vec![path.to_owned()],
    }
}

/// The object with fields added here and there, as the API server does.
fn with_defaults(value: &Value, seed: &mut u64) -> Value {
    match value {
        Value::Object(map) => {
            let mut filled: Map<String, Value> =
                map.iter().map(|(key, inner)| (key.clone(), with_defaults(inner, seed))).collect();
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if *seed & (1 << 40) != 0 {
                filled.insert("defaulted".to_owned(), json!({"by": ["the", "server"]}));
            }
            Value::Object(filled)
        }
        Value::Array(list) => list.iter().map(|inner| with_defaults(inner, seed)).collect(),
        other => other.clone(),
    }
}

/// The object without empty members, which the API server leaves out.
fn without_empties(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, inner)| !is_empty(inner));
            Value::Object(kept.map(|(key, inner)| (key.clone(), without_empties(inner))).collect())
        }
        Value::Array(list) => list.iter().map(without_empties).collect(),
        other => other.clone(),
    }
}

//! Whether an object in the cluster still is what was planned. The API server adds defaults, so the planned object must
//! be contained in the observed one, not equal to it; what a former plan had and this one has not shows in the hash.
//! Where it adds none and one entry more means something else, both must be equal.

use serde_json::Value;

use super::plan::{Child, ChildKind};
use crate::api::ANNOTATION_PLAN;

/// Whether applying `child` would change nothing.
pub fn settled(child: &Child, observed: &Value) -> bool {
    let hash = observed.pointer("/metadata/annotations").and_then(|annotations| annotations.get(ANNOTATION_PLAN));
    hash.and_then(Value::as_str) == child.plan_hash()
        && contains(observed, &child.object, false)
        && (child.kind != ChildKind::NetworkPolicy || same(&observed["spec"], &child.object["spec"]))
}

/// Selectors of every kind: they are replaced whole, get no defaults, and select something else with one entry more.
/// An empty one selects everything, so it is not the same as none.
fn is_selector(key: &str) -> bool {
    key == "selector" || key.ends_with("Selector")
}

/// Each contains the other.
fn same(observed: &Value, planned: &Value) -> bool {
    contains(observed, planned, false) && contains(planned, observed, false)
}

/// `amounts`: texts here are quantities.
fn contains(observed: &Value, planned: &Value, amounts: bool) -> bool {
    match (observed, planned) {
        (Value::Object(observed), Value::Object(planned)) => {
            planned.iter().all(|(key, value)| match observed.get(key) {
                Some(observed) if is_selector(key) => same(observed, value),
                Some(observed) => contains(observed, value, amounts || matches!(key.as_str(), "limits" | "requests")),
                // The API server leaves out what is empty, and list answers leave out kind and version.
                None => (is_empty(value) && !is_selector(key)) || key == "kind" || key == "apiVersion",
            })
        }
        (Value::Array(observed), Value::Array(planned)) => {
            observed.len() == planned.len()
                && observed.iter().zip(planned).all(|(observed, planned)| contains(observed, planned, false))
        }
        (Value::String(observed), Value::String(planned)) => {
            observed == planned || (amounts && same_quantity(observed, planned))
        }
        (observed, planned) => observed == planned,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The API server writes quantities in a form of its own: `0.5` becomes `500m`.
fn same_quantity(one: &str, other: &str) -> bool {
    match (quantity(one), quantity(other)) {
        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * one.abs().max(other.abs()),
        _ => false,
    }
}

fn quantity(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let (digits, factor) = SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|digits| (digits, *factor)))
        .unwrap_or((text, 1.0));
    digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_of_the_api_server_are_no_drift_but_changes_are() {
        let planned = json!({"spec": {"ports": [{"port": 1}], "tolerations": {}, "limits": {"cpu": "0.5"}}});
        assert!(contains(
            &json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "x": 1, "limits": {"cpu": "500m"}}}),
            &planned,
            false
        ));
        assert!(!contains(&json!({"spec": {"ports": [{"port": 2}], "limits": {"cpu": "0.5"}}}), &planned, false));
        assert!(!contains(
            &json!({"spec": {"ports": [{"port": 1}, {"port": 2}], "limits": {"cpu": "0.5"}}}),
            &planned,
            false
        ));
        assert!(!contains(&json!({"spec": {"ports": [{"port": 1}]}}), &planned, false));
    }

    #[test]
    fn quantities_compare_by_value() {
        assert!(same_quantity("1", "1000m") && same_quantity("1Gi", "1024Mi") && same_quantity("0.1", "100m"));
        assert!(!same_quantity("1", "1001m") && !same_quantity("abc", "abd"));
    }
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod properties;

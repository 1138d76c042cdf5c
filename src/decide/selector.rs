//! Kubernetes label selectors over plain label maps.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::core::{Selector, SelectorExt as _};

/// Whether `labels` match `selector`. A selector that cannot be read matches nothing.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let readable = selector.match_expressions.iter().flatten().all(readable);
    readable && Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// Kubernetes' own rules for values, which kube does not hold: to it, `NotIn` without values matches everything.
fn readable(expression: &LabelSelectorRequirement) -> bool {
    let values = expression.values.as_ref().is_some_and(|values| !values.is_empty());
    values == matches!(expression.operator.as_str(), "In" | "NotIn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let selector: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": {"team": "a"},
            "matchExpressions": [{"key": "stage", "operator": "In", "values": ["prod", "test"]}]
        }))
        .expect("a selector");
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(matches(&selector, &labels(&[("team", "a"), ("stage", "prod")])));
        assert!(!matches(&selector, &labels(&[("team", "a")])));
        assert!(!matches(&selector, &labels(&[("team", "b"), ("stage", "prod")])));
    }

    #[test]
    fn operators_mean_what_kubernetes_means_and_a_broken_selector_matches_nothing() {
        let prod: BTreeMap<String, String> = [("stage".to_owned(), "prod".to_owned())].into();
        let none = BTreeMap::new();
        let expression = |operator: &str, values: serde_json::Value| {
            let expression = serde_json::json!({"key": "stage", "operator": operator, "values": values});
            serde_json::from_value(serde_json::json!({"matchExpressions": [expression]})).expect("a selector")
        };
        let table = [
            ("In", serde_json::json!(["prod", "test"]), true, false),
            ("In", serde_json::json!(["test"]), false, false),
            // As in Kubernetes: what has no such label is not in the set.
            ("NotIn", serde_json::json!(["prod"]), false, true),
            ("NotIn", serde_json::json!(["test"]), true, true),
            ("Exists", serde_json::json!(null), true, false),
            ("DoesNotExist", serde_json::json!(null), false, true),
            // Kubernetes refuses these where it validates selectors; in our kinds nothing does before us.
            ("In", serde_json::json!([]), false, false),
            ("In", serde_json::json!(null), false, false),
            ("NotIn", serde_json::json!([]), false, false),
            ("NotIn", serde_json::json!(null), false, false),
            ("Exists", serde_json::json!(["prod"]), false, false),
            ("DoesNotExist", serde_json::json!(["prod"]), false, false),
            ("Near", serde_json::json!(["prod"]), false, false),
        ];
        for (operator, values, on_prod, on_none) in table {
            let selector: LabelSelector = expression(operator, values.clone());
            assert_eq!(
                (matches(&selector, &prod), matches(&selector, &none)),
                (on_prod, on_none),
                "{operator} {values}"
            );
        }
        assert!(matches(&LabelSelector::default(), &none), "the empty selector matches all");
    }
}

//! Kubernetes label selectors over plain label maps.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};

/// Whether `labels` match `selector`. A selector that cannot be read matches nothing.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|selector| selector.matches(labels))
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
}

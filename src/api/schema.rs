//! Schemas of what Pods take: Kubernetes' own types with the rules that the API server applies to a Pod. Without them a bad
//! value would be taken here and refused only where a Pod is made of it, far from whoever wrote it.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// Longest text of a quantity that anybody needs.
const MAX_QUANTITY: usize = 32;
/// Of limits, and of requests.
const MAX_RESOURCES: usize = 16;

/// A quantity (`k8s.io/apimachinery`, `resource.ParseQuantity`) that is not negative.
const QUANTITY: &str = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
/// A SubjectPublicKeyInfo of an uncompressed point on P-256, in PEM.
const PUBLIC_KEY: &str = "^-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE[A-Za-z0-9+/]{28}\n[A-Za-z0-9+/]{58}==\n-----END PUBLIC KEY-----\n?$";
/// A label's value.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
/// A label's key, or a taint's: with or without a domain before a slash.
const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// Public keys on P-256 as `openssl pkey -pubout` writes them: whatever is no such key is refused where it is written.
pub(super) fn public_keys(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "minItems": 1, "maxItems": 4,
        "items": {"type": "string", "maxLength": 256, "pattern": PUBLIC_KEY},
    })
}

/// Values of labels, as `additionalProperties`.
pub(super) fn label_values() -> Value {
    json!({"type": "string", "maxLength": 63, "pattern": LABEL_VALUE})
}

/// CPU, memory and the like of a container. No claims: they name parts of a Pod that nobody can set here.
pub(super) fn resources(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "limits": amounts("The most that the container gets, by resource."),
            "requests": amounts("What is set aside for the container, by resource. Default: the limits."),
        },
        "x-kubernetes-validations": [{
            "rule": "!has(self.limits) || !has(self.requests) || self.requests.all(name, !(name in self.limits) || quantity(self.requests[name]).compareTo(quantity(self.limits[name])) <= 0)",
            "message": "a request must not be above the limit of the same resource",
        }],
    })
}

fn amounts(description: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "maxProperties": MAX_RESOURCES,
        "additionalProperties": {
            "description": "An amount, such as 250m, 0.5, 64Mi or 1G.",
            "type": "string", "maxLength": MAX_QUANTITY, "pattern": QUANTITY,
        },
        "x-kubernetes-validations": [{
            "rule": "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-') || name.contains('/'))",
            "message": "a resource is cpu, memory, ephemeral-storage, hugepages-<size>, or one with a domain such as example.org/gpu",
        }],
    })
}

/// Taints that a pod tolerates, at most 32.
pub(super) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "items": {
            "type": "object",
            "properties": {
                "key": {
                    "description": "Key of the taint. Default: every key, with operator Exists.",
                    "type": "string", "maxLength": 317, "pattern": format!("^$|{QUALIFIED_NAME}"),
                },
                "operator": {
                    "description": "Exists: a taint of that key, whatever its value. Equal: one of that key and value. Default: Equal.",
                    "type": "string", "enum": ["Exists", "Equal"],
                },
                "value": {
                    "description": "Value of the taint, for operator Equal.",
                    "type": "string", "maxLength": 63, "pattern": LABEL_VALUE,
                },
                "effect": {
                    "description": "Effect of the taint. Default: every effect.",
                    "type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "tolerationSeconds": {
                    "description": "For how many seconds a taint of effect NoExecute is tolerated. Default: for ever.",
                    "type": "integer", "format": "int64",
                },
            },
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.key) && self.key != '' || has(self.operator) && self.operator == 'Exists'",
                    "message": "without a key, operator must be Exists: it then tolerates every taint",
                },
                {
                    "rule": "!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
                    "message": "with operator Exists there is no value",
                },
                {
                    "rule": "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
                    "message": "with tolerationSeconds, effect must be NoExecute",
                },
            ],
        },
    })
}

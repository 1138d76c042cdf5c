//! The state that a run has come to: every object in a namespace that is ours, leaf by leaf.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use convene::decide::plan::ChildKind;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::Value;

use crate::workload::Kind;
use crate::world::World;

/// Values by where they stand in their object; objects by `Kind/name`.
pub(crate) type State = BTreeMap<String, BTreeMap<String, String>>;

/// What each namespace has of its own, and the operator's own things.
const NOT_OURS: [&str; 8] = [
    "ConfigMap/kube-root-ca.crt",
    "ServiceAccount/default",
    "Role/convene-operator-leader",
    "RoleBinding/convene-operator-leader",
    "Role/convene-operator-authority",
    "RoleBinding/convene-operator-authority",
    "RoleBinding/convene-operator",
    "Secret/convene-operator-authority",
];

/// What a Secret may hold that is none.
const PUBLIC: [&str; 2] = ["BEGIN CERTIFICATE", "BEGIN PUBLIC KEY"];

fn kinds() -> Vec<ApiResource> {
    let others = [Kind::Lobby.resource(), Kind::Pool.resource(), ApiResource::erase::<Pod>(&())];
    let secrets = ApiResource::erase::<Secret>(&());
    // The kind of external-dns is not there, and nothing asks for it.
    ChildKind::everywhere().map(ChildKind::resource).chain(others).chain([secrets]).collect()
}

/// Objects as they stand in the API server.
pub(crate) async fn objects(world: &World, namespace: &str) -> BTreeMap<String, Value> {
    let lists = kinds().into_iter().map(|resource| async move {
        let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), namespace, &resource);
        let list = api.list(&ListParams::default()).await?;
        Ok::<_, kube::Error>((resource.kind, list.items))
    });
    let lists = try_join_all(lists).await.expect("lists");
    let objects = lists.into_iter().flat_map(|(kind, items)| items.into_iter().map(move |item| (kind.clone(), item)));
    let objects = objects.map(|(kind, object)| {
        let name = object.metadata.name.clone().unwrap_or_default();
        (format!("{kind}/{name}"), serde_json::to_value(object).expect("JSON"))
    });
    objects.filter(|(name, _)| !NOT_OURS.contains(&name.as_str())).collect()
}

/// O4: nothing that a Secret holds stands anywhere else.
pub(crate) fn leaked(objects: &BTreeMap<String, Value>) -> Vec<String> {
    let is_secret = |name: &str| name.starts_with("Secret/");
    let secrets = objects.iter().filter(|(name, _)| is_secret(name));
    let values: Vec<(&String, String)> = secrets
        .flat_map(|(name, secret)| {
            secret["data"].as_object().into_iter().flatten().map(move |(_, value)| (name, value))
        })
        .filter_map(|(name, value)| {
            let value = STANDARD.decode(value.as_str()?).ok()?;
            let value = String::from_utf8(value).ok().filter(|value| !PUBLIC.iter().any(|is| value.contains(is)))?;
            // A document spans lines, of which the first and the last tell nothing.
            let longest = value.lines().max_by_key(|line| line.len())?.to_owned();
            (longest.len() >= 16).then_some((name, longest))
        })
        .collect();
    let others = objects.iter().filter(|(name, _)| !is_secret(name));
    let texts = others.map(|(name, object)| (name, object.to_string()));
    let found = texts.flat_map(|(name, text)| {
        values
            .iter()
            .filter(move |(_, value)| text.contains(value))
            .map(move |(secret, _)| format!("{secret} in {name}"))
    });
    found.collect()
}

/// All that is ours in a namespace, whose name is left out.
pub(crate) async fn read(world: &World, namespace: &str) -> State {
    let objects = objects(world, namespace).await;
    let flat = objects.into_iter().map(|(name, mut object)| {
        // Who wrote which field, and when: follows from the rest.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        // The disruption controller's, in its own time.
        if name.starts_with("PodDisruptionBudget/") {
            object["status"] = Value::Null;
        }
        let mut leaves = BTreeMap::new();
        flatten("", &object, namespace, &mut leaves);
        (name, leaves)
    });
    flat.collect()
}

fn flatten(at: &str, value: &Value, namespace: &str, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&format!("{at}/{}", key.replace('/', "~1")), value, namespace, leaves);
            }
        }
        Value::Array(items) => {
            // What has a name stands under it, so that a difference is told of that one alone.
            let named = |value: &Value| ["name", "type"].iter().find_map(|key| value[*key].as_str().map(str::to_owned));
            for (index, value) in items.iter().enumerate() {
                let key = named(value).unwrap_or_else(|| index.to_string());
                flatten(&format!("{at}/{key}"), value, namespace, leaves);
            }
        }
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            // A document inside: what the lobby is told.
            Ok(inside @ (Value::Object(_) | Value::Array(_))) => flatten(at, &inside, namespace, leaves),
            Ok(_) | Err(_) => drop(leaves.insert(at.to_owned(), text.replace(namespace, "NAMESPACE"))),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => drop(leaves.insert(at.to_owned(), value.to_string())),
    }
}

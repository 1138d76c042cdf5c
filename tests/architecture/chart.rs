//! The rights that the chart gives, against what the operator's code uses.

use std::collections::{BTreeMap, BTreeSet};

use convene::api::{GROUP, Lobby, RelayPool};
use convene::decide::plan::ChildKind;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::core::ApiResource;
use serde_json::Value;

use crate::none;
use crate::source::read;

/// (group, resource) → verbs.
type Rights = BTreeMap<(String, String), BTreeSet<String>>;

#[test]
fn rights_in_a_namespace_are_those_that_passes_use() {
    let mut used = Rights::new();
    for kind in ChildKind::ALL {
        // Listed and watched, read by name where the label is missing, applied, pruned.
        add(&mut used, &kind.resource(), &["get", "list", "watch", "create", "patch", "delete"]);
    }
    add(&mut used, &ApiResource::erase::<Pod>(&()), &["get", "list", "watch", "create", "patch", "delete"]);
    add(&mut used, &ApiResource::erase::<Secret>(&()), &["get", "create"]);
    add(&mut used, &ApiResource::erase::<Namespace>(&()), &["get"]);
    give(&mut used, "events.k8s.io", "events", &["create", "patch"]);
    compare("charts/convene/templates/rbac-namespace.yaml", "convene-operator-namespace", &used);
}

#[test]
fn rights_in_the_cluster_are_for_our_kinds_and_to_read_nodes() {
    let mut used = Rights::new();
    for kind in [ApiResource::erase::<Lobby>(&()), ApiResource::erase::<RelayPool>(&())] {
        // Patched: finalizers, which outlive a namespace's grant.
        add(&mut used, &kind, &["list", "watch", "patch"]);
        give(&mut used, GROUP, &format!("{}/status", kind.plural), &["patch"]);
    }
    add(&mut used, &ApiResource::erase::<Node>(&()), &["list", "watch"]);
    compare("charts/convene/templates/rbac-cluster.yaml", "convene-operator", &used);
}

#[test]
fn the_election_needs_its_own_lease_only() {
    let mut used = Rights::new();
    give(&mut used, "coordination.k8s.io", "leases", &["get", "create", "update"]);
    compare("charts/convene/templates/rbac-cluster.yaml", "convene-operator-leader", &used);
}

#[test]
fn the_authority_is_one_secret_of_the_operators_namespace() {
    let mut used = Rights::new();
    add(&mut used, &ApiResource::erase::<Secret>(&()), &["get", "create", "update"]);
    compare("charts/convene/templates/rbac-cluster.yaml", "convene-operator-authority", &used);
}

/// Children of all kinds are watched, listed and pruned through `ALL`; one that is missing there is forgotten.
#[test]
fn all_kinds_of_children_are_listed() {
    let code = read("src/decide/plan/mod.rs");
    let body = code.split("pub enum ChildKind {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
    let variants: Vec<&str> = body.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    let listed: Vec<String> = ChildKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
    assert_eq!(variants, listed, "src/decide/plan/mod.rs: ChildKind::ALL names each kind once, in order");
    assert!(ChildKind::ALL.is_sorted(), "kinds are applied in the order in which they are declared");
}

fn add(rights: &mut Rights, kind: &ApiResource, verbs: &[&str]) {
    give(rights, &kind.group, &kind.plural, verbs);
}

fn give(rights: &mut Rights, group: &str, resource: &str, verbs: &[&str]) {
    let known = rights.entry((group.to_owned(), resource.to_owned())).or_default();
    known.extend(verbs.iter().map(|verb| (*verb).to_owned()));
}

fn compare(path: &str, role: &str, used: &Rights) {
    let given = rights(path, role);
    let pairs = |rights: &Rights| -> BTreeSet<(String, String)> {
        let named = rights
            .iter()
            .map(|((group, resource), verbs)| (format!("{resource}.{group}").trim_end_matches('.').to_owned(), verbs));
        named.flat_map(|(name, verbs)| verbs.iter().map(move |verb| (name.clone(), verb.clone()))).collect()
    };
    let (given, used) = (pairs(&given), pairs(used));
    let missing = used
        .difference(&given)
        .map(|(name, verb)| format!("{path}: role {role} lacks `{verb}` on {name}, which the operator uses"));
    let surplus = given
        .difference(&used)
        .map(|(name, verb)| format!("{path}: role {role} gives `{verb}` on {name}, which nothing uses: take it out"));
    none(
        "The chart gives the rights that the operator uses, and no more.",
        &missing.chain(surplus).collect::<Vec<_>>(),
    );
}

/// What a role of a template gives. Lines with template code are left out: none of them is inside of `rules`.
fn rights(path: &str, role: &str) -> Rights {
    let plain: Vec<String> = read(path).lines().filter(|line| !line.contains("{{")).map(str::to_owned).collect();
    let documents = plain.join("\n");
    let found = documents.split("\n---").find_map(|document| {
        let object: Value = serde_saphyr::from_str(document).ok()?;
        let named = object.pointer("/metadata/name").and_then(Value::as_str) == Some(role);
        let rules = object.get("rules").filter(|_| named)?;
        Some(serde_json::from_value::<Vec<PolicyRule>>(rules.clone()).expect("rules of a role"))
    });
    let rules = found.unwrap_or_default();
    assert!(!rules.is_empty(), "{path}: role {role} cannot be found; was it renamed?");
    let mut rights = Rights::new();
    for rule in rules {
        let verbs: Vec<&str> = rule.verbs.iter().map(String::as_str).collect();
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                give(&mut rights, group, resource, &verbs);
            }
        }
    }
    rights
}

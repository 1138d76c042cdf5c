//! What holds for the plan of any object.

use std::collections::{BTreeMap, BTreeSet};

use convene::api::{ANNOTATION_GENERATION, LABEL_LOBBY, LABEL_POOL, Lobby, PodOverrides, RelayPool};
use convene::decide::plan::{self, ChildKind, Plan, names, table};
use convene::decide::token::SigningKey;
use convene::decide::valid::{self, LobbyInputs, Owner, PoolInputs};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};

use crate::cluster::{PASSWORD, config, control_inputs, first, inputs, issuer, locate};
use crate::examples::{SIGNING_KEY, complete};
use crate::{pod_security, random};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_labelled_and_owned(lobby in random::lobby(random::name()), pool in random::pool(random::name())) {
        let (owner, planned) = plan_lobby(&lobby);
        check_metadata(&planned, &owner, LABEL_LOBBY)?;
        let (owner, planned) = plan_pool(&pool);
        check_metadata(&planned, &owner, LABEL_POOL)?;
    }

    #[test]
    fn every_pod_is_restricted(lobby in random::lobby(random::name()), pool in random::pool(random::name())) {
        let (_, planned) = plan_lobby(&lobby);
        for (_, pod) in pods(&planned) {
            prop_assert_eq!(pod_security::violations(&pod), Vec::<String>::new());
            let lobby = pod.containers[0].name == "lobby";
            prop_assert_eq!(pod.automount_service_account_token, Some(lobby), "the lobby alone reads its ConfigMap");
        }
        let (_, planned) = plan_pool(&pool);
        for (_, pod) in pods(&planned) {
            prop_assert_eq!(pod_security::violations(&pod), Vec::<String>::new());
            prop_assert_eq!(pod.automount_service_account_token, Some(false), "a relay needs no API server");
        }
    }

    #[test]
    fn overrides_never_win(lobby in random::lobby(random::name()), pool in random::pool(random::name())) {
        check_overrides(&plan_lobby(&lobby).1, &plan_lobby(&bare_lobby(&lobby)).1)?;
        check_overrides(&plan_pool(&pool).1, &plan_pool(&bare_pool(&pool)).1)?;
    }

    #[test]
    fn overrides_are_kept_where_they_are_allowed(mut pool in random::pool(random::name())) {
        pool.spec.replicas = 1;
        let (meta, pod) = pods(&plan_pool(&pool).1).remove(0);
        let template = &pool.spec.template;
        prop_assert_eq!(&pod.priority_class_name, &template.priority_class_name);
        prop_assert_eq!(pod.node_selector.unwrap_or_default(), template.node_selector.clone());
        prop_assert_eq!(pod.tolerations.unwrap_or_default(), template.tolerations.clone());
        prop_assert_eq!(pod.image_pull_secrets.unwrap_or_default(), template.image_pull_secrets.clone());
        let labels = meta.labels.unwrap_or_default();
        prop_assert_eq!(labels.get("team"), template.labels.get("team"));
        let annotations = meta.annotations.unwrap_or_default();
        prop_assert_eq!(annotations.get("note"), template.annotations.get("note"));
        let last = |env: &[(String, String)]| env.iter().rfind(|(name, _)| name == "TZ").cloned();
        let given: Vec<_> = template.env.iter().map(|env| (env.name.clone(), env.value.clone())).collect();
        let got = pod.containers[0].env.clone().unwrap_or_default();
        let got: Vec<_> = got.into_iter().map(|env| (env.name, env.value.unwrap_or_default())).collect();
        prop_assert_eq!(last(&got), last(&given));
    }

    #[test]
    fn selectors_select_their_own_pods_and_no_others(
        lobby in random::lobby(random::colliding_name()),
        one in random::pool(random::colliding_name()),
        other in random::pool(random::colliding_name()),
    ) {
        let mut plans = vec![plan_lobby(&lobby).1, plan_pool(&one).1];
        if one.name_any() != other.name_any() {
            plans.push(plan_pool(&other).1);
        }
        for (index, planned) in plans.iter().enumerate() {
            for (what, selector) in selectors(planned) {
                for (whose, pods) in plans.iter().map(pods).enumerate() {
                    let hits = pods.iter().filter(|(meta, _)| selects(&selector, meta)).count();
                    prop_assert!(whose == index || hits == 0, "{what} selects foreign pods");
                    prop_assert!(whose != index || pods.is_empty() || hits > 0, "{what} selects none of its pods");
                }
            }
        }
    }

    #[test]
    fn a_plan_depends_on_nothing_but_its_inputs(lobby in random::lobby(random::name()), pool in random::pool(random::name())) {
        prop_assert_eq!(plan_lobby(&lobby), plan_lobby(&lobby));
        prop_assert_eq!(plan_pool(&pool), plan_pool(&pool));
    }
}

#[test]
fn a_lobby_and_its_own_redis_agree_on_the_password_and_nobody_else_is_told() {
    let spec = json!({"replicas": 2, "store": {"redis": {"managed": {}}}});
    let lobby = complete(Lobby::new("hub", serde_json::from_value(spec).expect("a spec")), 1);
    let (_, planned) = plan_lobby(&lobby);
    let secret = planned.secrets.iter().find(|secret| secret.name_any() == "hub-lobby-redis").expect("a Secret");
    let text = |key: &str| String::from_utf8(secret.data.as_ref().expect("data")[key].0.clone()).expect("text");
    let url = format!("redis://lobby:{PASSWORD}@hub-lobby-redis.examples.svc:6379");
    assert_eq!(text(names::REDIS_URL), url);
    assert!(text(names::REDIS_CONFIG).contains(&format!(">{PASSWORD} ")));
    let told = serde_json::to_string(&planned.children.iter().map(|child| &child.object).collect::<Vec<_>>());
    assert!(!told.expect("JSON").contains(PASSWORD), "a password stands outside of its Secret");

    // Another password starts the server anew; the same one, read back from the cluster, does not.
    let set = |planned: &Plan| {
        let child = planned.children.iter().find(|child| child.kind == ChildKind::StatefulSet).expect("a Redis");
        child.object.clone()
    };
    let labels = BTreeMap::new();
    let standing = plan_of(LobbyInputs { redis_secret: Some(secret), ..inputs(&lobby, &labels) }).1;
    assert!(standing.secrets.iter().all(|secret| secret.name_any() != "hub-lobby-redis"), "it is made once");
    assert_eq!(set(&planned), set(&standing));
    let other = plan_of(LobbyInputs { fresh_password: "another".to_owned(), ..inputs(&lobby, &labels) }).1;
    assert_ne!(set(&planned), set(&other));
}

#[test]
fn owners_of_a_namespace_never_want_the_same_name() {
    let ingress = json!({"exposure": {"ingress": {"domain": "example.com"}}});
    let mut taken: BTreeMap<(String, String), String> = BTreeMap::new();
    for name in names_like_those_of_children() {
        let mut with_redis = ingress.clone();
        with_redis["store"] = json!({"redis": {"managed": {}}});
        let lobby = Lobby::new(&name, serde_json::from_value(with_redis).expect("a spec"));
        let mut spec = ingress.clone();
        spec["lobbyRef"] = json!({"name": "hub"});
        spec["region"] = json!("eu-west-1");
        spec["replicas"] = json!(3);
        let pool = RelayPool::new(&name, serde_json::from_value(spec).expect("a spec"));
        let plans = [("Lobby", plan_lobby(&complete(lobby, 1)).1), ("RelayPool", plan_pool(&complete(pool, 1)).1)];
        for (owner, planned) in plans {
            for (kind, wanted) in wanted(&planned) {
                let first = taken.insert((kind.clone(), wanted.clone()), format!("{owner} {name}"));
                assert_eq!(first, None, "{kind} {wanted} is wanted by {owner} {name} as well");
            }
        }
    }
}

/// Names that are made of the endings of other names.
fn names_like_those_of_children() -> Vec<String> {
    let endings = ["-0", "-1", "-2", "-a", "-lobby", "-keys", "-lobby-keys", "-relays"];
    let mut names = vec!["a".to_owned(), "lobby".to_owned(), "relays".to_owned()];
    let mut last = names.clone();
    for _ in 0..2 {
        last = last.iter().flat_map(|name| endings.map(|ending| format!("{name}{ending}"))).collect();
        names.extend(last.iter().cloned());
    }
    names.sort();
    names.dedup();
    names
}

fn plan_lobby(lobby: &Lobby) -> (Owner, Plan) {
    plan_of(inputs(lobby, &BTreeMap::new()))
}

fn plan_of(inputs: LobbyInputs<'_>) -> (Owner, Plan) {
    let valid = valid::lobby(inputs).expect("a valid lobby");
    let table = table::compile(&valid, None, &issuer());
    (valid.owner.clone(), plan::lobby::plan(&valid, &table, &config()))
}

fn plan_pool(pool: &RelayPool) -> (Owner, Plan) {
    let spec = json!({"metadata": {"name": "hub"}, "spec": {}, "status": {"conditions": [{
        "type": "Accepted", "status": "True", "reason": "AsPlanned", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let hub = json!({"apiVersion": "convene.dev/v1alpha1", "kind": "Lobby"});
    let hub = [hub, spec].into_iter().flat_map(|part| part.as_object().cloned().unwrap_or_default());
    let hub: Lobby = complete(serde_json::from_value(Value::Object(hub.collect())).expect("a Lobby"), 0);
    let jwks = SigningKey::from_pem(SIGNING_KEY).expect("a key").jwks().to_string();
    let data = [(names::JWKS, jwks), (names::AUTHORITY, "an authority".to_owned())];
    let data = data.map(|(key, text)| (key.to_owned(), text));
    let lobby_config = ConfigMap { data: Some(data.into()), ..ConfigMap::default() };
    let labels = BTreeMap::new();
    let inputs = PoolInputs {
        pool,
        lobby: Some(&hub),
        lobby_config: Some(&lobby_config),
        tls_secret_there: true,
        credential_there: true,
        control: control_inputs(),
        namespace_labels: &labels,
        locate,
    };
    let valid = valid::pool(&inputs).expect("a valid pool");
    (valid.owner.clone(), plan::pool::plan(&valid, &first(&valid), &config()))
}

fn bare_lobby(lobby: &Lobby) -> Lobby {
    let mut bare = lobby.clone();
    bare.spec.template = PodOverrides::default();
    bare
}

fn bare_pool(pool: &RelayPool) -> RelayPool {
    let mut bare = pool.clone();
    bare.spec.template = PodOverrides::default();
    bare
}

/// Labels, annotations and spec of each pod that a plan leads to.
pub(crate) fn pods(planned: &Plan) -> Vec<(ObjectMeta, PodSpec)> {
    let direct = planned.pods.iter().map(|pod| (pod.metadata.clone(), pod.spec.clone().expect("a Pod has a spec")));
    let deployments = planned.children.iter().filter(|child| child.kind == ChildKind::Deployment).map(|child| {
        let deployment: Deployment = serde_json::from_value(child.object.clone()).expect("a Deployment");
        let template = deployment.spec.expect("it has a spec").template;
        (template.metadata.expect("its pods have labels"), template.spec.expect("and a spec"))
    });
    let sets = planned.children.iter().filter(|child| child.kind == ChildKind::StatefulSet).map(|child| {
        let set: StatefulSet = serde_json::from_value(child.object.clone()).expect("a StatefulSet");
        let template = set.spec.expect("it has a spec").template;
        (template.metadata.expect("its pods have labels"), template.spec.expect("and a spec"))
    });
    direct.chain(deployments).chain(sets).collect()
}

/// Metadata of everything planned, with its kind.
fn metadata(planned: &Plan) -> Vec<(String, ObjectMeta)> {
    let secrets = planned.secrets.iter().map(|secret| ("Secret".to_owned(), secret.metadata.clone()));
    let pods = planned.pods.iter().map(|pod| ("Pod".to_owned(), pod.metadata.clone()));
    let children = planned.children.iter().map(|child| {
        let meta = serde_json::from_value(child.object["metadata"].clone()).expect("metadata");
        (child.kind.resource().kind, meta)
    });
    secrets.chain(children).chain(pods).collect()
}

fn check_metadata(planned: &Plan, owner: &Owner, label: &str) -> Result<(), TestCaseError> {
    for (kind, meta) in metadata(planned) {
        let name = meta.name.clone().unwrap_or_default();
        let labels = meta.labels.clone().unwrap_or_default();
        // Only Services and what becomes a label must be this short; Secrets are mounted and nothing more.
        let longest = if kind == "Secret" { 253 } else { 63 };
        prop_assert!((1..=longest).contains(&name.len()), "{kind} {name}: a name of {} characters", name.len());
        prop_assert_eq!(meta.namespace.as_deref(), Some(&*owner.namespace));
        prop_assert_eq!(labels.get(names::MANAGED_BY.0).map(String::as_str), Some(names::MANAGED_BY.1));
        prop_assert_eq!(labels.get(label), Some(&owner.name), "{} {}", kind, name);
        prop_assert!(labels.values().all(|value| value.len() <= 63), "{kind} {name}: a label is too long");
        let references = meta.owner_references.clone().unwrap_or_default();
        prop_assert_eq!(references.len(), 1);
        prop_assert_eq!((&references[0].uid, references[0].controller), (&owner.uid, Some(true)));
        let annotated =
            meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ANNOTATION_GENERATION));
        prop_assert!(kind != "Pod" || annotated, "{kind} {name}: does not say what it was made from");
    }
    for child in &planned.children {
        let hash = child.plan_hash().unwrap_or_default();
        prop_assert!(hash.len() == 16, "{:?} {}: carries no hash of the plan, but `{hash}`", child.kind, child.name);
        let resource = child.kind.resource();
        prop_assert_eq!(child.object["kind"].as_str(), Some(&*resource.kind));
        prop_assert_eq!(child.object["apiVersion"].as_str(), Some(&*resource.api_version));
        prop_assert_eq!(child.object["metadata"]["name"].as_str(), Some(&*child.name));
    }
    let order: Vec<_> = planned.children.iter().map(|child| child.kind).collect();
    prop_assert!(order.is_sorted(), "children are applied in order of their kinds: {order:?}");
    Ok(())
}

/// Whatever a plan without overrides says of a pod, the plan with them says too.
fn check_overrides(with: &Plan, without: &Plan) -> Result<(), TestCaseError> {
    for ((meta, pod), (bare_meta, bare_pod)) in pods(with).into_iter().zip(pods(without)) {
        let labels = meta.labels.unwrap_or_default();
        for (key, value) in bare_meta.labels.unwrap_or_default() {
            prop_assert_eq!(labels.get(&key), Some(&value), "label {}", key);
        }
        prop_assert!(
            meta.annotations.is_none_or(|annotations| annotations
                .iter()
                .all(|(key, value)| { !key.starts_with("convene.dev/") || !value.starts_with("mine-") })),
            "an annotation of ours is the user's"
        );
        // Of variables of one name, the last counts.
        let env = pod.containers[0].env.clone().unwrap_or_default();
        for ours in bare_pod.containers[0].env.iter().flatten() {
            let counts = env.iter().rfind(|variable| variable.name == ours.name);
            prop_assert_eq!(counts, Some(ours), "variable {}", &ours.name);
        }
        let foreign = env.iter().filter(|variable| variable.name.starts_with("CONVENE_"));
        prop_assert_eq!(foreign.count(), bare_pod.containers[0].env.iter().flatten().count(), "a setting was added");
        let mut names = BTreeSet::new();
        for variable in &env {
            prop_assert!(names.insert(&variable.name), "{} twice: the API server refuses that", variable.name);
        }
    }
    Ok(())
}

/// Names that only one object of a namespace can have, and host names.
fn wanted(planned: &Plan) -> BTreeSet<(String, String)> {
    let named = metadata(planned).into_iter().map(|(kind, meta)| (kind, meta.name.unwrap_or_default()));
    let ingresses = planned.children.iter().filter(|child| child.kind == ChildKind::Ingress);
    let hosts = ingresses.filter_map(|child| child.object.pointer("/spec/rules/0/host")?.as_str());
    named.chain(hosts.map(|host| ("host".to_owned(), host.to_owned()))).collect()
}

/// Every pod selector of a plan, with what it belongs to.
fn selectors(planned: &Plan) -> Vec<(String, BTreeMap<String, String>)> {
    let at = |kind| match kind {
        ChildKind::Service => Some("/spec/selector"),
        ChildKind::Deployment | ChildKind::StatefulSet | ChildKind::PodDisruptionBudget => {
            Some("/spec/selector/matchLabels")
        }
        ChildKind::NetworkPolicy => Some("/spec/podSelector/matchLabels"),
        _ => None,
    };
    let found = planned.children.iter().filter_map(|child| {
        let selector = child.object.pointer(at(child.kind)?).expect("it selects pods").clone();
        Some((format!("{:?} {}", child.kind, child.name), serde_json::from_value(selector).expect("labels")))
    });
    found.collect()
}

fn selects(selector: &BTreeMap<String, String>, meta: &ObjectMeta) -> bool {
    let labels = meta.labels.clone().unwrap_or_default();
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

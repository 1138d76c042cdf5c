//! A cluster in which the controllers of Kubernetes have done their work: Services have ports and balancers, Pods run,
//! and our own steps `valid`, `plan` and `status` have run over each object until nothing changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use convene::api::common::Location;
use convene::api::{Lobby, RelayPool, RelayPoolStatus};
use convene::decide::authority::{Certificates, ControlCertificates, ControlKey, LinkKeys};
use convene::decide::drain::{self, Action};
use convene::decide::listening::Listening;
use convene::decide::plan::pool::Relays;
use convene::decide::plan::{self, Applied, Child, ChildKind, OperatorConfig, Plan, names, table};
use convene::decide::relays::{self, Sight};
use convene::decide::status::pool::Passed;
use convene::decide::valid::{
    self, ControlInputs, GeoIpInputs, KeyInputs, LinkInputs, LobbyInputs, LobbyKeys, PoolInputs, UrlFolder, ValidPool,
};
use convene::decide::{regions, status};
use convene::wire::stats::RelayReport;
use convene::wire::table::ClusterIssuer;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::examples::{ADMIN_TOKEN, Example, SIGNING_KEY};

/// Password of every Redis.
pub(crate) const PASSWORD: &str = "a-password-that-opens-nothing";

type Labels = BTreeMap<String, BTreeMap<String, String>>;

/// The one node of the cluster.
const NODE: &str = "node-1";

/// An example, settled.
pub(crate) struct Cluster {
    lobbies: BTreeMap<String, Plan>,
    pools: BTreeMap<String, Plan>,
}

impl Cluster {
    /// Lobbies first without pools, then the pools, then the lobbies with what the pools say.
    pub(crate) fn of(example: &Example) -> Self {
        let mut lobbies = example.lobbies.clone();
        let mut pools = example.pools.clone();
        let mut configs: BTreeMap<(Option<String>, String), ConfigMap> = BTreeMap::new();
        for lobby in &mut lobbies {
            let (plan, status) = lobby_pass(lobby, &[], &example.namespaces);
            lobby.status = Some(status);
            configs.insert((lobby.namespace(), lobby.name_any()), config_map(&plan));
        }
        let mut plans = BTreeMap::new();
        for pool in &mut pools {
            let named = named_lobby(pool);
            let lobby = lobbies.iter().find(|lobby| (lobby.namespace(), lobby.name_any()) == named);
            let (plan, status) = pool_pass(pool, lobby, configs.get(&named), &example.namespaces);
            pool.status = Some(status);
            plans.insert(pool.name_any(), plan);
        }
        let planned = lobbies.iter().map(|lobby| {
            let key = (lobby.namespace(), lobby.name_any());
            let naming: Vec<RelayPool> = pools.iter().filter(|pool| named_lobby(pool) == key).cloned().collect();
            (lobby.name_any(), lobby_pass(lobby, &naming, &example.namespaces).0)
        });
        Self { lobbies: planned.collect(), pools: plans }
    }

    /// What is planned for each lobby.
    pub(crate) fn lobby_plans(&self) -> impl Iterator<Item = (&String, &Plan)> {
        self.lobbies.iter()
    }

    /// What is planned for each pool.
    pub(crate) fn pool_plans(&self) -> impl Iterator<Item = (&String, &Plan)> {
        self.pools.iter()
    }
}

/// Below what lobbies may download databases of places.
static ALLOWED: LazyLock<Vec<UrlFolder>> =
    LazyLock::new(|| vec!["https://mirror.example.com/geo/".parse().expect("a folder of URLs")]);

/// What the operator was started with.
pub(crate) fn config() -> OperatorConfig {
    OperatorConfig {
        image: "convene.dev/convene:test".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        operator_namespace: "convene-system".to_owned(),
        api_server_ports: vec![443, 6443, 8443, 16443],
        allow_geoip_from: ALLOWED.clone(),
    }
}

/// Secrets of every lobby.
pub(crate) fn keys() -> LobbyKeys {
    LobbyKeys { signing_key: SIGNING_KEY.to_owned(), admin_token: ADMIN_TOKEN.to_owned() }
}

/// A lobby that has nothing yet and no pools.
pub(crate) fn inputs<'a>(lobby: &'a Lobby, namespace_labels: &'a Labels) -> LobbyInputs<'a> {
    LobbyInputs {
        lobby,
        keys: key_inputs(),
        link: link_inputs(),
        control: control_inputs(),
        tls_secret_there: true,
        geoip: GeoIpInputs { claim_there: true, allowed: &ALLOWED },
        dns_endpoints_there: true,
        redis_secret: None,
        fresh_password: PASSWORD.to_owned(),
        pools: vec![],
        namespace_labels,
    }
}

/// The keys of a lobby that has none yet.
pub(crate) fn key_inputs() -> KeyInputs<'static> {
    let fresh_key = SIGNING_KEY.to_owned();
    KeyInputs { secret: None, slots: vec![], published: None, fresh: keys(), fresh_key, now: Timestamp::UNIX_EPOCH }
}

/// The link of a lobby that has no keys for it yet. Certificates differ each time they are made, so these are none.
pub(crate) fn link_inputs() -> LinkInputs<'static> {
    let fresh = LinkKeys { authority: SIGNING_KEY.to_owned(), server: SIGNING_KEY.to_owned() };
    let certify = &|_: &LinkKeys| {
        let (authority, link) = ("the certificate of the authority".to_owned(), "that of the link port".to_owned());
        Ok(Certificates { authority, link, link_ends: 7_776_000 })
    };
    LinkInputs { secret: None, fresh, certify }
}

/// The control port of a lobby or pool that has no key for it yet.
pub(crate) fn control_inputs() -> ControlInputs<'static> {
    let certify = &|_: &ControlKey| {
        let (server, authorities) = ("that of the control port".to_owned(), "those of the operator".to_owned());
        Ok(ControlCertificates { server, authorities })
    };
    ControlInputs { secret: None, fresh: ControlKey(SIGNING_KEY.to_owned()), certify }
}

/// Coordinates of a region of a public cloud, as the operator finds them.
pub(crate) fn locate(region: &str) -> Option<Location> {
    regions::lookup(region).map(|known| Location { latitude: known.latitude, longitude: known.longitude })
}

/// The issuer of the cluster's service-account tokens.
pub(crate) fn issuer() -> ClusterIssuer {
    let key = json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "test", "n": "AQAB", "e": "AQAB"});
    ClusterIssuer { issuer: "https://kubernetes.default.svc".to_owned(), jwks: json!({"keys": [key]}) }
}

fn lobby_pass(lobby: &Lobby, pools: &[RelayPool], labels: &Labels) -> (Plan, convene::api::LobbyStatus) {
    let inputs = LobbyInputs { pools: pools.to_vec(), ..inputs(lobby, labels) };
    let valid = valid::lobby(inputs).unwrap_or_else(|invalid| panic!("Lobby {}: {invalid}", lobby.name_any()));
    // Addresses come from what is applied, and the table with them: two passes, as in a cluster.
    let first = plan::lobby::plan(&valid, &table::compile(&valid, None, &issuer()), &config());
    let applied = apply(&first);
    let name = names::lobby(&valid.owner.name);
    let service = applied.child(ChildKind::Service, &name);
    let ingress = applied.child(ChildKind::Ingress, &name);
    let url = plan::lobby::url(&valid, service.as_ref(), ingress.as_ref(), Some(&node()));
    let table = table::compile(&valid, url.as_deref(), &issuer());
    let plan = plan::lobby::plan(&valid, &table, &config());
    let status = status::lobby::applied(lobby, &valid, url, &apply(&plan), &[], Timestamp::UNIX_EPOCH);
    (plan, status)
}

fn pool_pass(
    pool: &RelayPool,
    lobby: Option<&Lobby>,
    lobby_config: Option<&ConfigMap>,
    labels: &Labels,
) -> (Plan, RelayPoolStatus) {
    let inputs = PoolInputs {
        pool,
        lobby,
        lobby_config,
        tls_secret_there: true,
        credential_there: true,
        control: control_inputs(),
        namespace_labels: labels,
        locate,
    };
    let valid = valid::pool(&inputs).unwrap_or_else(|invalid| panic!("RelayPool {}: {invalid}", pool.name_any()));
    let (plan, _, _) = pass(pool, &valid, &[], &BTreeMap::new());
    let applied = apply(&plan);
    let (settled, status, actions) = pass(pool, &valid, &applied.pods, &applied.children);
    assert_eq!(actions, vec![], "{}: nothing is left to do", pool.name_any());
    assert_eq!(settled.children, plan.children, "{}: planned again, it is the same", pool.name_any());
    assert_eq!(status.ready_replicas, pool.spec.replicas, "{}: its relays run, so they serve", pool.name_any());
    (plan, status)
}

/// One pass over relays as the operator makes it, all of them heard to be empty since a moment ago.
fn pass(
    pool: &RelayPool,
    valid: &ValidPool,
    pods: &[Pod],
    children: &BTreeMap<(ChildKind, String), Value>,
) -> (Plan, RelayPoolStatus, Vec<Action>) {
    let now = Timestamp::UNIX_EPOCH;
    let nodes: BTreeMap<String, Node> = [(NODE.to_owned(), node())].into();
    let urls = relays::urls(valid, pods, children, &nodes);
    let heard = pods.iter().map(|pod| {
        let mut listening = Listening::begin(now);
        listening.hear(RelayReport::default(), now);
        (pod.uid().expect("it has one"), listening)
    });
    let planned = first(valid);
    let (heard, served) = (heard.collect(), BTreeSet::new());
    let sight = Sight { pool, pods, nodes: &nodes, heard: &heard, urls: &urls, served: &served };
    let mut seen = relays::pool(sight, planned.generation(), now);
    seen.desired = u32::try_from(pool.spec.replicas).expect("not negative");
    let drains = drain::decide(&seen, now);
    let made: BTreeSet<u32> = (drains.actions.iter())
        .filter_map(|action| if let Action::Create { ordinal, .. } = action { Some(*ordinal) } else { None })
        .collect();
    let planned = Relays { addressed: relays::addressed(&pool.spec, &seen, &made), made, ..planned };
    let plan = plan::pool::plan(valid, &planned, &config());
    let passed =
        Passed { valid, pods, urls: &urls, planned: &planned, desired: seen.desired, drains: &drains, scaling: None };
    (plan, status::pool::applied(pool, passed, now), drains.actions)
}

/// The first relays of a pool.
pub(crate) fn first(pool: &ValidPool) -> Relays {
    Relays::first(pool, u32::try_from(pool.replicas).expect("not negative"), &config())
}

fn named_lobby(pool: &RelayPool) -> (Option<String>, String) {
    // A lobby of another cluster is none of these, and relays of another image have none.
    let reference =
        pool.spec.lobby_ref.clone().unwrap_or_else(|| serde_json::from_value(json!({})).expect("an empty one"));
    (reference.namespace.clone().or_else(|| pool.namespace()), reference.name.clone().unwrap_or_default())
}

fn config_map(plan: &Plan) -> ConfigMap {
    let child = plan
        .children
        .iter()
        .find(|child| child.kind == ChildKind::ConfigMap && child.object["data"].is_object())
        .expect("a lobby has a ConfigMap");
    serde_json::from_value(child.object.clone()).expect("it is a ConfigMap")
}

/// What stands in the cluster a while after a plan was applied.
pub(crate) fn apply(plan: &Plan) -> Applied {
    let children = plan.children.iter().enumerate();
    let children = children.map(|(index, child)| ((child.kind, child.name.clone()), served(child, index)));
    Applied { children: children.collect(), pods: plan.pods.iter().map(running).collect() }
}

/// A child as Kubernetes' controllers leave it.
fn served(child: &Child, index: usize) -> Value {
    let mut object = child.object.clone();
    let address = format!("203.0.113.{}", index + 1);
    match (child.kind, object.pointer("/spec/type").and_then(Value::as_str)) {
        (ChildKind::Service, Some("NodePort")) => {
            // Any port, as long as it is the same each time and another for each name.
            let letters = child.name.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 2768);
            object["spec"]["ports"][0]["nodePort"] = json!(30_000 + letters);
        }
        (ChildKind::Service, Some("LoadBalancer")) | (ChildKind::Ingress, _) => {
            object["status"] = json!({"loadBalancer": {"ingress": [{"ip": address}]}});
        }
        (ChildKind::StatefulSet, _) => {
            object["status"] = json!({"observedGeneration": 1, "replicas": 1, "readyReplicas": 1});
        }
        (ChildKind::Deployment, _) => {
            object["metadata"]["generation"] = json!(1);
            object["status"] = json!({"observedGeneration": 1, "availableReplicas": 1, "updatedReplicas": 1});
        }
        _ => {}
    }
    object
}

fn running(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.metadata.resource_version = Some("1".to_owned());
    pod.metadata.uid = Some(format!("uid-of-pod-{}", pod.name_any()));
    pod.spec.as_mut().expect("a Pod has a spec").node_name = Some(NODE.to_owned());
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    pod.status = Some(serde_json::from_value(status).expect("a Pod's status"));
    pod
}

fn node() -> Node {
    let addresses = json!([
        {"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "ExternalIP", "address": "198.51.100.1"}
    ]);
    serde_json::from_value(json!({"metadata": {"name": NODE}, "status": {"addresses": addresses}})).expect("a Node")
}

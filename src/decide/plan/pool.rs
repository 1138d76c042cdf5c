//! What a relay pool needs in the cluster.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Node, Pod, Service, TopologySpreadConstraint, Volume,
};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use serde_json::json;

use super::names::{self, CONTROL_PORT, HEALTH_PORT, PUBLIC_PORT};
use super::workload::{self, Workload};
use super::{
    Child, ChildKind, OperatorConfig, Plan, control, custom, hash, meta, policy, rights, service, tls, to_lobby,
};
use crate::api::relay_pool::MadeFrom;
use crate::api::{ANNOTATION_GENERATION, LABEL_OCCUPIED};
use crate::decide::valid::{Control, LobbyOf, Software, ValidPool};

/// Seconds that a relay has after its drain to close its connections and leave.
const LEAVE_SECONDS: i64 = 15;

/// Which relays a plan is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relays {
    /// What relays are made from.
    pub made_from: MadeFrom,
    /// Ordinals that have an address, by a Service and what else the exposure takes.
    pub addressed: BTreeSet<u32>,
    /// Ordinals at which a relay is made now.
    pub made: BTreeSet<u32>,
}

impl Relays {
    /// The first relays of a pool that has none yet.
    pub fn first(pool: &ValidPool, count: u32, config: &OperatorConfig) -> Self {
        let ordinals: BTreeSet<u32> = (0..count).collect();
        Self { made_from: made_from(pool, None, &config.image), addressed: ordinals.clone(), made: ordinals }
    }

    /// The present generation.
    pub fn generation(&self) -> String {
        hash(&self.made_from)
    }
}

/// Plans a pool.
pub fn plan(pool: &ValidPool, relays: &Relays, config: &OperatorConfig) -> Plan {
    let owner = &pool.owner;
    let name = names::pool(&owner.name);
    let (labels, selector) = (names::pool_labels(&owner.name), names::pool_selector(&owner.name));
    let mut children = vec![
        rights::service_account(owner, name.clone(), labels.clone()),
        policy::occupied_budget(owner, name.clone(), labels.clone(), selector.clone()),
    ];
    let mut secrets = vec![];
    match &pool.software {
        Software::Convene { lobby, control } => {
            let traffic = policy::Traffic {
                from_pods: vec![],
                from_namespace: vec![(CONTROL_PORT, config.operator_namespace.clone())],
                to: vec![to_lobby::egress(lobby)],
            };
            children.push(Child::new(ChildKind::ConfigMap, config_map(pool, lobby, control)));
            children.push(policy::network_policy(owner, name, labels.clone(), selector, traffic));
            secrets.extend(control::secret(owner, names::pool_control(&owner.name), labels, control));
        }
        Software::Custom(custom) => {
            children.push(custom::network_policy(meta(owner, name, labels), selector, custom, config));
        }
    }
    let named = |ordinals: &BTreeSet<u32>| -> Vec<String> {
        ordinals.iter().map(|ordinal| names::relay(&owner.name, *ordinal)).collect()
    };
    children.extend(named(&relays.addressed).iter().flat_map(|relay| service::address(&server(pool, relay))));
    children.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let pods = named(&relays.made).iter().map(|relay| pod(pool, relay, relays, config)).collect();
    Plan { secrets, children, pods, ..Plan::default() }
}

/// WebSocket base URL of a relay; nothing until it has an address. A running relay speaks what it was made to speak.
pub fn url(
    pool: &ValidPool,
    pod: &Pod,
    service: Option<&Service>,
    ingress: Option<&Ingress>,
    node: Option<&Node>,
) -> Option<String> {
    let observed = service::Observed { service, ingress, node };
    let name = pod.name_any();
    let mut server = server(pool, &name);
    if tls::is_spoken_by(pod) {
        server.is_tls = true;
        server.domain = pool.tls.as_ref().and_then(|tls| tls.domain.as_deref());
    }
    let (authority, is_tls) = service::authority(&server, &observed)?;
    Some(format!("{}://{authority}", if is_tls { "wss" } else { "ws" }))
}

/// What relays are made from: the spec, not the rendered pod, and the image that was the operator's own when that spec was
/// first seen, unless the spec names one. So a new operator leaves running relays alone until the spec changes.
pub fn made_from(pool: &ValidPool, before: Option<&MadeFrom>, image: &str) -> MadeFrom {
    let spec = spec_hash(pool);
    let image = match &pool.software {
        Software::Convene { .. } => image,
        Software::Custom(custom) => &custom.image,
    };
    match before.filter(|before| before.spec == spec) {
        Some(before) => before.clone(),
        None => MadeFrom { spec, image: image.to_owned() },
    }
}

/// Hash of what the user asked a relay to be, as far as a running one cannot follow it.
fn spec_hash(pool: &ValidPool) -> String {
    let mut spec = json!({
        "sessionsPerRelay": pool.sessions_per_relay,
        "template": pool.template,
    });
    match &pool.software {
        Software::Convene { lobby, .. } => spec["lobby"] = to_lobby::generation(lobby),
        Software::Custom(custom) => spec["custom"] = custom::generation(custom),
    }
    if let Some(tls) = &pool.tls {
        spec["tls"] = json!(tls.secret_name);
    }
    hash(&spec)
}

fn server<'a>(pool: &'a ValidPool, relay: &'a str) -> service::Server<'a> {
    service::Server {
        owner: &pool.owner,
        exposed: &pool.exposed,
        name: relay,
        labels: names::relay_labels(&pool.owner.name, relay),
        selector: names::relay_selector(&pool.owner.name, relay),
        single_pod: true,
        is_tls: false,
        domain: None,
    }
}

fn config_map(pool: &ValidPool, lobby: &LobbyOf, control: &Control) -> ConfigMap {
    let owner = &pool.owner;
    ConfigMap {
        metadata: meta(owner, names::pool(&owner.name), names::pool_labels(&owner.name)),
        data: Some(to_lobby::data(lobby, &pool.addresses).into_iter().chain(control::data(control)).collect()),
        ..ConfigMap::default()
    }
}

fn pod(pool: &ValidPool, relay: &str, relays: &Relays, config: &OperatorConfig) -> Pod {
    let owner = &pool.owner;
    let mut metadata = meta(owner, relay.to_owned(), names::relay_labels(&owner.name, relay));
    let overrides = workload::pod_labels(&pool.template, names::relay_labels(&owner.name, relay));
    metadata.labels = overrides.labels;
    // Before anybody can be on it, so that it is never evicted with a session.
    metadata.labels.get_or_insert_default().insert(LABEL_OCCUPIED.to_owned(), "true".to_owned());
    let mut annotations = overrides.annotations.unwrap_or_default();
    annotations.insert(ANNOTATION_GENERATION.to_owned(), relays.generation());
    metadata.annotations = Some(annotations);
    let grace_seconds = i64::from(pool.drain_seconds) + LEAVE_SECONDS;
    let image = relays.made_from.image.clone();
    let mut spec = match &pool.software {
        Software::Convene { lobby, .. } => {
            let config = OperatorConfig { image, ..config.clone() };
            workload::pod_spec(convene(pool, lobby, relay, grace_seconds), &pool.template, &config)
        }
        Software::Custom(custom) => custom::pod_spec(pool, custom, image, grace_seconds),
    };
    spec.topology_spread_constraints = Some(vec![spread_over_nodes(&owner.name)]);
    Pod { metadata, spec: Some(spec), status: None }
}

/// Convene's own relay.
fn convene(pool: &ValidPool, lobby: &LobbyOf, relay: &str, grace_seconds: i64) -> Workload {
    let mut env = to_lobby::env(lobby, relay);
    env.extend([
        workload::env_field("CONVENE_POD_UID", "metadata.uid"),
        workload::env(names::SEATS, pool.sessions_per_relay.to_string()),
        workload::env("CONVENE_DRAIN_SECONDS", pool.drain_seconds.to_string()),
    ]);
    env.extend(control::env());
    if pool.tls.is_some() {
        env.extend(tls::env());
    }
    Workload {
        command: "relay",
        env,
        ports: vec![(service::PORT_NAME, PUBLIC_PORT), ("health", HEALTH_PORT), ("control", CONTROL_PORT)],
        volumes: volumes(pool, lobby),
        service_account: names::pool(&pool.owner.name),
        api_token: false,
        grace_seconds,
    }
}

/// Relays of a pool go to different nodes where they can.
fn spread_over_nodes(pool: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: "kubernetes.io/hostname".to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(LabelSelector { match_labels: Some(names::pool_selector(pool)), match_expressions: None }),
        ..TopologySpreadConstraint::default()
    }
}

fn volumes(pool: &ValidPool, lobby: &LobbyOf) -> Vec<(Volume, &'static str)> {
    let keys = ConfigMapVolumeSource { name: names::pool(&pool.owner.name), ..ConfigMapVolumeSource::default() };
    let published = Volume { name: "lobby".to_owned(), config_map: Some(keys), ..Volume::default() };
    let mut volumes = vec![to_lobby::proof(lobby), (published, to_lobby::FOLDER)];
    volumes.push(control::volume(names::pool_control(&pool.owner.name), names::pool(&pool.owner.name)));
    volumes.extend(pool.tls.as_ref().map(|tls| tls::volume(&tls.secret_name)));
    volumes
}

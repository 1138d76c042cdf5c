//! What a relay pool needs in the cluster.

use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Node, Pod, ProjectedVolumeSource, Service, ServiceAccount,
    ServiceAccountTokenProjection, TopologySpreadConstraint, Volume, VolumeProjection,
};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use serde_json::json;

use super::names::{self, AUTHORITY, CONTROL_PORT, HEALTH_PORT, JWKS, LINK_PORT, PUBLIC_PORT};
use super::workload::{self, Workload};
use super::{Child, ChildKind, OperatorConfig, Plan, hash, meta, policy, service, tls};
use crate::api::ANNOTATION_GENERATION;
use crate::decide::valid::ValidPool;

/// Seconds that a relay has after its drain to close its connections and leave.
const LEAVE_SECONDS: i64 = 15;
/// Life of the token with which a relay proves who it is; the kubelet renews it.
const IDENTITY_SECONDS: i64 = 3600;

/// Where relays find what their lobby publishes.
const LOBBY_FOLDER: &str = "/etc/convene/lobby";

/// Plans a pool.
pub fn plan(pool: &ValidPool, config: &OperatorConfig) -> Plan {
    let owner = &pool.owner;
    let name = names::pool(&owner.name);
    let labels = names::pool_labels(&owner.name);
    let selector = names::pool_selector(&owner.name);
    let lobby = names::lobby_selector(&pool.lobby_name);
    // Relays that an earlier operator made link at the public port, and run on until they are replaced.
    let to_lobby = policy::egress_to(&pool.lobby_namespace, lobby, &[LINK_PORT, PUBLIC_PORT]);
    let traffic = policy::Traffic {
        from_pods: vec![],
        from_namespace: vec![(CONTROL_PORT, config.operator_namespace.clone())],
        to: vec![to_lobby],
    };
    let mut children = vec![
        Child::new(ChildKind::ServiceAccount, service_account(pool)),
        Child::new(ChildKind::ConfigMap, config_map(pool)),
        policy::network_policy(owner, name.clone(), labels.clone(), selector.clone(), traffic),
        policy::disruption_budget(owner, name, labels, selector),
    ];
    let relays: Vec<String> = (0..pool.replicas).map(|ordinal| names::relay(&owner.name, ordinal)).collect();
    children.extend(relays.iter().flat_map(|relay| service::address(&server(pool, relay))));
    children.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Plan { children, pods: relays.iter().map(|relay| pod(pool, relay, config)).collect(), ..Plan::default() }
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

/// Hash of what the user asked a relay to be: of the spec, not of the rendered pod, so that a new operator leaves
/// running relays alone.
pub fn generation(pool: &ValidPool) -> String {
    let mut spec = json!({
        "lobby": pool.lobby_uid,
        "sessionsPerRelay": pool.sessions_per_relay,
        "drainSeconds": pool.drain_seconds,
        "template": pool.template,
    });
    // Only where it is set: relays of before are of the same generation without it.
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

fn service_account(pool: &ValidPool) -> ServiceAccount {
    let owner = &pool.owner;
    ServiceAccount {
        metadata: meta(owner, names::pool(&owner.name), names::pool_labels(&owner.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

fn config_map(pool: &ValidPool) -> ConfigMap {
    let owner = &pool.owner;
    let data = [(JWKS, &pool.jwks), (AUTHORITY, &pool.lobby_authority)];
    ConfigMap {
        metadata: meta(owner, names::pool(&owner.name), names::pool_labels(&owner.name)),
        data: Some(data.map(|(key, text)| (key.to_owned(), text.clone())).into()),
        ..ConfigMap::default()
    }
}

fn pod(pool: &ValidPool, relay: &str, config: &OperatorConfig) -> Pod {
    let owner = &pool.owner;
    let mut metadata = meta(owner, relay.to_owned(), names::relay_labels(&owner.name, relay));
    let overrides = workload::pod_labels(&pool.template, names::relay_labels(&owner.name, relay));
    metadata.labels = overrides.labels;
    let mut annotations = overrides.annotations.unwrap_or_default();
    annotations.insert(ANNOTATION_GENERATION.to_owned(), generation(pool));
    metadata.annotations = Some(annotations);
    let mut env = vec![
        workload::env("CONVENE_LOBBY_URL", names::lobby_link_url(&pool.lobby_namespace, &pool.lobby_name)),
        workload::env("CONVENE_LOBBY_CA", format!("{LOBBY_FOLDER}/{AUTHORITY}")),
        workload::env("CONVENE_LOBBY_UID", pool.lobby_uid.clone()),
        workload::env_field("CONVENE_POD_UID", "metadata.uid"),
        workload::env("CONVENE_CAPACITY", pool.sessions_per_relay.to_string()),
        workload::env("CONVENE_DRAIN_SECONDS", pool.drain_seconds.to_string()),
    ];
    if pool.tls.is_some() {
        env.extend(tls::env());
    }
    let workload = Workload {
        command: "relay",
        env,
        ports: vec![(service::PORT_NAME, PUBLIC_PORT), ("health", HEALTH_PORT), ("control", CONTROL_PORT)],
        volumes: volumes(pool),
        service_account: names::pool(&owner.name),
        api_token: false,
        grace_seconds: i64::from(pool.drain_seconds) + LEAVE_SECONDS,
    };
    let mut spec = workload::pod_spec(workload, &pool.template, config);
    spec.topology_spread_constraints = Some(vec![spread_over_nodes(&owner.name)]);
    Pod { metadata, spec: Some(spec), status: None }
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

fn volumes(pool: &ValidPool) -> Vec<(Volume, &'static str)> {
    let token = ServiceAccountTokenProjection {
        audience: Some(pool.lobby_uid.clone()),
        expiration_seconds: Some(IDENTITY_SECONDS),
        path: "token".to_owned(),
    };
    let identity = ProjectedVolumeSource {
        sources: Some(vec![VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() }]),
        default_mode: Some(0o440),
    };
    let keys = ConfigMapVolumeSource { name: names::pool(&pool.owner.name), ..ConfigMapVolumeSource::default() };
    let mut volumes = vec![
        (
            Volume { name: "identity".to_owned(), projected: Some(identity), ..Volume::default() },
            "/var/run/secrets/convene.dev/lobby",
        ),
        (Volume { name: "lobby".to_owned(), config_map: Some(keys), ..Volume::default() }, LOBBY_FOLDER),
    ];
    volumes.extend(pool.tls.as_ref().map(|tls| tls::volume(&tls.secret_name)));
    volumes
}

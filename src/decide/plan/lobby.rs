//! What a lobby needs in the cluster.

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, Node, PodTemplateSpec, Secret, SecretVolumeSource, Service, ServiceAccount,
    Volume,
};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::names::{self, ADMIN_TOKEN, HEALTH_PORT, JWKS, PUBLIC_PORT, SIGNING_KEY};
use super::workload::{self, Workload};
use super::{Child, ChildKind, OperatorConfig, Plan, hash, meta, policy, service};
use crate::api::ANNOTATION_KEYS;
use crate::decide::valid::{LobbyKeys, ValidLobby};
use crate::wire::table::{RelayTable, TABLE_KEY};

/// Ports on which API servers listen, for the lobby's egress.
const API_SERVER_PORTS: [i32; 4] = [443, 6443, 8443, 16443];

/// Plans a lobby. `table` is what it will be told about relays.
pub fn plan(lobby: &ValidLobby, table: &RelayTable, config: &OperatorConfig) -> Plan {
    let owner = &lobby.owner;
    let name = names::lobby(&owner.name);
    let labels = names::lobby_labels(&owner.name);
    let selector = names::lobby_selector(&owner.name);
    let traffic = policy::Traffic { from_namespace: vec![], to: vec![policy::egress_anywhere(&API_SERVER_PORTS)] };
    let mut children = vec![
        Child::new(ChildKind::ServiceAccount, service_account(lobby)),
        Child::new(ChildKind::Role, role(lobby)),
        Child::new(ChildKind::RoleBinding, role_binding(lobby)),
        Child::new(ChildKind::ConfigMap, config_map(lobby, table)),
        policy::network_policy(owner, name.clone(), labels.clone(), selector.clone(), traffic),
        policy::disruption_budget(owner, name.clone(), labels, selector),
    ];
    children.extend(service::address(&server(lobby, &name)));
    children.push(Child::new(ChildKind::Deployment, deployment(lobby, config)));
    Plan { secrets: lobby.new_keys.iter().map(|keys| secret(lobby, keys)).collect(), children, pods: vec![] }
}

/// Public base URL: the user's, else what the exposure gives.
pub fn url(
    lobby: &ValidLobby,
    service: Option<&Service>,
    ingress: Option<&Ingress>,
    node: Option<&Node>,
) -> Option<String> {
    if let Some(url) = &lobby.url {
        return Some(url.clone());
    }
    let name = names::lobby(&lobby.owner.name);
    let observed = service::Observed { service, ingress, node };
    let (authority, tls) = service::authority(&server(lobby, &name), &observed)?;
    Some(format!("{}://{authority}", if tls { "https" } else { "http" }))
}

fn server<'a>(lobby: &'a ValidLobby, name: &'a str) -> service::Server<'a> {
    service::Server {
        owner: &lobby.owner,
        exposed: &lobby.exposed,
        name,
        labels: names::lobby_labels(&lobby.owner.name),
        selector: names::lobby_selector(&lobby.owner.name),
        single_pod: false,
    }
}

fn secret(lobby: &ValidLobby, keys: &LobbyKeys) -> Secret {
    let owner = &lobby.owner;
    let data = [(SIGNING_KEY, &keys.signing_key), (ADMIN_TOKEN, &keys.admin_token)];
    Secret {
        metadata: meta(owner, names::lobby_keys(&owner.name), names::lobby_labels(&owner.name)),
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes()))).into()),
        ..Secret::default()
    }
}

fn service_account(lobby: &ValidLobby) -> ServiceAccount {
    let owner = &lobby.owner;
    ServiceAccount {
        metadata: meta(owner, names::lobby(&owner.name), names::lobby_labels(&owner.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The lobby reads its one ConfigMap and nothing else.
fn role(lobby: &ValidLobby) -> Role {
    let owner = &lobby.owner;
    let name = names::lobby(&owner.name);
    let rule = PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec!["configmaps".to_owned()]),
        resource_names: Some(vec![name.clone()]),
        verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
        ..PolicyRule::default()
    };
    Role { metadata: meta(owner, name, names::lobby_labels(&owner.name)), rules: Some(vec![rule]) }
}

fn role_binding(lobby: &ValidLobby) -> RoleBinding {
    let owner = &lobby.owner;
    let name = names::lobby(&owner.name);
    RoleBinding {
        metadata: meta(owner, name.clone(), names::lobby_labels(&owner.name)),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".to_owned(),
            kind: "Role".to_owned(),
            name: name.clone(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name,
            namespace: Some(owner.namespace.clone()),
            api_group: None,
        }]),
    }
}

fn config_map(lobby: &ValidLobby, table: &RelayTable) -> ConfigMap {
    let owner = &lobby.owner;
    let table = serde_json::to_string(table).expect("the table is JSON");
    let data = [(TABLE_KEY, table), (JWKS, lobby.jwks.to_string())];
    ConfigMap {
        metadata: meta(owner, names::lobby(&owner.name), names::lobby_labels(&owner.name)),
        data: Some(data.map(|(key, text)| (key.to_owned(), text)).into()),
        ..ConfigMap::default()
    }
}

fn deployment(lobby: &ValidLobby, config: &OperatorConfig) -> Deployment {
    let owner = &lobby.owner;
    let name = names::lobby(&owner.name);
    let workload = Workload {
        command: "lobby",
        env: vec![workload::env("CONVENE_TABLE_CONFIG_MAP", format!("{}/{name}", owner.namespace))],
        ports: vec![(service::PORT_NAME, PUBLIC_PORT), ("health", HEALTH_PORT)],
        volumes: volumes(&owner.name),
        service_account: name.clone(),
        api_token: true,
        grace_seconds: 30,
    };
    let mut metadata = workload::pod_labels(&lobby.template, names::lobby_labels(&owner.name));
    // The process reads its keys once: other keys are a reason to start it anew.
    metadata.annotations.get_or_insert_default().insert(ANNOTATION_KEYS.to_owned(), hash(&lobby.jwks));
    let template =
        PodTemplateSpec { metadata: Some(metadata), spec: Some(workload::pod_spec(workload, &lobby.template, config)) };
    Deployment {
        metadata: meta(owner, name, names::lobby_labels(&owner.name)),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            // Two memory stores would both grant the same seats.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            selector: LabelSelector { match_labels: Some(names::lobby_selector(&owner.name)), match_expressions: None },
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn volumes(lobby: &str) -> Vec<(Volume, &'static str)> {
    let keys = SecretVolumeSource {
        secret_name: Some(names::lobby_keys(lobby)),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    let table =
        ConfigMapVolumeSource { name: names::lobby(lobby), optional: Some(true), ..ConfigMapVolumeSource::default() };
    vec![
        (Volume { name: "keys".to_owned(), secret: Some(keys), ..Volume::default() }, "/etc/convene/keys"),
        (Volume { name: "table".to_owned(), config_map: Some(table), ..Volume::default() }, "/etc/convene/table"),
    ]
}

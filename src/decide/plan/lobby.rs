//! What a lobby needs in the cluster.

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, EnvVar, KeyToPath, Node, PodTemplateSpec, ProjectedVolumeSource, Secret,
    SecretProjection, SecretVolumeSource, Service, Volume, VolumeProjection,
};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{
    self, ADMIN_TOKEN, AUTHORITY, CONTROL_PORT, HEALTH_PORT, JWKS, LINK_CERTIFICATE, LINK_PORT, PUBLIC_PORT,
    REDIS_PORT, REDIS_URL, SIGNING_KEY,
};
use super::workload::{self, Workload};
use super::{
    Child, ChildKind, HeldSecret, OperatorConfig, Plan, control, endpoints, link, meta, own_redis, places, policy,
    rights, router, service, tls,
};
use crate::decide::authority::Certificates;
use crate::decide::keys::SLOTS;
use crate::decide::valid::{LobbyKeys, Stored, Tokens, ValidLobby};
use crate::wire::keys::KeySet;
use crate::wire::table::{RelayTable, TABLE_KEY};

/// Where the Secret with the URL of the store is mounted, and the key in it of whom to believe.
const STORE_FOLDER: &str = "/etc/convene/store";
const STORE_CA: &str = "ca.crt";

/// Where the user's own signing keys are mounted.
const SIGNING_FOLDER: &str = "/etc/convene/signing";

/// Plans a lobby. `table` is what it will be told about relays.
pub fn plan(lobby: &ValidLobby, table: &RelayTable, config: &OperatorConfig) -> Plan {
    let owner = &lobby.owner;
    let name = names::lobby(&owner.name);
    let labels = names::lobby_labels(&owner.name);
    let selector = names::lobby_selector(&owner.name);
    let mut to = vec![policy::egress_anywhere(&config.api_server_ports)];
    match &lobby.stored {
        Stored::Memory => {}
        Stored::Redis { port, .. } => to.push(policy::egress_anywhere(&[*port])),
        Stored::Managed(_) => {
            to.push(policy::egress_to(&owner.namespace, names::lobby_redis_selector(&owner.name), &[REDIS_PORT]));
        }
    }
    to.extend(places::egress(&lobby.clients));
    let from_namespace = vec![(CONTROL_PORT, config.operator_namespace.clone())];
    let mut from_pods = vec![(LINK_PORT, names::relays_selector())];
    from_pods.extend(lobby.dns.is_some().then(|| (LINK_PORT, names::lobby_dns_selector(&owner.name))));
    let traffic = policy::Traffic { from_pods, from_namespace, to };
    let mut children = vec![
        rights::service_account(owner, name.clone(), labels.clone()),
        Child::new(ChildKind::Role, role(lobby)),
        rights::role_binding(owner, name.clone(), labels.clone(), name.clone()),
        policy::network_policy(owner, name.clone(), labels.clone(), selector.clone(), traffic),
        policy::disruption_budget(owner, name.clone(), labels, selector),
    ];
    children.insert(3, Child::new(ChildKind::ConfigMap, config_map(lobby, table)));
    let slots = slots(lobby);
    children.splice(4..4, slots.iter().map(|slot| Child::new(ChildKind::ConfigMap, holder(lobby, *slot))));
    children.extend(service::address(&server(lobby, &name)));
    children.push(Child::new(ChildKind::Service, link::service(owner)));
    children.push(Child::new(ChildKind::Deployment, deployment(lobby, config)));
    if let Stored::Managed(settings) = &lobby.stored {
        children.extend(own_redis::children(lobby, settings));
    }
    if let Some(dns) = &lobby.dns {
        children.extend(router::children(lobby, dns, config));
    }
    if let Some(settings) = lobby.external_dns.as_ref().filter(|_| lobby.dns_endpoints_there) {
        children.push(endpoints::child(lobby, settings, table));
    }
    children.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let mut secrets: Vec<Secret> = lobby.new_keys.iter().map(|keys| secret(lobby, keys)).collect();
    secrets.extend(lobby.new_link_keys.as_ref().map(|keys| link::secret(owner, keys)));
    secrets.extend(control::secret(
        owner,
        names::lobby_control(&owner.name),
        names::lobby_labels(&owner.name),
        &lobby.control,
    ));
    secrets.extend(lobby.redis.as_ref().and_then(|known| own_redis::secret(owner, known)));
    Plan { secrets, held_secrets: held_secret(lobby).into_iter().collect(), children, pods: vec![] }
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
    let (authority, is_tls) = service::authority(&server(lobby, &name), &observed)?;
    Some(format!("{}://{authority}", if is_tls { "https" } else { "http" }))
}

fn server<'a>(lobby: &'a ValidLobby, name: &'a str) -> service::Server<'a> {
    service::Server {
        owner: &lobby.owner,
        exposed: &lobby.exposed,
        name,
        labels: names::lobby_labels(&lobby.owner.name),
        selector: names::lobby_selector(&lobby.owner.name),
        single_pod: false,
        is_tls: lobby.tls_secret.is_some(),
        domain: None,
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

fn slots(lobby: &ValidLobby) -> Vec<u8> {
    match &lobby.tokens {
        Tokens::Own { slots, .. } => slots.iter().copied().collect(),
        Tokens::Given { .. } => vec![],
    }
}

/// Owns the Secret of a slot. It holds nothing: it is there to be deleted.
fn holder(lobby: &ValidLobby, slot: u8) -> ConfigMap {
    let owner = &lobby.owner;
    ConfigMap {
        metadata: meta(owner, names::lobby_key(&owner.name, slot), names::lobby_labels(&owner.name)),
        ..ConfigMap::default()
    }
}

fn held_secret(lobby: &ValidLobby) -> Option<HeldSecret> {
    let Tokens::Own { create: Some((slot, key)), .. } = &lobby.tokens else { return None };
    let owner = &lobby.owner;
    let name = names::lobby_key(&owner.name, *slot);
    let mut metadata = meta(owner, name.clone(), names::lobby_labels(&owner.name));
    metadata.owner_references = None;
    let secret = Secret {
        metadata,
        data: Some([(SIGNING_KEY.to_owned(), ByteString(key.clone().into_bytes()))].into()),
        immutable: Some(true),
        ..Secret::default()
    };
    Some(HeldSecret { holder: name, secret })
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

fn config_map(lobby: &ValidLobby, table: &RelayTable) -> ConfigMap {
    let owner = &lobby.owner;
    let table = serde_json::to_string(table).expect("the table is JSON");
    let jwks = match &lobby.tokens {
        Tokens::Own { published, .. } => published.clone(),
        // Relays are told by the lobby.
        Tokens::Given { .. } => KeySet::default(),
    };
    let jwks = serde_json::to_string(&jwks).expect("keys are JSON");
    let Certificates { authority, link, link_ends: _ } = lobby.certificates.clone();
    let data = [(TABLE_KEY, table), (JWKS, jwks), (AUTHORITY, authority), (LINK_CERTIFICATE, link)];
    ConfigMap {
        metadata: meta(owner, names::lobby(&owner.name), names::lobby_labels(&owner.name)),
        data: Some(
            data.map(|(key, text)| (key.to_owned(), text)).into_iter().chain(control::data(&lobby.control)).collect(),
        ),
        ..ConfigMap::default()
    }
}

fn deployment(lobby: &ValidLobby, config: &OperatorConfig) -> Deployment {
    let owner = &lobby.owner;
    let name = names::lobby(&owner.name);
    let workload = Workload {
        command: "lobby",
        env: env(lobby, &name),
        ports: vec![
            (service::PORT_NAME, PUBLIC_PORT),
            ("health", HEALTH_PORT),
            ("control", CONTROL_PORT),
            (link::PORT_NAME, LINK_PORT),
        ],
        volumes: volumes(lobby),
        service_account: name.clone(),
        api_token: true,
        grace_seconds: 30,
    };
    let metadata = workload::pod_labels(&lobby.template, names::lobby_labels(&owner.name));
    let template =
        PodTemplateSpec { metadata: Some(metadata), spec: Some(workload::pod_spec(workload, &lobby.template, config)) };
    Deployment {
        metadata: meta(owner, name, names::lobby_labels(&owner.name)),
        spec: Some(DeploymentSpec {
            replicas: Some(lobby.replicas),
            strategy: Some(strategy(lobby)),
            selector: LabelSelector { match_labels: Some(names::lobby_selector(&owner.name)), match_expressions: None },
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn env(lobby: &ValidLobby, name: &str) -> Vec<EnvVar> {
    let mut env = vec![workload::env("CONVENE_TABLE_CONFIG_MAP", format!("{}/{name}", lobby.owner.namespace))];
    env.extend(link::env());
    env.extend(control::env());
    env.extend(places::env(&lobby.clients));
    if lobby.tls_secret.is_some() {
        env.extend(tls::env());
    }
    if let Tokens::Given { .. } = lobby.tokens {
        env.push(workload::env("CONVENE_SIGNING_KEYS_DIR", SIGNING_FOLDER));
    }
    if store_secret(lobby).is_some() {
        env.push(workload::env("CONVENE_STORE", "redis"));
        env.push(workload::env("CONVENE_REDIS_URL_FILE", format!("{STORE_FOLDER}/{REDIS_URL}")));
        env.push(workload::env("CONVENE_REDIS_CA_FILE", format!("{STORE_FOLDER}/{STORE_CA}")));
        // Lobbies that share a server do not meet there, and a lobby that is made anew begins anew.
        env.push(workload::env("CONVENE_REDIS_PREFIX", lobby.owner.uid.clone()));
    }
    env
}

fn strategy(lobby: &ValidLobby) -> DeploymentStrategy {
    match lobby.stored {
        // Two memory stores would both grant the same seats.
        Stored::Memory => DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None },
        Stored::Redis { .. } | Stored::Managed(_) => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            // Said, not left to defaults: what the API server has filled in would stay, and not go with `Recreate`.
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
    }
}

fn volumes(lobby: &ValidLobby) -> Vec<(Volume, &'static str)> {
    let name = &lobby.owner.name;
    let table =
        ConfigMapVolumeSource { name: names::lobby(name), optional: Some(true), ..ConfigMapVolumeSource::default() };
    let mut volumes = vec![
        (keys_volume(lobby), "/etc/convene/keys"),
        (Volume { name: "table".to_owned(), config_map: Some(table), ..Volume::default() }, "/etc/convene/table"),
        (link::volume(name), link::FOLDER),
        control::volume(names::lobby_control(name), names::lobby(name)),
    ];
    if let Tokens::Given { secret } = &lobby.tokens {
        let given = SecretVolumeSource {
            secret_name: Some(secret.clone()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        };
        let volume = Volume { name: "signing-keys".to_owned(), secret: Some(given), ..Volume::default() };
        volumes.push((volume, SIGNING_FOLDER));
    }
    volumes.extend(lobby.tls_secret.as_deref().map(tls::volume));
    volumes.extend(places::volumes(&lobby.clients));
    volumes.extend(store_secret(lobby).map(|secret| (store_volume(&secret), STORE_FOLDER)));
    volumes
}

/// The Secret with the URL of the store, where there is one.
fn store_secret(lobby: &ValidLobby) -> Option<String> {
    match &lobby.stored {
        Stored::Memory => None,
        Stored::Redis { secret, .. } => Some(secret.clone()),
        Stored::Managed(_) => Some(names::lobby_redis(&lobby.owner.name)),
    }
}

/// The lobby's first Secret, and every slot, whether or not there is a key in it: a pod sees new keys without a restart.
fn keys_volume(lobby: &ValidLobby) -> Volume {
    let item = |key: &str, path: String| KeyToPath { key: key.to_owned(), path, mode: None };
    let source = |name: String, items: Vec<KeyToPath>, optional| VolumeProjection {
        secret: Some(SecretProjection { name, items: Some(items), optional: Some(optional) }),
        ..VolumeProjection::default()
    };
    let name = &lobby.owner.name;
    let mut items = vec![item(ADMIN_TOKEN, ADMIN_TOKEN.to_owned())];
    let mut sources = vec![];
    if let Tokens::Own { .. } = lobby.tokens {
        items.push(item(SIGNING_KEY, SIGNING_KEY.to_owned()));
        sources.extend((1..=SLOTS).map(|slot| {
            let path = format!("signing-key-{slot}.pem");
            source(names::lobby_key(name, slot), vec![item(SIGNING_KEY, path)], true)
        }));
    }
    sources.insert(0, source(names::lobby_keys(name), items, false));
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) };
    Volume { name: "keys".to_owned(), projected: Some(projected), ..Volume::default() }
}

/// Two keys of one Secret, of which the second need not be there; changes of either reach the process.
fn store_volume(secret: &str) -> Volume {
    let source = |key: &str, optional| VolumeProjection {
        secret: Some(SecretProjection {
            name: secret.to_owned(),
            items: Some(vec![KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None }]),
            optional: Some(optional),
        }),
        ..VolumeProjection::default()
    };
    let sources = vec![source(REDIS_URL, false), source(STORE_CA, true)];
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) };
    Volume { name: "store".to_owned(), projected: Some(projected), ..Volume::default() }
}

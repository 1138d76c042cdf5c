//! The Redis that the operator runs for a lobby: one server with a volume of its own, that only the lobby reaches. Its
//! names and its password stand in a Secret that is made once.

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    Container, KeyToPath, PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, PodSpec,
    PodTemplateSpec, Probe, Secret, SecretVolumeSource, Service, ServicePort, ServiceSpec, TCPSocketAction, Volume,
    VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{self, REDIS_CONFIG, REDIS_PORT, REDIS_URL};
use super::{Child, ChildKind, hash, meta, policy, workload};
use crate::api::ANNOTATION_KEYS;
use crate::api::lobby::ManagedRedis;
use crate::decide::valid::{Owner, RedisSecret, ValidLobby};

/// Where the configuration with the password is mounted, and where the volume is.
const CONFIG_FOLDER: &str = "/etc/redis";
const DATA_FOLDER: &str = "/data";
/// Time for what is in memory to reach the volume, in seconds.
const GRACE_SECONDS: i64 = 30;

/// The Secret, where there is none yet: what the lobby dials, and what the server asks for.
pub(super) fn secret(owner: &Owner, known: &RedisSecret) -> Option<Secret> {
    let RedisSecret::New { password } = known else { return None };
    let name = names::lobby_redis(&owner.name);
    let host = format!("{name}.{}.svc", owner.namespace);
    let url = format!("redis://{USER}:{password}@{host}:{REDIS_PORT}");
    let data = [(REDIS_URL, url), (REDIS_CONFIG, config(password))];
    Some(Secret {
        metadata: meta(owner, name, names::lobby_labels(&owner.name)),
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).into()),
        ..Secret::default()
    })
}

/// Who the lobby is to its Redis.
const USER: &str = "lobby";

/// One user, who cannot do to the server what is dangerous: empty it, stop it, change what it is.
fn config(password: &str) -> String {
    format!("user default off\nuser {USER} on >{password} ~* &* +@all -@dangerous -@admin +info\n")
}

/// All but the Secret.
pub(super) fn children(lobby: &ValidLobby, redis: &ManagedRedis) -> Vec<Child> {
    let owner = &lobby.owner;
    let name = names::lobby_redis(&owner.name);
    let pods = names::lobby_redis_selector(&owner.name);
    vec![
        policy::only_from(owner, name.clone(), pods, names::lobby_selector(&owner.name), REDIS_PORT),
        Child::new(ChildKind::Service, service(owner, &name)),
        Child::new(ChildKind::PersistentVolumeClaim, claim(owner, name.clone(), redis)),
        Child::new(ChildKind::StatefulSet, stateful_set(lobby, name, redis)),
    ]
}

fn service(owner: &Owner, name: &str) -> Service {
    Service {
        metadata: meta(owner, name.to_owned(), names::lobby_labels(&owner.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::lobby_redis_selector(&owner.name)),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: REDIS_PORT,
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

const PORT_NAME: &str = "redis";

/// Not a template of the StatefulSet: that could never grow, and would outlive the lobby.
fn claim(owner: &Owner, name: String, redis: &ManagedRedis) -> PersistentVolumeClaim {
    let size = [("storage".to_owned(), Quantity(redis.storage.size.clone()))].into();
    PersistentVolumeClaim {
        metadata: meta(owner, name, names::lobby_labels(&owner.name)),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: redis.storage.class_name.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(size), limits: None }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Of one: a server is gone for certain before the next one opens its files.
fn stateful_set(lobby: &ValidLobby, name: String, redis: &ManagedRedis) -> StatefulSet {
    let owner = &lobby.owner;
    let labels = names::lobby_redis_labels(&owner.name);
    // The server reads its password once: another is a reason to start it anew.
    let settings = lobby.redis.as_ref().map(|known| match known {
        RedisSecret::New { password } => config(password),
        RedisSecret::Standing { config } => config.clone(),
    });
    let annotations = [(ANNOTATION_KEYS.to_owned(), hash(&settings))].into();
    let metadata = ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
    let template = PodTemplateSpec { metadata: Some(metadata), spec: Some(pod(lobby, &name, redis)) };
    StatefulSet {
        metadata: meta(owner, name.clone(), names::lobby_labels(&owner.name)),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(name),
            // A pod that never became ready does not keep its successor away.
            pod_management_policy: Some("Parallel".to_owned()),
            selector: LabelSelector {
                match_labels: Some(names::lobby_redis_selector(&owner.name)),
                match_expressions: None,
            },
            template,
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn pod(lobby: &ValidLobby, name: &str, redis: &ManagedRedis) -> PodSpec {
    let template = &lobby.template;
    let claim = PersistentVolumeClaimVolumeSource { claim_name: name.to_owned(), read_only: None };
    let config = SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        items: Some(vec![KeyToPath { key: REDIS_CONFIG.to_owned(), path: REDIS_CONFIG.to_owned(), mode: None }]),
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    PodSpec {
        containers: vec![container(redis)],
        volumes: Some(vec![
            Volume { name: "data".to_owned(), persistent_volume_claim: Some(claim), ..Volume::default() },
            Volume { name: "config".to_owned(), secret: Some(config), ..Volume::default() },
        ]),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(workload::pod_security()),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        node_selector: workload::some_map(&template.node_selector),
        tolerations: workload::some_list(&template.tolerations),
        priority_class_name: template.priority_class_name.clone(),
        image_pull_secrets: workload::some_list(&template.image_pull_secrets),
        ..PodSpec::default()
    }
}

fn container(redis: &ManagedRedis) -> Container {
    let mount = |name: &str, folder: &str, read_only| VolumeMount {
        name: name.to_owned(),
        mount_path: folder.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    };
    // Accepts connections while it reads its files, and says so to whoever asks: the lobby waits then.
    let answers = Probe {
        tcp_socket: Some(TCPSocketAction { port: IntOrString::String(PORT_NAME.to_owned()), host: None }),
        period_seconds: Some(2),
        timeout_seconds: Some(2),
        failure_threshold: Some(3),
        ..Probe::default()
    };
    Container {
        name: "redis".to_owned(),
        image: Some(redis.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(arguments()),
        ports: Some(vec![workload::container_port(PORT_NAME, REDIS_PORT)]),
        volume_mounts: Some(vec![mount("data", DATA_FOLDER, false), mount("config", CONFIG_FOLDER, true)]),
        readiness_probe: Some(answers),
        resources: Some(redis.resources.clone().unwrap_or_else(workload::default_resources)),
        security_context: Some(workload::container_security()),
        ..Container::default()
    }
}

/// What is granted is on the volume within a second, and nothing is ever thrown out to make room.
fn arguments() -> Vec<String> {
    let config = format!("{CONFIG_FOLDER}/{REDIS_CONFIG}");
    let port = REDIS_PORT.to_string();
    // Strangers are kept out by the password and the network policy; the protected mode would keep out everybody.
    let settings = ["--port", &port, "--protected-mode", "no", "--dir", DATA_FOLDER, "--appendonly", "yes"];
    let limits = ["--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"];
    [config.as_str()].into_iter().chain(settings).chain(limits).map(str::to_owned).collect()
}

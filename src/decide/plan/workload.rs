//! Pods of either kind: restricted Pod Security, read-only root, limits, and what the user may override.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector,
    PodSecurityContext, PodSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::OperatorConfig;
use super::names::{HEALTH_PORT, Labels};
use crate::api::PodOverrides;
use crate::api::common::EnvLiteral;

/// User and group of all processes.
const USER: i64 = 65532;

/// What differs between the two kinds of pods.
pub(super) struct Workload {
    /// Subcommand of the binary; also the container's name.
    pub(super) command: &'static str,
    /// Environment, before the user's.
    pub(super) env: Vec<EnvVar>,
    /// Named ports.
    pub(super) ports: Vec<(&'static str, i32)>,
    /// Volumes, and where each is mounted (always read-only).
    pub(super) volumes: Vec<(Volume, &'static str)>,
    /// Service account.
    pub(super) service_account: String,
    /// Whether the pod talks to the API server.
    pub(super) api_token: bool,
    /// Seconds between SIGTERM and SIGKILL.
    pub(super) grace_seconds: i64,
}

/// Environment variable with a value.
pub(super) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

/// Environment variable from a field of the Pod.
pub(super) fn env_field(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() };
    let source = EnvVarSource { field_ref: Some(field_ref), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// The pod's spec.
pub(super) fn pod_spec(workload: Workload, template: &PodOverrides, config: &OperatorConfig) -> PodSpec {
    let mounts = workload.volumes.iter().map(|(volume, path)| VolumeMount {
        name: volume.name.clone(),
        mount_path: (*path).to_owned(),
        // Scratch space is there to be written to; nothing else is.
        read_only: volume.empty_dir.is_none().then_some(true),
        ..VolumeMount::default()
    });
    let mut env = workload.env;
    env.push(self::env("CONVENE_LOG_FORMAT", "json"));
    env.extend(user_env(&template.env));
    let container = Container {
        name: workload.command.to_owned(),
        image: Some(config.image.clone()),
        image_pull_policy: Some(config.image_pull_policy.clone()),
        args: Some(vec![workload.command.to_owned()]),
        env: Some(env),
        ports: Some(workload.ports.iter().map(|(name, port)| container_port(name, *port)).collect()),
        volume_mounts: Some(mounts.collect()),
        readiness_probe: Some(probe("/readyz", 2, 2)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        resources: Some(template.resources.clone().unwrap_or_else(default_resources)),
        security_context: Some(container_security()),
        ..Container::default()
    };
    let around = Around {
        volumes: workload.volumes.into_iter().map(|(volume, _)| volume).collect(),
        service_account: workload.service_account,
        api_token: workload.api_token,
        grace_seconds: workload.grace_seconds,
    };
    around_container(container, around, template)
}

/// What of a pod is not in its container.
pub(super) struct Around {
    /// Volumes.
    pub(super) volumes: Vec<Volume>,
    /// Service account.
    pub(super) service_account: String,
    /// Whether the pod talks to the API server.
    pub(super) api_token: bool,
    /// Seconds between SIGTERM and SIGKILL.
    pub(super) grace_seconds: i64,
}

/// A pod of one container, under restricted Pod Security and where the user wants it.
pub(super) fn around_container(container: Container, around: Around, template: &PodOverrides) -> PodSpec {
    PodSpec {
        containers: vec![container],
        volumes: Some(around.volumes),
        service_account_name: Some(around.service_account),
        automount_service_account_token: Some(around.api_token),
        enable_service_links: Some(false),
        security_context: Some(pod_security()),
        termination_grace_period_seconds: Some(around.grace_seconds),
        node_selector: some_map(&template.node_selector),
        tolerations: some_list(&template.tolerations),
        priority_class_name: template.priority_class_name.clone(),
        image_pull_secrets: some_list(&template.image_pull_secrets),
        ..PodSpec::default()
    }
}

/// Variables of the user: none of our settings, and each once, since the API server does not apply a list that names one
/// twice. As in a Pod, the last of a name counts.
pub(super) fn user_env(literals: &[EnvLiteral]) -> impl Iterator<Item = EnvVar> {
    let counts = literals.iter().enumerate().filter(|(index, literal)| {
        let later = literals.iter().skip(index + 1).any(|other| other.name == literal.name);
        !later && !literal.name.starts_with("CONVENE_")
    });
    counts.map(|(_, literal)| env(&literal.name, literal.value.clone()))
}

/// Metadata of the pods: ours wins over the user's.
pub(super) fn pod_labels(template: &PodOverrides, ours: Labels) -> ObjectMeta {
    let mut labels = not_ours(&template.labels);
    labels.extend(ours);
    let annotations = not_ours(&template.annotations);
    ObjectMeta { labels: Some(labels), annotations: some_map(&annotations), ..ObjectMeta::default() }
}

/// The API server refuses keys of `convene.dev/`; selectors and hashes do not depend on that.
fn not_ours(map: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    map.iter()
        .filter(|(key, _)| !key.starts_with("convene.dev/"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

pub(super) fn container_port(name: &str, port: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(HEALTH_PORT),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

pub(super) fn default_resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", "50m"), ("memory", "64Mi")])),
        limits: Some(quantities(&[("memory", "512Mi")])),
        claims: None,
    }
}

pub(super) fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

pub(super) fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    }
}

pub(super) fn some_map(map: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then(|| map.clone())
}

pub(super) fn some_list<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

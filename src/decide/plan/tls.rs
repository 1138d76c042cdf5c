//! A port for clients under a certificate of the user's: its Secret is mounted, and read again by the process.

use k8s_openapi::api::core::v1::{EnvVar, KeyToPath, Pod, SecretVolumeSource, Volume};

use super::workload;

/// Where the Secret is mounted.
const FOLDER: &str = "/etc/convene/tls";
/// What tells a process that it speaks TLS.
const CERTIFICATE: &str = "CONVENE_TLS_CERT";

pub(super) fn env() -> [EnvVar; 2] {
    [(CERTIFICATE, "tls.crt"), ("CONVENE_TLS_KEY", "tls.key")]
        .map(|(name, key)| workload::env(name, format!("{FOLDER}/{key}")))
}

/// The two entries of a Secret of type `kubernetes.io/tls`, and where they are mounted.
pub(super) fn volume(secret: &str) -> (Volume, &'static str) {
    let item = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None };
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        items: Some(vec![item("tls.crt"), item("tls.key")]),
        default_mode: Some(0o440),
        optional: None,
    };
    (Volume { name: "tls".to_owned(), secret: Some(source), ..Volume::default() }, FOLDER)
}

/// Whether a pod was made to speak TLS: a changed spec does not change one that runs.
pub(super) fn is_spoken_by(pod: &Pod) -> bool {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let mut env = container.into_iter().flat_map(|container| container.env.iter().flatten());
    env.any(|variable| variable.name == CERTIFICATE)
}

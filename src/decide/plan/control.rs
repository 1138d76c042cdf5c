//! The control port of a lobby or of a pool's relays: its key stands in a Secret that is made once, its certificate and the
//! operator's authorities in the owner's ConfigMap, where they are renewed.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, EnvVar, KeyToPath, ProjectedVolumeSource, Secret, SecretProjection, Volume, VolumeProjection,
};

use super::names::{CONTROL_AUTHORITIES, CONTROL_CERTIFICATE, CONTROL_KEY, Labels};
use super::{meta, workload};
use crate::decide::authority::ControlKey;
use crate::decide::valid::{Control, Owner};

/// Where key and certificates are mounted.
const FOLDER: &str = "/etc/convene/control";
/// The certificate's file there.
const CERTIFICATE_FILE: &str = "tls.crt";
/// That of the authorities.
const AUTHORITIES_FILE: &str = "ca.crt";

/// The Secret of an owner that has none yet.
pub(super) fn secret(owner: &Owner, name: String, labels: Labels, control: &Control) -> Option<Secret> {
    let ControlKey(key) = control.new_key.as_ref()?;
    Some(Secret {
        metadata: meta(owner, name, labels),
        data: Some([(CONTROL_KEY.to_owned(), ByteString(key.clone().into_bytes()))].into()),
        ..Secret::default()
    })
}

/// Entries of the owner's ConfigMap.
pub(super) fn data(control: &Control) -> [(String, String); 2] {
    let certificates = &control.certificates;
    [(CONTROL_CERTIFICATE, &certificates.server), (CONTROL_AUTHORITIES, &certificates.authorities)]
        .map(|(key, text)| (key.to_owned(), text.clone()))
}

pub(super) fn env() -> [EnvVar; 3] {
    [
        ("CONVENE_CONTROL_CERT", CERTIFICATE_FILE),
        ("CONVENE_CONTROL_KEY", CONTROL_KEY),
        ("CONVENE_CONTROL_CA", AUTHORITIES_FILE),
    ]
    .map(|(name, file)| workload::env(name, format!("{FOLDER}/{file}")))
}

/// One volume, so that a pod never sees the certificate of one key beside another key.
pub(super) fn volume(secret: String, config_map: String) -> (Volume, &'static str) {
    let item = |key: &str, path: &str| KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None };
    let key =
        SecretProjection { name: secret, items: Some(vec![item(CONTROL_KEY, CONTROL_KEY)]), optional: Some(false) };
    let certificates = ConfigMapProjection {
        name: config_map,
        items: Some(vec![item(CONTROL_CERTIFICATE, CERTIFICATE_FILE), item(CONTROL_AUTHORITIES, AUTHORITIES_FILE)]),
        optional: Some(false),
    };
    let sources = vec![
        VolumeProjection { secret: Some(key), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(certificates), ..VolumeProjection::default() },
    ];
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) };
    (Volume { name: "control".to_owned(), projected: Some(projected), ..Volume::default() }, FOLDER)
}

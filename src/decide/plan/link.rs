//! The way of relays to their lobby: a Service of its own, never exposed, under a certificate of the lobby's authority.
//! Private keys stand in a Secret that is made once; the lobby's pods get that of the port, and never the authority's.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, EnvVar, KeyToPath, ProjectedVolumeSource, Secret, SecretProjection, Service, ServicePort,
    ServiceSpec, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names::{self, AUTHORITY_KEY, LINK_CERTIFICATE, LINK_KEY, LINK_PORT};
use super::{meta, workload};
use crate::decide::authority::LinkKeys;
use crate::decide::valid::Owner;

/// Name of the port.
pub(super) const PORT_NAME: &str = "link";
/// Where certificate and key are mounted in the lobby's pods.
pub(super) const FOLDER: &str = "/etc/convene/link";
/// The certificate's file there; the key's is named as in its Secret.
const CERTIFICATE_FILE: &str = "tls.crt";

/// The Secret of a lobby that has none yet.
pub(super) fn secret(owner: &Owner, keys: &LinkKeys) -> Secret {
    let data = [(AUTHORITY_KEY, &keys.authority), (LINK_KEY, &keys.server)];
    Secret {
        metadata: meta(owner, names::lobby_link(&owner.name), names::lobby_labels(&owner.name)),
        data: Some(data.map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes()))).into()),
        ..Secret::default()
    }
}

pub(super) fn service(owner: &Owner) -> Service {
    Service {
        metadata: meta(owner, names::lobby_link(&owner.name), names::lobby_labels(&owner.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::lobby_selector(&owner.name)),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: LINK_PORT,
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

pub(super) fn env() -> [EnvVar; 2] {
    [("CONVENE_LINK_CERT", CERTIFICATE_FILE), ("CONVENE_LINK_KEY", LINK_KEY)]
        .map(|(name, file)| workload::env(name, format!("{FOLDER}/{file}")))
}

/// One volume, so that a pod never sees the certificate of one key beside another key.
pub(super) fn volume(lobby: &str) -> Volume {
    let item = |key: &str, path: &str| KeyToPath { key: key.to_owned(), path: path.to_owned(), mode: None };
    let key = SecretProjection {
        name: names::lobby_link(lobby),
        items: Some(vec![item(LINK_KEY, LINK_KEY)]),
        optional: Some(false),
    };
    let certificate = ConfigMapProjection {
        name: names::lobby(lobby),
        items: Some(vec![item(LINK_CERTIFICATE, CERTIFICATE_FILE)]),
        optional: Some(false),
    };
    let sources = vec![
        VolumeProjection { secret: Some(key), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(certificate), ..VolumeProjection::default() },
    ];
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) };
    Volume { name: "link".to_owned(), projected: Some(projected), ..Volume::default() }
}

//! What a relay needs on its way to its lobby: where that is, how to know it, and how to prove itself.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EnvVar, KeyToPath, ProjectedVolumeSource, SecretVolumeSource, ServiceAccountTokenProjection, Volume,
    VolumeProjection,
};
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use serde_json::{Value, json};

use super::names::{self, AUTHORITY, JWKS, LINK_PORT, PUBLIC_PORT};
use super::{policy, workload};
use crate::decide::valid::LobbyOf;
use crate::wire::keys::KeySet;

/// Where relays find what their lobby publishes, and what their operator tells them.
pub(super) const FOLDER: &str = "/etc/convene/lobby";
/// Where the key of a pool is mounted that has its lobby in another cluster.
const CREDENTIAL_FOLDER: &str = "/etc/convene/credential";
/// Key of a pool's ConfigMap: URLs of its relays by their names.
const ADDRESSES: &str = "addresses.json";
/// Life of the token with which a relay proves who it is; the kubelet renews it.
const IDENTITY_SECONDS: i64 = 3600;

/// Where relays may connect to.
pub(super) fn egress(lobby: &LobbyOf) -> NetworkPolicyEgressRule {
    match lobby {
        // Relays that an earlier operator made link at the public port, and run on until they are replaced.
        LobbyOf::Here { namespace, name, .. } => {
            policy::egress_to(namespace, names::lobby_selector(name), &[LINK_PORT, PUBLIC_PORT])
        }
        LobbyOf::Elsewhere { port, .. } => policy::egress_anywhere(&[*port]),
    }
}

/// What of the lobby makes another generation of relays.
pub(super) fn generation(lobby: &LobbyOf) -> Value {
    match lobby {
        LobbyOf::Here { uid, .. } => json!(uid),
        LobbyOf::Elsewhere { url, pool, credential, .. } => json!([url, pool, credential]),
    }
}

/// What relays are told as files, while they run.
pub(super) fn data(lobby: &LobbyOf, addresses: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let entries = match lobby {
        LobbyOf::Here { jwks, authority, .. } => [(JWKS, jwks.clone()), (AUTHORITY, authority.clone())],
        LobbyOf::Elsewhere { .. } => {
            let text = |value: Value| value.to_string();
            // The lobby tells its keys over the link.
            [(JWKS, text(json!(KeySet::default()))), (ADDRESSES, text(json!(addresses)))]
        }
    };
    entries.map(|(key, text)| (key.to_owned(), text)).into()
}

pub(super) fn env(lobby: &LobbyOf, relay: &str) -> Vec<EnvVar> {
    let at = |folder: &str, file: &str| format!("{folder}/{file}");
    let settings = match lobby {
        LobbyOf::Here { namespace, name, uid, .. } => vec![
            ("CONVENE_LOBBY_URL", names::lobby_link_url(namespace, name)),
            ("CONVENE_LOBBY_CA", at(FOLDER, AUTHORITY)),
            ("CONVENE_LOBBY_UID", uid.clone()),
        ],
        LobbyOf::Elsewhere { url, pool, .. } => vec![
            ("CONVENE_LOBBY_URL", url.clone()),
            ("CONVENE_LOBBY_CA", at(CREDENTIAL_FOLDER, AUTHORITY)),
            ("CONVENE_POOL_KEY", at(CREDENTIAL_FOLDER, "key.pem")),
            ("CONVENE_POOL_NAME", pool.clone()),
            ("CONVENE_RELAY_NAME", relay.to_owned()),
        ],
    };
    settings.into_iter().map(|(name, value)| workload::env(name, value)).collect()
}

/// By what a relay proves who it is.
pub(super) fn proof(lobby: &LobbyOf) -> (Volume, &'static str) {
    match lobby {
        LobbyOf::Here { uid, .. } => {
            let token = ServiceAccountTokenProjection {
                audience: Some(uid.clone()),
                expiration_seconds: Some(IDENTITY_SECONDS),
                path: "token".to_owned(),
            };
            let identity = ProjectedVolumeSource {
                sources: Some(vec![VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                }]),
                default_mode: Some(0o440),
            };
            let volume = Volume { name: "identity".to_owned(), projected: Some(identity), ..Volume::default() };
            (volume, "/var/run/secrets/convene.dev/lobby")
        }
        LobbyOf::Elsewhere { credential, .. } => {
            let item = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None };
            let source = SecretVolumeSource {
                secret_name: Some(credential.clone()),
                items: Some(vec![item("key.pem"), item(AUTHORITY)]),
                default_mode: Some(0o440),
                optional: None,
            };
            (Volume { name: "credential".to_owned(), secret: Some(source), ..Volume::default() }, CREDENTIAL_FOLDER)
        }
    }
}

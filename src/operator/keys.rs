//! The keys of a lobby as they stand in the cluster, and fresh ones.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

use super::error::Error;
use super::fetch::{self, Objects};
use crate::api::Lobby;
use crate::decide::keys::SLOTS;
use crate::decide::plan::{ChildKind, names};
use crate::decide::token;
use crate::decide::valid::{LobbyKeys, Slot};
use crate::process::secret;
use crate::wire::keys::KeySet;

/// A new signing key and administrator's token.
pub(crate) fn fresh() -> LobbyKeys {
    LobbyKeys { signing_key: fresh_key(), admin_token: secret::random_secret() }
}

/// A new signing key (PKCS#8 PEM).
pub(crate) fn fresh_key() -> String {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("the library makes keys on P-256");
    token::pkcs8_pem(&pair).expect("a fresh key can be written")
}

/// What is in the slots for keys whose ConfigMaps are there.
pub(crate) async fn slots(lobby: &Lobby, observed: &Objects, client: &Client) -> Result<Vec<Slot>, Error> {
    let namespace = lobby.namespace().unwrap_or_default();
    let mut slots = Vec::new();
    for slot in 1..=SLOTS {
        let name = names::lobby_key(&lobby.name_any(), slot);
        let Some(holder) = observed.get(&(ChildKind::ConfigMap, name.clone())) else { continue };
        let holder_uid = holder.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let secret = fetch::optional::<Secret>(client, &namespace, &name).await?;
        slots.push(Slot { slot, holder_uid, secret });
    }
    Ok(slots)
}

/// The key set that the lobby's ConfigMap publishes, if it does.
pub(crate) fn published(lobby: &Lobby, observed: &Objects) -> Option<KeySet> {
    let config = observed.get(&(ChildKind::ConfigMap, names::lobby(&lobby.name_any())))?;
    serde_json::from_str(config.get("data")?.get(names::JWKS)?.as_str()?).ok()
}

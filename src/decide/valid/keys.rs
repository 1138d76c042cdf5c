//! The keys of a lobby, from what stands in its Secrets and what is asked for.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::{Invalid, Owner, is_ours, secret_invalid, text_of};
use crate::api::condition::AVAILABLE;
use crate::api::lobby::TokensStatus;
use crate::api::{ANNOTATION_REVOKE_KEYS, ANNOTATION_ROTATE_KEYS, Lobby};
use crate::decide::keys::{self, Found, Wish};
use crate::decide::plan::names;
use crate::decide::token::SigningKey;
use crate::wire::keys::KeySet;

/// Secrets of a lobby as they stand in its Secret.
#[derive(Clone, PartialEq, Eq)]
pub struct LobbyKeys {
    /// PKCS#8 PEM private key on P-256.
    pub signing_key: String,
    /// Token of whoever administers the lobby.
    pub admin_token: String,
}

impl std::fmt::Debug for LobbyKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LobbyKeys")
    }
}

/// What there is of a lobby's keys, and what new ones are made of.
pub struct KeyInputs<'a> {
    /// The lobby's first Secret, if there is one.
    pub secret: Option<&'a Secret>,
    /// What is in the slots for further keys.
    pub slots: Vec<Slot>,
    /// The key set that is published, if one is.
    pub published: Option<KeySet>,
    /// Fresh secrets, for a lobby that has none.
    pub fresh: LobbyKeys,
    /// A fresh key, for a slot.
    pub fresh_key: String,
    /// Now.
    pub now: Timestamp,
}

impl std::fmt::Debug for KeyInputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyInputs").field("published", &self.published).field("now", &self.now).finish_non_exhaustive()
    }
}

/// A slot for a key: the ConfigMap that owns its Secret, with which the Secret goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its number.
    pub slot: u8,
    /// UID of the ConfigMap.
    pub holder_uid: String,
    /// The Secret, if there is one.
    pub secret: Option<Secret>,
}

/// Where a lobby's keys come from.
#[derive(Clone, PartialEq)]
pub enum Tokens {
    /// Its own.
    Own {
        /// What is published of them.
        published: KeySet,
        /// Slots that are in use.
        slots: BTreeSet<u8>,
        /// A slot in which a key is made, and the key (PKCS#8 PEM).
        create: Option<(u8, String)>,
        /// What is said of them.
        status: TokensStatus,
    },
    /// A Secret of the user's, which only the lobby reads.
    Given {
        /// Its name.
        secret: String,
    },
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Own { published, slots, .. } => f.debug_tuple("Own").field(published).field(slots).finish(),
            Self::Given { secret } => f.debug_tuple("Given").field(secret).finish(),
        }
    }
}

/// The keys, and the secrets that are to be made for a lobby that has none.
pub(super) fn tokens(
    lobby: &Lobby,
    owner: &Owner,
    inputs: KeyInputs<'_>,
) -> Result<(Tokens, Option<LobbyKeys>), Invalid> {
    let KeyInputs { secret, slots, published, fresh, fresh_key, now } = inputs;
    let (first, new) = match secret {
        None => (fresh.clone(), Some(fresh)),
        Some(secret) => (existing(secret, owner)?, None),
    };
    let given = lobby.spec.tokens.as_ref().and_then(|tokens| tokens.secret_ref.as_ref());
    if let Some(given) = given {
        return Ok((Tokens::Given { secret: given.name.clone() }, new));
    }
    let created = |secret: &Secret| secret.creation_timestamp().map_or(now, |time| time.0);
    let mut there =
        vec![found(owner, &names::lobby_keys(&owner.name), 0, &first.signing_key, secret.map_or(now, created))?];
    let mut begun = BTreeSet::new();
    for Slot { slot, holder_uid, secret } in slots {
        // One that another ConfigMap owns is on its way out; what is to take its place was begun, and goes on.
        match secret.filter(|secret| secret.owner_references().iter().any(|owner| owner.uid == holder_uid)) {
            Some(secret) => {
                let name = names::lobby_key(&owner.name, slot);
                there.push(found(owner, &name, slot, &entry(&secret, owner, names::SIGNING_KEY)?, created(&secret))?);
            }
            None => drop(begun.insert(slot)),
        }
    }
    let past = lobby.status.as_ref().and_then(|status| status.tokens.clone()).unwrap_or_default();
    let mut decided = keys::decide(&there, &past, &wish(lobby), now);
    if decided.create.is_some() && !begun.is_empty() {
        decided.create = begun.first().copied();
    }
    let mut kept = decided.kept;
    kept.remove(&0);
    kept.extend(decided.create);
    let published = keys::published(decided.public, published.as_ref(), now);
    let create = decided.create.map(|slot| (slot, fresh_key));
    Ok((Tokens::Own { published, slots: kept, create, status: decided.status }, new))
}

fn wish(lobby: &Lobby) -> Wish<'_> {
    let days = lobby
        .spec
        .tokens
        .as_ref()
        .and_then(|tokens| tokens.rotation.as_ref())
        .map_or(30, |rotation| rotation.every_days);
    let annotation = |name: &str| lobby.annotations().get(name).map(String::as_str);
    let revoked = annotation(ANNOTATION_REVOKE_KEYS).unwrap_or_default();
    let conditions = lobby.status.iter().flat_map(|status| &status.conditions);
    let serving = conditions.into_iter().find(|condition| condition.type_ == AVAILABLE && condition.status == "True");
    Wish {
        every: i64::from(days) * 86_400,
        rotate: annotation(ANNOTATION_ROTATE_KEYS),
        revoked: revoked.split(',').map(str::trim).filter(|id| !id.is_empty()).collect(),
        serving_since: serving.map(|condition| condition.last_transition_time.0),
    }
}

fn found(owner: &Owner, name: &str, slot: u8, pem: &str, created: Timestamp) -> Result<Found, Invalid> {
    let key = SigningKey::from_pem(pem)
        .map_err(|error| secret_invalid(owner, name, &format!("key `{}` is {error}", names::SIGNING_KEY)))?;
    Ok(Found { slot, created, id: key.kid().to_owned(), public: key.public().clone() })
}

fn existing(secret: &Secret, owner: &Owner) -> Result<LobbyKeys, Invalid> {
    is_ours(secret, owner)?;
    let text = |key: &str| entry(secret, owner, key);
    Ok(LobbyKeys { signing_key: text(names::SIGNING_KEY)?, admin_token: text(names::ADMIN_TOKEN)? })
}

fn entry(secret: &Secret, owner: &Owner, key: &str) -> Result<String, Invalid> {
    let missing = || secret_invalid(owner, &secret.name_any(), &format!("key `{key}` is missing, empty or not text"));
    text_of(secret, key).ok_or_else(missing)
}

//! The keys under which a lobby's relays link to it, from what stands in its Secret.

use k8s_openapi::api::core::v1::Secret;

use super::{Invalid, Owner, is_ours, text_of};
use crate::api::condition::Reason;
use crate::decide::authority::{Certificates, LinkKeys};
use crate::decide::plan::names;
use crate::decide::token::SigningKey;

/// What there is of the link's keys, and what new ones and certificates are made of.
pub struct LinkInputs<'a> {
    /// The Secret with the private keys, if there is one.
    pub secret: Option<&'a Secret>,
    /// Fresh keys, for a lobby that has none.
    pub fresh: LinkKeys,
    /// Certificates under these keys: those that are published, where they are still good, else new ones; or why these
    /// keys can sign none.
    pub certify: &'a (dyn Fn(&LinkKeys) -> Result<Certificates, String> + Send + Sync),
}

impl std::fmt::Debug for LinkInputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkInputs")
    }
}

/// What is published, and the keys that are to be made for a lobby that has none.
pub(super) fn link(owner: &Owner, inputs: LinkInputs<'_>) -> Result<(Certificates, Option<LinkKeys>), Invalid> {
    let LinkInputs { secret, fresh, certify } = inputs;
    let (keys, new) = match secret {
        None => (fresh.clone(), Some(fresh)),
        Some(secret) => (standing(secret, owner)?, None),
    };
    let certificates = certify(&keys).map_err(|why| broken(owner, &why))?;
    Ok((certificates, new))
}

fn standing(secret: &Secret, owner: &Owner) -> Result<LinkKeys, Invalid> {
    is_ours(secret, owner)?;
    let key = |name: &str| {
        let text = text_of(secret, name)
            .ok_or_else(|| broken(owner, &format!("key `{name}` is missing, empty or not text")))?;
        SigningKey::from_pem(&text).map_err(|error| broken(owner, &format!("key `{name}` is {error}")))?;
        Ok(text)
    };
    Ok(LinkKeys { authority: key(names::AUTHORITY_KEY)?, server: key(names::LINK_KEY)? })
}

fn broken(owner: &Owner, what: &str) -> Invalid {
    let (name, of) = (names::lobby_link(&owner.name), &owner.name);
    let message = format!(
        "Secret {name} of Lobby {of}: {what}. Restore it, or delete it to have new keys made (relays then link again within minutes; sessions go on)"
    );
    Invalid::new(Reason::SecretInvalid, message)
}

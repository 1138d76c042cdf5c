//! The certificates of the relay link: makes a lobby's, and reads those that it publishes. When one is made anew is decided
//! in [`crate::decide::authority`].

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::Value;

use super::fetch::Objects;
use super::keys::fresh_key;
use super::x509::{self, believed, parse, roots};
use crate::api::Lobby;
use crate::decide::authority::{AUTHORITY_DAYS, Certificates, LINK_DAYS, Life, LinkKeys};
use crate::decide::plan::{ChildKind, names};

/// Name of every lobby's authority.
const AUTHORITY_NAME: &str = "Convene relay link";

/// New keys of an authority and a link port.
pub(crate) fn fresh() -> LinkKeys {
    LinkKeys { authority: fresh_key(), server: fresh_key() }
}

/// Certificates (PEM) that the lobby's ConfigMap publishes: the authority's and the link port's.
pub(crate) fn published(lobby: &Lobby, observed: &Objects) -> Option<(String, String)> {
    let config = observed.get(&(ChildKind::ConfigMap, names::lobby(&lobby.name_any())))?;
    let text = |key: &str| config.get("data")?.get(key).and_then(Value::as_str).map(str::to_owned);
    Some((text(names::AUTHORITY)?, text(names::LINK_CERTIFICATE)?))
}

/// The certificates under `keys` for a link port at `host`: what is published and good stays, the rest is made anew.
/// Says why these keys can sign none.
pub(crate) fn certify(
    keys: &LinkKeys,
    host: &str,
    published: Option<&(String, String)>,
    now: Timestamp,
) -> Result<Certificates, String> {
    let read = |name: &str, pem: &str| KeyPair::from_pem(pem).map_err(|error| format!("key `{name}`: {error}"));
    let authority_key = read(names::AUTHORITY_KEY, &keys.authority)?;
    let server_key = read(names::LINK_KEY, &keys.server)?;
    let failed = |error: rcgen::Error| format!("cannot sign a certificate: {error}");
    let standing = |pem: &String| {
        let (found, life) = parse(pem, &authority_key)?;
        (!life.is_over_soon(now)).then(|| (pem.clone(), found))
    };
    let (authority, trusted) = if let Some(standing) = published.and_then(|(authority, _)| standing(authority)) {
        standing
    } else {
        let made = x509::authority(AUTHORITY_NAME, Life::of_days(AUTHORITY_DAYS, now))
            .self_signed(&authority_key)
            .map_err(failed)?;
        (made.pem(), made.der().clone())
    };
    // One that a relay would take now, and for a while.
    let good = |pem: &String| {
        let (found, life) = parse(pem, &server_key)?;
        (believed(roots([&trusted]), &found, host, now) && !life.is_over_soon(now)).then(|| (pem.clone(), life.ends))
    };
    let (link, link_ends) = if let Some(standing) = published.and_then(|(_, link)| good(link)) {
        standing
    } else {
        let life = Life::of_days(LINK_DAYS, now);
        let issuer = Issuer::new(x509::authority(AUTHORITY_NAME, life), authority_key);
        let params = x509::leaf("Convene lobby", host, ExtendedKeyUsagePurpose::ServerAuth, life).map_err(failed)?;
        (params.signed_by(&server_key, &issuer).map_err(failed)?.pem(), life.ends)
    };
    Ok(Certificates { authority, link, link_ends })
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;

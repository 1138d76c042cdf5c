//! X.509 for the relay link: makes a lobby's certificates, and reads those that it publishes. When one is made anew is
//! decided in [`crate::decide::authority`].

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use super::fetch::Objects;
use super::keys::fresh_key;
use crate::api::Lobby;
use crate::decide::authority::{AUTHORITY_DAYS, Certificates, LINK_DAYS, Life, LinkKeys};
use crate::decide::plan::{ChildKind, names};

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
        let made = authority_params(Life::of_days(AUTHORITY_DAYS, now)).self_signed(&authority_key).map_err(failed)?;
        (made.pem(), made.der().clone())
    };
    // One that a relay would take now, and for a while.
    let good = |pem: &String| {
        let (found, life) = parse(pem, &server_key)?;
        (believed(&trusted, &found, host, now) && !life.is_over_soon(now)).then(|| (pem.clone(), life.ends))
    };
    let (link, link_ends) = if let Some(standing) = published.and_then(|(_, link)| good(link)) {
        standing
    } else {
        let life = Life::of_days(LINK_DAYS, now);
        let issuer = Issuer::new(authority_params(life), authority_key);
        let params = link_params(host, life).map_err(failed)?;
        (params.signed_by(&server_key, &issuer).map_err(failed)?.pem(), life.ends)
    };
    Ok(Certificates { authority, link, link_ends })
}

/// A certificate of this key, and its life.
fn parse(pem: &str, key: &KeyPair) -> Option<(CertificateDer<'static>, Life)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let validity = parsed.validity();
    let life = Life { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() };
    let of_this_key = parsed.public_key().raw == key.subject_public_key_info();
    of_this_key.then(|| (der.clone(), life))
}

/// Whether a relay that trusts this authority takes the certificate for that of `host`.
fn believed(authority: &CertificateDer<'static>, link: &CertificateDer<'_>, host: &str, now: Timestamp) -> bool {
    let mut roots = RootCertStore::empty();
    let (Ok(()), Ok(name)) = (roots.add(authority.clone()), ServerName::try_from(host)) else { return false };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    verifier.verify_server_cert(link, &[], &name, &[], now).is_ok()
}

/// Nobody reads the name: relays know an authority by its key. All its certificates have the same, so that one that was
/// made anew stands for what it had signed before.
fn authority_params(life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Convene relay link");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    bound(&mut params, life);
    params
}

fn link_params(host: &str, life: Life) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "Convene lobby");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    bound(&mut params, life);
    Ok(params)
}

fn bound(params: &mut CertificateParams, life: Life) {
    let at = |second: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(second).unwrap_or(0));
    (params.not_before, params.not_after) = (at(life.begins), at(life.ends));
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;

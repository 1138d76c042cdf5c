//! X.509 of our own authorities: makes certificates and reads them again. When one is made anew is decided in
//! [`crate::decide::authority`].

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData as _,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use crate::decide::authority::Life;

/// What an authority's certificate says. Nobody reads the name: an authority is known by its key. All its certificates have
/// the same, so that one that was made anew stands for what it had signed before.
pub(super) fn authority(name: &str, life: Life) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    bound(&mut params, life);
    params
}

/// What the certificate of a server or a client says that is known by this host name.
pub(super) fn leaf(
    name: &str,
    host: &str,
    purpose: ExtendedKeyUsagePurpose,
    life: Life,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new([host.to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    bound(&mut params, life);
    Ok(params)
}

fn bound(params: &mut CertificateParams, life: Life) {
    let at = |second: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(second).unwrap_or(0));
    (params.not_before, params.not_after) = (at(life.begins), at(life.ends));
}

/// A certificate of this key, and its life.
pub(super) fn parse(pem: &str, key: &KeyPair) -> Option<(CertificateDer<'static>, Life)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let validity = parsed.validity();
    let life = Life { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() };
    let of_this_key = parsed.public_key().raw == key.subject_public_key_info();
    of_this_key.then(|| (der.clone(), life))
}

/// Those that a client trusts that trusts these authorities.
pub(super) fn roots<'a>(authorities: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        // One that is none signs nothing.
        let _ = roots.add(authority.clone());
    }
    roots
}

/// Whether a client with these roots takes the certificate for that of `host`.
pub(super) fn believed(roots: RootCertStore, certificate: &CertificateDer<'_>, host: &str, now: Timestamp) -> bool {
    let Ok(name) = ServerName::try_from(host) else { return false };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0)));
    verifier.verify_server_cert(certificate, &[], &name, &[], now).is_ok()
}

//! The operator's own authorities as values: what stands of them in their Secret, and what they sign. There are two while one
//! takes over from the other; which of them counts for what is decided in [`crate::decide::authority`].

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::decide::authority::{
    self, AUTHORITY_DAYS, CONTROL_DAYS, ControlCertificates, ControlKey, Life, OPERATOR_DAYS,
};
use crate::operator::keys::fresh_key;
use crate::operator::x509::{self, believed, parse};
use crate::wire::control::{OPERATOR, Server};

/// Name of every one of them.
const NAME: &str = "Convene operator";
/// Endings of the Secret's entries: `<first second of its life>.crt` and `.key`, both PEM.
const CERTIFICATE: &str = ".crt";
const KEY: &str = ".key";

/// All of them, oldest first.
#[derive(Default)]
pub(crate) struct Authorities(Vec<Authority>);

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lives()).finish()
    }
}

struct Authority {
    key: String,
    certificate: String,
    der: CertificateDer<'static>,
    life: Life,
}

/// What the operator shows to control ports. The key is in memory alone.
pub(super) struct Shown {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) life: Life,
}

impl Authorities {
    /// Those in the Secret's entries. What is broken is none.
    pub(super) fn read(entries: &BTreeMap<String, ByteString>) -> Self {
        let text = |name: String| String::from_utf8(entries.get(&name)?.0.clone()).ok();
        let found = entries.keys().filter_map(|name| {
            let stem = name.strip_suffix(CERTIFICATE)?;
            let (certificate, key) = (text(name.clone())?, text(format!("{stem}{KEY}"))?);
            let (der, life) = parse(&certificate, &KeyPair::from_pem(&key).ok()?)?;
            Some(Authority { key, certificate, der, life })
        });
        let mut found: Vec<Authority> = found.collect();
        found.sort_by_key(|authority| authority.life.begins);
        Self(found)
    }

    /// The Secret's entries.
    pub(super) fn entries(&self) -> BTreeMap<String, ByteString> {
        let entries = self.0.iter().flat_map(|authority| {
            [(CERTIFICATE, &authority.certificate), (KEY, &authority.key)]
                .map(|(ending, text)| (format!("{}{ending}", authority.life.begins), ByteString(text.clone().into())))
        });
        entries.collect()
    }

    /// Whether a further one is to be made.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        authority::needs_successor(&self.lives(), now)
    }

    /// With a further one, and without those that have ended.
    pub(super) fn renewed(mut self, now: Timestamp) -> Result<Self, String> {
        self.0.retain(|authority| authority::is_trusted(authority.life, now));
        let life = Life::of_days(AUTHORITY_DAYS, now);
        let key = fresh_key();
        let made = x509::authority(NAME, life).self_signed(&pair(&key)?).map_err(failed)?;
        self.0.push(Authority { key, certificate: made.pem(), der: made.der().clone(), life });
        self.0.sort_by_key(|authority| authority.life.begins);
        Ok(self)
    }

    /// Certificates for a server with this key: the one that is published, if it is good for a while, else a new one.
    pub(crate) fn certify(
        &self,
        server: &Server,
        key: &ControlKey,
        published: Option<&str>,
        now: Timestamp,
    ) -> Result<ControlCertificates, String> {
        let key = pair(&key.0)?;
        let authorities: String = self.trusted(now).map(|authority| authority.certificate.as_str()).collect();
        let name = server.certificate_name();
        // The name of some process of it.
        let host = server.host([0, 0, 0, 0].into());
        let good = |pem: &str| {
            let (found, life) = parse(pem, &key)?;
            (believed(self.roots(now), &found, &host, now) && !life.is_over_soon(now)).then(|| pem.to_owned())
        };
        if let Some(server) = published.and_then(good) {
            return Ok(ControlCertificates { server, authorities });
        }
        let (issuer, signer) = self.issuer(now)?;
        let life = Life::of_days(CONTROL_DAYS, now).within(signer);
        let params = x509::leaf("Convene", &name, ExtendedKeyUsagePurpose::ServerAuth, life).map_err(failed)?;
        let server = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        Ok(ControlCertificates { server, authorities })
    }

    /// What the operator shows from now on.
    pub(super) fn show(&self, now: Timestamp) -> Result<Shown, String> {
        let key = KeyPair::generate().map_err(failed)?;
        let (issuer, signer) = self.issuer(now)?;
        let life = Life::of_days(OPERATOR_DAYS, now).within(signer);
        let params = x509::leaf("Convene operator", OPERATOR, ExtendedKeyUsagePurpose::ClientAuth, life);
        let certificate = params.and_then(|params| params.signed_by(&key, &issuer)).map_err(failed)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Shown { certificate: certificate.der().clone(), key, life })
    }

    /// By which the operator knows servers.
    pub(super) fn roots(&self, now: Timestamp) -> RootCertStore {
        x509::roots(self.trusted(now).map(|authority| &authority.der))
    }

    fn trusted(&self, now: Timestamp) -> impl Iterator<Item = &Authority> {
        self.0.iter().filter(move |authority| authority::is_trusted(authority.life, now))
    }

    /// Who signs now, and until when.
    pub(super) fn issuer(&self, now: Timestamp) -> Result<(Issuer<'static, KeyPair>, Life), String> {
        let signer = authority::signer(&self.lives(), now).and_then(|index| self.0.get(index));
        let signer = signer.ok_or("no authority is good now")?;
        Ok((Issuer::new(x509::authority(NAME, signer.life), pair(&signer.key)?), signer.life))
    }

    fn lives(&self) -> Vec<Life> {
        self.0.iter().map(|authority| authority.life).collect()
    }
}

fn pair(pem: &str) -> Result<KeyPair, String> {
    KeyPair::from_pem(pem).map_err(|error| format!("the key cannot be read: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err has it")]
fn failed(error: rcgen::Error) -> String {
    format!("cannot make a certificate: {error}")
}

#[cfg(test)]
#[path = "authorities_tests.rs"]
mod tests;

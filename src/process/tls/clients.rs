//! Who may connect to a port that asks its clients for a certificate: whoever has one of an authority that counts now, for
//! clients, under one name.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::{TlsError, provider};

/// Until there are authorities, nobody.
#[derive(Debug)]
pub(super) struct Clients {
    name: ServerName<'static>,
    authorities: RwLock<Option<Arc<dyn ClientCertVerifier>>>,
}

impl Clients {
    /// Those of this name.
    pub(super) fn named(name: &'static str) -> Self {
        let name = ServerName::try_from(name).expect("a name that is written here is one");
        Self { name, authorities: RwLock::default() }
    }

    /// From now on, those of these authorities.
    pub(super) fn set(&self, authorities: Arc<dyn ClientCertVerifier>) {
        *self.authorities.write().unwrap_or_else(PoisonError::into_inner) = Some(authorities);
    }

    fn get(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let authorities = self.authorities.read().unwrap_or_else(PoisonError::into_inner).clone();
        authorities.ok_or_else(|| Error::General("no authority is known yet".to_owned()))
    }
}

/// Takes certificates for clients that one of these authorities has signed.
pub(super) fn of(authorities: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider()).build();
    built.map_err(|_| TlsError::NoCertificate)
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.get()?.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.get()?.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.get()?.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

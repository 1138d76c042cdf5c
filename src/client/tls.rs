//! TLS 1.3 between host and guest, over messages of the relay instead of a socket. The host's certificate is made for
//! this session and known to guests by its hash; names, dates and authorities play no part.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme,
};

use crate::decide::invite::{self, KEY_BYTES};
use crate::decide::mux::{BadFrame, Decoder, Frame};
use crate::wire::tunnel::{ALPN, EXPORTER_BYTES, EXPORTER_LABEL};

/// Name in the certificate; nobody looks at it.
const NAME: &str = "convene.invalid";

/// The host's key and certificate, for one session.
pub(super) struct Identity {
    config: Arc<ServerConfig>,
    /// What the link says of the certificate.
    pub(super) pin: [u8; KEY_BYTES],
}

impl Identity {
    /// A new one.
    pub(super) fn new() -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).context("make a certificate")?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let pin = invite::pin(&certificate);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Each connection proves everything anew.
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), pin })
    }
}

/// How a guest connects to the host with this pin.
pub(super) fn guest_config(pin: [u8; KEY_BYTES]) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = provider();
    let verifier = Arc::new(Pinned { pin, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Takes the one certificate of the link and no other.
#[derive(Debug)]
struct Pinned {
    pin: [u8; KEY_BYTES],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if invite::has_pin(certificate, &self.pin) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What came through the relay does not belong to this connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Insecure {
    /// Whoever answers is not the host of the link.
    #[error("whoever answers is not the host that the link names")]
    Impostor,
    /// Anything else.
    #[error("the encrypted connection broke: {0}")]
    Tls(rustls::Error),
    /// What was in it is no frame.
    #[error("{0}")]
    Frame(#[from] BadFrame),
    /// The library's own reader or writer failed.
    #[error("the encrypted connection broke: {0}")]
    Io(#[from] std::io::Error),
}

impl From<rustls::Error> for Insecure {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure) => Self::Impostor,
            other => Self::Tls(other),
        }
    }
}

/// One end of a connection: ciphertext in and out on one side, frames on the other.
#[derive(Debug)]
pub(super) struct Secured {
    connection: Connection,
    decoder: Decoder,
}

impl Secured {
    /// The host's end.
    pub(super) fn host(identity: &Identity) -> Result<Self, Insecure> {
        Ok(Self::of(Connection::Server(ServerConnection::new(Arc::clone(&identity.config))?)))
    }

    /// The guest's end.
    pub(super) fn guest(config: &Arc<ClientConfig>) -> Result<Self, Insecure> {
        let name = ServerName::try_from(NAME).map_err(|_| Insecure::Impostor)?;
        Ok(Self::of(Connection::Client(ClientConnection::new(Arc::clone(config), name)?)))
    }

    fn of(mut connection: Connection) -> Self {
        // What is written is taken out at once, and how much that is, is the caller's to bound.
        match &mut connection {
            Connection::Client(client) => client.set_buffer_limit(None),
            Connection::Server(server) => server.set_buffer_limit(None),
        }
        Self { connection, decoder: Decoder::default() }
    }

    /// Takes ciphertext; gives the frames that were in it, each with its size.
    pub(super) fn feed(&mut self, mut ciphertext: &[u8]) -> Result<Vec<(Frame, usize)>, Insecure> {
        let mut frames = Vec::new();
        let mut plain = Vec::new();
        while !ciphertext.is_empty() {
            self.connection.read_tls(&mut ciphertext)?;
            let state = self.connection.process_new_packets()?;
            plain.resize(state.plaintext_bytes_to_read(), 0);
            self.connection.reader().read_exact(&mut plain)?;
            self.decoder.push(&plain);
            while let Some(frame) = self.decoder.next_frame()? {
                frames.push(frame);
            }
            if state.peer_has_closed() {
                break;
            }
        }
        Ok(frames)
    }

    /// Encrypts plain bytes; [`Secured::drain`] gives the result.
    pub(super) fn write(&mut self, plain: &[u8]) -> Result<(), Insecure> {
        Ok(self.connection.writer().write_all(plain)?)
    }

    /// Appends the ciphertext that is to be sent.
    pub(super) fn drain(&mut self, out: &mut Vec<u8>) -> Result<(), Insecure> {
        while self.connection.wants_write() {
            self.connection.write_tls(out)?;
        }
        Ok(())
    }

    /// Whether the handshake is done.
    pub(super) fn is_ready(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// The value of this connection that both ends know and nobody else.
    pub(super) fn exporter(&self, session: &str) -> Result<[u8; EXPORTER_BYTES], Insecure> {
        let output = [0; EXPORTER_BYTES];
        Ok(self.connection.export_keying_material(output, EXPORTER_LABEL, Some(session.as_bytes()))?)
    }
}

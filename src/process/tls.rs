//! TLS of a port: a certificate and its key from two files, read again when they change. What is broken, has ended or does
//! not belong together never replaces what is good. TLS 1.2 and 1.3, HTTP/1.1. The control port also asks its clients for a
//! certificate, in TLS 1.3 alone.

mod clients;
mod trust;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{IntCounterVec, IntGaugeVec};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::clients::Clients;
pub use self::trust::{client_config, public_client_config};
use super::clock;
use super::metrics::Catalogue;

/// How often the files are looked at. A mounted Secret changes by a swapped link, which file notifications miss.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Where certificate and key are.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "tls")]
pub struct Args {
    /// File with the certificate chain of the public port (PEM), its own first; the port then speaks TLS only. Read
    /// again when it changes.
    #[arg(long, env = "CONVENE_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// File with the private key of that certificate (PEM).
    #[arg(long, env = "CONVENE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

/// Why a certificate and its key are not used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read {0}: {1}")]
    File(String, String),
    /// A file has no certificate.
    #[error("there is no certificate in PEM in it")]
    NoCertificate,
    /// A certificate could not be read.
    #[error("not an X.509 certificate: {0}")]
    Certificate(String),
    /// A file has no key.
    #[error("the key's file holds no private key in PEM")]
    NoKey,
    /// The key is of another certificate, or of a kind that is not spoken.
    #[error("certificate and key do not belong together: {0}")]
    Pair(String),
    /// The certificate has ended.
    #[error("the certificate has ended at {0} (seconds since 1970): renew it")]
    Ended(i64),
}

/// Which port a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The one for clients.
    Public,
    /// A lobby's for its relays.
    Link,
    /// The control port, which only a client with a certificate of this name may use.
    Control {
        /// The name.
        client: &'static str,
    },
}

impl Port {
    const fn label(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Link => "link",
            Self::Control { .. } => "control",
        }
    }
}

/// Metrics of certificates.
#[derive(Clone, Debug)]
pub struct Metrics {
    ends: IntGaugeVec,
    reads: IntCounterVec,
}

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        let ends = catalogue.gauges(
            "convene_tls_certificate_end_seconds",
            "When the certificate of a port ends, in seconds since 1970, for each port that speaks TLS: `public`, a lobby's `link`, which relays dial, and `control`, which the operator does. 0 while there is none that can be used. It is renewed by its file.",
            &["port"],
        );
        let reads = catalogue.counters(
            "convene_tls_reads_total",
            "Certificates and keys that were read because their files had changed: `loaded`, or `rejected` (broken, ended or not belonging together: the old ones stay).",
            &["outcome", "port"],
        );
        Self { ends, reads }
    }

    fn ends(&self, port: Port, at: i64) {
        self.ends.with_label_values(&[port.label()]).set(at);
    }
}

/// TLS of one port.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    clients: Option<Arc<Clients>>,
    files: Paths,
    port: Port,
    metrics: Metrics,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The files of a port.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// By which authorities the certificates of clients are signed, where they need one.
    pub authorities: Option<PathBuf>,
}

/// The pair in use, if there has been a good one, and the files as they were when they were last looked at.
#[derive(Debug)]
struct Current {
    pair: RwLock<Option<Arc<CertifiedKey>>>,
    seen: RwLock<Option<Result<Files, TlsError>>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

/// What stands in the files.
struct Good {
    pair: CertifiedKey,
    /// When its certificate ends, in seconds since 1970.
    ends: i64,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.pair.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tls {
    /// Of the public port: reads what the settings name; nothing without settings. At the start, what is broken is an error.
    pub async fn load(args: &Args, metrics: Metrics) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
        let files = Paths { certificate: certificate.clone(), key: key.clone(), authorities: None };
        let seen = read(&files).await?;
        let good = check(&seen, clock::unix_seconds())?;
        tracing::info!(certificate = %files.certificate.display(), good.ends, "speaking TLS");
        let tls = Self::new(Port::Public, files, Some(seen), metrics);
        tls.take(good);
        Ok(Some(tls))
    }

    /// Of a port whose certificate is not the user's: until there is a good pair in the files, no handshake succeeds, and
    /// nothing else of the process waits for it.
    pub async fn when_there(port: Port, files: Paths, metrics: Metrics) -> Self {
        metrics.ends(port, 0);
        let tls = Self::new(port, files, None, metrics);
        tls.look().await;
        tls
    }

    fn new(port: Port, files: Paths, seen: Option<Files>, metrics: Metrics) -> Self {
        let current = Arc::new(Current { pair: RwLock::default(), seen: RwLock::new(seen.map(Ok)) });
        let resolver = Arc::clone(&current) as Arc<dyn ResolvesServerCert>;
        let (config, clients) = match port {
            Port::Public | Port::Link => (config(resolver), None),
            Port::Control { client } => {
                let clients = Arc::new(Clients::named(client));
                (config_for(Arc::clone(&clients), resolver), Some(clients))
            }
        };
        Self { acceptor: TlsAcceptor::from(Arc::new(config)), current, clients, files, port, metrics }
    }

    fn take(&self, good: Good) {
        *self.current.pair.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(good.pair));
        if let Some((clients, authorities)) = self.clients.as_ref().zip(good.clients) {
            clients.set(authorities);
        }
        self.metrics.ends(self.port, good.ends);
    }

    /// Ends the handshake of a client.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    async fn look(&self) {
        let files = read(&self.files).await;
        if self.current.seen.read().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&files) {
            return;
        }
        let checked = files.as_ref().map_err(Clone::clone).and_then(|files| check(files, clock::unix_seconds()));
        *self.current.seen.write().unwrap_or_else(PoisonError::into_inner) = Some(files);
        let port = self.port.label();
        let outcome = match checked {
            Ok(good) => {
                tracing::info!(port, good.ends, "took a new certificate");
                self.take(good);
                "loaded"
            }
            Err(error) => {
                tracing::warn!(port, certificate = %self.files.certificate.display(), %error, "no new certificate; one of before stays");
                "rejected"
            }
        };
        self.metrics.reads.with_label_values(&[outcome, port]).inc();
    }
}

/// Looks at the files until `stop`; only waits where there is no TLS. Connections that stand keep what they began with.
pub async fn follow(tls: Option<Tls>, stop: CancellationToken) {
    let Some(tls) = tls else { return stop.cancelled().await };
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        tls.look().await;
    }
}

/// Trusts servers whose certificate is signed by one of the CA certificates in a file, and no others.
pub async fn client(ca_file: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = authorities(&read_file(ca_file).await?)?;
    let versions = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
    let versions = versions.expect("the provider speaks both versions");
    Ok(Arc::new(versions.with_root_certificates(roots).with_no_client_auth()))
}

/// At least one.
fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| TlsError::Certificate(error.to_string()))?;
    }
    if roots.is_empty() { Err(TlsError::NoCertificate) } else { Ok(roots) }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<_, _> = CertificateDer::pem_slice_iter(pem).collect();
    read.map_err(|error| TlsError::Certificate(error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn config(resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
    let versions = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
    let mut config =
        versions.expect("the provider speaks both versions").with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// For a port that only some clients may use. Each connection is a handshake of its own: one that were resumed would be
/// judged by the authorities of before.
fn config_for(clients: Arc<Clients>, resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
    let version = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let version = version.expect("the provider speaks it");
    let mut config = version.with_client_cert_verifier(clients).with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

async fn read(files: &Paths) -> Result<Files, TlsError> {
    let authorities = match &files.authorities {
        Some(path) => Some(read_file(path).await?),
        None => None,
    };
    Ok(Files { certificate: read_file(&files.certificate).await?, key: read_file(&files.key).await?, authorities })
}

async fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |why: String| TlsError::File(path.display().to_string(), why);
    let size = tokio::fs::metadata(path).await.map_err(|error| failed(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(failed(format!("{size} bytes are too many")));
    }
    tokio::fs::read(path).await.map_err(|error| failed(error.to_string()))
}

/// What is in the files, if it is good.
fn check(files: &Files, now: i64) -> Result<Good, TlsError> {
    let chain = certificates(&files.certificate)?;
    let first = chain.first().ok_or(TlsError::NoCertificate)?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(first).map_err(|error| TlsError::Certificate(error.to_string()))?;
    let ends = parsed.validity().not_after.timestamp();
    if ends <= now {
        return Err(TlsError::Ended(ends));
    }
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| TlsError::NoKey)?;
    let pair = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| TlsError::Pair(error.to_string()))?;
    let clients = match &files.authorities {
        Some(pem) => Some(clients::of(authorities(pem)?)?),
        None => None,
    };
    Ok(Good { pair, ends, clients })
}

#[cfg(test)]
mod tests;

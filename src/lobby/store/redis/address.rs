//! Where the Redis is, and whom to believe that it is: from files, as a mounted Secret gives them, which are looked at
//! again so that a changed password, authority or server needs no restart. What is broken never replaces what is good.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redis::{Client, ConnectionAddr, TlsCertificates};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::AsyncReadExt as _;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// `redis://` or `rediss://` (TLS), with user and password where the server wants them. A secret.
    pub url: PathBuf,
    /// Certificates of the authorities (PEM) that a server's may be signed by; not there, or empty = the system's.
    pub ca: PathBuf,
}

/// Why there is no address in the files. Never says what is in them: that is a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    File(String, String),
    /// The URL is none.
    #[error("{0}: holds no URL such as rediss://user:password@redis.example.com:6379")]
    NoUrl(String),
    /// There are authorities for a server without TLS.
    #[error("{0}: holds authorities, but the URL does not begin with rediss://, so they would be asked nothing")]
    NoTls(String),
    /// The authorities cannot be read.
    #[error("{0}: holds no certificate in PEM that can be an authority's")]
    NoAuthority(String),
    /// Nothing says whom to believe.
    #[error("the URL begins with rediss://, and this system has no certificates of authorities: put them into {0}")]
    NobodyToBelieve(String),
}

/// What stood in the files.
#[derive(PartialEq, Eq)]
struct Read {
    url: Vec<u8>,
    ca: Vec<u8>,
}

/// A client for what stood there.
struct Current {
    read: Read,
    client: Client,
    number: u64,
}

/// The address in use.
pub(super) struct Address {
    files: Files,
    current: RwLock<Arc<Current>>,
    /// What was last wrong with the files, so that it is told once.
    trouble: Mutex<Option<Unusable>>,
}

impl Address {
    /// Reads the files. At the start, what is broken is an error.
    pub(super) async fn read(files: &Files) -> Result<Self, Unusable> {
        let read = read(files).await?;
        let client = client(&read, files)?;
        let current = RwLock::new(Arc::new(Current { read, client, number: 0 }));
        Ok(Self { files: files.clone(), current, trouble: Mutex::default() })
    }

    /// A client for the address in use.
    pub(super) fn client(&self) -> Client {
        self.current().client.clone()
    }

    /// Number of the address in use: another address has another number.
    pub(super) fn number(&self) -> u64 {
        self.current().number
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again. Whether another address is used from now on.
    pub(super) async fn look(&self) -> bool {
        let before = self.current();
        let looked = match read(&self.files).await {
            Ok(read) if read == before.read => Ok(None),
            Ok(read) => client(&read, &self.files).map(|client| Some((read, client))),
            Err(error) => Err(error),
        };
        let trouble = looked.as_ref().err().cloned();
        let known =
            std::mem::replace(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner), trouble.clone());
        if let Some(error) = trouble.filter(|trouble| known.as_ref() != Some(trouble)) {
            tracing::warn!(%error, "the address of the store stays as it was");
        }
        let Ok(Some((read, client))) = looked else { return false };
        let next = Current { read, client, number: before.number + 1 };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        true
    }
}

async fn read(files: &Files) -> Result<Read, Unusable> {
    let url = read_file(&files.url).await?;
    let ca = match read_file(&files.ca).await {
        Ok(ca) => ca,
        Err(_) if !files.ca.exists() => vec![],
        Err(error) => return Err(error),
    };
    Ok(Read { url, ca })
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Unusable> {
    let failed = |why: String| Unusable::File(path.display().to_string(), why);
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).await.map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(format!("more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

fn client(read: &Read, files: &Files) -> Result<Client, Unusable> {
    let no_url = || Unusable::NoUrl(files.url.display().to_string());
    let url = std::str::from_utf8(&read.url).map_err(|_| no_url())?.trim();
    // The error of the library may repeat the URL, which holds a password.
    let client = Client::open(url).map_err(|_| no_url())?;
    let tls = matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { .. });
    let ca = || files.ca.display().to_string();
    if read.ca.trim_ascii().is_empty() {
        if tls && rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(Unusable::NobodyToBelieve(ca()));
        }
        return Ok(client);
    }
    if !tls {
        return Err(Unusable::NoTls(ca()));
    }
    if !are_authorities(&read.ca) {
        return Err(Unusable::NoAuthority(ca()));
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(read.ca.clone()) };
    Client::build_with_tls(url, certificates).map_err(|_| Unusable::NoAuthority(ca()))
}

/// The library takes a file without any certificate, and then believes nobody.
fn are_authorities(pem: &[u8]) -> bool {
    let mut roots = RootCertStore::empty();
    let added = CertificateDer::pem_slice_iter(pem).all(|found| found.is_ok_and(|der| roots.add(der).is_ok()));
    added && !roots.is_empty()
}

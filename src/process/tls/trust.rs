//! Whom a client of a lobby believes: the system's authorities, and those of one file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// TLS of a client; `ca` is a file with further authorities (PEM).
pub fn client_config(ca: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    trusting(of_system(), ca)
}

/// As [`client_config`], for servers of the world: where the system has no authorities, as in the image, those of Mozilla
/// count, as they were when this was built.
pub fn public_client_config(ca: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = of_system();
    if roots.is_empty() {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    trusting(roots, ca)
}

fn of_system() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn trusting(mut roots: rustls::RootCertStore, ca: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    if let Some(path) = ca {
        let name = || format!("authorities in {}", path.display());
        let certificates = CertificateDer::pem_file_iter(path).with_context(name)?;
        let before = roots.len();
        for certificate in certificates {
            roots.add(certificate.with_context(name)?).with_context(name)?;
        }
        anyhow::ensure!(
            roots.len() > before,
            "{} holds no certificate; give a PEM file of the authority",
            path.display()
        );
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

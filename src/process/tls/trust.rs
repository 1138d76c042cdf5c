//! Whom a client of a lobby believes: the system's authorities, and those of one file.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// TLS of a client; `ca` is a file with further authorities (PEM).
pub fn client_config(ca: Option<&Path>) -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca {
        let name = || format!("--ca: {}", path.display());
        let certificates = CertificateDer::pem_file_iter(path).with_context(name)?;
        let before = roots.len();
        for certificate in certificates {
            roots.add(certificate.with_context(name)?).with_context(name)?;
        }
        anyhow::ensure!(roots.len() > before, "{}: holds no certificate; give a PEM file of the authority", name());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

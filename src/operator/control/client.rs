//! The HTTP client with which the operator talks to control ports.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;

use super::authorities::Shown;
use crate::wire::control::{Server, address_of};

/// Reaches control ports and nothing else: by TLS, with the operator's certificate. Clones are one; its certificate is
/// renewed below whoever holds it.
#[derive(Clone, Debug)]
pub(crate) struct ControlClient(Arc<RwLock<reqwest::Client>>);

impl ControlClient {
    /// One that trusts nobody yet: every request fails.
    pub(crate) fn new() -> Self {
        let config = versions().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        Self(Arc::new(RwLock::new(http(config))))
    }

    /// For the next request. What is under way goes on as it began.
    pub(crate) fn client(&self) -> reqwest::Client {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where a process of a server is asked. `path` begins with a slash.
    #[expect(clippy::unused_self, reason = "no other client can do anything with it")]
    pub(crate) fn url(&self, server: &Server, address: SocketAddr, path: &str) -> String {
        format!("https://{}:{}{path}", server.host(address.ip()), address.port())
    }

    /// From now on, shows this and trusts those.
    pub(super) fn renew(&self, shown: Shown, roots: RootCertStore) -> Result<(), rustls::Error> {
        let config =
            versions().with_root_certificates(roots).with_client_auth_cert(vec![shown.certificate], shown.key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = http(config);
        Ok(())
    }
}

fn versions() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).expect("the provider speaks it")
}

fn http(mut config: ClientConfig) -> reqwest::Client {
    // Servers resume nothing.
    config.resumption = rustls::client::Resumption::disabled();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(config).dns_resolver(Written).https_only(true);
    let builder = builder.no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.build().expect("these settings need nothing")
}

/// Reads addresses off names, and looks up none.
struct Written;

impl Resolve for Written {
    fn resolve(&self, name: Name) -> Resolving {
        let address = address_of(name.as_str()).map(|address| SocketAddr::new(address, 0));
        let found = address.ok_or_else(|| format!("{} is no control port", name.as_str()).into());
        Box::pin(std::future::ready(found.map(|address| Box::new(std::iter::once(address)) as Addrs)))
    }
}

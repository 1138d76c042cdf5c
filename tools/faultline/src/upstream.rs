//! The real API server.

use anyhow::Context as _;
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use hyper::body::Bytes;

use crate::answer::Whole;

/// By what the API server is known.
#[derive(Clone, Debug)]
pub enum Authority {
    /// A certificate of one of these authorities, as PEM.
    Pem(Vec<u8>),
    /// Any certificate: for servers on loopback that make their own.
    Any,
}

/// The real API server, as the proxy talks to it: without a word of its own, least of all a token.
#[derive(Clone, Debug)]
pub struct Upstream {
    base: String,
    client: reqwest::Client,
}

impl Upstream {
    /// The server at `base`, such as `https://127.0.0.1:6443`.
    pub fn new(base: &str, authority: &Authority) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).http1_only();
        let client = match authority {
            Authority::Any => client.tls_danger_accept_invalid_certs(true),
            Authority::Pem(pem) => {
                let known = reqwest::Certificate::from_pem_bundle(pem).context("the authority is no PEM")?;
                client.tls_certs_only(known)
            }
        };
        let client = client.build().context("cannot make a client for the API server")?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// Sends a request on, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> reqwest::Result<reqwest::Response> {
        // Of this connection, and what would make answers unreadable here.
        for own in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, ACCEPT_ENCODING] {
            headers.remove(own);
        }
        let url = format!("{}{path_and_query}", self.base);
        self.client.request(method, url).headers(headers).body(body).send().await
    }

    /// Sends a request on, and waits for the whole answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path_and_query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> reqwest::Result<Whole> {
        let response = self.send(method, path_and_query, headers, body).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Whole { status, headers, body: response.bytes().await? })
    }
}

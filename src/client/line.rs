//! One HTTP connection to a relay, for probes. Setting one up is to be no part of a sample, and a pool of connections does
//! not tell which one it takes, or whether it makes another.

use std::sync::Arc;

use http::{Request, StatusCode, Uri, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// A connection; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<String>,
    driver: AbortHandle,
    uri: Uri,
}

impl Line {
    /// To the host of a URL with http or https; none if nobody answers there.
    pub(super) async fn open(url: &str, tls: Arc<ClientConfig>) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let is_tls = uri.scheme_str()? == "https";
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await.ok()?;
        tcp.set_nodelay(true).ok()?;
        if is_tls {
            let name = ServerName::try_from(host).ok()?;
            Self::over(TlsConnector::from(tls).connect(name, tcp).await.ok()?, uri).await
        } else {
            Self::over(tcp, uri).await
        }
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, uri: Uri) -> Option<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Some(Self { sender, driver, uri })
    }

    /// Whether the relay answers as one does that measures with us.
    pub(super) async fn probe(&mut self) -> bool {
        let (Some(host), Some(path)) = (self.uri.authority(), self.uri.path_and_query()) else { return false };
        let request = Request::get(path.as_str()).header(header::HOST, host.as_str()).body(String::new());
        let Ok(request) = request else { return false };
        if self.sender.ready().await.is_err() {
            return false;
        }
        self.sender.send_request(request).await.is_ok_and(|answer| answer.status() == StatusCode::NO_CONTENT)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

//! Control ports by real connections: who gets an answer, whom the operator believes, and files that change.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use k8s_openapi::jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::authorities::Shown;
use super::*;
use crate::decide::authority::{ControlKey, Life};
use crate::operator::keys::fresh_key;
use crate::operator::x509;
use crate::process::control::{self, Args};
use crate::process::http::Limits;
use crate::process::metrics::Catalogue;
use crate::process::tls;
use crate::wire::control::{OPERATOR, Server};

const DAY: i64 = 86_400;

/// Days from now.
fn day(day: i64) -> Timestamp {
    Timestamp::from_second(clock::unix_seconds() + day * DAY).expect("a time")
}

/// An operator's authorities, and what the pods of one server mount.
pub(crate) struct Site {
    pub(crate) server: Server,
    authorities: Authorities,
    key: ControlKey,
    folder: tempfile::TempDir,
}

impl Site {
    /// Of one server; nothing is mounted yet.
    pub(crate) fn new(server: Server) -> Self {
        Self::with(server, Authorities::default().renewed(clock::now()).expect("made"))
    }

    fn with(server: Server, authorities: Authorities) -> Self {
        Self { server, authorities, key: ControlKey(fresh_key()), folder: tempfile::tempdir().expect("a folder") }
    }

    /// Mounts what these authorities give the server.
    pub(crate) fn mount(&self) {
        let given = self.authorities.certify(&self.server, &self.key, None, clock::now()).expect("certified");
        for (name, text) in [("tls.crt", &given.server), ("tls.key", &self.key.0), ("ca.crt", &given.authorities)] {
            std::fs::write(self.folder.path().join("new"), text).expect("written");
            std::fs::rename(self.folder.path().join("new"), self.folder.path().join(name)).expect("renamed");
        }
    }

    /// The operator's client.
    pub(crate) fn client(&self) -> ControlClient {
        let client = ControlClient::new();
        let shown = self.authorities.show(clock::now()).expect("shown");
        client.renew(shown, self.authorities.roots(clock::now())).expect("renewed");
        client
    }

    /// The server's port.
    pub(crate) async fn open(&self, listener: TcpListener) -> control::Control {
        let file = |name: &str| Some(self.folder.path().join(name));
        let args = Args {
            certificate: file("tls.crt"),
            key: file("tls.key"),
            authorities: file("ca.crt"),
            ..Args::plain(listener.local_addr().expect("an address"))
        };
        control::Control::open(&args, listener, tls::Metrics::new(&mut Catalogue::with_process()))
            .await
            .expect("opened")
    }

    /// A process that answers until the guard is dropped.
    async fn start(&self) -> (SocketAddr, DropGuard) {
        self.start_with(Limits::default()).await
    }

    async fn start_with(&self, limits: Limits) -> (SocketAddr, DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, stop) = (listener.local_addr().expect("an address"), CancellationToken::new());
        let port = self.open(listener).await;
        let router = Router::new().route("/", get(async || "yes"));
        tokio::spawn(port.serve(router, limits, stop.clone()));
        (address, stop.drop_guard())
    }

    /// What a client that trusts the right authorities and shows this hears.
    async fn asked(&self, address: SocketAddr, shown: Shown) -> Result<String, reqwest::Error> {
        let client = ControlClient::new();
        client.renew(shown, self.authorities.roots(clock::now())).expect("renewed");
        ask(&client, &self.server, address).await
    }
}

async fn ask(client: &ControlClient, server: &Server, address: SocketAddr) -> Result<String, reqwest::Error> {
    let request = client.client().get(client.url(server, address, "/")).timeout(Duration::from_secs(30));
    request.send().await?.text().await
}

async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within a minute: {what}");
}

/// Something to show that the authority of a site has signed.
fn signed(site: &Site, name: &str, purpose: ExtendedKeyUsagePurpose, life: Life) -> Shown {
    let (issuer, _) = site.authorities.issuer(clock::now()).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let certificate = x509::leaf("somebody", name, purpose, life).expect("a name").signed_by(&key, &issuer);
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Shown { certificate: certificate.expect("signed").der().clone(), key, life }
}

#[tokio::test]
async fn only_the_operator_gets_an_answer() {
    let site = Site::new(Server::pool("team", "eu"));
    site.mount();
    let (address, _stop) = site.start().await;
    assert_eq!(ask(&site.client(), &site.server, address).await.expect("an answer"), "yes");

    let (now, client, server) =
        (Life::of_days(1, clock::now()), ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth);
    let own = site.authorities.certify(&site.server, &site.key, None, clock::now()).expect("certified").server;
    let pods = Shown {
        certificate: CertificateDer::from_pem_slice(own.as_bytes()).expect("PEM"),
        key: PrivateKeyDer::from_pem_slice(site.key.0.as_bytes()).expect("PEM"),
        life: now,
    };
    let refused = [
        ("what the pods have", pods),
        ("one for servers", signed(&site, OPERATOR, server, now)),
        ("another name", signed(&site, "x.control.convene", client.clone(), now)),
        ("a name that ends the same", signed(&site, "x.operator.control.convene", client.clone(), now)),
        ("one that has ended", signed(&site, OPERATOR, client.clone(), Life::of_days(1, day(-2)))),
        ("one that has not begun", signed(&site, OPERATOR, client.clone(), Life::of_days(1, day(2)))),
        ("another authority", Site::new(site.server.clone()).authorities.show(clock::now()).expect("shown")),
    ];
    for (what, shown) in refused {
        assert!(site.asked(address, shown).await.is_err(), "let in: {what}");
    }
    // None at all, and no TLS.
    let trusting = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(site.authorities.roots(clock::now()))
        .with_no_client_auth();
    let none = reqwest::Client::builder()
        .tls_backend_preconfigured(trusting)
        .resolve(&site.server.host(address.ip()), address);
    let none = none.build().expect("a client").get(site.client().url(&site.server, address, "/"));
    assert!(none.send().await.is_err(), "let in: without a certificate");
    assert!(reqwest::get(format!("http://{address}/")).await.is_err(), "let in: without TLS");
    assert_eq!(ask(&site.client(), &site.server, address).await.expect("an answer"), "yes");
}

#[tokio::test]
async fn the_operator_believes_a_server_under_its_own_name_alone() {
    let site = Site::new(Server::pool("team", "eu"));
    site.mount();
    let (address, _stop) = site.start().await;
    let others = [
        Server::pool("team", "us"),
        Server::pool("other", "eu"),
        Server::lobby("team", "eu"),
        Server::pool("eu.team", "x"),
    ];
    for other in others {
        assert!(ask(&site.client(), &other, address).await.is_err(), "{other:?}");
    }
    assert!(ask(&ControlClient::new(), &site.server, address).await.is_err(), "a client that trusts nobody");
    let stranger = Site::new(site.server.clone());
    assert!(ask(&stranger.client(), &site.server, address).await.is_err(), "another operator");
    // Nothing is looked up, and nothing is asked in the clear.
    let client = site.client().client();
    assert!(client.get(format!("https://localhost:{}/", address.port())).send().await.is_err());
    assert!(client.get(format!("http://{}:{}/", site.server.host(address.ip()), address.port())).send().await.is_err());
    assert_eq!(ask(&site.client(), &site.server, address).await.expect("an answer"), "yes");
}

#[tokio::test]
async fn who_does_not_end_the_handshake_is_left_and_holds_up_nobody() {
    let site = Site::new(Server::pool("team", "eu"));
    site.mount();
    let limits = Limits { header_timeout: Duration::from_secs(5), half_open_per_ip: 2, ..Limits::default() };
    let (address, _stop) = site.start_with(limits).await;
    let mut silent = TcpStream::connect(address).await.expect("connected");
    assert_eq!(ask(&site.client(), &site.server, address).await.expect("an answer"), "yes");
    // It is the server that ends it; an error says the same.
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut byte)).await.expect("it was ended");
    assert_eq!(read.unwrap_or(0), 0);
}

#[tokio::test]
async fn ports_wait_for_their_files_and_follow_them() {
    // An authority that is to be succeeded, one that has done so, and both of them.
    let old = Authorities::default().renewed(day(-300)).expect("made").entries();
    let both = Authorities::read(&old).renewed(day(-2)).expect("made");
    let young = both.entries().into_iter().filter(|(name, _)| !old.contains_key(name)).collect();
    let mut site = Site::with(Server::lobby("team", "hub"), Authorities::read(&old));
    // Each asks by a connection of its own, and trusts either authority.
    let by = |authorities: &Authorities| {
        let client = ControlClient::new();
        client.renew(authorities.show(clock::now()).expect("shown"), both.roots(clock::now())).expect("renewed");
        client
    };
    let by_old = || by(&Authorities::read(&old));
    let by_young = || by(&Authorities::read(&young));

    let (address, _stop) = site.start().await;
    let server = site.server.clone();
    assert!(ask(&by_old(), &server, address).await.is_err(), "there are no files yet");
    site.mount();
    eventually("the files are taken", async || ask(&by_old(), &server, address).await.is_ok()).await;
    assert!(ask(&by_young(), &server, address).await.is_err(), "its authority is not known yet");

    site.authorities = Authorities::read(&both.entries());
    site.mount();
    eventually("the new authority is known", async || ask(&by_young(), &server, address).await.is_ok()).await;
    assert_eq!(ask(&by_old(), &server, address).await.expect("an answer"), "yes", "the old one still is");

    site.authorities = Authorities::read(&young);
    site.mount();
    eventually("the old authority has gone", async || ask(&by_old(), &server, address).await.is_err()).await;
    assert_eq!(ask(&by_young(), &server, address).await.expect("an answer"), "yes");

    // A file that was written halfway replaces nothing, and the next good ones count.
    std::fs::write(site.folder.path().join("ca.crt"), "broken").expect("written");
    std::fs::write(site.folder.path().join("tls.crt"), "broken").expect("written");
    assert_eq!(ask(&by_young(), &server, address).await.expect("an answer"), "yes");
    site.authorities = Authorities::read(&both.entries());
    site.mount();
    eventually("the old authority is back", async || ask(&by_old(), &server, address).await.is_ok()).await;
}

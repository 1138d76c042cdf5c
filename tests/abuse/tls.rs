//! TLS on the public port: what clients accept, certificates that change while people talk, and what never replaces a
//! good one.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use convene::process::http::PublicArgs;
use convene::process::tls;
use futures::{SinkExt as _, StreamExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::site::{Site, stranger};
use crate::support::{LOBBY_UID, PATIENCE, POD_UID, Process, handshake, until};
use crate::world::{Cluster, Running, table, three_pools};

const NAME: &str = "relay.example";
const REFUSED: &str = r#"convene_http_connections_refused_total{reason="tls"}"#;
const ENDS: &str = r#"convene_tls_certificate_end_seconds{port="public"}"#;
const LOADED: &str = r#"convene_tls_reads_total{outcome="loaded",port="public"}"#;
const REJECTED: &str = r#"convene_tls_reads_total{outcome="rejected",port="public"}"#;

/// Signs certificates, and is trusted by the clients of one test.
struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// For a name, to the end of a year.
    fn pair(&self, name: &str, year: i32) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let signed = params.signed_by(&key, &self.0).expect("signed");
        Pair { certificate: signed.pem(), key: key.serialize_pem(), der: signed.der().clone() }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a CA");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }

    async fn dial(&self, to: SocketAddr, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let stream = TcpStream::connect(to).await?;
        TlsConnector::from(self.client(&[&TLS13, &TLS12])).connect(name, stream).await
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self, to: SocketAddr) -> CertificateDer<'static> {
        let stream = self.dial(to, NAME).await.expect("trusted");
        stream.get_ref().1.peer_certificates().expect("one")[0].clone().into_owned()
    }
}

fn put(folder: &Path, pair: &Pair) {
    // As a Secret's files change: at once each, and not both together.
    for (name, text) in [("tls.crt", &pair.certificate), ("tls.key", &pair.key)] {
        std::fs::write(folder.join("new"), text).expect("written");
        std::fs::rename(folder.join("new"), folder.join(name)).expect("renamed");
    }
}

async fn secure(folder: &Path, settings: &[&str]) -> Site {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let (certificate, key) = (format!("--tls-cert={}", certificate.display()), format!("--tls-key={}", key.display()));
    let all: Vec<&str> = [certificate.as_str(), key.as_str()].into_iter().chain(settings.iter().copied()).collect();
    Site::start(&all).await
}

type Secure = WebSocketStream<TlsStream<TcpStream>>;

async fn join(site: &Site, ca: &Ca, session: &str) -> Secure {
    let mut request = format!("wss://{NAME}/s/{session}").into_client_request().expect("a request");
    request.headers_mut().insert("authorization", format!("Bearer {}", site.token(session)).parse().expect("a value"));
    let stream = ca.dial(site.public, NAME).await.expect("trusted");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    client_async(request, stream).await.expect("let in").0
}

async fn heard(from: &mut Secure, to: &mut Secure, word: &str) {
    from.send(Message::text(word)).await.expect("sent");
    let message = timeout(PATIENCE, to.next()).await.expect("in time").expect("not gone").expect("good");
    assert_eq!(message, Message::text(word));
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_whoever_comes_and_cuts_nobody() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().expect("a folder"));
    let first = ca.pair(NAME, 2090);
    put(folder.path(), &first);
    let site = secure(folder.path(), &[]).await;
    let (mut a, mut b) = (join(&site, &ca, "s").await, join(&site, &ca, "s").await);
    heard(&mut a, &mut b, "before").await;
    assert_eq!(ca.shown(site.public).await, first.der);
    let ends = site.metric(ENDS).await;

    let second = ca.pair(NAME, 2091);
    put(folder.path(), &second);
    until("the new one is shown", async || ca.shown(site.public).await == second.der).await;
    heard(&mut a, &mut b, "after").await;
    heard(&mut b, &mut a, "both ways").await;
    let mut late = join(&site, &ca, "s").await;
    heard(&mut late, &mut a, "late").await;
    assert!(site.metric(ENDS).await > ends);
    assert!(site.metric(LOADED).await >= 1);

    // What is no good never replaces it.
    let (ended, other) = (ca.pair(NAME, 2021), ca.pair(NAME, 2092));
    let mixed = Pair { certificate: other.certificate.clone(), key: ended.key.clone(), der: other.der.clone() };
    let broken = Pair { certificate: "broken".to_owned(), key: second.key.clone(), der: second.der.clone() };
    for wrong in [&ended, &mixed, &broken] {
        let rejected = site.metric(REJECTED).await;
        put(folder.path(), wrong);
        until("it is rejected", async || site.metric(REJECTED).await > rejected).await;
        assert_eq!(ca.shown(site.public).await, second.der);
    }
    std::fs::remove_file(folder.path().join("tls.key")).expect("removed");
    put(folder.path(), &other);
    until("a good one is taken after all", async || ca.shown(site.public).await == other.der).await;
    heard(&mut a, &mut late, "still here").await;
}

#[tokio::test]
async fn clients_accept_the_right_name_and_a_known_signer_only() {
    let (ca, other, folder) = (Ca::new(), Ca::new(), tempfile::tempdir().expect("a folder"));
    put(folder.path(), &ca.pair(NAME, 2090));
    let site = secure(folder.path(), &["--header-seconds=1"]).await;
    assert!(ca.dial(site.public, "another.example").await.is_err(), "another name");
    assert!(other.dial(site.public, NAME).await.is_err(), "another signer");
    until("both are counted", async || site.metric(REFUSED).await == 2).await;
    for version in [&TLS12, &TLS13] {
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = TcpStream::connect(site.public).await.expect("connected");
        let mut stream = TlsConnector::from(ca.client(&[version])).connect(name, stream).await.expect("spoken");
        stream.write_all(handshake("/s/s", &[]).as_bytes()).await.expect("written");
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
        assert!(answer.starts_with(b"HTTP/1.1 401 "), "{version:?}");
    }
    // Plain, and silent in the middle of a handshake: both end in time.
    let mut plain = site.dial(stranger(1)).await;
    plain.write_all(handshake("/s/s", &[site.pass("s")]).as_bytes()).await.expect("written");
    let mut silent = site.dial(stranger(2)).await;
    silent.write_all(b"\x16\x03\x01").await.expect("written");
    for stream in [&mut plain, &mut silent] {
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the relay ends it");
        assert!(!answer.starts_with(b"HTTP"), "no plain answer");
    }
    until("all are counted", async || site.metric(REFUSED).await == 4).await;
}

#[tokio::test]
async fn what_is_broken_at_the_start_is_told_and_does_not_start() {
    let (ca, folder) = (Ca::new(), tempfile::tempdir().expect("a folder"));
    let (one, two, ended) = (ca.pair(NAME, 2090), ca.pair(NAME, 2090), ca.pair(NAME, 2021));
    let table = [
        (one.certificate.as_str(), two.key.as_str(), "do not belong together"),
        (ended.certificate.as_str(), ended.key.as_str(), "has ended"),
        ("", one.key.as_str(), "no certificate in PEM"),
        (one.certificate.as_str(), "", "no private key in PEM"),
    ];
    for (certificate, key, told) in table {
        std::fs::write(folder.path().join("tls.crt"), certificate).expect("written");
        std::fs::write(folder.path().join("tls.key"), key).expect("written");
        let output = tokio::task::spawn_blocking({
            let path = folder.path().to_owned();
            move || {
                std::process::Command::new(env!("CARGO_BIN_EXE_convene"))
                    .args(["relay", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"])
                    .args(["--control-listen=127.0.0.1:0", "--lobby-url=http://127.0.0.1:1"])
                    .args([format!("--lobby-uid={LOBBY_UID}"), format!("--pod-uid={POD_UID}")])
                    .arg(format!("--tls-cert={}", path.join("tls.crt").display()))
                    .arg(format!("--tls-key={}", path.join("tls.key").display()))
                    .output()
            }
        });
        let output = timeout(PATIENCE, output).await.expect("it ends").expect("no panic").expect("started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(told) && said.contains("--tls-cert"), "{told}: {said}");
    }
}

#[tokio::test]
async fn a_lobby_speaks_tls_and_a_relay_links_to_it_by_its_own_ca_only() {
    let (ca, other, folder) = (Ca::new(), Ca::new(), tempfile::tempdir().expect("a folder"));
    let pair = ca.pair("localhost", 2090);
    put(folder.path(), &pair);
    let cluster = Cluster::new();
    let files =
        tls::Args { tls_cert: Some(folder.path().join("tls.crt")), tls_key: Some(folder.path().join("tls.key")) };
    let change = |args: &mut convene::lobby::Args| args.public = PublicArgs { tls: files, ..PublicArgs::default() };
    let lobby = Running::start_with(&table(&cluster, three_pools(10)), change).await;
    let client = ca.dial(lobby.address, "localhost").await.expect("trusted");
    drop(client);
    std::fs::write(folder.path().join("ca.pem"), ca.0.pem()).expect("written");
    std::fs::write(folder.path().join("other.pem"), other.0.pem()).expect("written");
    std::fs::write(folder.path().join("token"), cluster.relay_token("eu-west-1-0")).expect("written");
    let linked = "convene_lobby_relays_linked 1";
    for (roots, trusted) in [("other.pem", false), ("ca.pem", true)] {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_convene"))
            .args(["relay", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", "--control-listen=127.0.0.1:0"])
            .arg(format!("--lobby-url=https://localhost:{}", lobby.address.port()))
            .args([format!("--lobby-uid={}", crate::world::LOBBY_UID), "--pod-uid=uid-of-eu-west-1-0".to_owned()])
            .args([format!("--identity-file={}", path("token")), format!("--jwks-file={}", path("none"))])
            .arg(format!("--lobby-ca={}", path(roots)))
            .stderr(Stdio::null())
            .spawn();
        let _child = Process(child.expect("started"));
        if trusted {
            until("it links", async || lobby.metrics().await.contains(linked)).await;
        } else {
            // It has tried, and the lobby saw the handshake fail.
            until("it is not trusted", async || lobby.metrics().await.contains(REFUSED)).await;
            assert!(!lobby.metrics().await.contains(linked));
        }
    }
    lobby.stop().await;
}

//! The binary itself, logging all it can: it serves, ends on SIGTERM, and prints no secret and nothing of a session.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use convene::wire::claims::{JoinClaims, Role};
use convene::wire::link::FromRelay;
use futures::StreamExt;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::{IDENTITY, LOBBY_UID, Lobby, PATIENCE, POD_UID, Process, get_text, guest, key, next, say, until};

const WORDS: &str = "words-of-a-session";

#[tokio::test]
async fn the_process_serves_and_its_logs_keep_every_secret() {
    let (mut lobby, key) = (Lobby::start().await, key());
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("jwks.json"), key.jwks().to_string()).expect("written");
    std::fs::write(path("token"), IDENTITY).expect("written");
    let child = relay(folder.path(), &format!("http://{}", lobby.address))
        .env("CONVENE_IDLE_SECONDS", "0")
        .env("CONVENE_LOG", "trace")
        .env("CONVENE_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut child = Process(child);
    let mut log = Log::of(&mut child.0);
    let (public, health, boot_id) = log.started().await;
    let reading = tokio::spawn(log.rest());
    lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    until("ready", async || get_text(health, "/readyz").await.starts_with("HTTP/1.1 200")).await;

    let tokens =
        [1, 2, 3].map(|number| key.sign_join(&JoinClaims { role: Role::Host, ..guest(&boot_id, "s", number) }));
    let url = format!("ws://{public}/s/s");
    let mut by_header = url.as_str().into_client_request().expect("a request");
    by_header.headers_mut().insert("authorization", format!("Bearer {}", tokens[0]).parse().expect("a value"));
    let mut by_protocol = url.as_str().into_client_request().expect("a request");
    let offer = format!("convene.broadcast, convene.token.{}", tokens[1]);
    by_protocol.headers_mut().insert("sec-websocket-protocol", offer.parse().expect("a value"));
    let by_query = format!("{url}?token={}", tokens[2]).into_client_request().expect("a request");
    let mut clients = Vec::new();
    for request in [by_header, by_protocol, by_query.clone()] {
        clients.push(connect_async(request).await.expect("let in").0);
    }
    assert!(connect_async(by_query).await.is_err(), "used before");
    say(&mut clients[0], WORDS).await;
    assert_eq!(next(&mut clients[1]).await, Message::text(WORDS));
    assert_eq!(next(&mut clients[2]).await, Message::text(WORDS));
    drop(clients);

    child.terminate();
    let status = child.ended().await;
    assert!(status.success(), "{status}");
    let seen = reading.await.expect("no panic");
    assert!(seen.contains("drained") && seen.contains("\"DEBUG\""), "it did log: {seen}");
    let mut secrets = vec![IDENTITY, WORDS];
    // Header and payload of a token are no secret by themselves; the signature is what lets in.
    secrets.extend(tokens.iter().map(|token| token.rsplit('.').next().expect("three parts")));
    for secret in secrets {
        let line = seen.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "logged");
    }
}

#[tokio::test]
async fn whoever_reads_the_log_may_go_away() {
    let (mut lobby, key) = (Lobby::start().await, key());
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("jwks.json"), key.jwks().to_string()).expect("written");
    std::fs::write(path("token"), IDENTITY).expect("written");
    let child =
        relay(folder.path(), &format!("http://{}", lobby.address)).stderr(Stdio::piped()).spawn().expect("started");
    let mut child = Process(child);
    drop(child.0.stderr.take());
    // By now it has written more than one line in vain.
    lobby.next(|message| matches!(message, FromRelay::Load(_))).await;
    child.terminate();
    let status = child.ended().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_link_goes_over_tls_to_a_lobby_with_a_trusted_certificate_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let acceptor = acceptor(&certified);
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("token"), IDENTITY).expect("written");
    std::fs::write(path("trusted.pem"), certified.cert.pem()).expect("written");
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(path("other.pem"), other.cert.pem()).expect("written");
    for (roots, trusted) in [("other.pem", false), ("trusted.pem", true)] {
        let child = relay(folder.path(), &format!("https://localhost:{port}"))
            .env("SSL_CERT_FILE", path(roots))
            .env_remove("SSL_CERT_DIR")
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let _child = Process(child);
        let accept = async {
            let (stream, _) = listener.accept().await.expect("dialled");
            acceptor.accept(stream).await
        };
        let handshake = timeout(PATIENCE, accept).await.expect("in time");
        assert_eq!(handshake.is_ok(), trusted, "{roots}");
        let Ok(stream) = handshake else { continue };
        let mut link = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
        let first = timeout(PATIENCE, link.next()).await.expect("in time").expect("a message").expect("a good one");
        assert!(first.to_text().expect("text").contains(r#""type":"hello""#), "{first}");
    }
}

fn acceptor(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

/// The binary as a relay on any ports, with `token` and `jwks.json` of a folder; not started yet.
fn relay(folder: &Path, lobby_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convene"));
    command
        .args(["relay", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", "--control-listen=127.0.0.1:0"])
        .env("CONVENE_LOBBY_URL", lobby_url)
        .env("CONVENE_LOBBY_UID", LOBBY_UID)
        .env("CONVENE_POD_UID", POD_UID)
        .env("CONVENE_IDENTITY_FILE", folder.join("token"))
        .env("CONVENE_JWKS_FILE", folder.join("jwks.json"));
    command
}

struct Log {
    lines: mpsc::UnboundedReceiver<String>,
    seen: String,
}

impl Log {
    fn of(child: &mut Child) -> Self {
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let _ = sender.send(line.expect("text"));
            }
        });
        Self { lines, seen: String::new() }
    }

    async fn line(&mut self) -> Option<String> {
        let line = timeout(PATIENCE, self.lines.recv()).await.expect("in time")?;
        self.seen.push_str(&line);
        self.seen.push('\n');
        Some(line)
    }

    /// Addresses of the public and the health port, and the boot id.
    async fn started(&mut self) -> (SocketAddr, SocketAddr, String) {
        loop {
            let line = self.line().await.expect("it says that it started");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "relay started" {
                let text = |name: &str| line[name].as_str().expect("text").to_owned();
                let address = |name: &str| text(name).parse().expect("an address");
                return (address("public"), address("health"), text("boot_id"));
            }
        }
    }

    async fn rest(mut self) -> String {
        while self.line().await.is_some() {}
        self.seen
    }
}

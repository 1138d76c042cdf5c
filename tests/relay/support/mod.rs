//! A relay under test, its lobby, and clients.

mod lobby;
mod talk;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use clap::Parser;
use convene::decide::token::{SigningKey, pkcs8_pem};
use convene::process::clock;
use convene::relay::{Args, Config, Listeners, serve};
use convene::wire::claims::{JoinClaims, PROBE_LIFE_SECONDS, ProbeClaims, RecordClaims, Role, audience};
use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::relay::{ADDRESSED_PROTOCOL, Notice, PROBE_PATH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_util::sync::CancellationToken;

pub(crate) use self::lobby::Lobby;
pub(crate) use self::talk::{Client, Events, closed, get_text, handshake, next, notice, post_text, say};

/// Longest wait for anything; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const LOBBY_UID: &str = "0c9f6a52-lobby";
pub(crate) const POD_UID: &str = "77b1d3e0-relay";
pub(crate) const IDENTITY: &str = "identity-of-the-relay";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// A key on P-256.
pub(crate) fn key() -> SigningKey {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    SigningKey::from_pem(&pkcs8_pem(&pair).expect("PEM")).expect("our own PEM")
}

/// Good claims of a session's guest for the relay of this boot, with an id that `number` makes its own.
pub(crate) fn guest(boot_id: &str, session: &str, number: u32) -> JoinClaims {
    let now = clock::unix_seconds();
    JoinClaims {
        iss: LOBBY_UID.to_owned(),
        aud: audience(POD_UID, boot_id),
        sid: session.to_owned(),
        epoch: 1,
        sub: format!("p{number}"),
        role: Role::Guest,
        jti: format!("t{number}"),
        iat: now,
        nbf: now,
        exp: now + 60,
    }
}

/// A process that does not outlive a failing test.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Asks it to leave, as a kubelet does.
    pub(crate) fn terminate(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("its end", async || {
            status = self.0.try_wait().expect("its end");
            status.is_some()
        })
        .await;
        status.expect("it has ended")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A relay under test.
pub(crate) struct Site {
    pub(crate) key: SigningKey,
    pub(crate) boot_id: String,
    pub(crate) public: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) lobby: Lobby,
    pub(crate) shutdown: CancellationToken,
    pub(crate) relay: JoinHandle<anyhow::Result<()>>,
    pub(crate) folder: tempfile::TempDir,
    tokens: Mutex<u32>,
}

impl Site {
    /// A relay with default settings, ready.
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A relay with changed settings, ready.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut site = Self::unready(change).await;
        let FromRelay::Hello { boot_id, .. } = site.lobby.next(|m| matches!(m, FromRelay::Hello { .. })).await else {
            unreachable!("it was a Hello")
        };
        site.boot_id = boot_id;
        site.wait_ready(true).await;
        site
    }

    /// A relay that was just started.
    pub(crate) async fn unready(change: impl FnOnce(&mut Config)) -> Self {
        let key = key();
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("jwks.json"), key.jwks().to_string()).expect("written");
        std::fs::write(path("token"), format!("{IDENTITY}\n")).expect("written");
        let lobby = Lobby::start().await;
        let cli = Cli::parse_from([
            "relay".to_owned(),
            format!("--lobby-url=http://{}", lobby.address),
            format!("--lobby-uid={LOBBY_UID}"),
            format!("--pod-uid={POD_UID}"),
            format!("--identity-file={}", path("token")),
            format!("--jwks-file={}", path("jwks.json")),
        ]);
        let mut config = Config::from(cli.args);
        config.jwks_every = Duration::from_millis(50);
        change(&mut config);
        let any = || "127.0.0.1:0".parse().expect("an address");
        let listeners = Listeners::bind(any(), any(), any()).await.expect("ports");
        let port = |listener: &TcpListener| listener.local_addr().expect("an address");
        let (public, health, control) = (port(&listeners.public), port(&listeners.health), port(&listeners.control));
        let shutdown = CancellationToken::new();
        let relay = tokio::spawn(serve(config, listeners, shutdown.clone()));
        let (boot_id, tokens) = (String::new(), Mutex::new(0));
        Self { key, boot_id, public, health, control, lobby, shutdown, relay, folder, tokens }
    }

    /// Good claims for a session, with an id of their own.
    pub(crate) fn claims(&self, session: &str) -> JoinClaims {
        let mut tokens = self.tokens.lock().expect("not poisoned");
        *tokens += 1;
        guest(&self.boot_id, session, *tokens)
    }

    /// Good claims to measure with.
    pub(crate) fn probe_claims(&self) -> ProbeClaims {
        let now = clock::unix_seconds();
        let aud = audience(POD_UID, &self.boot_id);
        ProbeClaims { iss: LOBBY_UID.to_owned(), aud, iat: now, exp: now + PROBE_LIFE_SECONDS }
    }

    /// The answer to a probe with this token.
    pub(crate) async fn probe(&self, token: &str) -> String {
        get_text(self.public, &format!("{PROBE_PATH}?token={token}")).await
    }

    /// A good token for a session.
    pub(crate) fn token(&self, session: &str) -> String {
        self.key.sign_join(&self.claims(session))
    }

    /// The record of a session.
    pub(crate) fn record(&self, session: &str) -> String {
        self.key.sign_record(&self.record_claims(session))
    }

    /// What it says.
    pub(crate) fn record_claims(&self, session: &str) -> RecordClaims {
        RecordClaims {
            iss: LOBBY_UID.to_owned(),
            sid: session.to_owned(),
            epoch: 1,
            aud: audience(POD_UID, &self.boot_id),
            host_token_hash: "h".to_owned(),
            join_key_hash: "j".to_owned(),
            approval: false,
            iat: clock::unix_seconds(),
        }
    }

    /// An order to keep a seat.
    pub(crate) fn hold(&self, session: &str, lease_seconds: u32) -> FromLobby {
        FromLobby::Hold { session: session.to_owned(), epoch: 1, record: self.record(session), lease_seconds }
    }

    /// A new participant of a session.
    pub(crate) async fn join(&self, session: &str) -> Client {
        self.connect(session, &self.token(session)).await.expect("let in")
    }

    /// A new participant of a session in addressed mode, and the number that it was given.
    pub(crate) async fn join_addressed(&self, session: &str) -> (Client, u32) {
        let offer = [("sec-websocket-protocol", ADDRESSED_PROTOCOL)];
        let mut client = self.connect_with(session, &self.token(session), &offer).await.expect("let in");
        match notice(&mut client).await {
            Notice::Welcome { you, .. } => (client, you),
            other => panic!("no welcome: {other:?}"),
        }
    }

    /// Connects with a token.
    pub(crate) async fn connect(&self, session: &str, token: &str) -> Result<Client, u16> {
        self.connect_with(session, token, &[]).await
    }

    /// Connects with a token and more headers.
    pub(crate) async fn connect_with(
        &self,
        session: &str,
        token: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        let mut request = format!("ws://{}/s/{session}", self.public).into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
        match tokio_tungstenite::connect_async(request).await {
            Ok((client, _)) => Ok(client),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The whole answer to a handshake with these header lines, without `date`.
    pub(crate) async fn answer(&self, path: &str, lines: &[String]) -> String {
        let mut stream = TcpStream::connect(self.public).await.expect("connected");
        stream.write_all(handshake(path, lines).as_bytes()).await.expect("written");
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
        let lines: Vec<&str> = answer.lines().filter(|line| !line.starts_with("date:")).collect();
        lines.join("\n")
    }

    /// The value of a metric; 0 if it was never set.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = get_text(self.health, "/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Waits until the readiness route says so.
    pub(crate) async fn wait_ready(&self, ready: bool) {
        let word = if ready { "200 OK" } else { "503" };
        until("readiness", async || get_text(self.health, "/readyz").await.lines().next().unwrap_or("").contains(word))
            .await;
    }

    /// Asks the relay to leave, and waits until it has.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.relay).await.expect("in time").expect("no panic").expect("no error");
    }

    /// The file with the lobby's public keys.
    pub(crate) fn jwks(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }
}

/// Time since a moment of [`clock::monotonic`].
pub(crate) fn since(moment: Duration) -> Duration {
    clock::monotonic().saturating_sub(moment)
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

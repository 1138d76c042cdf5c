//! A relay under test, its lobby, and clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::Router;
use axum::extract::ws::{Message as LobbyMessage, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use convene::decide::token::{SigningKey, pkcs8_pem};
use convene::process::clock;
use convene::relay::{Args, Config, Listeners, serve};
use convene::wire::claims::{JoinClaims, PROBE_LIFE_SECONDS, ProbeClaims, RecordClaims, Role, audience};
use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::relay::{ADDRESSED_PROTOCOL, Notice, PROBE_PATH};
use convene::wire::stats::{LOAD_EVENT, RelayReport, RelayStats};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const LOBBY_UID: &str = "0c9f6a52-lobby";
pub(crate) const POD_UID: &str = "77b1d3e0-relay";
pub(crate) const IDENTITY: &str = "identity-of-the-relay";

pub(crate) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

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

/// A WebSocket handshake as bytes.
pub(crate) fn handshake(path: &str, lines: &[String]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// The answer to a plain GET, as text.
pub(crate) async fn get_text(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    answer
}

/// The answer to a POST, as text.
pub(crate) async fn post_text(address: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    answer
}

/// An open event stream.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    pub(crate) async fn open(site: &Site) -> Self {
        let mut stream = TcpStream::connect(site.control).await.expect("connected");
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: relay\r\n\r\n").await.expect("written");
        let mut events = Self(BufReader::new(stream));
        assert_eq!(events.line().await, "HTTP/1.1 200 OK");
        while events.line().await != "content-type: text/event-stream" {}
        events
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("in time").expect("text");
        line.trim_end().to_owned()
    }

    pub(crate) async fn next(&mut self) -> RelayReport {
        while self.line().await != format!("event: {LOAD_EVENT}") {}
        let line = self.line().await;
        serde_json::from_str(line.strip_prefix("data: ").expect("data")).expect("a report")
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&RelayReport) -> bool) -> RelayReport {
        loop {
            let report = self.next().await;
            if wanted(&report) {
                return report;
            }
        }
    }

    pub(crate) async fn stats(&mut self, wanted: &RelayStats) {
        self.until(|report| report.stats == *wanted).await;
    }
}

/// The next text or binary message, or the close.
pub(crate) async fn next(client: &mut Client) -> Message {
    loop {
        let message = timeout(PATIENCE, client.next()).await.expect("in time");
        match message.expect("not just gone").expect("a good frame") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

/// The notice that must come next.
pub(crate) async fn notice(client: &mut Client) -> Notice {
    match next(client).await {
        Message::Text(text) => serde_json::from_str(&text).expect("a notice"),
        other => panic!("not a notice: {other:?}"),
    }
}

/// Code and reason of the close that must come next.
pub(crate) async fn closed(client: &mut Client) -> (u16, String) {
    match next(client).await {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("not a close: {other:?}"),
    }
}

/// Sends a text.
pub(crate) async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await.expect("sent");
}

/// A lobby, as far as a relay sees one.
pub(crate) struct Lobby {
    pub(crate) address: SocketAddr,
    state: LobbyState,
    heard: mpsc::UnboundedReceiver<FromRelay>,
}

#[derive(Clone)]
struct LobbyState {
    link: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
    open: Arc<Mutex<bool>>,
    /// What the relay said when it last dialled.
    identity: Arc<Mutex<String>>,
    heard: mpsc::UnboundedSender<FromRelay>,
}

impl Lobby {
    pub(crate) async fn start() -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let open = Arc::new(Mutex::new(true));
        let state = LobbyState { link: Arc::default(), open, identity: Arc::default(), heard: sender };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/v1/{route}", get(link)).with_state(state.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { address, state, heard }
    }

    /// The next message that is wanted; others are skipped.
    pub(crate) async fn next(&mut self, wanted: impl Fn(&FromRelay) -> bool) -> FromRelay {
        let wait = async {
            loop {
                let message = self.heard.recv().await.expect("the test holds a sender");
                if wanted(&message) {
                    return message;
                }
            }
        };
        timeout(PATIENCE, wait).await.expect("in time")
    }

    /// Waits for a load.
    pub(crate) async fn load(&mut self, sessions: u32, leases: u32, participants: u32) {
        self.next(|message| {
            matches!(message, FromRelay::Load(load)
                if (load.stats.sessions, load.stats.leases, load.stats.participants) == (sessions, leases, participants))
        })
        .await;
    }

    /// Waits for the end of a session.
    pub(crate) async fn ended(&mut self, session: &str) {
        let ended = FromRelay::Ended { session: session.to_owned(), epoch: 1 };
        self.next(|message| *message == ended).await;
    }

    /// Waits for the claim of a session's lease.
    pub(crate) async fn opened(&mut self, session: &str) {
        let opened = FromRelay::Opened { session: session.to_owned(), epoch: 1 };
        self.next(|message| *message == opened).await;
    }

    /// Gives an order.
    pub(crate) fn order(&self, order: &FromLobby) {
        self.say(serde_json::to_string(order).expect("JSON"));
    }

    /// Says anything.
    pub(crate) fn say(&self, text: String) {
        let link = self.state.link.lock().expect("not poisoned");
        link.as_ref().expect("a link").send(text).expect("sent");
    }

    /// What the relay said when it last dialled.
    pub(crate) fn identity(&self) -> String {
        self.state.identity.lock().expect("not poisoned").clone()
    }

    /// Goes away, or comes back.
    pub(crate) fn set_open(&self, open: bool) {
        *self.state.open.lock().expect("not poisoned") = open;
        if !open {
            self.state.link.lock().expect("not poisoned").take();
        }
    }
}

async fn link(
    State(state): State<LobbyState>,
    Path(route): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    assert_eq!(route, "relay-link");
    let identity = headers["authorization"].to_str().expect("text").strip_prefix("Bearer ").expect("a bearer");
    identity.clone_into(&mut state.identity.lock().expect("not poisoned"));
    if !*state.open.lock().expect("not poisoned") {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(|socket| serve_link(state, socket))
}

async fn serve_link(state: LobbyState, mut socket: WebSocket) {
    let (sender, mut orders) = mpsc::unbounded_channel();
    *state.link.lock().expect("not poisoned") = Some(sender);
    loop {
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                let _ = socket.send(LobbyMessage::text(order)).await;
            }
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                let LobbyMessage::Text(text) = message else { continue };
                let message: FromRelay = serde_json::from_str(&text).expect("a message of the link");
                if matches!(message, FromRelay::Hello { .. }) {
                    let welcome = serde_json::to_string(&FromLobby::Welcome { at: None, lobby: None }).expect("JSON");
                    let _ = socket.send(LobbyMessage::text(welcome)).await;
                }
                let _ = state.heard.send(message);
            }
        }
    }
}

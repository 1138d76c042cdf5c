//! A relay process under attack, with its own memory and limits, the lobby that the test plays, and those who connect.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use convene::decide::token::SigningKey;
use convene::process::clock;
use convene::wire::claims::{JoinClaims, PROBE_LIFE_SECONDS, ProbeClaims, audience};
use convene::wire::link::FromRelay;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_with_config};

use crate::support::{
    Client, IDENTITY, LOBBY_UID, Lobby, PATIENCE, POD_UID, Process, get_text, guest, handshake, key, until,
};

/// The one who is attacked, and where honest people come from.
pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Another address of this machine, for `n` up to 250.
pub(crate) fn stranger(n: u8) -> IpAddr {
    IpAddr::from([127, 0, 7, n])
}

/// A running relay.
pub(crate) struct Site {
    pub(crate) key: SigningKey,
    pub(crate) boot_id: String,
    pub(crate) public: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) lobby: Lobby,
    pub(crate) process: Process,
    pub(crate) folder: tempfile::TempDir,
    tokens: AtomicU32,
}

impl Site {
    /// A relay with these settings, ready. `{folder}` in one stands for its folder.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_convene")), settings).await
    }

    /// The same, by a program that starts the one it is given.
    pub(crate) async fn run(mut program: Command, settings: &[&str]) -> Self {
        let (key, folder, mut lobby) = (key(), tempfile::tempdir().expect("a folder"), Lobby::start().await);
        Self::write(&folder, "jwks.json", &key.jwks().to_string());
        Self::write(&folder, "token", IDENTITY);
        let path = folder.path().display().to_string();
        let settings = settings.iter().map(|setting| setting.replace("{folder}", &path));
        let mut child = program
            .args(["--log-format=json", "relay", "--listen=127.0.0.1:0"])
            .args(["--health-listen=127.0.0.1:0", "--control-listen=127.0.0.1:0"])
            .arg(format!("--lobby-url=http://{}", lobby.address))
            .arg(format!("--lobby-uid={LOBBY_UID}"))
            .arg(format!("--pod-uid={POD_UID}"))
            .arg(format!("--identity-file={path}/token"))
            .arg(format!("--jwks-file={path}/jwks.json"))
            .args(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let ports = ports(&mut child);
        let process = Process(child);
        let (public, health) = timeout(PATIENCE, ports).await.expect("in time").expect("it says where it listens");
        let hello = lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
        let FromRelay::Hello { boot_id, .. } = hello else { unreachable!("it was a Hello") };
        let ready = async || get_text(health, "/readyz").await.starts_with("HTTP/1.1 200 ");
        until("ready", ready).await;
        Self { key, boot_id, public, health, lobby, process, folder, tokens: AtomicU32::new(0) }
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Good claims for a session, with an id of their own.
    pub(crate) fn claims(&self, session: &str) -> JoinClaims {
        guest(&self.boot_id, session, self.tokens.fetch_add(1, Ordering::Relaxed))
    }

    /// A good token for a session.
    pub(crate) fn token(&self, session: &str) -> String {
        self.key.sign_join(&self.claims(session))
    }

    /// The header line with a good token for a session.
    pub(crate) fn pass(&self, session: &str) -> String {
        format!("Authorization: Bearer {}", self.token(session))
    }

    /// A good token to measure with.
    pub(crate) fn probe_token(&self) -> String {
        let now = clock::unix_seconds();
        let aud = audience(POD_UID, &self.boot_id);
        self.key.sign_probe(&ProbeClaims { iss: LOBBY_UID.to_owned(), aud, iat: now, exp: now + PROBE_LIFE_SECONDS })
    }

    /// A connection from an address of this machine.
    pub(crate) async fn dial(&self, from: IpAddr) -> TcpStream {
        self.try_dial(from).await.expect("connected")
    }

    /// A connection, if the relay takes it.
    pub(crate) async fn try_dial(&self, from: IpAddr) -> std::io::Result<TcpStream> {
        self.dial_with(from, false).await
    }

    /// A connection; a small one takes little from the network before somebody reads.
    async fn dial_with(&self, from: IpAddr, small: bool) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if small {
            socket.set_recv_buffer_size(16 * 1024)?;
        }
        socket.bind(SocketAddr::new(from, 0))?;
        timeout(PATIENCE, socket.connect(self.public)).await.expect("in time")
    }

    /// A new participant of a session.
    pub(crate) async fn join(&self, session: &str) -> Client {
        self.join_from(HOME, session).await.expect("let in")
    }

    /// A new participant from an address of this machine.
    pub(crate) async fn join_from(&self, from: IpAddr, session: &str) -> Result<Client, String> {
        let mut request = format!("ws://{}/s/{session}", self.public).into_client_request().expect("a request");
        let token = format!("Bearer {}", self.token(session)).parse().expect("a value");
        request.headers_mut().insert("authorization", token);
        let stream = self.try_dial(from).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).expect("set");
        let unlimited = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let opened = client_async_with_config(request, MaybeTlsStream::Plain(stream), Some(unlimited)).await;
        opened.map(|(client, _): (WebSocketStream<_>, _)| client).map_err(|error| error.to_string())
    }

    /// The whole answer to a handshake with these header lines from an address, without `date`.
    pub(crate) async fn answer(&self, from: IpAddr, path: &str, lines: &[String]) -> String {
        let mut stream = self.dial(from).await;
        stream.write_all(handshake(path, lines).as_bytes()).await.expect("written");
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
        let lines: Vec<&str> = answer.lines().filter(|line| !line.starts_with("date:")).collect();
        lines.join("\n")
    }

    /// An open connection after a handshake that was answered with 101, or the head of another answer.
    pub(crate) async fn open(&self, from: IpAddr, path: &str, lines: &[String]) -> Result<TcpStream, String> {
        let mut stream = self.dial_with(from, true).await.map_err(|error| error.to_string())?;
        stream.write_all(handshake(path, lines).as_bytes()).await.expect("written");
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            Ok(())
        };
        let read: std::io::Result<()> = timeout(PATIENCE, read).await.expect("in time");
        let head = read.map_or_else(|error| error.to_string(), |()| String::from_utf8(head).expect("text"));
        if head.starts_with("HTTP/1.1 101 ") { Ok(stream) } else { Err(head) }
    }

    /// The head of the answer to a handshake.
    pub(crate) async fn answer_head(&self, from: IpAddr, path: &str, lines: &[String]) -> String {
        self.open(from, path, lines).await.map_or_else(|head| head, |_| "HTTP/1.1 101 let in".to_owned())
    }

    /// The value of a metric; 0 if it was never set.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = get_text(self.health, "/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    /// How many were refused for a reason.
    pub(crate) async fn refused(&self, reason: &str) -> u64 {
        self.metric(&format!("convene_relay_refused_total{{reason=\"{reason}\"}}")).await
    }

    /// How many connections ended for a reason.
    pub(crate) async fn closed(&self, reason: &str) -> u64 {
        self.metric(&format!("convene_relay_closed_total{{reason=\"{reason}\"}}")).await
    }

    /// Resident memory of the relay, in bytes.
    pub(crate) async fn memory(&self) -> u64 {
        self.metric("process_resident_memory_bytes").await
    }
}

/// Addresses of the public and the health port, from the log. The log is read to its end, so that it never blocks.
fn ports(child: &mut Child) -> oneshot::Receiver<(SocketAddr, SocketAddr)> {
    let stderr = child.stderr.take().expect("piped");
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sender = Some(sender);
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if line["message"] == "relay started" {
                let address = |name: &str| line[name].as_str().expect("text").parse().expect("an address");
                let _ = sender.take().expect("it starts once").send((address("public"), address("health")));
            }
        }
    });
    receiver
}

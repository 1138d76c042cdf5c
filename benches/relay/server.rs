//! The servers that are measured: started on a core of their own, looked at through /proc.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use convene::decide::token::{SigningKey, pkcs8_pem};
use convene::process::clock;
use convene::wire::claims::{JoinClaims, Role, audience};

use crate::Args;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// This repository's relay.
    Convene,
    /// A room server of twenty lines on the npm package `ws`.
    Ws,
    /// A room server on the Go library `centrifuge`, the core of Centrifugo.
    Centrifuge,
    /// The server of the npm package `y-websocket`, by awareness messages, since it keeps what is said in documents.
    YWebsocket,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Convene => "Convene",
            Self::Ws => "`ws` room server",
            Self::Centrifuge => "`centrifuge`",
            Self::YWebsocket => "`y-websocket`",
        }
    }
}

/// A running server; it is killed when dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
    lobby: Option<Lobby>,
    _folder: tempfile::TempDir,
}

/// What a client asks for and shows.
pub(crate) struct Ticket {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    /// What it says first, and gets one answer to.
    pub(crate) greeting: Option<&'static str>,
}

/// What signs tokens in place of a lobby.
struct Lobby {
    key: SigningKey,
    audience: String,
}

impl Server {
    pub(crate) fn start(kind: Kind, args: &Args) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // Free a moment ago; nobody else takes ports here in between.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let modules = || args.npm.clone().context("--npm is missing: the folder with node_modules");
        let mut command = Command::new("taskset");
        command.args(["-c", &args.server_core.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let port = address.port().to_string();
        let (mut child, mut lobby) = (None, None);
        match kind {
            Kind::Convene => {
                let started = start_relay(&mut command, args, address, &folder)?;
                (child, lobby) = (Some(started.0), Some(started.1));
            }
            Kind::Ws => {
                let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/relay/peers/ws-room.cjs");
                command.arg("node").arg(script).env("PORT", port).env("NODE_PATH", modules()?.join("node_modules"));
            }
            Kind::Centrifuge => {
                let program = args.centrifuge.as_ref().context("--centrifuge is missing: the built server")?;
                command.arg(program).env("PORT", port);
            }
            Kind::YWebsocket => {
                let script = modules()?.join("node_modules/y-websocket/bin/server.cjs");
                command.arg("node").arg(script).env("HOST", "127.0.0.1").env("PORT", port);
            }
        }
        let child = child.map_or_else(|| command.spawn(), Ok).context("cannot start the server")?;
        let server = Self { kind, address, child, lobby, _folder: folder };
        for _ in 0..500 {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not listen", kind.name())
    }

    /// For a participant of a room.
    pub(crate) fn ticket(&self, room: usize, number: usize) -> Ticket {
        let greeting = (self.kind == Kind::Centrifuge).then_some(r#"{"id":1,"connect":{}}"#);
        let Some(lobby) = &self.lobby else { return Ticket { path: format!("/room-{room}"), token: None, greeting } };
        let now = clock::unix_seconds();
        let session = format!("session-{room}");
        let claims = JoinClaims {
            iss: "lobby".to_owned(),
            aud: lobby.audience.clone(),
            sid: session.clone(),
            epoch: 1,
            sub: format!("p{number}"),
            role: Role::Guest,
            jti: format!("t{number}"),
            iat: now,
            nbf: now,
            exp: now + 60,
        };
        Ticket { path: format!("/s/{session}"), token: Some(lobby.key.sign_join(&claims)), greeting }
    }

    /// CPU time of the server so far, its kernel time included.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // After the name in brackets: field 3 and on; 14 and 15 are user and system time in ticks of 10 ms.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).context("no CPU time");
        Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The limits that others do not have are out of the way.
fn start_relay(
    command: &mut Command,
    args: &Args,
    address: SocketAddr,
    folder: &tempfile::TempDir,
) -> anyhow::Result<(Child, Lobby)> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let key = SigningKey::from_pem(&pkcs8_pem(&pair)?)?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    fs::write(file("jwks"), key.jwks().to_string())?;
    fs::write(file("identity"), "none")?;
    command.arg(&args.relay).args(["--log-format=json", "relay", "--lobby-uid=lobby", "--pod-uid=pod"]);
    // Nothing listens there: the relay serves without its lobby.
    command.args(["--lobby-url=http://127.0.0.1:9", "--health-listen=127.0.0.1:0", "--control-listen=127.0.0.1:0"]);
    command.args([format!("--listen={address}"), format!("--identity-file={}", file("identity"))]);
    command.args([format!("--jwks-file={}", file("jwks")), "--capacity=100000".to_owned()]);
    command.args(["--attempts-per-second=1000000", "--remembered-tokens=1000000"]);
    command.args(["--messages-per-second=1000000", "--bytes-per-second=1000000000"]);
    let log = fs::File::create(folder.path().join("log"))?;
    let mut child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
    for _ in 0..500 {
        for line in BufReader::new(fs::File::open(folder.path().join("log"))?).lines() {
            let line = line?;
            let boot = line.split_once("\"boot_id\":\"").and_then(|(_, rest)| rest.split('"').next());
            if let Some(boot) = boot {
                return Ok((child, Lobby { key, audience: audience("pod", boot) }));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    bail!("the relay does not say its boot id: {}", fs::read_to_string(folder.path().join("log"))?)
}

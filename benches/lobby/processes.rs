//! The processes under load: lobbies, relays, and a Redis of their own. All end with the [`Site`].

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use convene::wire::table::RelayTable;

use crate::world::{Cluster, LOBBY_UID, fresh_keys, table, three_pools, uid};

/// Relays a pool, and seats of each: more than the load's sessions that live at a time.
const SEATS: u32 = 50_000;
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// Where the lobbies keep their sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// Two lobbies over one Redis.
    Redis,
    /// One lobby.
    Memory,
}

impl StoreKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "2 lobbies, Redis",
            Self::Memory => "1 lobby, memory",
        }
    }

    const fn lobbies(self) -> usize {
        match self {
            Self::Redis => 2,
            Self::Memory => 1,
        }
    }
}

/// CPU time that was used, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) lobbies: f64,
    pub(crate) redis: f64,
    pub(crate) relays: f64,
    pub(crate) load: f64,
}

impl Cpu {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            lobbies: self.lobbies - before.lobbies,
            redis: self.redis - before.redis,
            relays: self.relays - before.relays,
            load: self.load - before.load,
        }
    }
}

/// Everything that runs.
pub(crate) struct Site {
    pub(crate) lobbies: Vec<SocketAddr>,
    lobby_processes: Vec<Process>,
    redis: Option<Process>,
    relays: Vec<Process>,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Starts it and waits until every lobby sees every relay.
    pub(crate) async fn start(store: StoreKind, lease_seconds: u32) -> anyhow::Result<Self> {
        let cluster = Cluster::new();
        let folder = fresh_keys();
        let ports: Vec<u16> = (0..16).map(|_| free_port()).collect::<Result<_, _>>()?;
        let mut pools = three_pools(SEATS);
        for (relay, port) in pools.iter_mut().flat_map(|pool| &mut pool.relays).zip(&ports) {
            relay.url = format!("ws://127.0.0.1:{port}");
        }
        let table = table(&cluster, pools);
        std::fs::write(folder.path().join("relays.json"), serde_json::to_string(&table)?)?;
        let redis = match store {
            StoreKind::Redis => Some(start_redis(folder.path(), ports[15])?),
            StoreKind::Memory => None,
        };
        let (mut lobbies, mut lobby_processes) = (Vec::new(), Vec::new());
        for number in 0..store.lobbies() {
            let address = SocketAddr::from(([127, 0, 0, 1], ports[8 + number]));
            lobby_processes.push(start_lobby(folder.path(), address, store, lease_seconds)?);
            lobbies.push(address);
        }
        let keys = fetch_keys(lobbies[0]).await?;
        std::fs::write(folder.path().join("jwks.json"), keys)?;
        let relays = table.pools.iter().flat_map(|pool| &pool.relays).enumerate();
        let relays = relays
            .map(|(at, relay)| {
                std::fs::write(folder.path().join(&relay.name), cluster.relay_token(&relay.name))?;
                // In turn, so that lobbies must learn of the others' relays.
                start_relay(folder.path(), &relay.name, &relay.url, lobbies[at % lobbies.len()])
            })
            .collect::<anyhow::Result<_>>()?;
        let site = Self { lobbies, lobby_processes, redis, relays, _folder: folder };
        site.wait(&table).await?;
        Ok(site)
    }

    async fn wait(&self, table: &RelayTable) -> anyhow::Result<()> {
        let begin = Instant::now();
        for lobby in &self.lobbies {
            loop {
                let answer = reqwest::get(format!("http://{lobby}/v1/regions")).await;
                let regions: serde_json::Value = match answer {
                    Ok(answer) => answer.json().await.unwrap_or_default(),
                    Err(_) => serde_json::Value::Null,
                };
                let served = regions.as_array().map_or(0, |regions| {
                    regions.iter().filter(|region| region["freeSeats"].as_u64().is_some_and(|free| free > 0)).count()
                });
                if served == table.pools.len() {
                    break;
                }
                if begin.elapsed() > STARTS_WITHIN {
                    bail!("the lobby at {lobby} sees {served} of {} regions: {regions}", table.pools.len());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// CPU time that all have used so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let sum = |processes: &[Process]| processes.iter().map(|process| cpu_of(process.0.id())).sum();
        Cpu {
            lobbies: sum(&self.lobby_processes),
            redis: self.redis.as_ref().map_or(0.0, |process| cpu_of(process.0.id())),
            relays: sum(&self.relays),
            load: cpu_of(std::process::id()),
        }
    }
}

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_redis(folder: &Path, port: u16) -> anyhow::Result<Process> {
    std::fs::create_dir_all(folder.join("store"))?;
    std::fs::write(folder.join("store/url"), format!("redis://127.0.0.1:{port}/"))?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]).arg(port.to_string());
    command.arg("--dir").arg(folder);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Ok(Process(process.context("redis-server must be installed: `make setup` does it")?))
}

fn convene() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convene"));
    command.env("CONVENE_LOG", "error").stdout(Stdio::null());
    command
}

fn start_lobby(folder: &Path, address: SocketAddr, store: StoreKind, lease: u32) -> anyhow::Result<Process> {
    let mut command = convene();
    command
        .args([
            "lobby",
            "--health-listen=127.0.0.1:0",
            "--control-listen=127.0.0.1:0",
            "--rate-per-address=0",
            "--max-sessions=1000000",
        ])
        .arg(format!("--listen={address}"))
        .arg(format!("--lease-seconds={lease}"))
        .env("CONVENE_KEYS_DIR", folder)
        .env("CONVENE_TABLE_FILE", folder.join("relays.json"));
    if store == StoreKind::Redis {
        command.arg("--store=redis").env("CONVENE_REDIS_URL_FILE", folder.join("store/url"));
    }
    Ok(Process(command.spawn().context("a lobby")?))
}

fn start_relay(folder: &Path, name: &str, url: &str, lobby: SocketAddr) -> anyhow::Result<Process> {
    let listen = url.trim_start_matches("ws://");
    let mut command = convene();
    command
        .args(["relay", "--health-listen=127.0.0.1:0", "--control-listen=127.0.0.1:0"])
        .arg(format!("--listen={listen}"))
        .arg(format!("--capacity={SEATS}"))
        .arg(format!("--lobby-url=http://{lobby}"))
        .arg(format!("--lobby-uid={LOBBY_UID}"))
        .arg(format!("--pod-uid={}", uid(name)))
        .env("CONVENE_IDENTITY_FILE", folder.join(name))
        .env("CONVENE_JWKS_FILE", folder.join("jwks.json"));
    Ok(Process(command.spawn().context("a relay")?))
}

async fn fetch_keys(lobby: SocketAddr) -> anyhow::Result<String> {
    let begin = Instant::now();
    loop {
        match reqwest::get(format!("http://{lobby}/v1/jwks.json")).await {
            Ok(answer) if answer.status().is_success() => return Ok(answer.text().await?),
            Ok(_) | Err(_) if begin.elapsed() < STARTS_WITHIN => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(answer) => bail!("the lobby answers {}", answer.status()),
            Err(error) => return Err(error).context("the lobby does not answer"),
        }
    }
}

/// A port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()?.port())
}

/// CPU seconds of a process, user and system: fields 14 and 15 of its `stat` (proc(5)), in ticks of 10 ms.
fn cpu_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

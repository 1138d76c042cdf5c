//! A router in this process with what it needs: a table file, a database of places, and `dig` to ask it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use clap::Parser as _;
use convene::router::{self, Listeners};
use convene::wire::table::{PoolEntry, RelayEntry, RelayTable};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::mmdb::{Style, database};

/// Networks of clients, which are in Tokyo, Paris and Rio.
pub const TOKYO: &str = "203.0.113.0/24";
pub const PARIS: &str = "198.51.100.0/24";
pub const RIO: &str = "2001:db8:77::/56";
/// One that the database puts beyond the pole.
pub const OFF_EARTH: &str = "100.20.30.0/24";

#[derive(Debug, clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: router::Args,
}

pub fn relay(name: &str, url: &str) -> RelayEntry {
    let (name, url) = (name.to_owned(), url.to_owned());
    RelayEntry { pod_uid: name.clone(), name, url, capacity: 10, cordoned: false, leaving: false }
}

pub fn pool(region: &str, at: (f64, f64), relays: Vec<RelayEntry>) -> PoolEntry {
    let (namespace, name, region) = ("live".to_owned(), format!("{region}-pool"), region.to_owned());
    PoolEntry { namespace, name, region, latitude: at.0, longitude: at.1, relays }
}

/// Dublin, Tokyo and São Paulo.
pub fn table() -> RelayTable {
    RelayTable {
        lobby_uid: "lobby".to_owned(),
        url: "https://meet.example.com".to_owned(),
        pools: vec![
            pool(
                "eu-west-1",
                (53.35, -6.26),
                vec![relay("dublin-0", "ws://192.0.2.1:31000"), relay("dublin-1", "ws://192.0.2.2:31001")],
            ),
            pool(
                "asia-northeast1",
                (35.68, 139.69),
                vec![relay("tokyo-0", "wss://192.0.2.9"), relay("tokyo-1", "wss://[2001:db8::9]:8443")],
            ),
            pool("southamerica-east1", (-23.53, -46.79), vec![relay("saopaulo-0", "ws://192.0.2.20:7000")]),
        ],
        ..RelayTable::default()
    }
}

/// A running router.
pub struct Running {
    pub dns: SocketAddr,
    pub http: SocketAddr,
    pub health: SocketAddr,
    pub folder: tempfile::TempDir,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub async fn start(table: &RelayTable) -> Self {
        Self::start_with(table, &[]).await
    }

    /// With further arguments.
    pub async fn start_with(table: &RelayTable, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, places) = (folder.path().join("relays.json"), folder.path().join("places.mmdb"));
        std::fs::write(&file, serde_json::to_string(table).expect("JSON")).expect("written");
        let networks = [(TOKYO, 35.5, 139.5), (PARIS, 48.9, 2.3), (RIO, -22.9, -43.2), (OFF_EARTH, 95.0, 0.0)];
        std::fs::write(&places, database(Style::Nested, 1_800_000_000, &networks)).expect("written");
        let (udp, tcp) = one_port().await;
        let any = async || TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listeners = Listeners { udp: vec![udp], tcp: vec![tcp], public: any().await, health: any().await };
        let dns = listeners.tcp[0].local_addr().expect("an address");
        let (http, health) =
            (listeners.public.local_addr().expect("an address"), listeners.health.local_addr().expect("an address"));
        let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
        let mut arguments = vec!["router".to_owned(), "--zone=relays.example.com".to_owned()];
        arguments.push("--nameservers=ns1.relays.example.com=192.0.2.53,ns2.example.net".to_owned());
        arguments.push(format!("--table-file={}", path(&file)));
        arguments.push(format!("--geoip-file={}", path(&places)));
        arguments.push("--geoip-max-age-days=0".to_owned());
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let args = Cli::try_parse_from(arguments).expect("arguments").args;
        let stop = CancellationToken::new();
        let task = tokio::spawn(router::serve(args, listeners, stop.clone()));
        let running = Self { dns, http, health, folder, stop, task };
        eventually("the router is ready, and has read the database", async || {
            let ready = reqwest::get(format!("http://{health}/readyz")).await;
            ready.is_ok_and(|ready| ready.status().is_success())
                && running.metrics().await.contains("convene_geoip_loads_total{outcome=\"loaded\"} 1")
        })
        .await;
        running
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it ends").expect("well");
    }

    pub fn write_table(&self, text: &str) {
        // By another name first, as a mounted ConfigMap changes.
        let (file, new) = (self.folder.path().join("relays.json"), self.folder.path().join("new.json"));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, file).expect("renamed");
    }

    pub fn remove_table(&self) {
        std::fs::remove_file(self.folder.path().join("relays.json")).expect("removed");
    }

    pub async fn get(&self, path: &str) -> String {
        let answer = reqwest::get(format!("http://{}{path}", self.health)).await.expect("an answer");
        answer.text().await.expect("text")
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await
    }

    /// The value of one line of the metrics; 0 where there is none.
    pub async fn metric(&self, line: &str) -> i64 {
        let metrics = self.metrics().await;
        metrics.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0)
    }

    /// What `dig` says.
    pub async fn dig(&self, arguments: &str) -> Dug {
        dig(self.dns, arguments).await
    }

    /// The answers for a client of this network, sorted.
    pub async fn near(&self, network: &str) -> Vec<String> {
        self.dig(&format!("relays.example.com A +subnet={network}")).await.sorted()
    }
}

/// What `dig` says, in parts.
#[derive(Debug)]
pub struct Dug {
    pub text: String,
}

impl Dug {
    pub fn status(&self) -> &str {
        self.text.split_once("status: ").and_then(|(_, rest)| rest.split(',').next()).unwrap_or("none")
    }

    pub fn flags(&self) -> &str {
        self.text.split_once("flags: ").and_then(|(_, rest)| rest.split(';').next()).unwrap_or("none")
    }

    /// What the server said of the network.
    pub fn subnet(&self) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix("; CLIENT-SUBNET: "))
    }

    fn section(&self, title: &str) -> Vec<Vec<&str>> {
        let lines = self.text.lines().skip_while(|line| !line.contains(title)).skip(1);
        let records = lines.take_while(|line| !line.is_empty() && !line.starts_with(";;"));
        records.map(|line| line.split_whitespace().collect()).collect()
    }

    /// The records, without names, times and classes.
    pub fn answers(&self) -> Vec<String> {
        self.section("ANSWER SECTION").iter().map(|record| record[4..].join(" ")).collect()
    }

    pub fn sorted(&self) -> Vec<String> {
        let mut answers = self.answers();
        answers.sort();
        answers
    }

    /// For how many seconds the answers may be kept.
    pub fn ttls(&self) -> Vec<u32> {
        self.section("ANSWER SECTION").iter().map(|record| record[1].parse().expect("seconds")).collect()
    }

    pub fn authority(&self) -> Vec<String> {
        self.section("AUTHORITY SECTION").iter().map(|record| record[3..].join(" ")).collect()
    }
}

/// Asks a server by `dig`.
pub async fn dig(server: SocketAddr, arguments: &str) -> Dug {
    let mut command = Command::new("dig");
    command.args(["-r", "@127.0.0.1", "-p", &server.port().to_string(), "+tries=1", "+time=20", "+nocookie"]);
    command.args(arguments.split_whitespace());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it runs");
    let output = output.expect("dig runs: install it with hack/setup.sh (Debian's package bind9-dnsutils)");
    Dug { text: String::from_utf8_lossy(&output.stdout).into_owned() }
}

/// A port that is free by UDP and by TCP.
pub async fn one_port() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("an address")).await {
            return (udp, tcp);
        }
    }
    unreachable!("no port is free by both");
}

/// Waits for what comes by itself.
pub async fn eventually(what: &str, check: impl AsyncFn() -> bool) {
    for _ in 0..600 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("not within 30 s: {what}");
}

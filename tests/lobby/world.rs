//! A lobby in this process with everything that a cluster would give it: keys, a relay table, and pods whose
//! service-account tokens are signed by a test key.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use convene::decide::token::{SigningKey, pkcs8_pem};
use convene::lobby::{self, Listeners, StoreKind};
use convene::process::clock;
use convene::wire::regions::RegionView;
use convene::wire::table::{ClusterIssuer, PoolEntry, RelayEntry, RelayTable};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LOBBY_UID: &str = "lobby-uid";
pub const ISSUER: &str = "https://kubernetes.default.svc";
pub const ADMIN_TOKEN: &str = "admin-token-of-the-tests";

/// The issuer of service-account tokens.
pub struct Cluster {
    key: EncodingKey,
    pub jwks: Value,
}

impl Cluster {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
        let jwks = json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "cluster", "x": x, "y": y}]});
        let key = EncodingKey::from_ec_pem(pkcs8_pem(&pair).expect("PEM").as_bytes()).expect("a key");
        Self { key, jwks }
    }

    /// A projected token of a pod, for `audience`.
    pub fn token(&self, namespace: &str, pod: &str, uid: &str, audience: &str) -> String {
        let now = clock::unix_seconds();
        let claims = json!({
            "iss": ISSUER, "sub": format!("system:serviceaccount:{namespace}:relay"), "aud": [audience],
            "iat": now, "nbf": now, "exp": now + 3600,
            "kubernetes.io": {
                "namespace": namespace, "pod": {"name": pod, "uid": uid},
                "serviceaccount": {"name": "relay", "uid": "sa"},
            },
        });
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some("cluster".to_owned());
        jsonwebtoken::encode(&header, &claims, &self.key).expect("signed")
    }

    pub fn relay_token(&self, relay: &str) -> String {
        self.token("default", relay, &uid(relay), LOBBY_UID)
    }
}

/// UID of the pod of a relay.
pub fn uid(relay: &str) -> String {
    format!("uid-of-{relay}")
}

/// A pool with relays `<region>-<n>` of `capacity` seats each.
pub fn pool(region: &str, latitude: f64, longitude: f64, relays: u32, capacity: u32) -> PoolEntry {
    let relay = |n: u32| {
        let name = format!("{region}-{n}");
        RelayEntry {
            pod_uid: uid(&name),
            url: format!("ws://{name}.test:8080"),
            name,
            capacity,
            cordoned: false,
            leaving: false,
        }
    };
    PoolEntry {
        namespace: "default".to_owned(),
        name: region.to_owned(),
        region: region.to_owned(),
        latitude,
        longitude,
        relays: (0..relays).map(relay).collect(),
    }
}

/// Tokyo, Dublin, São Paulo: one relay each.
pub fn three_pools(capacity: u32) -> Vec<PoolEntry> {
    vec![
        pool("eu-west-1", 53.35, -6.26, 1, capacity),
        pool("asia-northeast1", 35.68, 139.69, 1, capacity),
        pool("southamerica-east1", -23.53, -46.79, 1, capacity),
    ]
}

pub fn table(cluster: &Cluster, pools: Vec<PoolEntry>) -> RelayTable {
    let cluster = ClusterIssuer { issuer: ISSUER.to_owned(), jwks: cluster.jwks.clone() };
    RelayTable { lobby_uid: LOBBY_UID.to_owned(), cluster, pools, ..RelayTable::default() }
}

/// A running lobby.
pub struct Running {
    pub address: SocketAddr,
    pub health: SocketAddr,
    pub control: SocketAddr,
    /// Of the port for relays, which is open where the settings name a certificate.
    pub link: SocketAddr,
    pub folder: tempfile::TempDir,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts a lobby with fresh keys and `table`.
    pub async fn start(table: &RelayTable) -> Self {
        Self::start_with(table, |_| ()).await
    }

    /// Starts a lobby with fresh keys, `table`, and pages of `origins` only.
    pub async fn start_for_pages_of(origins: &[&str], table: &RelayTable) -> Self {
        let origins = origins.iter().map(|origin| HeaderValue::from_str(origin).expect("an origin")).collect();
        Self::start_with(table, |args| args.allowed_origins = origins).await
    }

    /// Starts a lobby with fresh keys, `table` and changed settings.
    pub async fn start_with(table: &RelayTable, change: impl FnOnce(&mut lobby::Args)) -> Self {
        Self::run(fresh_keys(), table, None, change).await
    }

    /// Starts a lobby with the keys of `folder`, at `address` if one is given.
    pub async fn start_in(folder: tempfile::TempDir, table: &RelayTable, address: Option<SocketAddr>) -> Self {
        Self::run(folder, table, address, |_| ()).await
    }

    /// Starts several lobby processes with the same fresh keys, `table` and one Redis.
    pub async fn start_on_redis(count: usize, url: &str, table: &RelayTable) -> Vec<Self> {
        Self::start_on_redis_with(count, url, table, |_| ()).await
    }

    /// The same with changed settings.
    pub async fn start_on_redis_with(
        count: usize,
        url: &str,
        table: &RelayTable,
        also: impl Fn(&mut lobby::Args),
    ) -> Vec<Self> {
        let first = fresh_keys();
        let mut all = Vec::new();
        for _ in 0..count {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["signing-key.pem", "admin-token"] {
                std::fs::copy(first.path().join(name), folder.path().join(name)).expect("copied");
            }
            let file = folder.path().join("url");
            std::fs::write(&file, url).expect("written");
            let change = |args: &mut lobby::Args| {
                (args.store, args.redis_url_file) = (StoreKind::Redis, file);
                also(args);
            };
            let lobby = Self::run(folder, table, None, change).await;
            // Links that come up before are cut when the store is there.
            let up = async || lobby.metrics().await.lines().any(|line| line == "convene_lobby_store_up 1");
            eventually("the store is there", up).await;
            all.push(lobby);
        }
        all
    }

    async fn run(
        folder: tempfile::TempDir,
        table: &RelayTable,
        address: Option<SocketAddr>,
        change: impl FnOnce(&mut lobby::Args),
    ) -> Self {
        write_table(&folder.path().join("relays.json"), &serde_json::to_string(table).expect("JSON"));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners {
            public: TcpListener::bind(address.unwrap_or(any)).await.expect("a port"),
            health: TcpListener::bind(any).await.expect("a port"),
            control: TcpListener::bind(any).await.expect("a port"),
            link: Some(TcpListener::bind(any).await.expect("a port")),
        };
        let link = listeners.link.as_ref().and_then(|link| link.local_addr().ok()).expect("an address");
        let address = listeners.public.local_addr().expect("an address");
        let health = listeners.health.local_addr().expect("an address");
        let control = listeners.control.local_addr().expect("an address");
        let mut args = lobby::Args {
            listen: address,
            health_listen: health,
            keys_dir: folder.path().to_owned(),
            signing_keys_dir: None,
            table_file: folder.path().join("relays.json"),
            table_config_map: None,
            rate_per_address: 0,
            max_sessions: 1000,
            // Long for a machine that is busy; where a lease is to run out, the test says a shorter one.
            lease_seconds: 30,
            allowed_origins: Vec::new(),
            store: StoreKind::Memory,
            redis_url_file: PathBuf::new(),
            redis_ca_file: PathBuf::new(),
            redis_prefix: "convene".to_owned(),
            origins: lobby::origins::Args::default(),
            public: convene::process::http::PublicArgs::default(),
            link: lobby::LinkArgs { listen: link, certificate: None, key: None },
            control: convene::process::control::Args::plain(control),
        };
        change(&mut args);
        let stop = CancellationToken::new();
        let task = tokio::spawn(lobby::serve(args, listeners, stop.clone()));
        let running = Self { address, health, control, link, folder, stop, task };
        eventually("the lobby is ready", async || {
            let answer = reqwest::get(format!("http://{health}/readyz")).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        running
    }

    /// The lobby's public keys, as the relays' file has them.
    pub async fn jwks(&self) -> String {
        reqwest::get(self.url("/v1/jwks.json")).await.expect("keys").text().await.expect("text")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Replaces the table and gives the lobby time to see it.
    pub async fn change_table(&self, text: &str) {
        write_table(&self.table_file(), text);
        tokio::time::sleep(Duration::from_millis(1300)).await;
    }

    /// The table as it stands.
    pub fn table(&self) -> RelayTable {
        serde_json::from_str(&std::fs::read_to_string(self.table_file()).expect("read")).expect("a table")
    }

    pub fn table_file(&self) -> PathBuf {
        self.folder.path().join("relays.json")
    }

    pub async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.health)).await.expect("an answer").text().await.expect("text")
    }

    /// Waits until choices see a relay in each region.
    pub async fn serves_everywhere(&self) {
        let serves = async || {
            let answer = reqwest::get(self.url("/v1/regions")).await.expect("an answer");
            let regions: Vec<RegionView> = answer.json().await.expect("regions");
            regions.iter().all(|region| region.relays > 0)
        };
        eventually("all regions serve", serves).await;
    }

    /// Ends the lobby; its keys and address stay.
    pub async fn stop(self) -> (tempfile::TempDir, SocketAddr) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task)
            .await
            .expect("the lobby ends in time")
            .expect("no panic")
            .expect("no error");
        (self.folder, self.address)
    }
}

/// A signing key, as it stands in its file and as it signs.
pub fn fresh_key() -> (String, SigningKey) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let pem = pkcs8_pem(&pair).expect("PEM");
    let key = SigningKey::from_pem(&pem).expect("our own");
    (pem, key)
}

/// A folder with a new signing key and the tests' admin token.
pub fn fresh_keys() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("signing-key.pem"), fresh_key().0).expect("written");
    std::fs::write(folder.path().join("admin-token"), ADMIN_TOKEN).expect("written");
    folder
}

/// As a ConfigMap's file changes: at once, never half.
fn write_table(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}

/// Waits until something holds, at most ten seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

//! Values that the tests of the store share: limits, sessions, homes, a store that is connected.
#![allow(dead_code, reason = "each module uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use convene::decide::sessions::{Dial, Grant, Home, Limits, LinkUp, NewSession, Order, SecretHashes, Session};
use convene::lobby::store::{Away, Files, Link, Links, Redis, Settings, Store as _};
use convene::wire::session::{ClientPlace, GeoPoint};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

pub const LIMITS: Limits = Limits {
    sessions: 100_000,
    keys: 100_000,
    lease: Duration::from_secs(30),
    key_life: Duration::from_secs(600),
    answer_life: Duration::from_secs(60),
    silent: Duration::from_secs(5),
    orphan: Duration::from_secs(600),
};

pub fn home(pod: &str, boot: &str) -> Home {
    Home {
        pod_uid: pod.to_owned(),
        boot_id: boot.to_owned(),
        pool: "pool".to_owned(),
        region: "region".to_owned(),
        relay: pod.to_owned(),
        url: format!("ws://{pod}"),
        point: GeoPoint { latitude: 1.5, longitude: -2.25 },
    }
}

pub fn session(id: &str, created_at: i64, home: Home) -> Session {
    let secrets = SecretHashes { host_token: format!("{id} host"), join_key: format!("{id} key") };
    let place = ClientPlace { region: Some("region".to_owned()), ..ClientPlace::default() };
    Session::begin(
        NewSession {
            id: id.to_owned(),
            name: Some(format!("{id} ü")),
            secrets,
            approval: id.ends_with('3'),
            created_at,
            place,
        },
        home,
    )
}

pub fn grant(id: &str, home: Home, capacity: u32) -> Grant {
    Grant { session: session(id, 100, home), capacity, keyed: None }
}

/// Before a relay has dialled.
pub fn no_dial() -> Dial {
    Dial { number: 0, store: String::new() }
}

/// A relay dials, and its hello is taken in.
pub async fn linked(store: &Redis, up: LinkUp, link: Link) -> Result<(), Away> {
    let dial = store.dial().await?;
    let link = Link { dial: dial.number, ..link };
    store.link_up(LinkUp { dial, ..up }, link).await.map(|linked| linked.expect("no later dial"))
}

/// A link whose orders are kept.
pub fn link(number: u64, boot: &str) -> (Link, mpsc::Receiver<Order>, CancellationToken) {
    let (orders, receiver) = mpsc::channel(100_000);
    let cut = CancellationToken::new();
    (Link { number, dial: 0, boot_id: boot.to_owned(), orders, cut: cut.clone() }, receiver, cut)
}

/// A store with a life of its own.
pub struct Connected {
    pub store: Arc<Redis>,
    pub time: Option<Arc<AtomicU64>>,
    pub folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl Connected {
    /// Connects to a server; with a time that the test gives, in milliseconds, or by the server's clock.
    pub async fn to(url: String, prefix: &str, limits: Limits, time: Option<u64>) -> Self {
        let connected = Self::begin(url, None, prefix, limits, time).await;
        eventually("the store is there", async || !connected.store.is_away()).await;
        connected
    }

    /// As the mounted files say, which may be wrong.
    pub async fn begin(url: String, ca: Option<&str>, prefix: &str, limits: Limits, time: Option<u64>) -> Self {
        let time = time.map(|time| Arc::new(AtomicU64::new(time)));
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files { url: folder.path().join("url"), ca: folder.path().join("ca.crt") };
        std::fs::write(&files.url, url).expect("written");
        if let Some(ca) = ca {
            std::fs::write(&files.ca, ca).expect("written");
        }
        let settings = Settings { files, prefix: prefix.to_owned(), time: time.clone() };
        let store = Arc::new(Redis::new(&settings, limits, Links::default()).await.expect("an address"));
        let stop = CancellationToken::new();
        let (running, stopped) = (Arc::clone(&store), stop.clone());
        tokio::spawn(async move { running.run(stopped).await });
        Self { store, time, folder, _stop: stop.drop_guard() }
    }

    /// Changes one of the files, as the kubelet does: at once, never half.
    pub fn change(&self, file: &str, text: &str) {
        let (new, path) = (self.folder.path().join("new"), self.folder.path().join(file));
        std::fs::write(&new, text).expect("written");
        std::fs::rename(&new, &path).expect("renamed");
    }

    pub fn now(&self) -> Duration {
        Duration::from_millis(self.time.as_ref().expect("a given time").load(Ordering::Relaxed))
    }

    /// As another process has it.
    pub fn set(&self, now: Duration) {
        let ms = u64::try_from(now.as_millis()).expect("small");
        self.time.as_ref().expect("a given time").store(ms, Ordering::Relaxed);
    }

    pub fn wait(&self, ms: u64) {
        self.time.as_ref().expect("a given time").fetch_add(ms, Ordering::Relaxed);
    }
}

/// Waits until something holds, at most twenty seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

//! The connection to Redis, and what makes it safe to believe: every step names the incarnation of the store and the
//! highest sequence number that this process has seen, and decides nothing if the server has another or has fallen
//! behind. After each connection the server says who it is; another one than before, an emptied or an older store
//! begins a new incarnation, in which every relay must return what it holds before anything is granted there.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, Script, ScriptInvocation, Value};
use tokio::sync::Notify;

use super::address::{Address, Files, Unusable};
use super::codec::{Garbled, Reply, Stamp};
use crate::lobby::store::{Away, Links};
use crate::process::secret;

/// Time for a connection to be made, and for one step.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often the files of the address are looked at. A mounted Secret changes by a swapped link, which file notifications
/// miss.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How a lobby reaches its Redis.
#[derive(Clone)]
pub struct Settings {
    /// Where it is.
    pub files: Files,
    /// What all keys of this lobby begin with; its own, where several share a server. Stands in a hash tag.
    pub prefix: String,
    /// Milliseconds that count as the time instead of the server's clock: for tests.
    pub time: Option<Arc<AtomicU64>>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("files", &self.files).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum NoConnection {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("the server is a replica, which takes no writes")]
    Replica,
    #[error("{0}")]
    Garbled(#[from] Garbled),
}

/// A connection whose store is believed.
#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    incarnation: Arc<str>,
    /// Highest sequence number that was seen.
    seen: Arc<AtomicU64>,
    /// Which of this process's connections it is.
    number: u64,
}

pub(super) struct Connection {
    address: Address,
    anchor: String,
    time: Option<Arc<AtomicU64>>,
    live: RwLock<Option<Live>>,
    doubted: Mutex<Option<Arc<str>>>,
    lost: Notify,
    /// How many connections there were.
    connected: AtomicU64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("anchor", &self.anchor).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) async fn new(settings: &Settings) -> Result<Self, Unusable> {
        Ok(Self {
            address: Address::read(&settings.files).await?,
            anchor: format!("{}inc", prefix(&settings.prefix)),
            time: settings.time.clone(),
            live: RwLock::default(),
            doubted: Mutex::default(),
            lost: Notify::new(),
            connected: AtomicU64::default(),
        })
    }

    fn live(&self) -> Option<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_away(&self) -> bool {
        self.live.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn time(&self) -> String {
        self.time.as_ref().map(|time| time.load(Ordering::Relaxed).to_string()).unwrap_or_default()
    }

    /// Takes one step: its outcome in a word, and what it says.
    pub(super) async fn step(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<(String, Reply), Away> {
        let live = self.live().ok_or(Away)?;
        let mut call = script.key(&self.anchor);
        call.arg(&*live.incarnation).arg(live.seen.load(Ordering::Relaxed)).arg(self.time());
        arguments(&mut call);
        let reply = call.invoke_async::<Value>(&mut live.connection.clone()).await;
        let reply = reply.map_err(|error| self.failed(&live, &error))?;
        let (outcome, seen, mut reply) = open(reply).map_err(garbled)?;
        if outcome == "lost" {
            tracing::warn!("the store has lost what it knew, or another lobby process says so");
            self.lose(&live, true);
            return Err(Away);
        }
        live.seen.fetch_max(seen, Ordering::Relaxed);
        reply.stamp = Stamp { connection: live.number, writes: seen };
        Ok((outcome, reply))
    }

    fn failed(&self, live: &Live, error: &RedisError) -> Away {
        // What the server itself refuses is no reason to dial again, unless it is no longer the one that takes writes.
        let refused = error.code().filter(|code| !matches!(*code, "READONLY" | "LOADING" | "MASTERDOWN"));
        if refused.is_some() {
            tracing::error!(%error, "the store refuses");
        } else {
            tracing::warn!(%error, "the store does not answer");
            self.lose(live, false);
        }
        Away
    }

    fn lose(&self, live: &Live, doubt: bool) {
        let mut current = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(&current.seen, &live.seen)) {
            // Somebody else has seen it before.
            return;
        }
        *current = None;
        if doubt {
            *self.doubted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&live.incarnation));
        }
        self.lost.notify_one();
    }

    /// Connects, and again whenever the connection is lost or the address another, for ever. All relays link up anew after
    /// each: what they said meanwhile was not taken in.
    pub(super) async fn keep(&self, begin: &Script, links: &Links) {
        let (mut pause, mut last) = (SHORTEST_PAUSE, String::new());
        loop {
            match self.connect(begin).await {
                Ok(live) => {
                    tracing::info!("connected to the store");
                    (pause, last) = (SHORTEST_PAUSE, String::new());
                    links.cut_all();
                    *self.live.write().unwrap_or_else(PoisonError::into_inner) = Some(live);
                    self.stay().await;
                }
                Err(error) => {
                    // One line for each new trouble, not for each attempt.
                    let error = error.to_string();
                    if error != last {
                        tracing::warn!(error, "no connection to the store; sessions go on");
                        last = error;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // A server that refuses a password may have been given another.
                    self.address.look().await;
                }
            }
        }
    }

    /// While the connection serves, and is to the right server.
    async fn stay(&self) {
        while let Some(live) = self.live() {
            let lost = tokio::time::timeout(LOOK_EVERY, self.lost.notified()).await.is_ok();
            if !lost && self.address.look().await {
                tracing::info!("the address of the store has changed: connecting anew");
                self.lose(&live, false);
            }
        }
    }

    /// Number of the address in use: another address has another.
    pub(super) fn address(&self) -> u64 {
        self.address.number()
    }

    async fn connect(&self, begin: &Script) -> Result<Live, NoConnection> {
        let mut connection = self.dial(ANSWER_WITHIN).await?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        if told("role") != Some("master") {
            return Err(NoConnection::Replica);
        }
        let server = told("run_id").ok_or(Garbled)?.to_owned();
        let doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut call = begin.key(&self.anchor);
        call.arg(server).arg(secret::random_id()).arg(self.time()).arg(doubted.as_deref().unwrap_or_default());
        let mut reply = Reply::new(call.invoke_async::<Value>(&mut connection).await?)?;
        let (outcome, incarnation, seen) = (reply.text()?, reply.text()?, reply.number()?);
        if outcome == "new" {
            tracing::warn!("the store begins anew: relays return what they hold before anything is granted there");
        }
        let number = self.connected.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Live { connection, incarnation: incarnation.into(), seen: Arc::new(AtomicU64::new(seen)), number })
    }

    /// A connection of its own.
    pub(super) async fn dial(&self, answer_within: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(answer_within));
        self.address.client().get_multiplexed_async_connection_with_config(&config).await
    }
}

/// What all keys begin with.
pub(super) fn prefix(prefix: &str) -> String {
    format!("{{{prefix}}}:")
}

pub(super) fn garbled(error: Garbled) -> Away {
    tracing::error!(%error, "the store's answer was not understood");
    Away
}

fn open(reply: Value) -> Result<(String, u64, Reply), Garbled> {
    let mut reply = Reply::new(reply)?;
    let outcome = reply.text()?;
    let seen = if outcome == "lost" { 0 } else { reply.number()? };
    Ok((outcome, seen, reply))
}

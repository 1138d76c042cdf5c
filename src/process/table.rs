//! The relay table's way in: a file, or one ConfigMap that is watched by name; and how old the table is that serves. Who takes
//! it says what a good table is; the last good one is theirs to keep. What it must not do: read a table.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use prometheus::{IntCounterVec, IntGaugeVec};
use tokio_util::sync::CancellationToken;

use super::clock;
use super::metrics::Catalogue;
use crate::wire::table::{RelayTable, TABLE_KEY};
use asks::{Asks, PACE, Pace};

mod asks;

/// How often the file is looked at where there is no ConfigMap.
const FILE_POLL: Duration = Duration::from_secs(1);

/// Who takes the table.
pub trait Taker: Send + Sync {
    /// What is known of the one that serves.
    fn standing(&self) -> &Standing;
    /// Reads a table that has come from a source. If it is whole, it applies at once and [`Standing::applies`] is told;
    /// otherwise nothing changes, and why it is broken is returned.
    fn take_table(&self, source: &str, text: &str) -> Result<(), String>;
}

/// What is known of the table that serves: whether there is one, and how old it is. Says and counts what becomes of those
/// that come.
#[derive(Debug)]
pub struct Standing {
    /// Nothing until a table applies.
    age: Mutex<Option<Age>>,
    metrics: Metrics,
}

/// How old a table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Age {
    /// Since when its source has not confirmed it; nothing while the source is well.
    doubted: Option<Duration>,
    /// What the source has said since is no table. To hear that again confirms nothing.
    is_outdated: bool,
}

impl Age {
    /// Its source still says the same.
    fn confirm(&mut self) {
        if !self.is_outdated {
            self.doubted = None;
        }
    }

    /// Its source cannot be asked.
    fn doubt(&mut self, now: Duration) {
        self.doubted.get_or_insert(now);
    }

    /// Its source says what is no table.
    fn outdate(&mut self, now: Duration) {
        self.doubt(now);
        self.is_outdated = true;
    }

    /// Time since the source was last known to say this table.
    fn at(self, now: Duration) -> Duration {
        self.doubted.map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }
}

impl Standing {
    /// There is no table yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { age: Mutex::default(), metrics }
    }

    /// A table has come from a source, and applies from now on.
    pub fn applies(&self, source: &str, table: &RelayTable) {
        *self.age() = Some(Age::default());
        let relays: usize = table.pools.iter().map(|pool| pool.relays.len()).sum();
        self.metrics.reads.with_label_values(&[source, "applied"]).inc();
        tracing::info!(source, pools = table.pools.len(), relays, "the relay table applies");
    }

    /// Shows how old the table is, once there is one.
    pub fn show_age(&self) -> Option<Duration> {
        let age = (*self.age())?.at(clock::monotonic());
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.metrics.age_seconds.with_label_values::<&str>(&[]).set(seconds);
        Some(age)
    }

    /// The source still says the same.
    fn confirm(&self) {
        self.change(Age::confirm);
    }

    /// The source cannot be asked.
    fn doubt(&self) {
        self.change(|age| age.doubt(clock::monotonic()));
    }

    /// What has come is no table.
    fn broken(&self, source: &str, why: &str) {
        self.change(|age| age.outdate(clock::monotonic()));
        self.metrics.reads.with_label_values(&[source, "broken"]).inc();
        tracing::error!(source, why, "the relay table is broken; the last good one keeps serving");
    }

    /// The ConfigMap of this name is not there.
    fn missing(&self, name: &str) {
        self.doubt();
        self.metrics.reads.with_label_values(&["configMap", "gone"]).inc();
        tracing::warn!(name, "the relay table's ConfigMap is not there; the last table keeps serving");
    }

    /// What was never good has no age.
    fn change(&self, change: impl FnOnce(&mut Age)) {
        self.age().as_mut().map(change);
    }

    fn age(&self) -> MutexGuard<'_, Option<Age>> {
        self.age.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Metrics of the table.
#[derive(Clone, Debug)]
pub struct Metrics {
    age_seconds: IntGaugeVec,
    reads: IntCounterVec,
}

impl Metrics {
    /// Declares them for a component, such as `lobby`.
    pub fn new(catalogue: &mut Catalogue, component: &str) -> Self {
        let age = "Seconds since the relay table was last confirmed by its source. It grows while the API server is away (noticed within 35 s, and within 30 s that it is back), or while what the source says is broken; the table keeps serving.";
        let reads = "Relay tables that were read, by source (file, configMap) and outcome: applied, broken (the last good one stays) or gone.";
        Self {
            age_seconds: catalogue.gauges(&format!("convene_{component}_table_age_seconds"), age, &[]),
            reads: catalogue.counters(&format!("convene_{component}_table_reads_total"), reads, &["source", "outcome"]),
        }
    }
}

/// Where the table comes from.
pub enum Source {
    /// The file alone; read again when it changes.
    File,
    /// A ConfigMap.
    ConfigMap {
        /// Way to the API server.
        client: Client,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File => f.write_str("File"),
            Self::ConfigMap { namespace, name, client: _ } => write!(f, "ConfigMap({namespace}/{name})"),
        }
    }
}

impl Source {
    /// The source that the arguments name.
    pub async fn new(config_map: Option<&str>) -> anyhow::Result<Self> {
        let Some(config_map) = config_map else { return Ok(Self::File) };
        let parts = config_map.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let (namespace, name) = parts.context("the table's ConfigMap must be given as <namespace>/<name>")?;
        let client = Client::try_default().await.context("no way to the Kubernetes API")?;
        Ok(Self::ConfigMap { client, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Keeps the taker's table current until `shutdown`.
    pub async fn follow(self, taker: &dyn Taker, file: &Path, shutdown: CancellationToken) {
        let follow = async {
            match self {
                Self::File => follow_file(taker, file).await,
                Self::ConfigMap { client, namespace, name } => {
                    follow_config_map(taker, &Api::namespaced(client, &namespace), &name, PACE).await;
                }
            }
        };
        tokio::select! {
            () = follow => {}
            () = shutdown.cancelled() => {}
        }
    }
}

fn offer(taker: &dyn Taker, source: &str, text: &str) {
    if let Err(why) = taker.take_table(source, text) {
        taker.standing().broken(source, &why);
    }
}

/// Reads the file once; it need not be there.
pub async fn read_file(taker: &dyn Taker, file: &Path) {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => offer(taker, "file", &text),
        Err(error) => tracing::info!(file = %file.display(), %error, "no relay table in a file"),
    }
}

async fn follow_file(taker: &dyn Taker, file: &Path) {
    let mut seen = None;
    loop {
        match tokio::fs::read_to_string(file).await {
            Ok(text) if seen.as_ref() == Some(&text) => taker.standing().confirm(),
            Ok(text) => {
                offer(taker, "file", &text);
                seen = Some(text);
            }
            Err(error) => {
                taker.standing().doubt();
                tracing::debug!(file = %file.display(), %error, "the relay table cannot be read");
            }
        }
        tokio::time::sleep(FILE_POLL).await;
    }
}

/// One ConfigMap, as it was last heard of.
struct Heard<'a> {
    taker: &'a dyn Taker,
    name: &'a str,
    /// What the watch has last said: the resource version; nothing where it is not there, or nothing was said yet.
    version: Option<String>,
    /// It stood in the list that begins a watch.
    is_listed: bool,
}

impl Heard<'_> {
    /// Takes what the watch says. An error is the caller's.
    fn event(&mut self, event: watcher::Event<ConfigMap>) {
        match event {
            watcher::Event::Init => self.is_listed = false,
            watcher::Event::InitApply(map) | watcher::Event::Apply(map) => {
                self.is_listed = true;
                self.version = map.metadata.resource_version;
                match map.data.as_ref().and_then(|data| data.get(TABLE_KEY)) {
                    Some(text) => offer(self.taker, "configMap", text),
                    None => self.standing().broken("configMap", &format!("the ConfigMap has no key {TABLE_KEY}")),
                }
            }
            watcher::Event::InitDone if self.is_listed => self.standing().confirm(),
            watcher::Event::InitDone | watcher::Event::Delete(_) => {
                self.version = None;
                self.standing().missing(self.name);
            }
        }
    }

    /// Takes what the API server says when asked. Whether that is what the watch has said.
    fn answer(&self, version: Option<&String>) -> bool {
        let is_known = self.version.as_ref() == version;
        if is_known && version.is_some() {
            self.standing().confirm();
        }
        is_known
    }

    fn standing(&self) -> &Standing {
        self.taker.standing()
    }
}

/// Follows the ConfigMap by a watch. A watch that is silent may be well or cut off, and one that failed says nothing when it
/// goes on; so the API server is asked now and then whether what the watch said last still holds. Only a watch brings tables:
/// where it has missed one, it begins anew, with a list.
async fn follow_config_map(taker: &dyn Taker, api: &Api<ConfigMap>, name: &str, pace: Pace) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let watch = || watcher(api.clone(), only.clone()).default_backoff().boxed();
    let mut heard = Heard { taker, name, version: None, is_listed: false };
    let (mut events, mut asks) = (watch(), Asks::new(pace, clock::monotonic()));
    loop {
        let ask = async {
            tokio::time::sleep(asks.wait(clock::monotonic())).await;
            tokio::time::timeout(pace.patience, api.get_metadata_opt(name)).await
        };
        // The watch first: what it says may be what would be asked for.
        let error = tokio::select! {
            biased;
            Some(event) = events.next() => event.map(|event| heard.event(event)).map_err(|error| error.to_string()),
            answer = ask => match answer {
                Ok(Ok(map)) => {
                    asks.answered(clock::monotonic());
                    if !heard.answer(map.and_then(|map| map.metadata.resource_version).as_ref()) {
                        events = watch();
                    }
                    Ok(())
                }
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {:?}", pace.patience)),
            },
        };
        if let Err(error) = error {
            asks.failed(clock::monotonic());
            taker.standing().doubt();
            tracing::warn!(error, "cannot hear whether the relay table still holds; the last one keeps serving");
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

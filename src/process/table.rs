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
        let age = "Seconds since the relay table was last confirmed by its source. It grows while the API server is away, or while what the source says is broken; the table keeps serving.";
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
                    follow_config_map(taker, Api::namespaced(client, &namespace), &name).await;
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

async fn follow_config_map(taker: &dyn Taker, api: Api<ConfigMap>, name: &str) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, only).default_backoff());
    let standing = taker.standing();
    let mut seen_in_list = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen_in_list = false,
            Ok(watcher::Event::InitApply(map) | watcher::Event::Apply(map)) => {
                seen_in_list = true;
                match map.data.as_ref().and_then(|data| data.get(TABLE_KEY)) {
                    Some(text) => offer(taker, "configMap", text),
                    None => standing.broken("configMap", &format!("the ConfigMap has no key {TABLE_KEY}")),
                }
            }
            Ok(watcher::Event::InitDone) if seen_in_list => standing.confirm(),
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => standing.missing(name),
            Err(error) => {
                standing.doubt();
                tracing::warn!(%error, "cannot watch the relay table; the last one keeps serving");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_ages_from_the_first_doubt_until_it_is_confirmed() {
        let seconds = Duration::from_secs;
        let mut age = Age::default();
        assert_eq!(age.at(seconds(9)), seconds(0), "its source is well");
        age.doubt(seconds(10));
        age.doubt(seconds(12));
        assert_eq!(age.at(seconds(15)), seconds(5));
        assert_eq!(age.at(seconds(3)), seconds(0), "never less than nothing");
        age.confirm();
        assert_eq!(age.at(seconds(20)), seconds(0));
        age.outdate(seconds(21));
        age.confirm();
        assert_eq!(age.at(seconds(25)), seconds(4), "the source has another by now, which is no table");
    }

    #[test]
    fn what_comes_is_counted_and_before_the_first_table_there_is_no_age() {
        let mut catalogue = Catalogue::new();
        let standing = Standing::new(Metrics::new(&mut catalogue, "lobby"));
        let is_doubted = |standing: &Standing| standing.age().is_some_and(|age| age.doubted.is_some());
        standing.broken("file", "no JSON");
        standing.confirm();
        assert_eq!(standing.show_age(), None, "what was never good has no age");
        standing.applies("configMap", &RelayTable::default());
        assert_eq!(standing.show_age(), Some(Duration::ZERO));
        standing.missing("table");
        assert!(is_doubted(&standing));
        standing.confirm();
        assert_eq!(standing.show_age(), Some(Duration::ZERO));
        standing.broken("file", "no JSON");
        standing.confirm();
        assert!(is_doubted(&standing));
        standing.applies("file", &RelayTable::default());
        assert_eq!(standing.show_age(), Some(Duration::ZERO));
        let shown = super::super::metrics::encode(&catalogue.registry()).expect("text");
        for line in [
            "convene_lobby_table_age_seconds 0",
            r#"convene_lobby_table_reads_total{outcome="applied",source="configMap"} 1"#,
            r#"convene_lobby_table_reads_total{outcome="broken",source="file"} 2"#,
            r#"convene_lobby_table_reads_total{outcome="applied",source="file"} 1"#,
            r#"convene_lobby_table_reads_total{outcome="gone",source="configMap"} 1"#,
        ] {
            assert!(shown.contains(line), "{line} in:\n{shown}");
        }
    }
}

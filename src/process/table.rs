//! The relay table's way in: a file, or one ConfigMap that is watched by name. Who takes it says what a good table is; the
//! last good one is theirs to keep. What it must not do: read a table.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::wire::table::TABLE_KEY;

/// How often the file is looked at where there is no ConfigMap.
const FILE_POLL: Duration = Duration::from_secs(1);

/// Who is told of the table.
pub trait Taker: Send + Sync {
    /// A table has come from a source.
    fn offer_table(&self, source: &str, text: &str);
    /// The source still says the same.
    fn confirm_table(&self);
    /// The source cannot be asked.
    fn doubt_table(&self);
    /// What has come is no table.
    fn broken_table(&self, source: &str, why: &str);
    /// The ConfigMap of this name is not there.
    fn missing_table(&self, name: &str);
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

/// Reads the file once; it need not be there.
pub async fn read_file(taker: &dyn Taker, file: &Path) {
    match tokio::fs::read_to_string(file).await {
        Ok(text) => taker.offer_table("file", &text),
        Err(error) => tracing::info!(file = %file.display(), %error, "no relay table in a file"),
    }
}

async fn follow_file(taker: &dyn Taker, file: &Path) {
    let mut seen = None;
    loop {
        match tokio::fs::read_to_string(file).await {
            Ok(text) if seen.as_ref() == Some(&text) => taker.confirm_table(),
            Ok(text) => {
                taker.offer_table("file", &text);
                seen = Some(text);
            }
            Err(error) => {
                taker.doubt_table();
                tracing::debug!(file = %file.display(), %error, "the relay table cannot be read");
            }
        }
        tokio::time::sleep(FILE_POLL).await;
    }
}

async fn follow_config_map(taker: &dyn Taker, api: Api<ConfigMap>, name: &str) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, only).default_backoff());
    let mut seen_in_list = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen_in_list = false,
            Ok(watcher::Event::InitApply(map) | watcher::Event::Apply(map)) => {
                seen_in_list = true;
                match map.data.as_ref().and_then(|data| data.get(TABLE_KEY)) {
                    Some(text) => taker.offer_table("configMap", text),
                    None => taker.broken_table("configMap", &format!("the ConfigMap has no key {TABLE_KEY}")),
                }
            }
            Ok(watcher::Event::InitDone) if seen_in_list => taker.confirm_table(),
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => taker.missing_table(name),
            Err(error) => {
                taker.doubt_table();
                tracing::warn!(%error, "cannot watch the relay table; the last one keeps serving");
            }
        }
    }
}

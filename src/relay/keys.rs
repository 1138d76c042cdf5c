//! The lobby's public keys: read from a file, and again when it changes. A broken file never replaces good keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Metrics;
use crate::decide::token::VerifyKeys;

/// Largest key file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The keys in use; none until the file was read.
#[derive(Clone, Debug)]
pub(super) struct Keys(watch::Sender<Arc<VerifyKeys>>);

impl Default for Keys {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }
}

impl Keys {
    /// The keys in use now.
    pub(super) fn current(&self) -> Arc<VerifyKeys> {
        Arc::clone(&self.0.borrow())
    }

    /// Reads the file each `every`, for ever; `on_read` is called after keys were swapped in.
    /// A mounted volume changes by a swapped link, which file notifications miss, so the file is read.
    pub(super) async fn follow(&self, path: &Path, every: Duration, metrics: &Metrics, on_read: impl Fn()) {
        let mut last: Option<Result<String, String>> = None;
        loop {
            let read = read(path).await;
            if last.as_ref() != Some(&read) {
                match read.clone().and_then(|text| parse(&text)) {
                    Ok(keys) => {
                        tracing::info!(keys = keys.len(), "read the lobby's public keys");
                        metrics.keys.set(i64::try_from(keys.len()).unwrap_or(i64::MAX));
                        self.0.send_replace(Arc::new(keys));
                        on_read();
                    }
                    Err(error) => {
                        metrics.keys_rejected.inc();
                        let path = path.display();
                        tracing::warn!(%path, error, "cannot read the lobby's public keys; the old ones stay");
                    }
                }
                last = Some(read);
            }
            tokio::time::sleep(every).await;
        }
    }
}

async fn read(path: &Path) -> Result<String, String> {
    let size = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("{size} bytes are too many"));
    }
    tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<VerifyKeys, String> {
    let jwks = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let keys = VerifyKeys::from_jwks(&jwks).map_err(|error| error.to_string())?;
    if keys.is_empty() { Err("there is no key in it".to_owned()) } else { Ok(keys) }
}

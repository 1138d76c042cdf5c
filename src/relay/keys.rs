//! The lobby's public keys. They come by a file, which is read again when it changes, and by the relay link, which is
//! faster. A broken set never replaces good keys, nor does a file what the lobby has told, unless it is newer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Metrics;
use crate::decide::token::VerifyKeys;
use crate::wire::keys::KeySet;

/// Largest key file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Keys in use.
#[derive(Debug, Default)]
pub(super) struct Current {
    set: KeySet,
    /// Whether the lobby itself has said so.
    told: bool,
    pub(super) verify: VerifyKeys,
}

impl Current {
    /// The id of the key that the lobby prefers.
    pub(super) fn first(&self) -> Option<&str> {
        self.set.kids().next()
    }

    /// Whether a file that has changed is to replace them: what the lobby has told is older only if the file says so.
    fn yields_to_file(&self, set: &KeySet) -> bool {
        !self.told || set.version > self.set.version
    }

    /// Their ids.
    pub(super) fn kids(&self) -> Vec<String> {
        self.set.kids().map(str::to_owned).collect()
    }
}

/// The keys in use; none until a set has come.
#[derive(Clone, Debug)]
pub(super) struct Keys(watch::Sender<Arc<Current>>);

impl Default for Keys {
    fn default() -> Self {
        Self(watch::Sender::new(Arc::default()))
    }
}

impl Keys {
    /// The keys in use now.
    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.borrow())
    }

    /// The lobby has told its keys. They hold for all connections from now on; those that stand are not asked again.
    pub(super) fn told(&self, set: &KeySet, metrics: &Metrics) {
        let known = self.current();
        if set.version < known.set.version || (known.told && known.set == *set) {
            return;
        }
        match VerifyKeys::from_set(set) {
            Ok(verify) => self.put(Current { set: set.clone(), told: true, verify }, metrics),
            Err(error) => {
                metrics.keys_rejected.inc();
                tracing::warn!(%error, "the lobby told keys that cannot be used; the old ones stay");
            }
        }
    }

    /// Reads the file each `every`, for ever; `on_read` is called after keys were swapped in.
    /// A mounted volume changes by a swapped link, which file notifications miss, so the file is read.
    pub(super) async fn follow(&self, path: &Path, every: Duration, metrics: &Metrics, on_read: impl Fn()) {
        let mut last: Option<Result<String, String>> = None;
        loop {
            let read = read(path).await;
            if last.as_ref() != Some(&read) {
                match read.clone().and_then(|text| parse(&text)) {
                    Ok((set, verify)) => {
                        let known = self.current();
                        if verify.is_empty() && set.version == 0 {
                            tracing::info!("the key file leaves it to the lobby to tell its keys");
                        } else if known.yields_to_file(&set) {
                            self.put(Current { set, told: false, verify }, metrics);
                            on_read();
                        }
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

    fn put(&self, current: Current, metrics: &Metrics) {
        let (keys, version) = (current.verify.len(), current.set.version);
        tracing::info!(keys, version, told = current.told, "took the lobby's public keys");
        metrics.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.0.send_replace(Arc::new(current));
    }
}

async fn read(path: &Path) -> Result<String, String> {
    let size = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("{size} bytes are too many"));
    }
    tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<(KeySet, VerifyKeys), String> {
    let set: KeySet = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let verify = VerifyKeys::from_set(&set).map_err(|error| error.to_string())?;
    Ok((set, verify))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_replaces_what_the_lobby_told_only_if_it_is_newer() {
        let set = |version| KeySet { version, keys: Vec::new() };
        let current = |told, version| Current { set: set(version), told, verify: VerifyKeys::default() };
        assert!(!current(true, 6).yields_to_file(&set(5)) && !current(true, 6).yields_to_file(&set(6)));
        assert!(current(true, 6).yields_to_file(&set(7)));
        assert!(current(false, 6).yields_to_file(&set(5)), "of two files the one that is there counts");
    }
}

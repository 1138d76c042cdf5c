//! The lobby's own keys: read from files at the start, and again when they change. Which of them count, the relay table
//! says; where it says nothing, all do. What is broken never replaces good keys.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::decide::keyring::Keyring;
use crate::decide::token::{KeyError, SigningKey};
use crate::process::secret;
use crate::wire::keys::{KeySet, MAX_KEYS};

/// Shortest admin token that is taken.
const ADMIN_TOKEN_LENGTH: usize = 16;
/// How often the files are looked at. A mounted Secret changes by a swapped link, which file notifications miss.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Largest key file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// What the lobby signs with and believes.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) admin_token_hash: String,
    source: Source,
    made_of: Mutex<MadeOf>,
    ring: watch::Sender<Arc<Keyring>>,
}

/// Where signing keys are.
#[derive(Clone, Debug)]
struct Source {
    folder: PathBuf,
    /// What their files begin with.
    prefix: &'static str,
}

/// What the ring is made of.
#[derive(Debug)]
struct MadeOf {
    files: Vec<(String, String)>,
    own: Vec<Arc<SigningKey>>,
    published: Option<KeySet>,
}

impl Keys {
    /// Reads `admin-token` of a folder, and the signing keys: `signing-key*.pem` there, or `*.pem` of a folder of theirs.
    pub(super) fn read(folder: &Path, signing: Option<&Path>) -> anyhow::Result<Self> {
        let source = match signing {
            Some(folder) => Source { folder: folder.to_owned(), prefix: "" },
            None => Source { folder: folder.to_owned(), prefix: "signing-key" },
        };
        let files = signing_files(&source)?;
        let own = parse(&source.folder, &files)?;
        let path = folder.join("admin-token");
        let token = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let token = token.trim();
        let path = path.display();
        anyhow::ensure!(token.len() >= ADMIN_TOKEN_LENGTH, "{path}: shorter than {ADMIN_TOKEN_LENGTH} characters");
        let ring = Keyring::new(&own, None).context("the public halves of the signing keys")?;
        Ok(Self {
            admin_token_hash: secret::hash(token),
            source,
            made_of: Mutex::new(MadeOf { files, own, published: None }),
            ring: watch::Sender::new(Arc::new(ring)),
        })
    }

    /// The keys that count now.
    pub(super) fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.borrow())
    }

    /// The keys that count, now and after each change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Keyring>> {
        self.ring.subscribe()
    }

    /// The table says which keys count.
    pub(super) fn publish(&self, published: Option<&KeySet>, metrics: &Metrics) -> Result<(), KeyError> {
        self.change(metrics, |made_of| made_of.published = published.cloned())
    }

    /// Looks at the files until `stop`.
    pub(super) async fn follow(&self, metrics: &Metrics, stop: &CancellationToken) {
        let mut last_error = String::new();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let error = self.look(metrics).err().map(|error| format!("{error:#}")).unwrap_or_default();
            if !error.is_empty() && error != last_error {
                metrics.keys_rejected.with_label_values::<&str>(&[]).inc();
                tracing::warn!(error, "cannot read the signing keys; the old ones stay");
            }
            last_error = error;
        }
    }

    fn look(&self, metrics: &Metrics) -> anyhow::Result<()> {
        let files = signing_files(&self.source)?;
        if self.made_of.lock().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(());
        }
        let own = parse(&self.source.folder, &files)?;
        Ok(self.change(metrics, |made_of| (made_of.files, made_of.own) = (files, own))?)
    }

    /// Changes what the ring is made of; nothing if no ring can be made of it.
    fn change(&self, metrics: &Metrics, change: impl FnOnce(&mut MadeOf)) -> Result<(), KeyError> {
        let mut made_of = self.made_of.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next =
            MadeOf { files: made_of.files.clone(), own: made_of.own.clone(), published: made_of.published.clone() };
        change(&mut next);
        let ring = Keyring::new(&next.own, next.published.as_ref())?;
        let count = i64::try_from(ring.signing()).unwrap_or(i64::MAX);
        metrics.signing_keys.with_label_values::<&str>(&[]).set(count);
        *made_of = next;
        if !ring.is_same(&self.ring.borrow()) {
            let signer = ring.signer(&[]).map_or("none", SigningKey::kid);
            tracing::info!(signer, signing = count, published = ring.public().keys.len(), "other signing keys count");
            // Before the lock goes, so that rings follow one another as their causes did.
            self.ring.send_replace(Arc::new(ring));
        }
        Ok(())
    }
}

/// Names and texts of the files, the last by name first.
fn signing_files(source: &Source) -> anyhow::Result<Vec<(String, String)>> {
    let Source { folder, prefix } = source;
    let listing = || format!("cannot list {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(listing)? {
        let path = entry.with_context(listing)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let is_pem = path.extension().is_some_and(|extension| extension == "pem");
        if !is_pem || !name.starts_with(prefix) {
            continue;
        }
        let reading = || format!("cannot read {}", path.display());
        let size = std::fs::metadata(&path).with_context(reading)?.len();
        anyhow::ensure!(size <= MAX_FILE_BYTES, "{}: {size} bytes are too many for a key", path.display());
        files.push((name, std::fs::read_to_string(&path).with_context(reading)?));
    }
    let there = !files.is_empty() && files.len() <= MAX_KEYS;
    let (folder, count) = (folder.display(), files.len());
    anyhow::ensure!(
        there,
        "{folder}: {count} files {prefix}*.pem, such as signing-key.pem; there must be 1 to {MAX_KEYS}"
    );
    files.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
    Ok(files)
}

fn parse(folder: &Path, files: &[(String, String)]) -> anyhow::Result<Vec<Arc<SigningKey>>> {
    let read = files.iter().map(|(name, text)| {
        let key = SigningKey::from_pem(text).with_context(|| folder.join(name).display().to_string())?;
        Ok(Arc::new(key))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

    use super::*;
    use crate::decide::token::pkcs8_pem;
    use crate::process::metrics::Catalogue;

    fn fresh() -> String {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        pkcs8_pem(&pair).expect("PEM")
    }

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let failure = || format!("{:#}", Keys::read(folder.path(), None).expect_err("not readable"));
        assert!(failure().contains("signing-key.pem"), "{}", failure());
        std::fs::write(folder.path().join("signing-key.pem"), "no key").expect("written");
        assert!(failure().contains("signing-key.pem") && failure().contains("P-256"), "{}", failure());
        std::fs::write(folder.path().join("signing-key.pem"), fresh()).expect("written");
        assert!(failure().contains("admin-token"), "{}", failure());
        std::fs::write(folder.path().join("admin-token"), "short\n").expect("written");
        assert!(failure().contains("admin-token"), "{}", failure());
        std::fs::write(folder.path().join("admin-token"), "0123456789abcdef\n").expect("written");
        let keys = Keys::read(folder.path(), None).expect("both are there");
        assert!(secret::matches("0123456789abcdef", &keys.admin_token_hash));
    }

    #[test]
    fn keys_come_and_go_with_their_files_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let metrics = Metrics::new(&mut Catalogue::with_process());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("admin-token", "0123456789abcdef");
        write("signing-key-1.pem", &fresh());
        let keys = Keys::read(folder.path(), None).expect("good");
        let signer = || keys.ring().signer(&[]).map(|key| key.kid().to_owned());
        let first = signer();
        write("signing-key-2.pem", &fresh());
        keys.look(&metrics).expect("good");
        assert_ne!(signer(), first, "the last by name signs");
        write("signing-key-3.pem", "no key");
        assert!(keys.look(&metrics).is_err());
        assert_eq!(keys.ring().public().keys.len(), 2);
        for gone in ["signing-key-2.pem", "signing-key-3.pem"] {
            std::fs::remove_file(folder.path().join(gone)).expect("removed");
        }
        keys.look(&metrics).expect("good");
        assert_eq!(signer(), first);
        std::fs::remove_file(folder.path().join("signing-key-1.pem")).expect("removed");
        assert!(keys.look(&metrics).is_err() && signer() == first, "a lobby without any key keeps the last");
        write("2026.pem", &fresh());
        let given = Keys::read(folder.path(), Some(folder.path())).expect("any name");
        assert_eq!(given.ring().public().keys.len(), 1);
    }
}

//! What a relay needs for a lobby of another cluster: its pool's own key, with which it signs who it is for each dial, and
//! its address for clients, which that lobby learns from it alone.

use std::collections::HashMap;
use std::path::PathBuf;

use super::PoolArgs;
use crate::decide::token::{KeyError, SigningKey};
use crate::process::{clock, secret};
use crate::wire::claims::{RELAY_LIFE_SECONDS, RelayClaims};

/// Largest file that is read, in bytes: addresses of 64 relays and more.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A pool that is known to its lobby by a key.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Name under which the lobby lists it.
    pub pool: String,
    /// Name of this relay.
    pub relay: String,
    /// File with the private key.
    pub key_file: PathBuf,
    /// File with the addresses of the pool's relays.
    pub addresses_file: PathBuf,
}

/// Why a proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unproved {
    #[error("cannot read the pool's key (--pool-key): {0}")]
    File(#[source] std::io::Error),
    #[error("the pool's key (--pool-key): {0}")]
    Key(#[source] KeyError),
}

impl Remote {
    pub(super) fn from_args(args: PoolArgs) -> Option<Self> {
        let PoolArgs { pool_key, pool_name, relay_name, addresses_file } = args;
        Some(Self { pool: pool_name?, relay: relay_name?, key_file: pool_key?, addresses_file })
    }

    /// The proof for one dial of the lobby at `url`, by the run `boot_id` of `pod_uid`.
    pub(super) async fn proof(&self, url: &str, pod_uid: &str, boot_id: &str) -> Result<String, Unproved> {
        let text = read(&self.key_file).await.map_err(Unproved::File)?;
        let key = SigningKey::from_pem(&text).map_err(Unproved::Key)?;
        let now = clock::unix_seconds();
        Ok(key.sign_relay(&RelayClaims {
            iss: self.pool.clone(),
            aud: url.trim_end_matches('/').to_owned(),
            sub: pod_uid.to_owned(),
            relay: self.relay.clone(),
            boot: boot_id.to_owned(),
            jti: secret::random_id(),
            iat: now,
            exp: now + RELAY_LIFE_SECONDS,
        }))
    }

    /// Where clients reach this relay, as far as that is known by now.
    pub(super) async fn address(&self) -> Option<String> {
        let text = read(&self.addresses_file).await.ok()?;
        let mut addresses: HashMap<String, String> = serde_json::from_str(&text).ok()?;
        addresses.remove(&self.relay)
    }
}

async fn read(path: &PathBuf) -> std::io::Result<String> {
    let size = tokio::fs::metadata(path).await?.len();
    if size > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("{size} bytes are too many")));
    }
    tokio::fs::read_to_string(path).await
}

//! Where what clients have measured is kept beyond one process. It is worth little and may be lost at any time: nobody
//! waits for it, and nothing is decided by it but where somebody is thought to be near.

use std::fmt::Debug;

use async_trait::async_trait;

use super::Away;
use crate::decide::networks::Kept;

/// A keeper of texts by network.
#[async_trait]
pub trait Shelf: Debug + Send + Sync {
    /// Up to `limit` networks that were changed after the change `after`, in the order of their changes.
    async fn changed(&self, after: u64, limit: usize) -> Result<Changed, Away>;

    /// Writes networks over the numbers that they carry.
    async fn keep(&self, all: &[Kept]) -> Result<Vec<Wrote>, Away>;
}

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Another, once the shelf has lost all that it had; empty while there is nothing on it.
    pub shelf: String,
    /// Number of the last change of all.
    pub last: u64,
    /// The networks.
    pub networks: Vec<Kept>,
}

/// What became of one that was to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// It stands there under this number.
    Under(u64),
    /// Somebody else has written it since: this stands there.
    Other(Kept),
}

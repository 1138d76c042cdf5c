//! The public keys of a lobby's tokens, as the operator, the lobby, relays and whoever asks hand them on.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most keys of a set.
pub const MAX_KEYS: usize = 16;

/// A JSON Web Key Set (RFC 7517) with a version beside its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    /// Raised by each change: of two sets of one lobby the higher is the newer. 0 where nobody counts.
    #[serde(default)]
    pub version: u64,
    /// Public keys on P-256 with `kid`. The first signs for all relays that have it; the others verify what they signed
    /// before, or stand by.
    pub keys: Vec<Value>,
}

impl KeySet {
    /// The ids of its keys, in its order.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.get("kid")?.as_str())
    }
}

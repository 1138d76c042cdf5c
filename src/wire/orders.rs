//! What the operator tells a relay, on the relay's control port: `POST` [`ORDERS_PATH`] with one [`Order`] as JSON,
//! answered by 204 once the relay has it. Whether it obeys stands in its reports ([`super::stats::RelayReport`]).

use serde::{Deserialize, Serialize};

/// Path of the orders on the control port.
pub const ORDERS_PATH: &str = "/v1/orders";
/// Largest order, in bytes.
pub const MAX_ORDER_BYTES: usize = 1024;

/// An order. Numbers count the drains of one Pod: a relay obeys no order with a number below the highest that it has heard,
/// so one that comes late undoes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Order {
    /// Take no new sessions. Leases can still be claimed.
    Cordon {
        /// Number of the drain.
        number: u32,
    },
    /// Have the lobby move the sessions to other relays, as far as those have room: the relay says over its link that it is
    /// to leave, for as long as it obeys the cordon of this number. For relays of another cluster than their lobby's it is
    /// the only way; for others the lobby's table says it as well.
    HandOver {
        /// Number of the drain.
        number: u32,
    },
    /// Take new sessions again, and keep those that have not moved, if the cordon of this number is the one that is obeyed.
    Uncordon {
        /// Number of the drain that is over.
        number: u32,
    },
}

impl Order {
    /// Number of the drain.
    pub const fn number(&self) -> u32 {
        match self {
            Self::Cordon { number } | Self::HandOver { number } | Self::Uncordon { number } => *number,
        }
    }
}

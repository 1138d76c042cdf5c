//! Load of one relay: sent over the relay link, and as server-sent events on the relay's control port.

use serde::{Deserialize, Serialize};

/// Path of the event stream on the control port.
pub const EVENTS_PATH: &str = "/v1/events";

/// What a relay carries at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayStats {
    /// Seats.
    pub capacity: u32,
    /// Sessions with participants, or within their idle time.
    pub sessions: u32,
    /// Seats held by leases that nobody has claimed.
    pub leases: u32,
    /// Connected participants.
    pub participants: u32,
    /// Takes no new sessions.
    pub draining: bool,
}

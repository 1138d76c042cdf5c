//! The relay link: what a relay and its lobby say to one another.
//!
//! The relay dials `GET {lobby}/v1/relay-link` as a WebSocket with `Authorization: Bearer <service-account token>`
//! (audience = the Lobby's UID) and sends [`FromRelay::Hello`] first; each message is one JSON text frame.
//! Unknown message types are ignored, so that neighbouring versions understand one another.

use serde::{Deserialize, Serialize};

/// Path of the relay link on the lobby's public port.
pub const LINK_PATH: &str = "/v1/relay-link";
/// How often a relay reports its load when nothing changes.
pub const LOAD_INTERVAL_MS: u64 = 1000;
/// A relay that was not heard for so long gets no new sessions.
pub const SILENT_AFTER_MS: u64 = 5000;

/// What a relay tells its lobby.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromRelay {
    /// First message of a link.
    Hello {
        /// Random name of this run of the process; with the Pod's UID the audience of tokens.
        boot_id: String,
        /// Version of the relay.
        version: String,
        /// Seats.
        capacity: u32,
        /// The lobby-signed records of all sessions that the relay holds, leases included.
        records: Vec<String>,
        /// Which of them have participants or had them within the idle time.
        open: Vec<String>,
    },
    /// Each second, and at once after a change.
    Load(super::stats::RelayStats),
    /// The first participant of a session has connected: its lease is claimed.
    Opened {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
    },
    /// A session is no longer held: idle, closed, or its lease ran out.
    Ended {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Anything that a later version says.
    #[serde(other)]
    Unknown,
}

/// What a lobby tells a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromLobby {
    /// The relay is admitted; it may count itself ready.
    Welcome,
    /// Keep a seat for a session and its record, to be returned on the next link-up.
    Hold {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
        /// [`super::claims::RecordClaims`], signed.
        record: String,
        /// Seconds until the seat returns unless a participant connects.
        lease_seconds: u32,
    },
    /// Close a session and all its connections.
    Close {
        /// The session.
        session: String,
        /// Highest epoch to close.
        epoch: u64,
    },
    /// Anything that a later version says.
    #[serde(other)]
    Unknown,
}

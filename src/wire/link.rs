//! The relay link: what a relay and its lobby say to one another.
//!
//! The relay dials `GET {lobby}/v1/relay-link` as a WebSocket with `Authorization: Bearer <service-account token>`
//! (audience = the Lobby's UID), in another cluster with [`super::claims::RelayClaims`], signed, instead, and sends [`FromRelay::Hello`] first; each message is one JSON text frame.
//! Unknown message types are ignored, so that neighbouring versions understand one another.

use serde::{Deserialize, Serialize};

use super::keys::KeySet;
use super::stats::RelayStats;

/// Path of the relay link on the lobby's public port.
pub const LINK_PATH: &str = "/v1/relay-link";
/// How often a relay reports its load when nothing changes.
pub const LOAD_INTERVAL_MS: u64 = 1000;
/// A relay that was not heard for so long gets no new sessions.
pub const SILENT_AFTER_MS: u64 = 5000;

/// A relay's load, and how much of what it was told is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// The load.
    #[serde(flatten)]
    pub stats: RelayStats,
    /// How many [`FromLobby::Hold`]s of this link were obeyed before it was taken; what was granted later is not in it.
    /// Absent from relays that do not count them.
    #[serde(default)]
    pub holds: Option<u64>,
}

/// A load whose relay does not count its orders.
impl From<RelayStats> for Load {
    fn from(stats: RelayStats) -> Self {
        Self { stats, holds: None }
    }
}

/// Sessions of one [`FromRelay::Participants`] at most; further ones come in the next.
pub const MAX_PRESENCES: usize = 1000;

/// The participants of one session at a relay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// The session.
    pub session: String,
    /// Its epoch.
    pub epoch: u64,
    /// How many are connected now.
    pub present: u32,
    /// How many have come since the session is here, those included that are gone again.
    pub joined: u32,
    /// How many the relay has sent away since it last told of this session: they are to come back through their lobby.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sent: u32,
    /// Who is connected now, by the `sub` of their tokens; absent where they are more than [`MAX_WHO`], and from relays that do
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Vec<String>>,
}

/// Participants of one session that are named.
pub const MAX_WHO: usize = 32;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

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
        /// Ids of the lobby's keys that the relay has.
        #[serde(default)]
        keys: Vec<String>,
        /// WebSocket base URL for clients, from relays of other clusters: those of its own cluster the lobby knows from its
        /// table.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// The relay has other keys of the lobby now, or was told keys.
    Keys {
        /// Their ids.
        keys: Vec<String>,
        /// The records that are not signed by the set's first key: they are to be signed anew while the key that did it
        /// still counts.
        records: Vec<String>,
    },
    /// Each second, and at once after a change.
    Load(Load),
    /// The first participant of a session has connected: its lease is claimed.
    Opened {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Who has come to sessions or gone: with each load those that have changed, and after a hello all that are open.
    Participants {
        /// By session.
        sessions: Vec<Presence>,
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
    /// The relay is admitted and what it said in its hello is known; it may count itself ready.
    Welcome {
        /// When the hello was taken in, by the lobby's clock, in seconds since 1970. Sessions that still live on the
        /// relay and were not in the hello follow as [`FromLobby::Hold`], so an earlier token of another session opens
        /// nothing. Absent from lobbies that do not say.
        #[serde(default)]
        at: Option<i64>,
        /// UID of the Lobby object, issuer of the lobby's tokens: relays of other clusters learn it by this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lobby: Option<String>,
    },
    /// The lobby's public keys: take these and no others from now on. Answered by [`FromRelay::Keys`].
    Keys(KeySet),
    /// A held session's record, signed anew.
    Record {
        /// The session.
        session: String,
        /// Its epoch; under another one the record is of no use.
        epoch: u64,
        /// [`super::claims::RecordClaims`], signed.
        record: String,
    },
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
    /// Somebody is about to join a session that the relay was told to hold: its lease starts anew. A relay that does not
    /// hold it (any more) says so, and keeps no seat.
    Renew {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
        /// As in [`FromLobby::Hold`].
        lease_seconds: u32,
    },
    /// Close a session and all its connections.
    Close {
        /// The session.
        session: String,
        /// Highest epoch to close.
        epoch: u64,
    },
    /// A session lives on another relay now, under a higher epoch: tell its members to come back through their lobby,
    /// and forget it.
    Move {
        /// The session.
        session: String,
        /// Highest epoch that has left this relay.
        epoch: u64,
    },
    /// Leave: take no new sessions, say so with the load, which has the sessions moved to other relays as far as those have
    /// room, and tell the operator, which makes an end of it. Holds for this run of the process, or until
    /// [`FromLobby::Stay`].
    Leave,
    /// Stay after all. What the operator has ordered goes on.
    Stay,
    /// Anything that a later version says.
    #[serde(other)]
    Unknown,
}

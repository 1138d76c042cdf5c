//! The relay's public side, as clients meet it: path, subprotocols, close codes.
//!
//! A client opens `GET /s/{session}` as a WebSocket and gives its token as `Authorization: Bearer`, as one offered
//! subprotocol [`TOKEN_PROTOCOL_PREFIX`]`<token>` beside [`BROADCAST_PROTOCOL`], or, where neither can be set, as
//! `?token=`. A client that is closed with a code from 4400 to 4499 must not come back with this session; with
//! [`CLOSE_RETRY`] it should, through its lobby.
//!
//! **Broadcast mode**: what one member sends, the others get verbatim.
//!
//! **Addressed mode** ([`ADDRESSED_PROTOCOL`]): members have numbers. A member sends binary messages of
//! [`ADDRESS_BYTES`] (big endian: whom it is for) and the payload; it gets binary messages of the same form, where the
//! number says who sent it. What is for a number that is not there is answered with [`Notice::Left`]. Text messages come
//! from the relay only, each one [`Notice`]; a text message of a member breaks the protocol. All members of a session
//! use the mode of its first member; others are refused with status 409. While the queue of the member that is meant is
//! full, the relay does not read on from the sender; one that takes nothing for seconds is closed as a slow reader.

use serde::{Deserialize, Serialize};

use super::claims::Role;

/// Path of a session on its relay is this and the session's id.
pub const SESSION_PATH_PREFIX: &str = "/s/";
/// `GET` of this path on a relay, with a probe token of its lobby in `Authorization` or in `?token=`, is answered with 204
/// and nothing else, also to web pages of any origin: a client that times it on a connection that is open already knows
/// its round trip to the relay. The lobby gives whole URLs (`GET /v1/regions`).
pub const PROBE_PATH: &str = "/probe";
/// Subprotocol of broadcast mode; selected also when none is offered, in that its absence means it.
pub const BROADCAST_PROTOCOL: &str = "convene.broadcast";
/// Subprotocol of addressed mode.
pub const ADDRESSED_PROTOCOL: &str = "convene.v1";
/// Length of the number before each payload in addressed mode.
pub const ADDRESS_BYTES: usize = 4;
/// An offered subprotocol that starts so carries the token; it is never selected.
pub const TOKEN_PROTOCOL_PREFIX: &str = "convene.token.";
/// All subprotocols of our own start so; others belong to the application and are selected as offered.
pub const OWN_PROTOCOL_PREFIX: &str = "convene.";

/// Close code: come back through the lobby. The reason says why: [`REASON_MOVED`], [`REASON_DRAINING`],
/// [`REASON_SLOW_READER`], [`REASON_SILENT`] or [`REASON_FULL`].
pub const CLOSE_RETRY: u16 = 1012;
/// Close code: the participant sent a message above the relay's limit.
pub const CLOSE_TOO_BIG: u16 = 1009;
/// Close code: in addressed mode, a message that is not binary or shorter than its address.
pub const CLOSE_NOT_ADDRESSED: u16 = 1003;
/// Close code: the session was closed. Final.
pub const CLOSE_SESSION_CLOSED: u16 = 4410;

/// The session lives on another relay now.
pub const REASON_MOVED: &str = "moved";
/// The relay is leaving.
pub const REASON_DRAINING: &str = "draining";
/// The participant did not take its messages in time; what was queued for it is lost.
pub const REASON_SLOW_READER: &str = "slow reader";
/// Nothing was heard from the participant for too long, not even an answer to a ping.
pub const REASON_SILENT: &str = "silent";
/// The relay has no memory for the rest of the participant's message.
pub const REASON_FULL: &str = "relay full";
/// The session was closed by its host or its lobby.
pub const REASON_SESSION_CLOSED: &str = "session closed";
/// The message was above the relay's limit.
pub const REASON_TOO_BIG: &str = "message too big";

/// The message has no address.
pub const REASON_NOT_ADDRESSED: &str = "not an addressed message";

/// What the relay tells a member in addressed mode, as JSON in a text message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Notice {
    /// The first message of a connection.
    Welcome {
        /// The number of this member, never used twice in a session's stay on a relay.
        you: u32,
        /// Who else is there.
        members: Vec<Member>,
        /// Bytes that may wait at the relay for one member before it is closed as a slow reader; keep less on the way.
        queue_bytes: usize,
        /// Largest message, its address included, in bytes.
        max_message_bytes: usize,
    },
    /// A member has come.
    Joined(Member),
    /// A member has left, or was not there.
    Left {
        /// Its number.
        member: u32,
    },
    /// Anything that a later version says.
    #[serde(other)]
    Unknown,
}

/// A member of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its number.
    pub member: u32,
    /// Participant id: the `sub` of its token.
    pub participant: String,
    /// What it may do.
    pub role: Role,
}

//! The relay's public side, as clients meet it: path, subprotocols, close codes.
//!
//! A client opens `GET /s/{session}` as a WebSocket and gives its token as `Authorization: Bearer`, as one offered
//! subprotocol [`TOKEN_PROTOCOL_PREFIX`]`<token>` beside [`BROADCAST_PROTOCOL`], or, where neither can be set, as
//! `?token=`. A client that is closed with a code from 4400 to 4499 must not come back with this session; with
//! [`CLOSE_RETRY`] it should, through its lobby.

/// Path of a session on its relay is this and the session's id.
pub const SESSION_PATH_PREFIX: &str = "/s/";
/// Subprotocol of broadcast mode; selected also when none is offered, in that its absence means it.
pub const BROADCAST_PROTOCOL: &str = "convene.broadcast";
/// An offered subprotocol that starts so carries the token; it is never selected.
pub const TOKEN_PROTOCOL_PREFIX: &str = "convene.token.";
/// All subprotocols of our own start so; others belong to the application and are selected as offered.
pub const OWN_PROTOCOL_PREFIX: &str = "convene.";

/// Close code: come back through the lobby. The reason says why: [`REASON_DRAINING`], [`REASON_SLOW_READER`] or
/// [`REASON_SILENT`].
pub const CLOSE_RETRY: u16 = 1012;
/// Close code: the participant sent a message above the relay's limit.
pub const CLOSE_TOO_BIG: u16 = 1009;
/// Close code: the session was closed. Final.
pub const CLOSE_SESSION_CLOSED: u16 = 4410;

/// The relay is leaving.
pub const REASON_DRAINING: &str = "draining";
/// The participant did not take its messages in time; what was queued for it is lost.
pub const REASON_SLOW_READER: &str = "slow reader";
/// Nothing was heard from the participant for too long, not even an answer to a ping.
pub const REASON_SILENT: &str = "silent";
/// The session was closed by its host or its lobby.
pub const REASON_SESSION_CLOSED: &str = "session closed";
/// The message was above the relay's limit.
pub const REASON_TOO_BIG: &str = "message too big";

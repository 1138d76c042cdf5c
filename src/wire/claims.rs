//! What the lobby signs: tokens for one connection, tokens to measure with, and records of sessions. And what relays of other clusters sign: who
//! they are.

use serde::{Deserialize, Serialize};

/// `typ` header of connection tokens.
pub const JOIN_TYP: &str = "convene-join+jwt";
/// `typ` header of session records.
pub const RECORD_TYP: &str = "convene-record+jwt";
/// `typ` header of the token with which a relay of another cluster proves who it is.
pub const RELAY_TYP: &str = "convene-relay+jwt";
/// Longest life of such a token, in seconds.
pub const RELAY_LIFE_SECONDS: i64 = 60;
/// Longest life of a connection token, in seconds.
pub const JOIN_LIFE_SECONDS: i64 = 60;
/// `typ` header of probe tokens.
pub const PROBE_TYP: &str = "convene-probe+jwt";
/// Longest life of a probe token, in seconds.
pub const PROBE_LIFE_SECONDS: i64 = 300;

/// Claims of a token with which one participant connects to one run of one relay, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinClaims {
    /// UID of the Lobby object.
    pub iss: String,
    /// The relay: [`audience`] of its Pod and boot.
    pub aud: String,
    /// Session id.
    pub sid: String,
    /// Epoch of the session.
    pub epoch: u64,
    /// Participant id, unique in the session.
    pub sub: String,
    /// What the participant may do.
    pub role: Role,
    /// Token id: a relay takes each once.
    pub jti: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Not before, seconds since 1970.
    pub nbf: i64,
    /// Expires at, at most [`JOIN_LIFE_SECONDS`] after `iat`.
    pub exp: i64,
}

/// Claims of a token with which clients measure how far it is to one run of one relay, as often as its limits let them.
/// It names nobody, so that many get the same one, and opens nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeClaims {
    /// UID of the Lobby object.
    pub iss: String,
    /// The relay: [`audience`] of its Pod and boot.
    pub aud: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, at most [`PROBE_LIFE_SECONDS`] after `iat`.
    pub exp: i64,
}

/// Claims of a session's record. Relays keep it and return it on link-up, so that a lobby that lost its store can
/// go on with every live session. It holds hashes of secrets only, and no personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordClaims {
    /// UID of the Lobby object.
    pub iss: String,
    /// Session id.
    pub sid: String,
    /// Epoch of the session.
    pub epoch: u64,
    /// The relay that holds it: [`audience`] of its Pod and boot.
    pub aud: String,
    /// SHA-256 of the host token, base64url without padding.
    pub host_token_hash: String,
    /// SHA-256 of the join key, base64url without padding.
    pub join_key_hash: String,
    /// Whether its host is asked before a guest comes in. Records that were signed before there was this word say no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approval: bool,
    /// When the session was created, seconds since 1970.
    pub iat: i64,
}

/// Claims with which a relay of another cluster dials its lobby, signed with its pool's own key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayClaims {
    /// Name under which the lobby lists the pool.
    pub iss: String,
    /// The lobby: its public URL, without a slash at the end.
    pub aud: String,
    /// The relay's Pod: [`remote_uid`] of it.
    pub sub: String,
    /// Name of the relay.
    pub relay: String,
    /// Name of this run of its process.
    pub boot: String,
    /// Token id: a lobby process takes each once.
    pub jti: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, at most [`RELAY_LIFE_SECONDS`] after `iat`.
    pub exp: i64,
}

/// What stands for the UID of a Pod of another cluster. No Pod of any cluster has such a UID, and no pool of another name
/// can claim it: names of pools have no dot.
pub fn remote_uid(pool: &str, pod_uid: &str) -> String {
    format!("{pool}.{pod_uid}")
}

/// Role of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Created the session.
    Host,
    /// Was invited to it.
    Guest,
}

/// Audience of tokens for one run of one relay.
pub fn audience(pod_uid: &str, boot_id: &str) -> String {
    format!("{pod_uid}/{boot_id}")
}

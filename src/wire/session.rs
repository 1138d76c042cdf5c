//! The lobby's HTTP API: requests and answers. The OpenAPI document is generated from these types.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::claims::Role;

/// Where a client is, as far as it knows. The best source that is given counts: measured, then coordinates, then region.
/// What is [`Beside`] its own words stands between and behind these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientPlace {
    /// Round-trip times in milliseconds that the client measured, by region name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub latencies: BTreeMap<String, f64>,
    /// Coordinates in decimal degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<GeoPoint>,
    /// Name of a region, of a public cloud or of a pool of this lobby.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 63, pattern = "^[!-~]+$")]
    pub region: Option<String>,
    /// Where the session must reside: one of the residencies that the lobby has for its regions. It then goes to those
    /// regions alone, whenever it moves. Only the host's counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 63, pattern = "^[!-~]+$")]
    pub residency: Option<String>,
    /// What others know. It is in no message, since nobody can say it of themselves; with a session that is kept it is
    /// kept beside this.
    #[serde(skip)]
    #[schema(ignore)]
    pub beside: Beside,
}

impl ClientPlace {
    /// Whether the client itself says where it is, by coordinates or a region.
    pub const fn says_where(&self) -> bool {
        self.location.is_some() || self.region.is_some()
    }
}

/// What is known of a client's place beside its own words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// Round trips in milliseconds that clients of its network have measured before, by region name.
    pub network: BTreeMap<String, f64>,
    /// Where a database places its address.
    pub geoip: Option<GeoPoint>,
}

/// A place on earth, in decimal degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoPoint {
    /// Degrees north, −90 to 90.
    #[schema(minimum = -90.0, maximum = 90.0)]
    pub latitude: f64,
    /// Degrees east, −180 to 180.
    #[schema(minimum = -180.0, maximum = 180.0)]
    pub longitude: f64,
}

/// Body of `POST /v1/sessions`. The header `Idempotency-Key` makes a repeated request give the same answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateSession {
    /// What people call the session: no control characters, and none that change the direction of writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
    )]
    pub name: Option<String>,
    /// Where the host is.
    #[serde(default)]
    pub place: ClientPlace,
    /// Whether the host is asked before a guest comes in: a join is then answered with 202 until the host approves or
    /// refuses the guest.
    #[serde(default)]
    pub approval: bool,
    /// SHA-256 of a join key that the client made itself, base64url without padding. The lobby then never sees that
    /// key before a guest gives it, and answers without `joinKey`, with a `joinLink` that has no fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 43, max_length = 43, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]
    pub join_key_hash: Option<String>,
}

/// Body of `POST /v1/sessions/{id}/join`. A guest gives the join key; the host gives its host token as
/// `Authorization: Bearer` instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinSession {
    /// Secret from the join link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_key: Option<String>,
    /// What the guest is called, for a host that is asked whom to let in; the first that a guest gives stays. No control
    /// characters, and none that change the direction of writing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
    )]
    pub name: Option<String>,
    /// The guest's own secret: 32 random bytes of its own (base64url without padding), or, where the host is asked, the one of
    /// the answer 202. By it a repeated request is the same guest, under the same participant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 43, max_length = 43, pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$")]
    pub guest_token: Option<String>,
    /// Where the guest is. If that makes another pool with room clearly nearer to all whose places are known, by 10 ms and by a
    /// third, the session moves there, at most once a minute. It is forgotten when the guest leaves. Of the host, what
    /// it said when it created the session counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<ClientPlace>,
    /// Epoch under which this participant has lost its connection, or found no relay. Where the relay's link to the lobby
    /// is gone too, or was silent for 2.5 seconds, the session moves at once; without this word the lobby waits for 5.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    pub lost_epoch: Option<u64>,
}

/// Largest whole number that every JSON reader keeps as it is: 2^53 − 1 (RFC 8259 §6).
const MAX_WHOLE: u64 = 9_007_199_254_740_991;

/// A whole number; `7.0` is one too, in JSON Schema's eyes.
fn whole<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(reader)? else { return Ok(None) };
    #[expect(clippy::cast_precision_loss, reason = "2^53 − 1 is exact")]
    let is_whole = |value: &f64| value.fract() == 0.0 && (0.0..=MAX_WHOLE as f64).contains(value);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range and whole")]
    let of_float = || number.as_f64().filter(is_whole).map(|value| value as u64);
    let value = number.as_u64().or_else(of_float).filter(|value| *value <= MAX_WHOLE);
    value.map(Some).ok_or_else(|| D::Error::custom("must be a whole number from 0 to 9007199254740991"))
}

/// Body of `PATCH /v1/sessions/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenameSession {
    /// What people call the session from now on: no control characters, and none that change the direction of writing.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
    )]
    pub name: String,
}

/// Body of `POST /v1/sessions/{id}/move`: a region, a pool, or neither for the pool that is best by the places of its host and of guests that are known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveSession {
    /// Name of the region that the session goes to. Not together with `pool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 63, pattern = "^[!-~]+$")]
    pub region: Option<String>,
    /// Name of the pool that the session goes to. Not together with `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 63, pattern = "^[!-~]+$")]
    pub pool: Option<String>,
}

/// A pass for one connection to the session's relay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connect {
    /// WebSocket URL of the session on its relay, without the token.
    pub url: String,
    /// Token for one connection; send it as `Authorization: Bearer`.
    pub token: String,
    /// When the token expires, seconds since 1970.
    pub expires_at: i64,
    /// Who the token says the client is, unique in the session.
    pub participant: String,
    /// What the client may do.
    pub role: Role,
}

/// Answer to `POST /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionCreated {
    /// The session.
    pub session: SessionView,
    /// Link for guests; the part behind `#` holds the join key and is sent to no server. Without that part if the
    /// client gave a `joinKeyHash`.
    pub join_link: String,
    /// The join key by itself; absent if the client gave a `joinKeyHash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_key: Option<String>,
    /// Secret of the host: reads and closes the session, and joins it as host.
    pub host_token: String,
    /// The host's own pass to the relay.
    pub connect: Connect,
    /// All pools, best first, with the reason for each.
    pub ranking: Vec<RankedPool>,
}

/// Answer to `POST /v1/sessions/{id}/join`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The session.
    pub session: SessionView,
    /// The pass to the relay.
    pub connect: Connect,
}

/// Answer 202 to `POST /v1/sessions/{id}/join`: the host has been asked. The same request with this `guestToken`, best
/// with `wait`, is answered with 200 once the host has approved; a guest that does not ask again within two minutes is
/// forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestWaits {
    /// The guest, as its host sees it.
    pub guest: Guest,
    /// Secret of this guest, for the same request again and for each later join.
    pub guest_token: String,
}

/// Somebody who has asked to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Guest {
    /// Its id; grants nothing. Once it is let in, the participant of its passes.
    pub id: String,
    /// What it says it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the host has said.
    pub state: GuestState,
    /// When it asked first, seconds since 1970.
    pub asked_at: i64,
}

/// What the host has said of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuestState {
    /// Nothing yet. Known for two minutes after it asked last.
    Waiting,
    /// It may come in. Known for a day after it came last.
    Approved,
    /// It may not. Known for an hour.
    Refused,
}

impl GuestState {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Approved => "approved",
            Self::Refused => "refused",
        }
    }
}

/// Answer to `GET /v1/sessions/{id}/guests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestList {
    /// All that are known, at most 1000; those who asked first come first.
    pub guests: Vec<Guest>,
}

/// What `GET /v1/sessions/{id}/events` tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum SessionEvent {
    /// How the session stands: the first event of each stream.
    Snapshot {
        /// The session.
        session: SessionView,
        /// All of its guests that are known, where the host is to be asked.
        guests: Vec<Guest>,
    },
    /// Somebody has connected: for the first time, or after a move.
    Opened {
        /// The session.
        session: SessionView,
    },
    /// It lives on another relay now.
    Moved {
        /// The session.
        session: SessionView,
    },
    /// It has another name.
    Renamed {
        /// The session.
        session: SessionView,
    },
    /// A guest asks to be let in, or one that asks has said what it is called.
    GuestWaiting {
        /// The guest.
        guest: Guest,
    },
    /// A guest was approved.
    GuestApproved {
        /// The guest.
        guest: Guest,
    },
    /// A guest was refused.
    GuestRefused {
        /// The guest.
        guest: Guest,
    },
    /// A guest that waited no longer asks.
    GuestLeft {
        /// The guest, as it was.
        guest: Guest,
    },
    /// It has ended. The last event.
    Closed,
}

impl SessionEvent {
    /// The name of the event.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::Opened { .. } => "opened",
            Self::Moved { .. } => "moved",
            Self::Renamed { .. } => "renamed",
            Self::GuestWaiting { .. } => "guestWaiting",
            Self::GuestApproved { .. } => "guestApproved",
            Self::GuestRefused { .. } => "guestRefused",
            Self::GuestLeft { .. } => "guestLeft",
            Self::Closed => "closed",
        }
    }
}

/// What is told about a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its id; grants nothing.
    pub id: String,
    /// What people call it. Kept in the lobby's store alone: a lobby without one forgets it when it starts anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it was created, seconds since 1970.
    pub created_at: i64,
    /// Raised by each move of the session.
    pub epoch: u64,
    /// Whether its host is asked before a guest comes in.
    #[serde(default)]
    pub approval: bool,
    /// Region of its relay.
    pub region: String,
    /// Name of its relay.
    pub relay: String,
    /// Whether a participant has connected.
    pub state: SessionState,
}

/// Life of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionState {
    /// A seat is kept; nobody has connected yet.
    Leased,
    /// Somebody has connected.
    Open,
}

/// From which knowledge a distance was estimated; best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Rung {
    /// Measured by this client.
    Measured,
    /// Measured before by clients of the same network.
    Network,
    /// Coordinates that the client gave.
    Coordinates,
    /// A region that the client named.
    Region,
    /// Where a database places the client's address.
    GeoIp,
    /// Nothing is known about the client: the pools' declared order.
    DeclaredOrder,
}

impl Rung {
    /// The word in answers and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Network => "network",
            Self::Coordinates => "coordinates",
            Self::Region => "region",
            Self::GeoIp => "geoIp",
            Self::DeclaredOrder => "declaredOrder",
        }
    }
}

/// One pool in the order of preference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RankedPool {
    /// Name of the pool.
    pub pool: String,
    /// Its region.
    pub region: String,
    /// From which knowledge the estimate comes.
    pub rung: Rung,
    /// Estimated round trip in milliseconds; absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_ms: Option<f64>,
    /// Great-circle distance in kilometres; absent where the client's place is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_km: Option<f64>,
    /// Free seats on relays that are heard and not cordoned.
    pub free_seats: u32,
    /// Which part of the seats of those relays is taken, 0 to 1; 1 where there are none.
    #[serde(default)]
    pub load: f64,
    /// What the pools of one rung are compared by: the estimate in milliseconds, weighted by what the lobby says of the
    /// region and by load. Absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Why it is where it is, in words.
    pub reason: String,
}

/// Answer to `GET /v1/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionList {
    /// Sessions, oldest first.
    pub sessions: Vec<SessionView>,
    /// Give it as `after` to get the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An error, as `application/problem+json` (RFC 9457). `code` is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable word for programs, such as `no_capacity`.
    pub code: String,
    /// What happened, for people.
    pub title: String,
    /// What is wrong with this request, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_whole_number_however_it_is_written() {
        let read = |value: &str| serde_json::from_str::<JoinSession>(&format!(r#"{{"lostEpoch": {value}}}"#));
        for (text, value) in
            [("7", Some(7)), ("7.0", Some(7)), ("0", Some(0)), ("null", None), ("9007199254740991", Some(MAX_WHOLE))]
        {
            assert_eq!(read(text).expect(text).lost_epoch, value);
        }
        for wrong in ["-1", "7.5", "9007199254740992", "1e30", "\"7\"", "[]"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

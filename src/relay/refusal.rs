//! Why a connection is not let in, and what its client is told.
//!
//! Whoever cannot prove that it may enter gets one answer, byte for byte the same for every reason; the reason is
//! counted and told to nobody. Only a client with a good token learns that there is no room,
//! or that it asked for the wrong mode.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::decide::seats::Denied;
use crate::wire::session::Problem;

/// Seconds after which to try again where trying again can help.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Too many attempts from this address.
    TooManyAttempts,
    /// Too many probes, from this address or from all.
    TooManyProbes,
    /// Too many participants from this address.
    TooManyOfAddress,
    /// Not a session's path.
    NotFound,
    /// Not a WebSocket handshake.
    NotWebSocket,
    /// A browser's page from elsewhere.
    Origin,
    /// No token at all.
    NoToken,
    /// A token that does not verify: forged, expired, of another lobby, for another relay.
    BadToken,
    /// A token for another session.
    OtherSession,
    /// A token that was used before.
    Replayed,
    /// Too many tokens to remember whether this one was used before.
    ReplayMemoryFull,
    /// The members of the session use the other mode.
    OtherMode,
    /// From the seats.
    Denied(Denied),
}

impl Refusal {
    /// The label in metrics.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::TooManyAttempts => "too_many_attempts",
            Self::TooManyProbes => "too_many_probes",
            Self::TooManyOfAddress => "too_many_of_address",
            Self::NotFound => "not_found",
            Self::NotWebSocket => "not_websocket",
            Self::Origin => "origin",
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::OtherSession => "other_session",
            Self::Replayed => "replayed",
            Self::ReplayMemoryFull => "replay_memory_full",
            Self::OtherMode => "other_mode",
            Self::Denied(Denied::StaleEpoch) => "stale_epoch",
            Self::Denied(Denied::NoCapacity) => "no_capacity",
            Self::Denied(Denied::SessionFull) => "session_full",
            Self::Denied(Denied::Draining) => "draining",
            Self::Denied(Denied::NotHeld) => "not_held",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::TooManyAttempts => retry(problem(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many attempts from this address",
            )),
            Self::TooManyProbes => {
                retry(problem(StatusCode::TOO_MANY_REQUESTS, "too_many_probes", "Too many probes: measure again later"))
            }
            Self::TooManyOfAddress => retry(problem(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_connections",
                "Too many participants from this address",
            )),
            Self::NotFound => problem(StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::NotWebSocket => {
                let answer =
                    problem(StatusCode::UPGRADE_REQUIRED, "websocket_required", "This is a WebSocket: send an upgrade");
                ([(header::UPGRADE, "websocket")], answer).into_response()
            }
            Self::Origin
            | Self::NoToken
            | Self::BadToken
            | Self::OtherSession
            | Self::Replayed
            | Self::Denied(Denied::StaleEpoch) => {
                let answer = problem(StatusCode::UNAUTHORIZED, "refused", "Not let in");
                ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
            }
            Self::OtherMode => problem(
                StatusCode::CONFLICT,
                "other_mode",
                "The members of this session use another mode: offer their subprotocol",
            ),
            Self::Denied(Denied::NoCapacity) | Self::ReplayMemoryFull => {
                retry(problem(StatusCode::SERVICE_UNAVAILABLE, "no_capacity", "No seat is free on this relay"))
            }
            Self::Denied(Denied::SessionFull) => retry(problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "session_full",
                "The session has as many participants as it may have",
            )),
            Self::Denied(Denied::Draining) => {
                retry(problem(StatusCode::SERVICE_UNAVAILABLE, "draining", "This relay takes no new sessions"))
            }
            Self::Denied(Denied::NotHeld) => retry(problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_held",
                "The session is not known here: join it again through its lobby",
            )),
        }
    }
}

/// An error as `application/problem+json`, never cached, on a connection that is closed after it.
pub(super) fn problem(status: StatusCode, code: &str, title: &str) -> Response {
    let problem = Problem { status: status.as_u16(), code: code.to_owned(), title: title.to_owned(), detail: None };
    let body = serde_json::to_string(&problem).expect("a problem is JSON");
    let headers = [
        (header::CONTENT_TYPE, "application/problem+json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONNECTION, "close"),
    ];
    (status, headers, body).into_response()
}

fn retry(mut answer: Response) -> Response {
    answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
    answer
}

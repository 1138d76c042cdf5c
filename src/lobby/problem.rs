//! Refusals: `application/problem+json` (RFC 9457) with stable codes, the same everywhere.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::decide::route::BadPlace;
use crate::decide::sessions::NoSeat;
use crate::wire::session::Problem;

/// Longest detail that is told.
const MAX_DETAIL: usize = 300;

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) code: &'static str,
    title: &'static str,
    detail: Option<Cow<'static, str>>,
    retry_after: Option<&'static str>,
}

/// So that the metrics see the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusalCode(pub(super) &'static str);

impl Refusal {
    const fn new(status: StatusCode, code: &'static str, title: &'static str) -> Self {
        Self { status, code, title, detail: None, retry_after: None }
    }

    fn retry(self, seconds: &'static str) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    fn detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL {
            let cut: String = detail.chars().take(MAX_DETAIL).collect();
            detail = Cow::Owned(format!("{cut}…"));
        }
        Self { detail: Some(detail), ..self }
    }

    /// The one answer to every wrong host token, join key, admin token and session id: it tells them apart in nothing.
    pub(super) const fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "not allowed")
    }

    /// The picture is not whole yet: what would be unknown may only not have been told again.
    pub(super) fn rebuilding() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "rebuilding", "the lobby has just started and waits for its relays")
            .retry("1")
    }

    pub(super) fn invalid_body(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_body", "the body is not what this route takes").detail(detail)
    }

    pub(super) fn invalid_query(detail: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_query", "the query is not what this route takes").detail(detail)
    }

    pub(super) fn invalid_header(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_header", "a header is not what this route takes").detail(detail)
    }

    pub(super) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the body is too large")
            .detail("send at most 16384 bytes")
    }

    pub(super) fn unsupported_media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body is not JSON")
            .detail("send Content-Type: application/json")
    }

    pub(super) const fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    pub(super) const fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this route does not take this method")
    }

    pub(super) fn idempotency_mismatch() -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", "the key was used for another request")
            .detail("take a new random Idempotency-Key for each request, and the same one for its repeats")
    }

    pub(super) fn idempotency_answer_gone() -> Self {
        Self::new(StatusCode::CONFLICT, "idempotency_answer_gone", "the answer to this request is no longer kept")
            .detail("answers hold secrets and are kept for a minute; the session goes on with whoever got the answer")
    }

    pub(super) fn rate_limited() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests from this address").retry("1")
    }

    pub(super) fn overloaded() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many requests at once").retry("1")
    }

    pub(super) const fn request_timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the request took too long")
    }

    pub(super) const fn upgrade_required() -> Self {
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this route takes WebSockets only")
    }
}

impl From<NoSeat> for Refusal {
    fn from(why: NoSeat) -> Self {
        let unavailable = |code, title| Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title);
        match why {
            NoSeat::NoRelay => unavailable("no_relay", "no relay is linked to this lobby yet").retry("1"),
            NoSeat::NoCapacity => unavailable("no_capacity", "no relay has room").retry("5"),
            NoSeat::TooManySessions => {
                unavailable("too_many_sessions", "this lobby has as many sessions as it may").retry("5")
            }
            NoSeat::Unknown => Self::unauthorized(),
        }
    }
}

impl From<BadPlace> for Refusal {
    fn from(bad: BadPlace) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_place", "the client's place is not one").detail(bad.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, title, detail, retry_after } = self;
        let problem = Problem {
            status: status.as_u16(),
            code: code.to_owned(),
            title: title.to_owned(),
            detail: detail.map(Cow::into_owned),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(RefusalCode(code));
        response
    }
}

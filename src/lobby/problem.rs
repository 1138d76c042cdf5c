//! Refusals: `application/problem+json` (RFC 9457) with stable codes, the same everywhere.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::codes::{Code, Facts};
use super::store::Away;
use crate::decide::route::BadPlace;
use crate::decide::sessions::{NoMove, NoSeat};
use crate::wire::session::Problem;

/// Longest detail that is told.
const MAX_DETAIL: usize = 300;

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    detail: Option<Cow<'static, str>>,
}

/// So that the metrics see the code.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusalCode(pub(super) &'static str);

impl Refusal {
    /// A refusal of which all is said by its code.
    pub(super) const fn plain(code: Code) -> Self {
        Self { code, detail: None }
    }

    /// A refusal that tells the remedy of its code.
    const fn with_remedy(code: Code) -> Self {
        Self { code, detail: Some(Cow::Borrowed(code.facts().remedy)) }
    }

    /// Whether it may pass by itself, as soon as there is a seat.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self.code, Code::NoCapacity | Code::NoRelay)
    }

    fn detail(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL {
            let cut: String = detail.chars().take(MAX_DETAIL).collect();
            detail = Cow::Owned(format!("{cut}…"));
        }
        Self { code, detail: Some(detail) }
    }

    /// The one answer to every wrong host token, join key, admin token and session id: it tells them apart in nothing.
    pub(super) const fn unauthorized() -> Self {
        Self::plain(Code::Unauthorized)
    }

    /// The picture is not whole yet: what would be unknown may only not have been told again.
    pub(super) const fn rebuilding() -> Self {
        Self::plain(Code::Rebuilding)
    }

    pub(super) fn invalid_body(detail: String) -> Self {
        Self::detail(Code::InvalidBody, detail)
    }

    pub(super) fn invalid_query(detail: String) -> Self {
        Self::detail(Code::InvalidQuery, detail)
    }

    pub(super) fn invalid_header(detail: &'static str) -> Self {
        Self::detail(Code::InvalidHeader, detail)
    }

    pub(super) const fn body_too_large() -> Self {
        Self::with_remedy(Code::BodyTooLarge)
    }

    pub(super) const fn unsupported_media_type() -> Self {
        Self::with_remedy(Code::UnsupportedMediaType)
    }

    pub(super) const fn not_found() -> Self {
        Self::plain(Code::NotFound)
    }

    pub(super) const fn guest_refused() -> Self {
        Self::with_remedy(Code::GuestRefused)
    }

    pub(super) const fn no_such_guest() -> Self {
        Self::with_remedy(Code::NoSuchGuest)
    }

    pub(super) const fn no_such_relay() -> Self {
        Self::with_remedy(Code::NoSuchRelay)
    }

    pub(super) const fn ambiguous_relay() -> Self {
        Self::with_remedy(Code::AmbiguousRelay)
    }

    pub(super) const fn relay_not_linked() -> Self {
        Self::with_remedy(Code::RelayNotLinked)
    }

    pub(super) const fn no_such_residency() -> Self {
        Self::with_remedy(Code::NoSuchResidency)
    }

    pub(super) const fn too_many_guests() -> Self {
        Self::plain(Code::TooManyGuests)
    }

    pub(super) const fn too_many_streams() -> Self {
        Self::plain(Code::TooManyStreams)
    }

    pub(super) const fn method_not_allowed() -> Self {
        Self::plain(Code::MethodNotAllowed)
    }

    pub(super) const fn idempotency_mismatch() -> Self {
        Self::with_remedy(Code::IdempotencyMismatch)
    }

    pub(super) const fn idempotency_answer_gone() -> Self {
        Self::with_remedy(Code::IdempotencyAnswerGone)
    }

    pub(super) const fn rate_limited() -> Self {
        Self::plain(Code::RateLimited)
    }

    pub(super) const fn overloaded() -> Self {
        Self::plain(Code::Overloaded)
    }

    pub(super) const fn request_timeout() -> Self {
        Self::plain(Code::RequestTimeout)
    }

    pub(super) const fn upgrade_required() -> Self {
        Self::plain(Code::UpgradeRequired)
    }
}

impl From<NoSeat> for Refusal {
    fn from(why: NoSeat) -> Self {
        Self::plain(match why {
            NoSeat::NoRelay => Code::NoRelay,
            NoSeat::NoCapacity => Code::NoCapacity,
            NoSeat::TooManySessions => Code::TooManySessions,
            NoSeat::Unknown => Code::Unauthorized,
        })
    }
}

impl From<NoMove> for Refusal {
    fn from(why: NoMove) -> Self {
        match why {
            NoMove::NoSuchRegion => Self::with_remedy(Code::NoSuchRegion),
            NoMove::NoSuchPool => Self::with_remedy(Code::NoSuchPool),
            NoMove::OtherResidency => Self::with_remedy(Code::OtherResidency),
            NoMove::NoSeat(why) => why.into(),
        }
    }
}

impl From<Away> for Refusal {
    fn from(_: Away) -> Self {
        Self::plain(Code::StoreUnavailable)
    }
}

impl From<BadPlace> for Refusal {
    fn from(bad: BadPlace) -> Self {
        Self::detail(Code::InvalidPlace, bad.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { code, detail } = self;
        let Facts { status, word, title, retry_after, .. } = code.facts();
        let problem = Problem {
            status: status.as_u16(),
            code: word.to_owned(),
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
        response.extensions_mut().insert(RefusalCode(word));
        response
    }
}

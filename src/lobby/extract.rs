//! What requests carry, checked: JSON bodies within their limit, secrets in headers, idempotency keys. Nothing here
//! knows sessions.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::request::Parts;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Refusal;

/// Largest body that is read.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;

/// In which a body must have come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Longest time that a request may wait for a seat.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

/// Shortest and longest idempotency key. A short one could be another client's too, and whoever repeats a request gets
/// the secrets of its answer.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

/// A JSON body; an empty one is the value of all defaults.
pub(super) struct Json<T> {
    pub(super) value: T,
    /// As it came.
    pub(super) bytes: Vec<u8>,
}

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let read = tokio::time::timeout(BODY_WITHIN, read(&parts.headers, body));
        let bytes = read.await.map_err(|_| Refusal::request_timeout())??;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self { value: T::default(), bytes });
        }
        if !is_json(&parts.headers) {
            return Err(Refusal::unsupported_media_type());
        }
        if bytes.contains(&b'[')
            && let Ok(value) = serde_json::from_slice(&bytes)
            && let Some(path) = array_at(&value)
        {
            let path = path.trim_end_matches('.');
            return Err(Refusal::invalid_body(format!("{path}: invalid type: sequence, expected an object")));
        }
        let mut reader = serde_json::Deserializer::from_slice(&bytes);
        let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            Refusal::invalid_body(if path == "." { error.into_inner().to_string() } else { error.to_string() })
        })?;
        reader.end().map_err(|error| Refusal::invalid_body(error.to_string()))?;
        Ok(Self { value, bytes })
    }
}

/// A route that takes no query: what a client believes to have asked must not be passed over in silence.
pub(super) struct NoQuery;

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        match parts.uri.query() {
            None | Some("") => Ok(Self),
            Some(_) => Err(Refusal::invalid_query("this route takes no query parameters".to_owned())),
        }
    }
}

/// The query of a route on which a request can wait for a seat.
pub(super) struct Wait(pub(super) Duration);

/// As it stands in the URL.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WaitQuery {
    /// Seconds to wait where there is no room, and for a host that is to be asked. Requests that would go anywhere are
    /// answered in the order in which they came, as seats appear; with several lobby processes, those who came within a
    /// tenth of a second of one another may change places. A move to a region or pool waits for a seat there
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u64>,
}

impl<S: Sync> FromRequestParts<S> for Wait {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let query = Query::<WaitQuery>::try_from_uri(&parts.uri);
        let Query(WaitQuery { wait }) = query.map_err(|error| Refusal::invalid_query(error.body_text()))?;
        match wait.map_or(Duration::ZERO, Duration::from_secs) {
            wait if wait <= MAX_WAIT => Ok(Self(wait)),
            _ => Err(Refusal::invalid_query("wait: must be 0 to 60 seconds".to_owned())),
        }
    }
}

/// Whether a request with this query may take long.
pub(super) fn may_wait(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|part| part.starts_with("wait=")))
}

/// Whether a route refuses query parameters that it does not know. Those that others fetch by libraries of theirs pass
/// them over.
pub(super) fn takes_no_unknown_query(path: &str) -> bool {
    path.starts_with("/v1/") && !path.ends_with("/jwks.json")
}

/// Where the first array stands. No request takes one, but serde would read it as an object without names, and
/// coordinates in the order of another convention would be believed.
fn array_at(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Array(_) => Some(String::new()),
        serde_json::Value::Object(fields) => {
            fields.iter().find_map(|(name, field)| array_at(field).map(|path| format!("{name}.{path}")))
        }
        _ => None,
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(Refusal::body_too_large());
    }
    match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error) => Err(match std::error::Error::source(&error) {
            Some(source) if source.to_string().contains("length limit") => Refusal::body_too_large(),
            Some(_) | None => Refusal::invalid_body("the body ended early".to_owned()),
        }),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The secret of `Authorization: Bearer`, if there is one.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

/// The header `Idempotency-Key`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let is_key = |key: &&str| KEY_LENGTH.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = key.to_str().ok().filter(is_key);
    let refusal = || {
        Refusal::invalid_header("Idempotency-Key: must be 16 to 128 printable ASCII characters without spaces, random")
    };
    key.map(Some).ok_or_else(refusal)
}

/// Base URL of links where the table has none: where this request came in, by TLS or not.
pub(super) fn own_url(headers: &HeaderMap, is_tls: bool) -> Result<String, Refusal> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let authority: http::uri::Authority =
        host.parse().map_err(|_| Refusal::invalid_header("Host: must name a host and port"))?;
    if authority.as_str().contains('@') {
        return Err(Refusal::invalid_header("Host: must name a host and port"));
    }
    let scheme = if is_tls { "https" } else { "http" };
    Ok(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
        headers
    }

    #[test]
    fn bearers_are_read_as_the_standard_says() {
        for (value, secret) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("abc", None),
        ] {
            assert_eq!(bearer(&headers("authorization", value)), secret, "{value}");
        }
    }

    #[test]
    fn hosts_and_keys_that_are_none_are_refused() {
        let own = |is_tls| own_url(&headers("host", "lobby.example:80"), is_tls).ok();
        assert_eq!(own(false).as_deref(), Some("http://lobby.example:80"));
        assert_eq!(own(true).as_deref(), Some("https://lobby.example:80"));
        for wrong in ["", "a b", "user@host", "host/path"] {
            assert!(own_url(&headers("host", wrong), true).is_err(), "{wrong}");
        }
        for (key, good) in
            [("0123456789abcdef", true), ("short", false), ("0123456789 abcdef", false), (&"x".repeat(129), false)]
        {
            assert_eq!(idempotency_key(&headers("idempotency-key", key)).is_ok(), good, "{key}");
        }
    }
}

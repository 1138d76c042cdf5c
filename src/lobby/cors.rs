//! Which web pages may call the API.
//!
//! A caller proves who it is by secrets in a header or a body, never by a cookie or an address. A page gets nothing from
//! its visitor's browser that it did not bring, so pages of any origin may call unless origins are listed. It must not
//! allow credentials: that is what keeps the first sentence true.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

/// How long a browser may keep the answer to its question.
const KEEP: Duration = Duration::from_hours(1);

/// Answers what browsers ask before they let a page call, and marks every answer for them. None in `origins` = any.
pub(super) fn layer(origins: Vec<HeaderValue>) -> CorsLayer {
    let origins = if origins.is_empty() { AllowOrigin::from(Any) } else { AllowOrigin::list(origins) };
    let [idempotency_key, last_event_id] = ["idempotency-key", "last-event-id"].map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE, ACCEPT, idempotency_key, last_event_id])
        .expose_headers([RETRY_AFTER, super::limits::DEGRADED])
        .max_age(KEEP)
}

/// Reads an origin as browsers write it: scheme, host, and the port where it is not the scheme's own.
pub(super) fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong =
        |why: &str| Err(format!("{why}; an origin looks like https://app.example.com or http://localhost:5173"));
    let Ok(uri) = text.parse::<Uri>() else { return wrong("not a URL") };
    let own_port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => 443,
        Some(scheme) if *scheme == Scheme::HTTP => 80,
        _ => return wrong("must begin with https:// or http://"),
    };
    let host = uri.authority().map_or("", Authority::as_str);
    // A path, even a slash alone, is in no browser's origin, and would never match.
    if host.is_empty() || host.contains('@') || text.split_once("://").is_none_or(|(_, rest)| rest != host) {
        return wrong("must hold a scheme, a host and maybe a port, and nothing behind them");
    }
    if uri.port_u16() == Some(own_port) {
        return wrong("browsers leave out the scheme's own port");
    }
    HeaderValue::from_str(&text.to_ascii_lowercase()).or_else(|_| wrong("not printable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_taken_as_browsers_write_them() {
        for (text, read) in [
            ("https://app.example.com", "https://app.example.com"),
            ("https://App.Example.com", "https://app.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://a:80", "https://a:80"),
        ] {
            assert_eq!(origin(text).as_ref().map(HeaderValue::as_bytes), Ok(read.as_bytes()), "{text}");
        }
        for wrong in [
            "",
            "*",
            "null",
            "app.example.com",
            "ftp://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://app.example.com?x",
            "https://user@app.example.com",
            "https://app.example.com:443",
            "http://localhost:80",
            "https://a b",
        ] {
            let why = origin(wrong).expect_err(wrong);
            assert!(why.contains("https://app.example.com or"), "{wrong}: {why}");
        }
    }
}

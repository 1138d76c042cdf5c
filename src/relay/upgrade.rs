//! The WebSocket handshake (RFC 6455 §4.2): what a request must have, and the answer to it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::OnUpgrade;

use super::refusal::Refusal;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request that can become a WebSocket.
#[derive(Debug)]
pub(super) struct Upgrade {
    accept: HeaderValue,
    socket: OnUpgrade,
}

impl Upgrade {
    /// The answer, and the socket that comes once it is sent.
    pub(super) fn accept(self, protocol: Option<HeaderValue>) -> (Response, OnUpgrade) {
        let headers = [
            (header::CONNECTION, HeaderValue::from_static("upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_ACCEPT, self.accept),
        ];
        let mut answer = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
        if let Some(protocol) = protocol {
            answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        (answer, self.socket)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let accept = (parts.method == Method::GET && parts.version == Version::HTTP_11).then(|| answer(&parts.headers));
        let accept = accept.flatten().ok_or(Refusal::NotWebSocket)?;
        let socket = parts.extensions.remove::<OnUpgrade>().ok_or(Refusal::NotWebSocket)?;
        Ok(Self { accept, socket })
    }
}

/// What proves that the request was understood; nothing if it is no handshake.
fn answer(headers: &HeaderMap) -> Option<HeaderValue> {
    let lists = |name: HeaderName, word: &str| {
        let values = headers.get_all(name);
        let mut words = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        words.any(|listed| listed.trim().eq_ignore_ascii_case(word))
    };
    let version = headers.get(header::SEC_WEBSOCKET_VERSION)?;
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let key = keys.next().filter(|_| keys.next().is_none())?.as_bytes();
    let good_key = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    if version != "13" || !good_key || !lists(header::CONNECTION, "upgrade") || !lists(header::UPGRADE, "websocket") {
        return None;
    }
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    HeaderValue::from_str(&STANDARD.encode(proof)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 §1.3.
    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn answer_to(pairs: &[(&'static str, &str)]) -> Option<HeaderValue> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        answer(&headers)
    }

    #[test]
    fn the_example_of_the_rfc_is_answered_as_it_says() {
        assert_eq!(answer_to(&GOOD).expect("a handshake"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_handshake_is_told_apart() {
        let bad = [
            ("connection", "close"),
            ("upgrade", "h2c"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "c2hvcnQ="),
        ];
        for (at, bad) in bad.into_iter().enumerate() {
            let mut pairs = GOOD;
            pairs[at] = bad;
            assert_eq!(answer_to(&pairs), None, "{bad:?}");
            let without: Vec<_> = GOOD.into_iter().filter(|(name, _)| *name != bad.0).collect();
            assert_eq!(answer_to(&without), None, "no {}", bad.0);
        }
        assert_eq!(answer_to(&[GOOD, [GOOD[3]; 4]].concat()), None, "several keys");
    }
}

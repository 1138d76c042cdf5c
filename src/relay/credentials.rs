//! What a client shows when it connects: token, origin, subprotocols. Decides nothing about the token itself, and
//! never prints it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::decide::room::Mode;
use crate::wire::relay::{ADDRESSED_PROTOCOL, BROADCAST_PROTOCOL, OWN_PROTOCOL_PREFIX, TOKEN_PROTOCOL_PREFIX};

/// The token: from `Authorization: Bearer`, else an offered subprotocol, else the query.
/// Other schemes of `Authorization` are somebody else's (a browser repeats the password that an ingress asked for).
pub(super) fn token<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer
        .or_else(|| offered(headers).find_map(|protocol| protocol.strip_prefix(TOKEN_PROTOCOL_PREFIX)))
        // A token is base64url and dots: nothing in it is ever percent-encoded.
        .or_else(|| query?.split('&').find_map(|pair| pair.strip_prefix("token=")))
        .filter(|token| !token.is_empty())
}

/// The subprotocol to answer with: the first of ours that is offered, else the first of an application's own. Never
/// the token, and none of ours that this relay does not speak.
pub(super) fn subprotocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let ours = offered(headers).find(|protocol| [ADDRESSED_PROTOCOL, BROADCAST_PROTOCOL].contains(protocol));
    let foreign = || offered(headers).find(|protocol| !protocol.starts_with(OWN_PROTOCOL_PREFIX));
    ours.or_else(foreign).and_then(|protocol| HeaderValue::from_str(protocol).ok())
}

/// What a member with this subprotocol uses. Applications' own protocols and none at all mean broadcast.
pub(super) fn mode(selected: Option<&HeaderValue>) -> Mode {
    if selected.is_some_and(|protocol| protocol == ADDRESSED_PROTOCOL) { Mode::Addressed } else { Mode::Broadcast }
}

/// Whether a page of this origin may connect. Without `Origin` it is no browser; browsers always send it.
pub(super) fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(_), _) if allowed.is_empty() => true,
        (Some(_), Some(_)) => false,
        (Some(origin), None) => {
            allowed.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
        }
    }
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    const PROTOCOL: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;
    let values = headers.get_all(PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|protocol| !protocol.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_token_is_found_in_each_place_and_the_first_place_counts() {
        let bearer = (header::AUTHORIZATION, "bearer  a.b.c ");
        let basic = (header::AUTHORIZATION, "Basic dTpw");
        let offer = (header::SEC_WEBSOCKET_PROTOCOL, "convene.broadcast, convene.token.d.e.f");
        let query = Some("x=1&token=g.h.i&token=j");
        assert_eq!(token(&headers(&[bearer, offer.clone()]), query), Some("a.b.c"));
        assert_eq!(token(&headers(&[basic.clone(), offer]), query), Some("d.e.f"));
        assert_eq!(token(&headers(&[basic]), query), Some("g.h.i"));
        assert_eq!(token(&headers(&[]), Some("mytoken=x&token=")), None);
        assert_eq!(token(&headers(&[]), None), None);
    }

    #[test]
    fn the_answer_never_selects_a_token_or_a_protocol_that_is_not_spoken() {
        let select = |offer: &'static str| {
            subprotocol(&headers(&[(header::SEC_WEBSOCKET_PROTOCOL, offer)]))
                .map(|value| value.to_str().expect("text").to_owned())
        };
        assert_eq!(select("convene.token.a.b.c, convene.broadcast").as_deref(), Some("convene.broadcast"));
        assert_eq!(select("yjs,convene.broadcast").as_deref(), Some("convene.broadcast"));
        assert_eq!(select("yjs, convene.v1, convene.broadcast").as_deref(), Some("convene.v1"));
        assert_eq!(select("convene.v9, convene.token.a.b.c, yjs").as_deref(), Some("yjs"));
        assert_eq!(select("convene.v9, convene.token.a.b.c"), None);
        assert_eq!(subprotocol(&headers(&[])), None);
        let mode_of = |protocol| mode(Some(&HeaderValue::from_static(protocol)));
        assert_eq!(
            [mode_of("convene.v1"), mode_of("yjs"), mode(None)],
            [Mode::Addressed, Mode::Broadcast, Mode::Broadcast]
        );
    }

    #[test]
    fn only_listed_origins_pass_once_any_is_listed() {
        let from = |origin: &'static str| headers(&[(header::ORIGIN, origin)]);
        let allowed = ["https://app.example.com".to_owned()];
        assert!(origin_allowed(&from("https://evil.example"), &[]));
        assert!(origin_allowed(&headers(&[]), &allowed));
        assert!(origin_allowed(&from("https://App.example.com"), &allowed));
        for bad in ["https://evil.example", "null", "http://app.example.com", "https://app.example.com:444"] {
            assert!(!origin_allowed(&from(bad), &allowed), "{bad}");
        }
        let mut twice = from("https://app.example.com");
        twice.append(header::ORIGIN, HeaderValue::from_static("https://app.example.com"));
        assert!(!origin_allowed(&twice, &allowed));
    }
}

//! Who is let in, and what the others are told.

use std::collections::BTreeSet;

use convene::decide::quota::Rate;
use convene::decide::seats::SeatLimits;
use convene::process::clock;
use convene::wire::claims::{JoinClaims, audience};
use convene::wire::link::FromLobby;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::HeaderMap;

use crate::support::{LOBBY_UID, POD_UID, Site, get_text, key, next, say};

fn bearer(token: &str) -> Vec<String> {
    vec![format!("Authorization: Bearer {token}")]
}

#[tokio::test]
async fn every_bad_token_gets_the_same_bytes() {
    let mut site = Site::with(|config| config.allowed_origins = vec!["https://app.example.com".to_owned()]).await;
    let good = site.claims("s");
    let used = site.token("s");
    let first = site.connect("s", &used).await.expect("the first time");
    site.lobby.order(&FromLobby::Close { session: "over".to_owned(), epoch: 4 });
    site.lobby.next(|message| format!("{message:?}").contains("over")).await;
    let now = clock::unix_seconds();
    let sign = |claims: JoinClaims| site.key.sign_join(&claims);
    let mut origin = bearer(&site.token("s"));
    origin.push("Origin: https://evil.example".to_owned());
    let offer = |token: &str| vec![format!("Sec-WebSocket-Protocol: convene.broadcast, convene.token.{token}")];
    let (yesterday, later) = (now - 86_400, now + 300);
    let table: Vec<(&str, &str, Vec<String>)> = vec![
        ("no_token", "/s/s", vec![]),
        ("no_token", "/s/s", vec!["Authorization: Basic dTpw".to_owned()]),
        ("no_token", "/s/s?token=", vec![]),
        ("bad_token", "/s/s?token=let-me-in", vec![]),
        ("bad_token", "/s/s", bearer("let-me-in")),
        ("bad_token", "/s/s", bearer(&"x".repeat(9000))),
        ("bad_token", "/s/s", offer("a.b.c")),
        ("bad_token", "/s/s", bearer(&key().sign_join(&good))),
        ("bad_token", "/s/s", bearer(&site.record("s"))),
        (
            "bad_token",
            "/s/s",
            bearer(&sign(JoinClaims { iat: yesterday, nbf: yesterday, exp: yesterday + 60, ..good.clone() })),
        ),
        ("bad_token", "/s/s", bearer(&sign(JoinClaims { iat: later, nbf: later, exp: later + 60, ..good.clone() }))),
        ("bad_token", "/s/s", bearer(&sign(JoinClaims { iss: "another-lobby".to_owned(), ..good.clone() }))),
        ("bad_token", "/s/s", bearer(&sign(JoinClaims { aud: audience(POD_UID, "boot"), ..good.clone() }))),
        ("bad_token", "/s/s", bearer(&sign(JoinClaims { aud: audience("another", &site.boot_id), ..good.clone() }))),
        ("other_session", "/s/t", bearer(&sign(good.clone()))),
        ("other_session", "/s/%ff", bearer(&sign(good.clone()))),
        ("other_session", "/s/S", bearer(&sign(good.clone()))),
        ("replayed", "/s/s", bearer(&used)),
        ("replayed", "/s/s", offer(&used)),
        ("stale_epoch", "/s/s", bearer(&sign(JoinClaims { epoch: 0, ..good.clone() }))),
        ("stale_epoch", "/s/over", bearer(&sign(JoinClaims { sid: "over".to_owned(), epoch: 4, ..good.clone() }))),
        ("origin", "/s/s", origin),
    ];
    let mut answers = BTreeSet::new();
    for (reason, path, lines) in &table {
        let name = format!("convene_relay_refused_total{{reason=\"{reason}\"}}");
        let before = site.metric(&name).await;
        answers.insert(site.answer(path, lines).await);
        assert_eq!(site.metric(&name).await, before + 1, "{reason} {path}");
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    let answer = answers.pop_first().expect("one answer");
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\n"), "{answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.ends_with(r#"{"status":401,"code":"refused","title":"Not let in"}"#), "{answer}");
    assert_eq!(site.connect("s", &sign(good)).await.map(drop), Ok(()), "a refused token is not used up");
    drop(first);
}

async fn open(site: &Site, query: &str, lines: &[(&'static str, String)]) -> (HeaderMap, crate::support::Client) {
    let mut request = format!("ws://{}/s/s{query}", site.public).into_client_request().expect("a request");
    for (name, value) in lines {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    let (client, answer): (_, Response) = tokio_tungstenite::connect_async(request).await.expect("let in");
    (answer.headers().clone(), client)
}

#[tokio::test]
async fn a_token_is_taken_from_each_place_and_never_given_back() {
    let site = Site::start().await;
    let mut listener = site.join("s").await;
    let protocol = "sec-websocket-protocol";
    let token = || site.token("s");
    let offers = [
        (String::new(), vec![("authorization", format!("Bearer {}", token()))], None),
        (format!("?token={}", token()), vec![], None),
        (format!("?x=1&token={}", token()), vec![(protocol, "yjs".to_owned())], Some("yjs")),
        (
            String::new(),
            vec![(protocol, format!("convene.token.{}, convene.broadcast", token()))],
            Some("convene.broadcast"),
        ),
        (
            String::new(),
            vec![(protocol, "convene.broadcast".to_owned()), ("authorization", format!("bearer {}", token()))],
            Some("convene.broadcast"),
        ),
    ];
    for (query, lines, selected) in offers {
        let (headers, mut client) = open(&site, &query, &lines).await;
        assert_eq!(headers.get(protocol).map(|value| value.to_str().expect("text")), selected);
        assert!(headers.values().all(|value| !value.to_str().expect("text").contains("eyJ")), "{headers:?}");
        say(&mut client, "hello").await;
        assert_eq!(next(&mut listener).await.to_text().expect("text"), "hello");
    }
}

#[tokio::test]
async fn there_are_as_many_seats_as_it_says_and_leases_count() {
    let seats = |config: &mut convene::relay::Config| {
        config.seats = SeatLimits { capacity: 2, participants_per_session: 2, ..config.seats };
    };
    let mut site = Site::with(seats).await;
    site.lobby.order(&site.hold("leased", 60));
    site.lobby.load(0, 1, 0).await;
    let a = site.join("a").await;
    let full = site.answer("/s/b", &bearer(&site.token("b"))).await;
    assert!(full.starts_with("HTTP/1.1 503 ") && full.contains("retry-after: 1"), "{full}");
    assert!(full.contains(r#""code":"no_capacity""#), "{full}");
    let forged = site.answer("/s/b", &bearer(&key().sign_join(&site.claims("b")))).await;
    assert!(forged.starts_with("HTTP/1.1 401 "), "a stranger does not learn that it is full: {forged}");
    site.lobby.order(&site.hold("c", 60));
    site.lobby.ended("c").await;
    let guest = site.join("a").await;
    let third = site.answer("/s/a", &bearer(&site.token("a"))).await;
    assert!(third.contains(r#""code":"session_full""#), "{third}");
    let leased = site.join("leased").await;
    site.lobby.opened("leased").await;
    site.lobby.load(2, 0, 3).await;
    drop((a, guest, leased));
    site.lobby.load(2, 0, 0).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so_and_a_flood_is_slowed() {
    let rate = Rate { per_second: 0.001, burst: 4.0 };
    let site = Site::with(|config| config.attempts_per_address = rate).await;
    let plain = get_text(site.public, "/s/s?token=x").await;
    assert!(plain.starts_with("HTTP/1.1 426 ") && plain.contains("upgrade: websocket"), "{plain}");
    assert!(get_text(site.public, "/").await.starts_with("HTTP/1.1 404 "));
    site.answer("/s/s", &[]).await;
    let client = site.join("s").await;
    let slowed = site.answer("/s/s", &bearer(&site.token("s"))).await;
    assert!(slowed.starts_with("HTTP/1.1 429 ") && slowed.contains("retry-after: 1"), "{slowed}");
    assert_eq!(site.metric(r#"convene_relay_refused_total{reason="too_many_attempts"}"#).await, 1);
    drop(client);
}

#[tokio::test]
async fn a_flood_of_uses_of_one_token_lets_one_in() {
    let site = Site::start().await;
    let token = site.key.sign_join(&JoinClaims { iss: LOBBY_UID.to_owned(), ..site.claims("s") });
    let attempts = futures::future::join_all((0..20).map(|_| site.connect("s", &token))).await;
    assert_eq!(attempts.iter().filter(|attempt| attempt.is_ok()).count(), 1);
    assert!(attempts.iter().all(|attempt| attempt.as_ref().map_or_else(|status| *status == 401, |_| true)));
}

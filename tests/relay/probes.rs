//! Probes, by which clients measure: who is answered and with what, that load is no matter, and that they are bounded.

use convene::decide::quota::Rate;
use convene::decide::seats::SeatLimits;
use convene::decide::token::SigningKey;
use convene::process::clock;
use convene::wire::claims::ProbeClaims;
use convene::wire::keys::KeySet;
use convene::wire::link::{FromLobby, FromRelay};
use convene::wire::relay::PROBE_PATH;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{PATIENCE, POD_UID, Site, get_text, key, until};

const ANSWERED: &str = "HTTP/1.1 204 ";
const REFUSED: &str = "HTTP/1.1 401 ";
const TOO_MANY: &str = "HTTP/1.1 429 ";

impl Site {
    fn probe_token(&self) -> String {
        self.key.sign_probe(&self.probe_claims())
    }
}

#[tokio::test]
async fn who_has_a_token_measures_how_far_it_is_and_learns_nothing_else() {
    let site = Site::with(|config| config.allowed_origins = vec!["https://app.example.com".to_owned()]).await;
    let answer = site.probe(&site.probe_token()).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with(ANSWERED) && body.is_empty(), "{answer}");
    let mut names: Vec<&str> = head.lines().skip(1).filter_map(|line| line.split(':').next()).collect();
    names.sort_unstable();
    let expected = ["access-control-allow-origin", "cache-control", "connection", "date", "timing-allow-origin"];
    assert_eq!(names, expected, "{head}");
    assert_eq!(site.metric("convene_relay_probes_total").await, 1);
}

#[tokio::test]
async fn one_connection_takes_many_probes() {
    let site = Site::start().await;
    let mut stream = TcpStream::connect(site.public).await.expect("connected");
    for _ in 0..3 {
        let request = format!("GET {PROBE_PATH}?token={} HTTP/1.1\r\nHost: relay\r\n\r\n", site.probe_token());
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = Vec::new();
        let read = async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("more"));
            }
        };
        timeout(PATIENCE, read).await.expect("in time");
        assert!(head.starts_with(ANSWERED.as_bytes()), "{}", String::from_utf8_lossy(&head));
    }
}

#[tokio::test]
async fn what_the_lobby_did_not_sign_for_this_relay_and_now_is_refused_alike() {
    let site = Site::start().await;
    let good = site.probe_claims();
    let now = clock::unix_seconds();
    let sign = |claims: ProbeClaims| site.key.sign_probe(&claims);
    let forgeries = [
        ("none", String::new()),
        ("no token", "x.y.z".to_owned()),
        ("invented", key().sign_probe(&good)),
        ("of another lobby", sign(ProbeClaims { iss: "another".to_owned(), ..good.clone() })),
        ("of another relay", sign(ProbeClaims { aud: format!("{POD_UID}-2/{}", site.boot_id), ..good.clone() })),
        ("of an earlier run", sign(ProbeClaims { aud: format!("{POD_UID}/before"), ..good.clone() })),
        ("expired", sign(ProbeClaims { iat: now - 200, exp: now - 1, ..good.clone() })),
        ("living too long", sign(ProbeClaims { exp: now + 3600, ..good.clone() })),
        ("of tomorrow", sign(ProbeClaims { iat: now + 90, exp: now + 100, ..good.clone() })),
        ("for a session", site.token("s")),
        ("a record", site.record("s")),
    ];
    let without_date =
        |answer: String| answer.lines().filter(|l| !l.starts_with("date:")).collect::<Vec<_>>().join("\n");
    let refusal = without_date(get_text(site.public, PROBE_PATH).await);
    assert!(refusal.starts_with(REFUSED), "{refusal}");
    for (what, token) in &forgeries {
        assert_eq!(without_date(site.probe(token).await), refusal, "{what}");
    }
    assert_eq!(site.metric("convene_relay_probes_total").await, 0);
    assert_eq!(site.metric(r#"convene_relay_refused_total{reason="no_token"}"#).await, 2);
    let bad = u64::try_from(forgeries.len() - 1).expect("few");
    assert_eq!(site.metric(r#"convene_relay_refused_total{reason="bad_token"}"#).await, bad);
    assert!(site.probe(&sign(good)).await.starts_with(ANSWERED));
    assert_eq!(site.connect("s", &site.probe_token()).await.map(drop), Err(401), "it opens no session");
}

#[tokio::test]
async fn a_token_that_is_known_ends_with_its_time_and_with_its_key() {
    let mut site = Site::start().await;
    let now = clock::unix_seconds();
    let short = site.key.sign_probe(&ProbeClaims { iat: now, exp: now + 2, ..site.probe_claims() });
    let long = site.probe_token();
    for token in [&short, &long] {
        assert!(site.probe(token).await.starts_with(ANSWERED));
    }
    until("expired", async || site.probe(&short).await.starts_with(REFUSED)).await;
    assert!(clock::unix_seconds() >= now + 2, "not before its time");
    assert!(site.probe(&long).await.starts_with(ANSWERED));

    let new = key();
    site.lobby.order(&FromLobby::Keys(KeySet { version: 9, keys: vec![new.public().clone()] }));
    let has_new = |message: &FromRelay| matches!(message, FromRelay::Keys { keys, .. } if *keys == [new.kid()]);
    site.lobby.next(has_new).await;
    assert!(site.probe(&long).await.starts_with(REFUSED), "signed by a key that no longer counts");
    assert!(site.probe(&SigningKey::sign_probe(&new, &site.probe_claims())).await.starts_with(ANSWERED));
}

#[tokio::test]
async fn a_relay_is_as_far_when_it_is_full_and_when_it_is_to_leave() {
    let one = |config: &mut convene::relay::Config| {
        config.seats = SeatLimits { capacity: 1, ..config.seats };
    };
    let mut site = Site::with(one).await;
    let full = site.join("s").await;
    site.lobby.load(1, 0, 1).await;
    assert_eq!(site.connect("t", &site.token("t")).await.map(drop), Err(503));
    assert!(site.probe(&site.probe_token()).await.starts_with(ANSWERED));
    site.shutdown.cancel();
    site.wait_ready(false).await;
    assert!(site.probe(&site.probe_token()).await.starts_with(ANSWERED), "draining");
    drop(full);
}

#[tokio::test]
async fn probes_have_a_rate_of_their_own_for_each_address_and_for_all() {
    let rate = |burst| Rate { per_second: 0.001, burst };
    for (of_address, of_all) in [(3.0, 100.0), (100.0, 3.0)] {
        let site = Site::with(|config| {
            config.probes_per_address = rate(of_address);
            config.probes_total = rate(of_all);
            config.attempts_per_address = rate(3.0);
        })
        .await;
        let token = site.probe_token();
        for _ in 0..3 {
            assert!(site.probe(&token).await.starts_with(ANSWERED));
        }
        let slowed = site.probe(&token).await;
        assert!(slowed.starts_with(TOO_MANY) && slowed.contains(r#""code":"too_many_probes""#), "{slowed}");
        assert!(slowed.contains("retry-after: 1"), "{slowed}");
        assert_eq!(site.metric(r#"convene_relay_refused_total{reason="too_many_probes"}"#).await, 1);
        assert!(site.join("s").await.close(None).await.is_ok(), "those that were answered were no attempts");
        // Those that were not are.
        site.probe(&token).await;
        let spent = site.probe(&token).await;
        assert!(spent.starts_with(TOO_MANY) && spent.contains(r#""code":"too_many_requests""#), "{spent}");
        assert_eq!(site.metric("convene_relay_probes_total").await, 3);
    }
}

#[tokio::test]
async fn before_the_lobbys_keys_are_here_nobody_is_answered() {
    let site = Site::unready(|config| config.jwks_file = "/nowhere".into()).await;
    let stranger = key().sign_probe(&site.probe_claims());
    assert!(site.probe(&stranger).await.starts_with(REFUSED));
}

//! Floods from a few addresses: of connections, of handshakes that are none, of forged tokens, of messages. Each is
//! slowed or refused and counted, and whoever comes from elsewhere does not notice.

use std::cell::Cell;

use convene::process::clock;
use convene::process::http::PublicArgs;
use futures::{SinkExt as _, StreamExt as _, stream};
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::site::{HOME, Site, stranger};
use crate::support::{Client, PATIENCE, key, next, say, until};
use crate::world::{Cluster, Running, table, three_pools};

/// How many an attacker has under way at once.
const AT_ONCE: usize = 32;

/// Two people who talk while `flood` goes on, and a little longer; every word is heard, in order.
async fn undisturbed<T>(site: &Site, flood: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (site.join("honest").await, site.join("honest").await);
    let over = Cell::new(false);
    let talk = async {
        let (mut said, mut rest) = (0_u32, 50);
        while rest > 0 {
            say(&mut a, &said.to_string()).await;
            assert_eq!(next(&mut b).await, Message::text(said.to_string()));
            said += 1;
            rest -= u32::from(over.get());
        }
    };
    let flood = async {
        let done = flood.await;
        over.set(true);
        done
    };
    tokio::join!(talk, flood).1
}

/// Whether the other side closed without a word.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(timeout(PATIENCE, stream.read(&mut byte)).await.expect("in time"), Ok(0) | Err(_))
}

#[tokio::test]
async fn a_flood_of_connections_is_cut_off_at_its_address() {
    let site = Site::start(&["--connections-per-address=20", "--half-open-per-address=1000"]).await;
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(site.dial(stranger(1)).await);
        }
        for _ in 0..300 {
            let mut further = site.dial(stranger(1)).await;
            assert!(is_closed(&mut further).await);
        }
        let others = site.answer_head(stranger(2), "/s/s", &[site.pass("s")]).await;
        assert!(others.starts_with("HTTP/1.1 101 "), "another address: {others}");
        held
    };
    let held = undisturbed(&site, Box::pin(attack)).await;
    let refused = r#"convene_http_connections_refused_total{reason="address"}"#;
    assert_eq!(site.metric(refused).await, 300);
    drop(held);
    until("its places are free again", async || {
        site.answer_head(stranger(1), "/s/s", &[site.pass("s")]).await.starts_with("HTTP/1.1 101 ")
    })
    .await;
}

#[tokio::test]
async fn floods_of_bad_handshakes_and_forged_tokens_are_slowed_by_address_and_counted() {
    let site = Site::start(&["--attempts-per-second=50"]).await;
    let plain = |path: &'static str| format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    let forged = crate::support::handshake("/s/s", &["Authorization: Bearer eyJ.eyJ.x".to_owned()]);
    let kinds = [plain("/s/s"), plain("/.env"), forged];
    let attack = stream::iter(0..900_usize).for_each_concurrent(AT_ONCE, |n| {
        let (site, request) = (&site, kinds[n % 3].clone());
        async move {
            let mut stream = site.dial(stranger(3)).await;
            // Whoever goes on far beyond the rate is closed unheard.
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = String::new();
            let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time");
            if answer.is_empty() {
                assert!(matches!(read, Ok(0) | Err(_)));
                return;
            }
            let status = answer.get(9..12).expect("a status");
            assert!(["404", "426", "401", "429"].contains(&status), "{answer}");
        }
    });
    undisturbed(&site, Box::pin(attack)).await;
    let mut counts = Vec::new();
    for reason in ["not_websocket", "not_found", "bad_token", "too_many_attempts"] {
        counts.push(site.refused(reason).await);
    }
    let unheard = site.metric(r#"convene_http_connections_refused_total{reason="rate"}"#).await;
    assert_eq!(
        counts.iter().sum::<u64>() + unheard,
        900,
        "every refusal is counted by its reason: {counts:?}, {unheard}"
    );
    assert!(counts[3] > 0 && unheard > counts[3], "most were slowed: {counts:?}, {unheard}");
    // The rate is the flooder's own.
    let head = site.answer_head(HOME, "/s/s", &[site.pass("s")]).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

#[tokio::test]
async fn a_flood_of_probes_is_bounded_by_address_and_counted() {
    let site = Site::start(&["--attempts-per-second=50", "--probes-per-second=50"]).await;
    let (good, bad) = (site.probe_token(), key().sign_join(&site.claims("s")));
    let request =
        |token: &str| format!("GET /probe?token={token} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    let (begin, unanswered) = (clock::monotonic(), Cell::new(0));
    let attack = stream::iter(0..900_usize).for_each_concurrent(AT_ONCE, |n| {
        let (site, request, unanswered) = (&site, request(if n % 3 == 0 { &bad } else { &good }), &unanswered);
        async move {
            let mut stream = site.dial(stranger(8)).await;
            let _ = stream.write_all(request.as_bytes()).await;
            let mut answer = String::new();
            let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time");
            if answer.is_empty() {
                assert!(matches!(read, Ok(0) | Err(_)));
                unanswered.set(unanswered.get() + 1);
                return;
            }
            let status = answer.get(9..12).expect("a status");
            assert!(["204", "401", "429"].contains(&status), "{answer}");
        }
    });
    undisturbed(&site, Box::pin(attack)).await;
    let took = clock::monotonic().saturating_sub(begin);
    let answered = site.metric("convene_relay_probes_total").await;
    let refused = [
        site.refused("bad_token").await,
        site.refused("too_many_probes").await,
        site.refused("too_many_attempts").await,
    ];
    let unheard = site.metric(r#"convene_http_connections_refused_total{reason="rate"}"#).await;
    let all = answered + refused.iter().sum::<u64>() + unheard;
    assert_eq!(all, 900, "each is answered, or refused and counted: {answered}, {refused:?}, {unheard}");
    assert_eq!(unheard, unanswered.get());
    // The rate, and twice of it at once.
    assert!(answered <= 100 + 50 * (took.as_secs() + 1), "{answered} in {took:?}");
    assert!(refused[2] + unheard > 0, "most were slowed: {answered}, {refused:?}, {unheard}");
    // The rates are the flooder's own.
    let mut stream = site.dial(HOME).await;
    stream.write_all(request(&good).as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

#[tokio::test]
async fn a_flood_of_messages_is_read_slowly_and_loses_nothing() {
    let site = Site::start(&["--messages-per-second=1000"]).await;
    let (mut loud, mut listener) = (site.join("loud").await, site.join("loud").await);
    let attack = async {
        let shout = async {
            for n in 0..4000 {
                loud.feed(Message::text(n.to_string())).await.expect("sent");
            }
            loud.flush().await.expect("sent");
        };
        let listen = async {
            for n in 0..4000 {
                assert_eq!(next(&mut listener).await, Message::text(n.to_string()));
            }
        };
        tokio::join!(shout, listen)
    };
    undisturbed(&site, Box::pin(attack)).await;
    assert!(site.metric("convene_relay_throttled_total").await > 0);
    assert_eq!(site.closed("slow_reader").await, 0);
}

#[tokio::test]
async fn a_flood_of_pings_is_answered_at_the_rate_of_messages_and_holds_no_memory() {
    let site = Site::start(&["--messages-per-second=2000"]).await;
    let attack = async {
        let before = site.memory().await;
        let mut loud: Client = site.join("pings").await;
        // Never reads the answers.
        let pinging = async {
            for _ in 0..8000 {
                loud.feed(Message::Ping(vec![7; 125].into())).await?;
            }
            loud.flush().await
        };
        let _ = timeout(PATIENCE, pinging).await;
        let after = site.memory().await;
        assert!(after < before + 16 * 1024 * 1024, "{before} → {after} bytes");
        loud
    };
    undisturbed(&site, Box::pin(attack)).await;
    assert!(site.metric("convene_relay_throttled_total").await > 0);
}

#[tokio::test]
async fn a_lobby_slows_one_address_and_serves_the_others() {
    let cluster = Cluster::new();
    let change = |args: &mut convene::lobby::Args| {
        args.rate_per_address = 5;
        args.public = PublicArgs { half_open_per_address: 3, ..PublicArgs::default() };
    };
    let lobby = Running::start_with(&table(&cluster, three_pools(10)), change).await;
    let flooder = reqwest::Client::builder().local_address(stranger(9)).build().expect("a client");
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let answer =
            flooder.post(lobby.url("/v1/sessions/x/join")).body("{}").header("content-type", "application/json");
        statuses.push(answer.send().await.expect("an answer").status());
    }
    let slowed = statuses.iter().filter(|status| **status == StatusCode::TOO_MANY_REQUESTS).count();
    assert!(slowed > 0 && slowed < 100, "{statuses:?}");
    let metrics = lobby.metrics().await;
    assert!(metrics.contains(&format!("convene_lobby_refused_total{{code=\"rate_limited\"}} {slowed}")), "{metrics}");
    let honest = reqwest::Client::new().post(lobby.url("/v1/sessions/x/join")).send().await.expect("an answer");
    assert_ne!(honest.status(), StatusCode::TOO_MANY_REQUESTS);

    // Those who connect and say nothing.
    let silent = async |from| {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("bound");
        socket.connect(lobby.address).await.expect("connected")
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(silent(stranger(10)).await);
    }
    for _ in 0..20 {
        assert!(is_closed(&mut silent(stranger(10)).await).await);
    }
    let line = r#"convene_http_connections_refused_total{reason="half_open"} 20"#;
    assert!(lobby.metrics().await.contains(line));
    let honest = reqwest::Client::new().get(lobby.url("/v1/regions")).send().await.expect("an answer");
    assert_eq!(honest.status(), StatusCode::OK);
    drop(held);
    lobby.stop().await;
}

/// Sends the head of a request of `length` bytes, from an address, and nothing else.
async fn begun(lobby: &Running, from: std::net::IpAddr, path: &str, lines: &str, length: usize) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("bound");
    let mut stream = socket.connect(lobby.address).await.expect("connected");
    let head = format!("POST {path} HTTP/1.1\r\nHost: lobby.test\r\nContent-Length: {length}\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

/// What is answered first on one of these connections.
async fn first_answer(streams: &mut [TcpStream]) -> String {
    let reads = streams.iter_mut().map(|stream| {
        Box::pin(async move {
            let mut answer = vec![0; 4096];
            let count = stream.read(&mut answer).await.expect("an answer");
            String::from_utf8_lossy(&answer[..count]).into_owned()
        })
    });
    futures::future::select_all(reads).await.0
}

#[tokio::test]
async fn one_client_cannot_take_the_places_of_all_who_wait() {
    convene::process::files::raise_limit();
    let (cluster, gateway) = (Cluster::new(), stranger(11));
    let trust = |args: &mut convene::lobby::Args| args.origins.callers.trusted_proxies = vec![gateway.to_string()];
    let lobby = Running::start_with(&table(&cluster, three_pools(10)), trust).await;
    let mut held = Vec::new();
    for _ in 0..600 {
        held.push(begun(&lobby, gateway, "/v1/sessions?wait=60", "X-Forwarded-For: 203.0.113.1\r\n", 0).await);
    }
    let line = "convene_lobby_refused_total{code=\"rate_limited\"} 100";
    until("half of a thousand places are its own", async || lobby.metrics().await.contains(line)).await;
    assert!(first_answer(&mut held).await.contains("\"code\":\"rate_limited\""));
    // Another one behind the same gateway has waited for a seat, which there is not.
    let honest = reqwest::Client::builder().local_address(gateway).build().expect("a client");
    let honest = honest.post(lobby.url("/v1/sessions?wait=1")).header("x-forwarded-for", "203.0.113.2");
    let answer = honest.send().await.expect("an answer").text().await.expect("text");
    assert!(answer.contains("\"code\":\"no_capacity\""), "{answer}");
    drop(held);
    lobby.stop().await;
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_before_its_body_is_read() {
    let cluster = Cluster::new();
    let rate = |args: &mut convene::lobby::Args| args.rate_per_address = 1;
    let lobby = Running::start_with(&table(&cluster, three_pools(10)), rate).await;
    for path in ["/v1/sessions", "/v1/sessions/x/join"] {
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(begun(&lobby, stranger(12), path, "Content-Type: application/json\r\n", 2).await);
        }
        let answer = first_answer(&mut held).await;
        assert!(answer.starts_with("HTTP/1.1 429 "), "{path}: {answer}");
    }
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(reqwest::get(lobby.url("/v1/regions")).await.expect("an answer").status());
    }
    assert!(statuses.contains(&StatusCode::OK) && statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    lobby.stop().await;
}

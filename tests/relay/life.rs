//! Leases, idle sessions, silence, keys, drain.

use std::time::Duration;

use convene::decide::seats::SeatLimits;
use convene::process::clock;
use convene::wire::link::{FromLobby, FromRelay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{PATIENCE, Site, closed, handshake, key, next, say, since, until};

fn short_idle(config: &mut convene::relay::Config) {
    config.seats = SeatLimits { idle: Duration::from_millis(100), ..config.seats };
}

#[tokio::test]
async fn seats_return_when_nobody_comes_and_when_all_have_left() {
    let mut site = Site::with(short_idle).await;
    site.lobby.order(&site.hold("leased", 0));
    site.lobby.ended("leased").await;
    assert_eq!(site.connect("leased", &site.token("leased")).await.map(drop), Err(401), "its tokens are over too");
    let client = site.join("open").await;
    site.lobby.opened("open").await;
    drop(client);
    site.lobby.ended("open").await;
    site.lobby.load(0, 0, 0).await;
}

#[tokio::test]
async fn a_closed_session_is_final_for_everybody_in_it() {
    let mut site = Site::start().await;
    site.lobby.order(&site.hold("s", 60));
    let (mut a, mut b, mut other) = (site.join("s").await, site.join("s").await, site.join("other").await);
    site.lobby.load(2, 0, 3).await;
    say(&mut a, "last words").await;
    assert_eq!(next(&mut b).await, Message::text("last words"));
    site.lobby.order(&FromLobby::Close { session: "s".to_owned(), epoch: 1 });
    for client in [&mut a, &mut b] {
        assert_eq!(closed(client).await, (4410, "session closed".to_owned()));
    }
    site.lobby.ended("s").await;
    site.lobby.load(1, 0, 1).await;
    assert_eq!(site.connect("s", &site.token("s")).await.map(drop), Err(401));
    say(&mut other, "still here").await;
}

#[tokio::test]
async fn who_answers_no_ping_is_dropped_and_who_only_listens_is_not() {
    let site = Site::with(|config| {
        config.ping_every = Duration::from_millis(50);
        config.silent_after = Duration::from_millis(300);
        config.goodbye = Duration::from_millis(100);
    })
    .await;
    let mut listener = site.join("s").await;
    let mut mute = TcpStream::connect(site.public).await.expect("connected");
    let lines = [format!("Authorization: Bearer {}", site.token("s"))];
    mute.write_all(handshake("/s/s", &lines).as_bytes()).await.expect("written");
    let started = clock::monotonic();
    let (dropped, heard) = tokio::join!(
        async {
            let mut all = Vec::new();
            timeout(PATIENCE, mute.read_to_end(&mut all)).await.expect("in time").expect("an end");
            (all, since(started))
        },
        // Reading answers the pings.
        timeout(Duration::from_millis(700), next(&mut listener))
    );
    assert!(heard.is_err(), "nothing was said, and nobody was closed: {heard:?}");
    let (all, after) = dropped;
    assert!(after >= Duration::from_millis(300), "{after:?}");
    let close = [&[0x88, 8, 0x03, 0xf4][..], b"silent"].concat();
    assert!(all.ends_with(&close), "code 1012 and the reason: {all:?}");
    assert!(site.metric(r#"convene_relay_closed_total{reason="silent"}"#).await == 1);
}

#[tokio::test]
async fn keys_are_swapped_when_their_file_changes_and_kept_when_it_breaks() {
    let site = Site::start().await;
    for broken in ["", "{", r#"{"keys":[{"kty":"RSA"}]}"#] {
        let rejected = site.metric("convene_relay_keys_rejected_total").await;
        std::fs::write(site.jwks(), broken).expect("written");
        until("rejected", async || site.metric("convene_relay_keys_rejected_total").await > rejected).await;
    }
    // No keys: the lobby is to tell them.
    std::fs::write(site.jwks(), r#"{"keys":[]}"#).expect("written");
    let rejected = site.metric("convene_relay_keys_rejected_total").await;
    std::fs::remove_file(site.jwks()).expect("removed");
    until("rejected", async || site.metric("convene_relay_keys_rejected_total").await > rejected).await;
    assert!(site.connect("s", &site.token("s")).await.is_ok(), "the old keys stay");
    let new = key();
    let both = serde_json::json!({"keys": [site.key.jwks()["keys"][0], new.jwks()["keys"][0]]});
    std::fs::write(site.jwks(), both.to_string()).expect("written");
    until("both", async || site.metric("convene_relay_keys").await == 2).await;
    assert!(site.connect("s", &site.token("s")).await.is_ok());
    assert!(site.connect("s", &new.sign_join(&site.claims("s"))).await.is_ok());
    std::fs::write(site.jwks(), new.jwks().to_string()).expect("written");
    until("the new one", async || site.metric("convene_relay_keys").await == 1).await;
    assert_eq!(site.connect("s", &site.token("s")).await.map(drop), Err(401));
    assert!(site.connect("s", &new.sign_join(&site.claims("s"))).await.is_ok());
}

#[tokio::test]
async fn it_is_ready_once_it_has_keys_and_a_welcome() {
    let mut site = Site::unready(|config| {
        std::fs::remove_file(&config.jwks_file).expect("removed");
    })
    .await;
    site.lobby.next(|message| matches!(message, FromRelay::Hello { .. })).await;
    site.wait_ready(false).await;
    std::fs::write(site.jwks(), site.key.jwks().to_string()).expect("written");
    site.wait_ready(true).await;
    site.lobby.set_open(false);
    until("away", async || site.metric("convene_relay_link_up").await == 0).await;
    site.wait_ready(true).await;
}

#[tokio::test]
async fn draining_keeps_sessions_until_they_end_by_themselves() {
    let mut site = Site::with(short_idle).await;
    let (mut a, mut b) = (site.join("s").await, site.join("s").await);
    site.lobby.order(&site.hold("leased", 60));
    site.lobby.load(1, 1, 2).await;
    site.shutdown.cancel();
    site.lobby.next(|message| matches!(message, FromRelay::Load(load) if load.stats.draining)).await;
    site.wait_ready(false).await;
    let refused = site.answer("/s/new", &[format!("Authorization: Bearer {}", site.token("new"))]).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains(r#""code":"draining""#), "{refused}");
    assert!(refused.contains("retry-after: "), "{refused}");
    assert_eq!(site.connect("new", "forged").await.map(drop), Err(401));
    let mut late = site.join("s").await;
    let leased = site.join("leased").await;
    for client in [&mut b, &mut late] {
        say(&mut a, "go on").await;
        assert_eq!(next(client).await, Message::text("go on"));
    }
    assert!(!site.relay.is_finished());
    let left = clock::monotonic();
    drop((a, b, late, leased));
    site.stop().await;
    assert!(since(left) < Duration::from_secs(2), "it does not wait for its deadline");
}

#[tokio::test]
async fn after_its_time_a_drain_sends_everybody_to_another_relay() {
    let site = Site::with(|config| config.drain = Duration::from_millis(300)).await;
    let (mut a, mut b) = (site.join("s").await, site.join("t").await);
    // Never reads and never answers.
    let stuck = site.join("t").await;
    let started = clock::monotonic();
    site.shutdown.cancel();
    for client in [&mut a, &mut b] {
        assert_eq!(closed(client).await, (1012, "draining".to_owned()));
    }
    assert!(since(started) >= Duration::from_millis(300));
    let closed_at = clock::monotonic();
    site.stop().await;
    assert!(since(closed_at) < Duration::from_millis(1200), "nobody can hold it up");
    drop(stuck);
}

#[tokio::test]
async fn an_empty_relay_leaves_at_once() {
    let site = Site::start().await;
    let started = clock::monotonic();
    site.stop().await;
    assert!(since(started) < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_storm_of_joins_leaves_and_closes_nothing_is_left() {
    let mut site = Site::with(short_idle).await;
    let storm = (0_u32..120).map(|n| {
        let (session, site) = (format!("s{}", n % 7), &site);
        async move {
            let Ok(mut client) = site.connect(&session, &site.token(&session)).await else { return };
            match n % 4 {
                0 => drop(client),
                1 => client.close(None).await.expect("closed"),
                2 => site.lobby.order(&FromLobby::Close { session, epoch: 0 }),
                _ => {
                    say(&mut client, "hello").await;
                    site.lobby.order(&FromLobby::Close { session, epoch: 1 });
                }
            }
        }
    });
    futures::future::join_all(storm).await;
    site.lobby.load(0, 0, 0).await;
    let closed = async || {
        let reasons =
            ["left", "broken", "session_closed"].map(|r| format!("convene_relay_closed_total{{reason=\"{r}\"}}"));
        let mut sum = 0;
        for reason in reasons {
            sum += site.metric(&reason).await;
        }
        sum == site.metric("convene_relay_joined_total").await
    };
    until("each that was let in is gone", closed).await;
    assert!(site.metric("convene_relay_joined_total").await >= 7);
    site.stop().await;
}

//! What members of a session say to one another.

use std::time::Duration;

use convene::decide::room::QueueLimits;
use futures::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Site, closed, next, say, since, until};

#[tokio::test]
async fn three_members_hear_each_other_verbatim_and_in_order() {
    let site = Site::start().await;
    let (mut a, mut b, mut c) = (site.join("s").await, site.join("s").await, site.join("s").await);
    let mut stranger = site.join("other").await;
    let sent: Vec<Message> = (0_u8..100)
        .map(|n| if n % 2 == 0 { Message::text(format!("text {n} é")) } else { Message::binary(vec![n; n.into()]) })
        .collect();
    for message in &sent {
        a.send(message.clone()).await.expect("sent");
    }
    say(&mut b, "from b").await;
    for message in &sent {
        assert_eq!(next(&mut b).await, *message);
    }
    let mut heard = Vec::new();
    for _ in 0..=sent.len() {
        heard.push(next(&mut c).await);
    }
    let from_b = heard.iter().position(|message| *message == Message::text("from b")).expect("heard");
    heard.remove(from_b);
    assert_eq!(heard, sent);
    assert_eq!(next(&mut a).await, Message::text("from b"), "and nothing of its own");
    say(&mut c, "last").await;
    assert_eq!(next(&mut a).await, Message::text("last"));
    assert_eq!(next(&mut b).await, Message::text("last"));
    stranger.close(None).await.expect("closed");
    let quiet = tokio::time::timeout(Duration::from_secs(1), stranger.next()).await.expect("an answer to the close");
    assert!(matches!(quiet, Some(Ok(Message::Close(_))) | None), "another session hears nothing: {quiet:?}");
    until("counted", async || site.metric(r#"convene_relay_messages_total{direction="out"}"#).await == 204).await;
    assert_eq!(site.metric(r#"convene_relay_messages_total{direction="in"}"#).await, 102);
}

#[tokio::test]
async fn a_message_above_the_limit_costs_its_sender_the_connection_and_nobody_else() {
    let site = Site::with(|config| config.max_message_bytes = 1000).await;
    let (mut a, mut b) = (site.join("s").await, site.join("s").await);
    a.send(Message::binary(vec![7; 1000])).await.expect("sent");
    assert_eq!(next(&mut b).await, Message::binary(vec![7; 1000]));
    a.send(Message::binary(vec![7; 1001])).await.expect("sent");
    assert_eq!(closed(&mut a).await, (1009, "message too big".to_owned()));
    let mut c = site.join("s").await;
    say(&mut c, "go on").await;
    assert_eq!(next(&mut b).await, Message::text("go on"));
    assert_eq!(site.metric(r#"convene_relay_closed_total{reason="too_big"}"#).await, 1);
}

#[tokio::test]
async fn a_reader_that_stands_still_is_dropped_and_stalls_nobody() {
    let site = Site::with(|config| config.queue = QueueLimits { frames: 64, bytes: 2 * 1024 * 1024 }).await;
    let (mut sender, mut good, mut stuck) = (site.join("s").await, site.join("s").await, site.join("s").await);
    let reading = tokio::spawn(async move {
        let mut heard = 0_u32;
        loop {
            match next(&mut good).await {
                Message::Binary(_) => heard += 1,
                Message::Text(_) => return heard,
                other => panic!("{other:?}"),
            }
        }
    });
    // More than the sockets' own buffers and the queue hold.
    let mut sent = 0_u32;
    while site.metric(r#"convene_relay_closed_total{reason="slow_reader"}"#).await < 1 {
        assert!(sent < 1000, "never dropped");
        sender.send(Message::binary(vec![1; 256 * 1024])).await.expect("sent");
        sent += 1;
    }
    say(&mut sender, "end").await;
    assert_eq!(reading.await.expect("no panic"), sent, "the good reader misses nothing");
    // It reads at last: what was under way, then the reason.
    loop {
        match next(&mut stuck).await {
            Message::Binary(_) => {}
            Message::Close(Some(frame)) => {
                assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1012, "slow reader"));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn who_sends_too_fast_is_read_more_slowly_and_loses_nothing() {
    let rate = convene::decide::quota::Rate { per_second: 200.0, burst: 10.0 };
    let site = Site::with(|config| config.messages_per_participant = rate).await;
    let (mut a, mut b) = (site.join("s").await, site.join("s").await);
    let started = convene::process::clock::monotonic();
    for n in 0..60 {
        say(&mut a, &n.to_string()).await;
    }
    for n in 0..60 {
        assert_eq!(next(&mut b).await, Message::text(n.to_string()));
    }
    assert!(since(started) > Duration::from_millis(200));
    assert!(site.metric("convene_relay_throttled_total").await > 0);
}

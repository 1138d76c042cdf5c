//! Readers that stand still: each is dropped with its reason once its queue is full, and memory stays bounded.

use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::site::{Site, stranger};
use crate::support::{Client, next, until};

const MB: u64 = 1024 * 1024;

/// Enters a session and never reads.
async fn stall(site: &Site, n: u8, session: &str) -> TcpStream {
    site.open(stranger(n), &format!("/s/{session}"), &[site.pass(session)]).await.expect("let in")
}

/// Says `count` messages of 64 KiB, then a word; a good reader must get them all.
async fn talk(mut speaker: Client, mut reader: Client, count: usize) {
    let speak = async {
        for _ in 0..count {
            speaker.send(Message::binary(vec![5; 64 * 1024])).await.expect("sent");
        }
        speaker.send(Message::text("end")).await.expect("sent");
    };
    let read = async {
        for n in 0..count {
            assert_eq!(next(&mut reader).await, Message::binary(vec![5; 64 * 1024]), "{n}");
        }
        assert_eq!(next(&mut reader).await, Message::text("end"));
    };
    tokio::join!(speak, read);
    for mut member in [speaker, reader] {
        let _ = member.close(None).await;
        while let Some(Ok(_)) = member.next().await {}
    }
}

#[tokio::test]
async fn five_hundred_stalled_readers_are_dropped_and_memory_stays_flat() {
    let site = Site::start(&["--queue-bytes=2097152"]).await;
    let rooms: Vec<String> = (0..10).map(|n| format!("room-{n}")).collect();
    let mut stalled = Vec::new();
    for n in 0..500_usize {
        stalled.push(stall(&site, u8::try_from(n % 50).expect("small"), &rooms[n % 10]).await);
    }
    let before = site.memory().await;
    let talks = rooms.iter().map(|room| async {
        talk(site.join(room).await, site.join(room).await, 128).await;
    });
    let mut talks = std::pin::pin!(join_all(talks));
    let mut most = 0;
    while timeout(Duration::from_millis(50), &mut talks).await.is_err() {
        most = most.max(site.memory().await);
    }
    until("all stalled ones are dropped", async || site.closed("slow_reader").await == 500).await;
    // Ten rooms of 2 MiB, shared by all fifty of each; what connections collect to write; and what an allocator keeps.
    eprintln!("500 stalled readers: {} kB before, at most {} kB", before / 1024, most / 1024);
    assert!(most < before + 120 * MB, "{before} → {most} bytes");
    assert_eq!(site.closed("broken").await, 0);
}

#[tokio::test]
async fn a_stalled_reader_that_wakes_up_is_told_why_it_was_dropped() {
    let site = Site::start(&["--queue-bytes=2097152"]).await;
    let mut stalled = site.join("s").await;
    talk(site.join("s").await, site.join("s").await, 200).await;
    until("it is dropped", async || site.closed("slow_reader").await == 1).await;
    let reason = loop {
        match next(&mut stalled).await {
            Message::Binary(_) => {}
            Message::Close(Some(frame)) => break (u16::from(frame.code), frame.reason.to_string()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason, (1012, "slow reader".to_owned()));
}

#[tokio::test]
async fn stalled_readers_of_many_sessions_do_not_take_more_than_the_relay_may_hold() {
    // Twenty queues of 4 MiB would be 80.
    let site = Site::start(&["--queue-bytes-total=16777216"]).await;
    let rooms: Vec<String> = (0..20).map(|n| format!("room-{n}")).collect();
    let mut stalled = Vec::new();
    for (n, room) in (0..).zip(&rooms) {
        stalled.push(stall(&site, n, room).await);
    }
    let talks = rooms.iter().map(|room| async {
        talk(site.join(room).await, site.join(room).await, 160).await;
    });
    let mut talks = std::pin::pin!(join_all(talks));
    let mut most = 0;
    while timeout(Duration::from_millis(50), &mut talks).await.is_err() {
        most = most.max(site.metric("convene_relay_queued_bytes").await);
    }
    assert!(most < 18 * MB, "{most} bytes wait");
    until("all stalled ones are dropped", async || site.closed("slow_reader").await == 20).await;
    until("nothing is left", async || site.metric("convene_relay_queued_bytes").await == 0).await;
    assert_eq!(site.closed("broken").await, 0);
}

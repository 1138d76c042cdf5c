//! Messages that are too large, or come in pieces without end: refused by what their headers say, before memory is taken.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::site::{HOME, Site};
use crate::support::{PATIENCE, next, say, until};

const LIMIT: usize = 1024 * 1024;
const MB: u64 = 1024 * 1024;

/// A masked frame, its payload all zeros behind the mask: only the head, for a payload of `announced` bytes.
fn head(first: u8, announced: u64) -> Vec<u8> {
    let mut frame = vec![first];
    match announced {
        0..126 => frame.push(0x80 | u8::try_from(announced).expect("small")),
        126..65_536 => {
            frame.push(0x80 + 126);
            frame.extend(u16::try_from(announced).expect("small").to_be_bytes());
        }
        _ => {
            frame.push(0x80 + 127);
            frame.extend(announced.to_be_bytes());
        }
    }
    frame.extend([0, 0, 0, 0]);
    frame
}

/// A whole frame.
fn frame(first: u8, payload: usize) -> Vec<u8> {
    let mut frame = head(first, payload as u64);
    frame.resize(frame.len() + payload, 0);
    frame
}

async fn raw(site: &Site, session: &str) -> TcpStream {
    site.open(HOME, &format!("/s/{session}"), &[site.pass(session)]).await.expect("let in")
}

/// The close code with which the relay ends a connection.
async fn close_code(stream: &mut TcpStream) -> u16 {
    let mut rest = Vec::new();
    // A reset after the close frame loses nothing of it that was read.
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time") {
        rest.extend_from_slice(&buffer[..read]);
    }
    let at = rest.iter().position(|byte| *byte == 0x88).unwrap_or_else(|| panic!("no close: {rest:?}"));
    u16::from_be_bytes([rest[at + 2], rest[at + 3]])
}

#[tokio::test]
async fn what_announces_too_much_is_refused_before_memory_is_taken() {
    let site = Site::start(&[]).await;
    let before = site.memory().await;
    let sizes = [LIMIT as u64 + 1, 16 * MB, 1 << 32, 1 << 40, (1 << 62) - 1];
    let mut open = Vec::new();
    for (n, announced) in (0..50).zip(sizes.into_iter().cycle()) {
        let mut stream = raw(&site, &format!("s{}", n % 10)).await;
        stream.write_all(&head(0x82, announced)).await.expect("written");
        open.push((stream, announced));
    }
    for (stream, announced) in &mut open {
        assert_eq!(close_code(stream).await, 1009, "{announced} bytes");
    }
    until("all are counted", async || site.closed("too_big").await == 50).await;
    let after = site.memory().await;
    assert!(after < before + 16 * MB, "{before} → {after} bytes");
}

#[tokio::test]
async fn pieces_count_together_and_largest_messages_pass() {
    let site = Site::start(&[]).await;
    let mut listener = site.join("s").await;
    // 16 pieces of 64 KiB are exactly the limit.
    let mut good = raw(&site, "s").await;
    for piece in 0..16 {
        let first = match piece {
            0 => 0x02,
            15 => 0x80,
            _ => 0x00,
        };
        good.write_all(&frame(first, LIMIT / 16)).await.expect("written");
    }
    let Message::Binary(heard) = next(&mut listener).await else { panic!("not binary") };
    assert_eq!(heard.len(), LIMIT);
    let mut bad = raw(&site, "s").await;
    for piece in 0..17 {
        // It may be closed before the last piece.
        let _ = bad.write_all(&frame(if piece == 0 { 0x02 } else { 0x00 }, LIMIT / 16)).await;
    }
    assert_eq!(close_code(&mut bad).await, 1009);
    good.write_all(&frame(0x81, 3)).await.expect("written");
    assert_eq!(next(&mut listener).await, Message::text("\0\0\0"), "nobody else is touched");
}

#[tokio::test]
async fn empty_pieces_without_end_take_no_memory_and_disturb_nobody() {
    let site = Site::start(&[]).await;
    let before = site.memory().await;
    let (mut a, mut b) = (site.join("honest").await, site.join("honest").await);
    let mut endless = Vec::new();
    for n in 0..4 {
        let mut stream = raw(&site, "s").await;
        stream.write_all(&frame(0x02, 1)).await.expect("written");
        let pieces = frame(0x00, 0).repeat(20_000);
        endless.push(tokio::spawn(async move {
            // The relay may have had enough of it.
            let _ = timeout(PATIENCE, stream.write_all(&pieces)).await;
            (n, stream)
        }));
    }
    for n in 0..200 {
        say(&mut a, &n.to_string()).await;
        assert_eq!(next(&mut b).await, Message::text(n.to_string()));
    }
    let mut streams = Vec::new();
    for stream in endless {
        streams.push(stream.await.expect("no panic"));
    }
    let after = site.memory().await;
    assert!(after < before + 16 * MB, "{before} → {after} bytes");
}

#[tokio::test]
async fn messages_that_never_end_take_at_most_half_of_what_the_relay_may_hold() {
    let site = Site::start(&["--queue-bytes-total=16777216"]).await;
    let (mut a, mut b) = (site.join("honest").await, site.join("honest").await);
    let mut pieces = Vec::new();
    for n in 0..20 {
        let mut stream = raw(&site, &format!("s{n}")).await;
        let mut piece = head(0x82, LIMIT as u64);
        piece.resize(LIMIT * 3 / 4, 0);
        // It may be closed before it has said all.
        let _ = stream.write_all(&piece).await;
        pieces.push(stream);
    }
    until("those for whom there is no room are told to come back", async || site.closed("full").await > 5).await;
    until("the others keep to their half", async || site.metric("convene_relay_queued_bytes").await <= 9 * MB).await;
    for n in 0..50 {
        say(&mut a, &n.to_string()).await;
        assert_eq!(next(&mut b).await, Message::text(n.to_string()));
    }
    assert_eq!(close_code(pieces.last_mut().expect("twenty")).await, 1012);
}

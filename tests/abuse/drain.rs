//! A relay that is told to leave while it is attacked: sessions go on to their end, nobody new comes, nobody holds it up.

use std::sync::atomic::{AtomicBool, Ordering};

use convene::process::clock;
use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::site::{Site, stranger};
use crate::support::{PATIENCE, closed, get_text, handshake, next, say, since, until};

/// Comes again and again until the relay is gone: with a forged token, half a handshake, or a good token for a new session.
async fn pester(site: &Site, n: u8, over: &AtomicBool) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for round in 0..200_u32 {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(mut stream) = site.try_dial(stranger(n)).await else { break };
        let request = match round % 3 {
            0 => handshake("/s/new", &["Authorization: Bearer a.b.c".to_owned()]),
            1 => handshake("/s/new", &[site.pass("new")]),
            _ => {
                let half = handshake("/s/s", &[]);
                let _ = stream.write_all(&half.as_bytes()[..half.len() - 2]).await;
                held.push(stream);
                continue;
            }
        };
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        // Whoever comes in the very end is reset.
        let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time");
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 401 ") || answer.starts_with("HTTP/1.1 503 "),
            "{answer}"
        );
    }
    held
}

async fn draining(site: &Site) {
    site.process.terminate();
    until("it drains", async || get_text(site.health, "/readyz").await.contains("draining")).await;
}

#[tokio::test]
async fn sessions_end_by_themselves_while_it_is_attacked() {
    let mut site = Site::start(&["--idle-seconds=0", "--drain-seconds=60"]).await;
    let (mut a, mut b) = (site.join("s").await, site.join("s").await);
    draining(&site).await;
    let over = AtomicBool::new(false);
    let honest = async {
        for n in 0..300 {
            say(&mut a, &n.to_string()).await;
            assert_eq!(next(&mut b).await, Message::text(n.to_string()));
        }
        let late = site.join("s").await;
        assert!(site.refused("draining").await > 0, "nobody starts a new session");
        over.store(true, Ordering::Relaxed);
        (a, b, late)
    };
    let attack = join_all((0..6).map(|n| pester(&site, n, &over)));
    let (people, held) = tokio::join!(honest, attack);
    let left = clock::monotonic();
    drop(people);
    assert!(site.process.ended().await.success(), "it leaves well");
    assert!(since(left) < PATIENCE);
    drop(held);
}

#[tokio::test]
async fn at_its_deadline_it_leaves_whoever_holds_on() {
    let mut site = Site::start(&["--drain-seconds=1"]).await;
    let mut good = site.join("s").await;
    // Never reads, and never answers a close.
    let stalled = site.open(stranger(1), "/s/s", &[site.pass("s")]).await.expect("let in");
    draining(&site).await;
    let over = AtomicBool::new(false);
    let attack = join_all((0..3).map(|n| pester(&site, n, &over)));
    let honest = async {
        let told = closed(&mut good).await;
        over.store(true, Ordering::Relaxed);
        told
    };
    let (told, held) = tokio::join!(honest, attack);
    assert_eq!(told, (1012, "draining".to_owned()));
    let closed_at = clock::monotonic();
    assert!(site.process.ended().await.success(), "it leaves well");
    assert!(since(closed_at) < PATIENCE);
    drop((held, stalled));
}

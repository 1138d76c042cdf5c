//! Those who open connections and then say little or nothing: bounded by number for each address, and by time for each.

use std::process::Command;
use std::time::Duration;

use convene::process::clock;
use futures::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::site::{HOME, Site, stranger};
use crate::support::{PATIENCE, handshake, since, until};

const HALF_OPEN: &str = r#"convene_http_connections_refused_total{reason="half_open"}"#;
const TIMEOUT: &str = r#"convene_http_connections_refused_total{reason="header_timeout"}"#;

/// Reads to the end; how long that took.
async fn end(stream: &mut TcpStream) -> Duration {
    let (mut rest, started) = (Vec::new(), clock::monotonic());
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the relay ends it");
    since(started)
}

#[tokio::test]
async fn whoever_drips_a_header_or_says_nothing_is_closed_in_time() {
    let site = Site::start(&["--header-seconds=1"]).await;
    let head = handshake("/s/s", &[site.pass("s")]);
    let drip = async {
        let (mut read, mut write) = site.dial(stranger(1)).await.into_split();
        let dripping = async {
            for byte in head.bytes() {
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        let mut all = Vec::new();
        let reading = timeout(PATIENCE, read.read_to_end(&mut all));
        tokio::select! {
            () = dripping => panic!("it dripped to its end"),
            ended = reading => drop(ended.expect("the relay ends it")),
        }
    };
    let half = async {
        let mut stream = site.dial(stranger(2)).await;
        stream.write_all(&head.as_bytes()[..head.len() - 2]).await.expect("written");
        end(&mut stream).await
    };
    let silent = async { end(&mut site.dial(stranger(3)).await).await };
    // One whole request, and then half of another on the same connection.
    let second = async {
        let mut stream = site.dial(stranger(4)).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\nGET /s/s HT").await.expect("written");
        end(&mut stream).await
    };
    tokio::join!(drip, half, silent, second);
    until("all are counted", async || site.metric(TIMEOUT).await == 3).await;
    assert_eq!(site.metric(HALF_OPEN).await, 0);
}

#[tokio::test]
async fn thousands_of_half_open_upgrades_keep_nobody_out() {
    let site = Site::start(&["--half-open-per-address=10"]).await;
    let before = site.memory().await;
    let request = handshake("/s/s", &[site.pass("s")]);
    let half = &request.as_bytes()[..request.len() - 2];
    let held = tokio::sync::Mutex::new(Vec::new());
    // 3,000 from ten addresses; each keeps what is not closed.
    let attack = stream::iter(0..3000_usize).for_each_concurrent(64, |n| {
        let (site, held) = (&site, &held);
        async move {
            let from = stranger(u8::try_from(n % 10).expect("small"));
            let mut stream = site.dial(from).await;
            // One that is refused at once may be closed already.
            let _ = stream.write_all(half).await;
            let mut byte = [0];
            match timeout(Duration::from_millis(500), stream.read(&mut byte)).await {
                Err(_) => held.lock().await.push(stream),
                Ok(read) => assert!(matches!(read, Ok(0) | Err(_)), "no answer"),
            }
        }
    });
    let honest = async {
        for n in 0..50 {
            let answer = site.answer_head(HOME, "/s/s", &[site.pass("s")]).await;
            assert!(answer.starts_with("HTTP/1.1 101 "), "honest {n}: {answer}");
        }
    };
    tokio::join!(attack, honest);
    let held = held.into_inner();
    assert!(held.len() <= 100, "{} are half-open", held.len());
    assert_eq!(site.metric(HALF_OPEN).await, 3000 - held.len() as u64, "every refusal is counted");
    let after = site.memory().await;
    assert!(after < before + 16 * 1024 * 1024, "{before} → {after} bytes");
}

#[tokio::test]
async fn a_low_limit_of_open_files_is_raised_as_far_as_it_may_be() {
    let mut program = Command::new("sh");
    program.args(["-c", "ulimit -S -n 100 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_convene")]);
    let site = Site::run(program, &[]).await;
    assert!(site.metric("process_max_fds").await > 100);
    let mut open = Vec::new();
    for _ in 0..150 {
        open.push(site.open(HOME, "/s/s", &[site.pass("s")]).await);
    }
    // As many as a session takes are in; all were answered.
    assert_eq!(open.iter().filter(|answer| answer.is_ok()).count(), 64);
    assert_eq!(site.refused("session_full").await, 86);
}

#[tokio::test]
async fn headers_without_end_and_what_is_no_http_are_refused() {
    let site = Site::start(&[]).await;
    let long = format!("GET /s/s HTTP/1.1\r\nHost: relay\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("GET /s/s HTTP/1.1\r\nHost: relay\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let path = format!("GET /s/{} HTTP/1.1\r\nHost: relay\r\n\r\n", "x".repeat(64 * 1024));
    let requests = [
        long.into_bytes(),
        many.into_bytes(),
        path.into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        vec![0; 4096],
    ];
    for request in &requests {
        let mut stream = site.dial(stranger(1)).await;
        // It may be refused before it was all sent.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the relay ends it");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let counted = r#"convene_http_connections_refused_total{reason="bad_request"}"#;
    until("all are counted", async || site.metric(counted).await == requests.len() as u64).await;
}

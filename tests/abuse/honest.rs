//! What honest people feel while others attack: delays in quiet seconds and under each attack, in one run. A report,
//! not a test of time: it is not run unless it is asked for.
//!
//! The relay has one core, and everybody else the other, on which attackers work only while honest people do not.

use std::cell::Cell;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use convene::process::clock;
use futures::future::join_all;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::site::{Site, stranger};
use crate::support::{Client, handshake, next, say, since};

/// Pairs of people who talk.
const PAIRS: usize = 20;
/// How long each condition is measured, and how often each pair says something.
const LASTS: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(20);
/// How many each attacker has under way.
const ATTACKERS: u8 = 16;
/// Attempts of one attacker a second: what one machine easily makes, and far above what one address is allowed.
const PAUSE: Duration = Duration::from_millis(4);

async fn delays(pairs: &mut [(Client, Client)]) -> Vec<Duration> {
    let started = clock::monotonic();
    let talks = pairs.iter_mut().map(|(a, b)| async move {
        let mut delays = Vec::new();
        while since(started) < LASTS {
            let said = clock::monotonic();
            say(a, "word").await;
            assert_eq!(next(b).await, Message::text("word"));
            delays.push(since(said));
            tokio::time::sleep(EVERY).await;
        }
        delays
    });
    join_all(talks).await.concat()
}

fn at(delays: &mut [Duration], percent: usize) -> Duration {
    delays.sort_unstable();
    delays[(delays.len() * percent / 100).min(delays.len() - 1)]
}

/// Sends bytes on a new connection, and reads what comes.
async fn send(site: &Site, n: u8, bytes: &[u8]) {
    let Ok(mut stream) = site.try_dial(stranger(n)).await else { return };
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(200), stream.read_to_end(&mut answer)).await;
}

async fn attack(site: &Site, kind: &str, n: u8) {
    match kind {
        "connections" => drop(site.try_dial(stranger(n)).await),
        "half-open" => send(site, n, b"GET /s/s HTTP/1.1\r\n").await,
        "forged tokens" => {
            send(site, n, handshake("/s/s", &[format!("Authorization: Bearer {}", forged(site))]).as_bytes()).await;
        }
        "bad requests" => send(site, n, b"GET /.env HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await,
        _ => {
            let Ok(mut loud) = site.join_from(stranger(n), &format!("loud-{n}")).await else { return };
            for _ in 0..200 {
                if loud.feed(Message::binary(vec![1; 1024])).await.is_err() {
                    return;
                }
            }
            let _ = loud.close(None).await;
            while let Some(Ok(_)) = loud.next().await {}
        }
    }
}

/// Good but for its signature, which therefore is looked at.
fn forged(site: &Site) -> String {
    let mut token = site.token("s");
    let last = token.pop().expect("a signature");
    token.insert(token.len() - 20, last);
    token
}

/// Keeps this thread on a core, if there are two and the tool is there. What attackers and honest people cost themselves
/// is not to be measured.
fn stay_on(core: u8) {
    let _ = Command::new("taskset").args(["-cp", &core.to_string(), &thread_id()]).stdout(Stdio::null()).status();
}

fn thread_id() -> String {
    let link = std::fs::read_link("/proc/thread-self").expect("a thread");
    link.file_name().expect("its number").to_string_lossy().into_owned()
}

/// Attacks until it is stopped, on a thread that works only while honest people do not. Returns the number of attempts.
fn attackers(site: &Site, kind: &str, stop: &CancellationToken) -> u32 {
    stay_on(1);
    let _ = Command::new("renice").args(["-n", "19", "-p", &thread_id()]).stdout(Stdio::null()).status();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let made = Cell::new(0);
    let attacks = (0..ATTACKERS).map(|n| {
        let made = &made;
        async move {
            while !stop.is_cancelled() {
                attack(site, kind, n).await;
                made.set(made.get() + 1);
                tokio::time::sleep(PAUSE).await;
            }
        }
    });
    runtime.block_on(join_all(attacks));
    made.get()
}

#[tokio::test]
#[ignore = "measures time: make bench-abuse"]
async fn what_honest_people_feel() {
    stay_on(1);
    let mut relay = Command::new("taskset");
    relay.args(["-c", "0", env!("CARGO_BIN_EXE_convene")]);
    let site = Arc::new(Site::run(relay, &["--attempts-per-second=100"]).await);
    let mut pairs = Vec::new();
    for n in 0..PAIRS {
        let session = format!("pair-{n}");
        pairs.push((site.join(&session).await, site.join(&session).await));
    }
    let mut report = String::from("attack            attempts  messages   p50 ms   p99 ms   p99 / quiet p99\n");
    let mut quiet = Duration::ZERO;
    for kind in
        ["nothing", "connections", "half-open", "forged tokens", "bad requests", "loud members", "nothing again"]
    {
        let stop = CancellationToken::new();
        let attack = (!kind.starts_with("nothing")).then(|| {
            let (site, stop) = (Arc::clone(&site), stop.clone());
            std::thread::spawn(move || attackers(&site, kind, &stop))
        });
        let mut measured = delays(&mut pairs).await;
        stop.cancel();
        let made = attack.map_or(0, |attack| attack.join().expect("no panic"));
        let (p50, p99) = (at(&mut measured, 50), at(&mut measured, 99));
        if kind == "nothing" {
            quiet = p99;
        }
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let _ = writeln!(
            report,
            "{kind:16} {made:9} {:9} {:8.2} {:8.2} {:17.2}",
            measured.len(),
            ms(p50),
            ms(p99),
            p99.as_secs_f64() / quiet.as_secs_f64()
        );
    }
    std::io::Write::write_all(&mut std::io::stderr(), report.as_bytes()).expect("printed");
}

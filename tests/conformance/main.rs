//! RFC 6455 by the Autobahn cases, against a relay process: its own WebSocket stack, byte for byte.
//!
//! A relay is no echo server. So each case has a session of its own, in which a second member sends back what it hears;
//! control frames and closes are the relay's. A case's bytes pass through [`carry`], which adds session and token to the
//! head of its handshake and then touches nothing. `make test-autobahn` runs this; it needs `CONVENE_KOSOKU`, the
//! program that drives the cases, and writes its report to `CONVENE_AUTOBAHN_REPORT`.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test with a main of its own is not known as one"
)]

#[path = "../abuse/site.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod site;
#[path = "../relay/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "each test binary uses a part")]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use site::{HOME, Site};
use support::Client;

/// Room for the largest messages of the cases (16 MiB), and rates that slow none of them.
const SETTINGS: [&str; 6] = [
    "--capacity=10000",
    "--max-message-bytes=33554432",
    "--messages-per-second=100000000",
    "--bytes-per-second=4000000000",
    "--queue-messages=1000000",
    "--attempts-per-second=100000",
];
/// Compression, which the relay does not speak: its answer to an offer is a handshake without it.
const LEFT_OUT: [&str; 2] = ["12.*", "13.*"];
/// Cases at once. Many wait for a second of silence.
const AT_ONCE: &str = "8";
/// Cases that there are without those: fewer would mean that some were not run.
const CASES: usize = 301;

fn main() -> ExitCode {
    let setting = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(kosoku), Some(report)) = (setting("CONVENE_KOSOKU"), setting("CONVENE_AUTOBAHN_REPORT")) else {
        println!("CONVENE_KOSOKU or CONVENE_AUTOBAHN_REPORT is not set: run `make test-autobahn`");
        return ExitCode::FAILURE;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let failures = runtime.block_on(run(&kosoku, &report));
    runtime.shutdown_background();
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(kosoku: &Path, report: &Path) -> Vec<String> {
    let site = Arc::new(Site::start(&SETTINGS).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let front = tokio::spawn(front(listener, Arc::clone(&site)));
    let _ = std::fs::remove_dir_all(report);
    let mut command = Command::new(kosoku);
    command.arg(format!("ws://{address}")).args(["--parallelism", AT_ONCE]).arg("--outdir").arg(report);
    if let Ok(only) = std::env::var("CONVENE_AUTOBAHN_CASES") {
        command.args(["--include", &only]);
    }
    command.args(LEFT_OUT.iter().flat_map(|cases| ["--exclude", cases]));
    let status = tokio::task::spawn_blocking(move || command.status()).await.expect("no panic");
    let status = status.expect("the cases can be run");
    front.abort();
    summarise(report, status.success())
}

/// Gives each connection that comes a session on the relay, with somebody in it who sends back what it hears.
async fn front(listener: TcpListener, site: Arc<Site>) {
    let cases = AtomicU32::new(0);
    loop {
        let (stream, _) = listener.accept().await.expect("accepted");
        let session = format!("case-{}", cases.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(carry(stream, session, Arc::clone(&site)));
    }
}

async fn carry(mut case: TcpStream, session: String, site: Arc<Site>) {
    let head = head(&mut case).await;
    let echo = tokio::spawn(echo(site.join(&session).await));
    let (_, rest) = head.split_once("\r\n").expect("a request line");
    let head = format!("GET /s/{session} HTTP/1.1\r\n{}\r\n{rest}", site.pass(&session));
    let mut relay = site.dial(HOME).await;
    for stream in [&case, &relay] {
        stream.set_nodelay(true).expect("set");
    }
    relay.write_all(head.as_bytes()).await.expect("written");
    // Either side may reset: that is what some cases look for.
    let _ = copy_bidirectional(&mut case, &mut relay).await;
    echo.abort();
}

/// The head of a request, to its empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    String::from_utf8(head).expect("text")
}

async fn echo(mut member: Client) {
    while let Some(Ok(message)) = member.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) && member.send(message).await.is_err() {
            return;
        }
    }
}

/// Prints what came out, and returns what failed.
fn summarise(report: &Path, succeeded: bool) -> Vec<String> {
    let text = std::fs::read_to_string(report.join("index.json")).unwrap_or_default();
    let index: Value = serde_json::from_str(&text).unwrap_or_default();
    let cases: Vec<(&String, &Value)> = index
        .as_object()
        .into_iter()
        .flat_map(|agents| agents.values())
        .filter_map(Value::as_object)
        .flatten()
        .collect();
    let word = |case: &Value, name: &str| case[name].as_str().unwrap_or("nothing").to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (id, case) in &cases {
        let (behavior, close) = (word(case, "behavior"), word(case, "behaviorClose"));
        let passed = |word: &str| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&word);
        if !passed(&behavior) || !passed(&close) {
            failures.push(format!("case {id}: {behavior}, close: {close}"));
        }
        *counts.entry(behavior).or_default() += 1;
    }
    if !succeeded && failures.is_empty() {
        failures.push("the program that drives the cases failed".to_owned());
    }
    if failures.is_empty() && cases.len() != CASES && std::env::var_os("CONVENE_AUTOBAHN_CASES").is_none() {
        failures.push(format!("{} cases were run, there are {CASES}", cases.len()));
    }
    for failure in &failures {
        println!("{failure}");
    }
    let counts: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    println!("autobahn: {} cases: {}; report: {}", cases.len(), counts.join(", "), report.join("index.html").display());
    failures
}

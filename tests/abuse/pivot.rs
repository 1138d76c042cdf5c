//! No way leads through a relay or a lobby to an address that somebody names.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::site::Site;
use crate::support::PATIENCE;
use crate::world::{Cluster, Running, table, three_pools};

/// What an open proxy would follow, with and without a good token.
fn attempts(victim: SocketAddr, pass: &str) -> Vec<String> {
    let targets = [
        format!("CONNECT {victim} HTTP/1.1"),
        format!("CONNECT relay:{} HTTP/1.1", victim.port()),
        format!("GET http://{victim}/ HTTP/1.1"),
        format!("GET ws://{victim}/s/s HTTP/1.1"),
        format!("GET /s/{victim} HTTP/1.1"),
        format!("GET /s/http:%2f%2f{victim}%2f HTTP/1.1"),
        format!("GET /s/s?url=http://{victim}/&target={victim}&host={victim} HTTP/1.1"),
        format!("GET /{victim} HTTP/1.1"),
        format!("GET //{victim}/s/s HTTP/1.1"),
        format!("GET /s/../../{victim} HTTP/1.1"),
        format!("POST /v1/sessions?callback=http://{victim}/ HTTP/1.1"),
        format!("OPTIONS http://{victim}/ HTTP/1.1"),
        format!("TRACE http://{victim}/ HTTP/1.1"),
    ];
    let named = format!(
        "Host: {victim}\r\nX-Forwarded-Host: {victim}\r\nX-Original-URL: http://{victim}/\r\nForwarded: for={victim};host={victim}\r\n\
         Proxy-Connection: keep-alive\r\nDestination: http://{victim}/\r\nReferer: http://{victim}/"
    );
    let upgrades = [
        "Connection: close",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ];
    let mut all = Vec::new();
    for target in targets {
        for upgrade in upgrades {
            all.push(format!("{target}\r\n{named}\r\n{upgrade}\r\nContent-Length: 0\r\n\r\n"));
            all.push(format!("{target}\r\n{named}\r\n{upgrade}\r\n{pass}\r\nContent-Length: 0\r\n\r\n"));
        }
    }
    all
}

/// The status of each answer. What follows a request may be anything, and is thrown away.
async fn statuses(target: SocketAddr, requests: &[String]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for request in requests {
        let mut stream = TcpStream::connect(target).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("in time").expect("an answer");
        let head = std::str::from_utf8(&head).expect("text");
        statuses.push(head[9..].parse().expect("a status"));
    }
    statuses
}

async fn nobody_came(victim: &TcpListener) {
    let came = timeout(Duration::from_millis(300), victim.accept()).await;
    assert!(came.is_err(), "somebody was led here: {came:?}");
    let address = victim.local_addr().expect("an address");
    let (direct, came) = tokio::join!(TcpStream::connect(address), victim.accept());
    assert!(direct.is_ok() && came.is_ok(), "the victim would have noticed");
}

#[tokio::test]
async fn nothing_leads_through_a_relay_to_another_address() {
    let site = Site::start(&[]).await;
    let victim = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = victim.local_addr().expect("an address");
    let requests = attempts(address, &site.pass("s"));
    let statuses = statuses(site.public, &requests).await;
    for (status, request) in statuses.iter().zip(&requests) {
        // Of a target in absolute form, only the path counts: these two ask for the session of the token.
        let ours = ["GET /s/s?", "GET ws://"].iter().any(|line| request.starts_with(line));
        let let_in = *status == 101 && ours && request.contains("Bearer");
        assert!((400..500).contains(status) || let_in, "{status} for {request}");
    }
    // Even a session that its lobby named like an address is only a name.
    let name = address.to_string();
    let head = site.answer_head(crate::site::HOME, &format!("/s/{name}"), &[site.pass(&name)]).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    nobody_came(&victim).await;
}

#[tokio::test]
async fn nothing_leads_through_a_lobby_to_another_address() {
    let cluster = Cluster::new();
    let lobby = Running::start(&table(&cluster, three_pools(10))).await;
    let victim = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = victim.local_addr().expect("an address");
    let requests = attempts(address, "Authorization: Bearer let-me-in");
    for (status, request) in statuses(lobby.address, &requests).await.iter().zip(&requests) {
        // What a browser may ask for is answered for every path alike.
        let preflight = *status == 200 && request.starts_with("OPTIONS ");
        assert!((400..=503).contains(status) || preflight, "{status} for {request}");
    }
    nobody_came(&victim).await;
    lobby.stop().await;
}

//! How tests talk to a relay: WebSockets, plain HTTP, its event stream.

use std::net::SocketAddr;

use convene::wire::relay::Notice;
use convene::wire::stats::{LOAD_EVENT, RelayReport, RelayStats};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{PATIENCE, Site};

pub(crate) type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The next text or binary message, or the close.
pub(crate) async fn next(client: &mut Client) -> Message {
    loop {
        let message = timeout(PATIENCE, client.next()).await.expect("in time");
        match message.expect("not just gone").expect("a good frame") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

/// The notice that must come next.
pub(crate) async fn notice(client: &mut Client) -> Notice {
    match next(client).await {
        Message::Text(text) => serde_json::from_str(&text).expect("a notice"),
        other => panic!("not a notice: {other:?}"),
    }
}

/// Code and reason of the close that must come next.
pub(crate) async fn closed(client: &mut Client) -> (u16, String) {
    match next(client).await {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("not a close: {other:?}"),
    }
}

/// Sends a text.
pub(crate) async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await.expect("sent");
}

/// A WebSocket handshake as bytes.
pub(crate) fn handshake(path: &str, lines: &[String]) -> String {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

/// The answer to a plain GET, as text.
pub(crate) async fn get_text(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    answer
}

/// The answer to a POST, as text.
pub(crate) async fn post_text(address: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await.expect("written");
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    answer
}

/// An open event stream.
pub(crate) struct Events(BufReader<TcpStream>);

impl Events {
    pub(crate) async fn open(site: &Site) -> Self {
        let mut stream = TcpStream::connect(site.control).await.expect("connected");
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: relay\r\n\r\n").await.expect("written");
        let mut events = Self(BufReader::new(stream));
        assert_eq!(events.line().await, "HTTP/1.1 200 OK");
        while events.line().await != "content-type: text/event-stream" {}
        events
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("in time").expect("text");
        line.trim_end().to_owned()
    }

    pub(crate) async fn next(&mut self) -> RelayReport {
        while self.line().await != format!("event: {LOAD_EVENT}") {}
        let line = self.line().await;
        serde_json::from_str(line.strip_prefix("data: ").expect("data")).expect("a report")
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&RelayReport) -> bool) -> RelayReport {
        loop {
            let report = self.next().await;
            if wanted(&report) {
                return report;
            }
        }
    }

    pub(crate) async fn stats(&mut self, wanted: &RelayStats) {
        self.until(|report| report.stats == *wanted).await;
    }
}

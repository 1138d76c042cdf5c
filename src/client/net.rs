//! The client's way to lobby and relay: TLS with the system's authorities or a private one, HTTP to the lobby, WebSocket
//! to the relay. Asks again while that can help; knows what is final.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::stream::SplitStream;
use http::{HeaderValue, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use super::ending::Ending;
use super::line::Line;
use crate::decide::backoff::Waits;
use crate::process::tls::client_config;
use crate::process::{clock, secret};
use crate::wire::regions::{Probe, RegionView};
use crate::wire::relay::{ADDRESSED_PROTOCOL, Notice};
use crate::wire::session::{
    ClientPlace, Connect, CreateSession, GuestWaits, JoinSession, Joined, Problem, SessionCreated,
};

/// Of one request or connection attempt. A relay that does not answer is given up for the next attempt.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Waits between attempts: from the first to the longest, doubling.
const WAITS: Waits = Waits { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
/// Largest message that is taken from a relay.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Largest answer that is taken from a lobby.
const MAX_ANSWER: usize = 1024 * 1024;
/// Code of the lobby's answer to a guest whom the host has refused.
const GUEST_REFUSED: &str = "guest_refused";
/// Messages that are made before the socket has taken those before.
const AHEAD: usize = 2;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Waits between attempts, longer each time, spread so that many clients do not come back at once.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    /// The next wait.
    pub(super) fn next(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        WAITS.after(self.0, secret::random_fraction())
    }
}

/// How to reach lobby and relays.
#[derive(Clone, Debug)]
pub(super) struct Net {
    http: reqwest::Client,
    tls: Arc<rustls::ClientConfig>,
    lobby: String,
}

/// What a guest's question comes to.
#[derive(Debug)]
pub(super) enum Door {
    /// A pass.
    Open(Joined),
    /// The host has been asked and has not decided yet.
    Waits(GuestWaits),
}

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// It may work later.
    Later(String),
    /// It will not.
    Final(Ending),
}

impl Net {
    /// For the lobby at `lobby`; `ca` is a file with further authorities (PEM).
    pub(super) fn new(lobby: &str, ca: Option<&Path>) -> anyhow::Result<Self> {
        if !(lobby.starts_with("http://") || lobby.starts_with("https://")) {
            bail!("--lobby: {lobby} is not a URL of a lobby; it must begin with https:// or http://");
        }
        let tls = client_config(ca)?;
        let http = reqwest::Client::builder()
            .timeout(ATTEMPT)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls.clone())
            .build()
            .context("prepare HTTP")?;
        Ok(Self { http, tls: Arc::new(tls), lobby: lobby.trim_end_matches('/').to_owned() })
    }

    /// Whether what is said to the lobby can be read on the way to another machine.
    pub(super) fn is_plain(&self) -> bool {
        let host = self.lobby.strip_prefix("http://").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
        host.is_some_and(|host| {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
            let loopback = name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
            !(loopback || name == "localhost")
        })
    }

    /// The regions of the lobby.
    pub(super) async fn regions(&self) -> Result<Vec<RegionView>, Failed> {
        answer(self.http.get(format!("{}/v1/regions", self.lobby))).await
    }

    /// A connection for probes at a URL that the lobby has given; none if nobody answers there.
    pub(super) async fn line(&self, probe: &Probe) -> Option<Line> {
        Line::open(&probe.url, Arc::clone(&self.tls)).await
    }

    /// Creates a session whose join key has this hash. The same `key` for all attempts: an answer that was lost makes
    /// no second session.
    pub(super) async fn create(&self, place: &ClientPlace, hash: &str, key: &str) -> Result<SessionCreated, Failed> {
        let body =
            CreateSession { place: place.clone(), join_key_hash: Some(hash.to_owned()), ..CreateSession::default() };
        let request = self.http.post(format!("{}/v1/sessions", self.lobby)).header("idempotency-key", key).json(&body);
        answer(request).await
    }

    /// A new pass for the host, which has lost its connection under this epoch.
    pub(super) async fn rejoin(&self, session: &str, host_token: &str, lost: u64) -> Result<Joined, Failed> {
        let body = JoinSession { join_key: None, lost_epoch: Some(lost), ..JoinSession::default() };
        answer(self.http.post(self.join_url(session)).bearer_auth(host_token).json(&body)).await
    }

    /// A new pass for a guest. Where the host is to be asked, its decision is waited for, for `wait` at most.
    pub(super) async fn join(&self, session: &str, asks: &JoinSession, wait: Duration) -> Result<Door, Failed> {
        let mut request = self.http.post(self.join_url(session)).timeout(wait + ATTEMPT).json(asks);
        if !wait.is_zero() {
            request = request.query(&[("wait", wait.as_secs())]);
        }
        let answer = success(request).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return read(answer).await.map(Door::Waits);
        }
        read(answer).await.map(Door::Open)
    }

    fn join_url(&self, session: &str) -> String {
        format!("{}/v1/sessions/{session}/join", self.lobby)
    }

    /// Closes the session for everybody; at the end of the host, so only tried once.
    pub(super) async fn close(&self, session: &str, host_token: &str) {
        let url = format!("{}/v1/sessions/{session}", self.lobby);
        if let Err(error) = self.http.delete(url).bearer_auth(host_token).send().await {
            tracing::debug!(%error, "the session could not be closed; it ends by itself");
        }
    }

    /// Connects to a relay and waits for its welcome.
    pub(super) async fn connect(&self, pass: &Connect) -> Result<Wire, String> {
        tokio::time::timeout(ATTEMPT, self.try_connect(pass))
            .await
            .map_err(|_| "the relay does not answer".to_owned())?
    }

    async fn try_connect(&self, pass: &Connect) -> Result<Wire, String> {
        let fail = |what: &dyn std::fmt::Display| format!("cannot connect to the relay: {what}");
        let mut request = pass.url.as_str().into_client_request().map_err(|error| fail(&error))?;
        let token = HeaderValue::try_from(format!("Bearer {}", pass.token)).map_err(|error| fail(&error))?;
        request.headers_mut().insert(header::AUTHORIZATION, token);
        let protocol = HeaderValue::from_static(ADDRESSED_PROTOCOL);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let tls = Connector::Rustls(Arc::clone(&self.tls));
        // The end of a message must not wait for the acknowledgement of its begin.
        let no_delay = true;
        let connecting = tokio_tungstenite::connect_async_tls_with_config(request, Some(limits), no_delay, Some(tls));
        let (mut socket, _) = connecting.await.map_err(|error| fail(&error))?;
        let welcome = match socket.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).map_err(|error| fail(&error))?,
            Some(Ok(_)) | None => return Err(fail(&"it does not welcome us")),
            Some(Err(error)) => return Err(fail(&error)),
        };
        let Notice::Welcome { .. } = &welcome else { return Err(fail(&"it does not welcome us")) };
        Ok(Wire::of(socket, welcome))
    }
}

/// A connection to a relay.
pub(super) struct Wire {
    /// What comes.
    pub(super) stream: SplitStream<Socket>,
    /// What goes; waits while the socket is full.
    pub(super) sender: mpsc::Sender<Message>,
    /// The relay's first words.
    pub(super) welcome: Notice,
    writer: AbortHandle,
}

impl Wire {
    fn of(socket: Socket, welcome: Notice) -> Self {
        let (sink, stream) = socket.split();
        let (sender, receiver) = mpsc::channel(AHEAD);
        let writer = tokio::spawn(write(sink, receiver)).abort_handle();
        Self { stream, sender, welcome, writer }
    }

    /// Lets what is on its way go out, and ends the connection.
    pub(super) async fn part(mut self) {
        let sent = async {
            self.sender.send(Message::Close(None)).await.ok();
            while let Some(Ok(_)) = self.stream.next().await {}
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

async fn write(mut sink: futures::stream::SplitSink<Socket, Message>, mut messages: mpsc::Receiver<Message>) {
    use futures::SinkExt as _;
    while let Some(message) = messages.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// Puts a member's number before its message.
pub(super) fn addressed(member: u32, payload: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(4 + payload.len());
    bytes.extend_from_slice(&member.to_be_bytes());
    bytes.extend_from_slice(payload);
    Message::Binary(Bytes::from(bytes))
}

/// Takes a message apart.
pub(super) fn address(message: &Bytes) -> Option<(u32, &[u8])> {
    let (member, payload) = message.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*member), payload))
}

async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Failed> {
    read(success(request).await?).await
}

async fn read<T: DeserializeOwned>(answer: reqwest::Response) -> Result<T, Failed> {
    answer.json().await.map_err(|error| Failed::Later(chain(&error.without_url())))
}

/// An answer that is no refusal and not too long.
async fn success(request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failed> {
    let begin = clock::monotonic();
    let answer = request.send().await.map_err(|error| Failed::Later(chain(&error.without_url())))?;
    tracing::debug!(status = %answer.status(), after = ?clock::monotonic().saturating_sub(begin), "the lobby answered");
    let status = answer.status();
    let too_long = answer.content_length().is_some_and(|length| length > MAX_ANSWER as u64);
    if status.is_success() && !too_long {
        return Ok(answer);
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(Failed::Final(Ending::Refused("the session is over, or the link is not right".to_owned())));
    }
    let problem: Option<Problem> = if too_long { None } else { answer.json().await.ok() };
    if problem.as_ref().is_some_and(|problem| problem.code == GUEST_REFUSED) {
        return Err(Failed::Final(Ending::not_let_in()));
    }
    let what = problem.map_or_else(
        || format!("the lobby answered {status}"),
        |problem| {
            format!("the lobby answered {}: {} {}", problem.code, problem.title, problem.detail.unwrap_or_default())
        },
    );
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT {
        Err(Failed::Later(what))
    } else {
        Err(Failed::Final(Ending::Failed(what)))
    }
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        let plain = |lobby: &str| Net::new(lobby, None).expect("a URL").is_plain();
        assert!(plain("http://lobby.example") && plain("http://192.0.2.1:8080/base"));
        assert!(!plain("https://lobby.example") && !plain("http://127.0.0.1:8080") && !plain("http://localhost:80/x"));
        assert!(!plain("http://[::1]:8080"));
        assert!(Net::new("lobby.example", None).is_err());
    }

    #[test]
    fn waits_grow_and_stay_in_bounds() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= WAITS.first);
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits.iter().all(|wait| *wait <= WAITS.longest));
        assert!(waits[39] >= WAITS.longest / 2);
    }

    #[test]
    fn numbers_stand_before_messages() {
        let Message::Binary(bytes) = addressed(258, b"abc") else { unreachable!("binary") };
        assert_eq!(address(&bytes), Some((258, b"abc".as_slice())));
        assert_eq!(address(&Bytes::from_static(b"abc")), None);
    }
}

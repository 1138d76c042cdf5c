//! The relay link: dials the lobby, tells it the load, takes its orders, and dials again for ever.
//!
//! Losing the link touches no session and no readiness: the relay serves without its lobby.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Request, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};
use tokio_util::sync::CancellationToken;

use super::remote::Unproved;
use super::state::Relay;
use super::{LOAD_EVERY, LOAD_GAP};
use crate::decide::backoff::Waits;
use crate::process::tls::{self, TlsError};
use crate::process::{clock, secret};
use crate::wire::link::{FromLobby, FromRelay, LINK_PATH, Load};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Time for a dial, and for each message to be taken.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the lobby is asked whether it is still there, and the silence after which it is not.
const PING_EVERY: Duration = Duration::from_secs(2);
const SILENT_AFTER: Duration = Duration::from_secs(6);
/// Largest message that is taken from the lobby: one record and some words.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
const BUFFER_BYTES: usize = 8 * 1024;
/// Largest identity file.
const MAX_IDENTITY_BYTES: u64 = 16 * 1024;
/// Between dials.
const PAUSES: Waits = Waits { first: Duration::from_millis(200), longest: Duration::from_secs(2) };

/// Why a link could not be made, or ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot read the identity file: {0}")]
    Identity(#[source] std::io::Error),
    #[error("the identity file does not hold a token")]
    IdentityForm,
    #[error("the CA certificates of the lobby (--lobby-ca): {0}")]
    Ca(#[source] TlsError),
    #[error(transparent)]
    Proof(#[from] Unproved),
    #[error("clients reach this relay elsewhere now")]
    Readdressed,
    #[error("the lobby's URL is not one of http, https, ws, wss")]
    Url,
    #[error("the lobby did not answer in time")]
    Timeout,
    /// Boxed, for it is large.
    #[error("{0}")]
    WebSocket(#[source] Box<tungstenite::Error>),
    #[error("the lobby ended the link")]
    Ended,
    #[error("the lobby was silent")]
    Silent,
    #[error("the lobby takes news too slowly")]
    Behind,
}

impl LinkError {
    /// The label in metrics.
    const fn reason(&self) -> &'static str {
        match self {
            Self::Identity(_) | Self::IdentityForm | Self::Proof(_) => "identity",
            Self::Readdressed => "readdressed",
            Self::Ca(_) => "ca",
            Self::Url => "url",
            Self::Timeout => "timeout",
            Self::WebSocket(error) => match **error {
                tungstenite::Error::Http(_) => "refused",
                _ => "transport",
            },
            Self::Ended => "ended",
            Self::Silent => "silent",
            Self::Behind => "behind",
        }
    }
}

impl From<tungstenite::Error> for LinkError {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// Keeps the link until `stop`.
pub(super) async fn run(relay: Arc<Relay>, stop: CancellationToken) {
    let mut failures = 0;
    let mut last_error = String::new();
    while !stop.is_cancelled() {
        let mut welcomed = false;
        let outcome = tokio::select! {
            socket = dial(&relay) => match socket {
                Ok(socket) => {
                    relay.metrics.link_dials.with_label_values(&["connected"]).inc();
                    let outcome = serve(&relay, socket, &stop, &mut welcomed).await;
                    relay.link_down();
                    relay.metrics.link_up.set(0);
                    outcome
                }
                Err(error) => {
                    relay.metrics.link_dials.with_label_values(&[error.reason()]).inc();
                    Err(error)
                }
            },
            () = stop.cancelled() => return,
        };
        let Err(error) = outcome else { return };
        let error = error.to_string();
        if welcomed {
            failures = 0;
            last_error.clear();
        }
        // One line for each new trouble, not for each attempt.
        if error == last_error {
            tracing::debug!(error, "still no link to the lobby");
        } else {
            tracing::warn!(error, "no link to the lobby; sessions go on");
            last_error = error;
        }
        tokio::select! {
            () = sleep(pause(failures, secret::random_fraction())) => {}
            () = stop.cancelled() => return,
        }
        failures = failures.saturating_add(1);
    }
}

async fn dial(relay: &Relay) -> Result<Socket, LinkError> {
    let request = request(relay).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    // Read for each dial as well.
    let connector = match &relay.config.lobby_ca {
        Some(file) => Some(Connector::Rustls(tls::client(file).await.map_err(LinkError::Ca)?)),
        None => None,
    };
    let dial = connect_async_tls_with_config(request, Some(config), true, connector);
    let (socket, _) = timeout(PATIENCE, dial).await.map_err(|_| LinkError::Timeout)??;
    Ok(socket)
}

/// The identity is read, or signed, for each dial: it is rotated while the relay runs.
async fn request(relay: &Relay) -> Result<Request<()>, LinkError> {
    let config = &relay.config;
    let identity = match &config.remote {
        Some(remote) => remote.proof(&config.lobby_url, &config.pod_uid, &relay.boot_id).await?,
        None => identity(&config.identity_file).await?,
    };
    let mut bearer =
        HeaderValue::from_str(&format!("Bearer {}", identity.trim())).map_err(|_| LinkError::IdentityForm)?;
    bearer.set_sensitive(true);
    let mut request = link_url(&config.lobby_url)?.into_client_request()?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    Ok(request)
}

async fn identity(path: &Path) -> Result<String, LinkError> {
    if tokio::fs::metadata(path).await.map_err(LinkError::Identity)?.len() > MAX_IDENTITY_BYTES {
        return Err(LinkError::IdentityForm);
    }
    tokio::fs::read_to_string(path).await.map_err(LinkError::Identity)
}

/// Where clients reach the relay, if the lobby is to learn that from it.
async fn address(relay: &Relay) -> Option<String> {
    relay.config.remote.as_ref()?.address().await
}

fn link_url(lobby_url: &str) -> Result<String, LinkError> {
    let (scheme, rest) = lobby_url.split_once("://").ok_or(LinkError::Url)?;
    let scheme = match scheme {
        "http" | "ws" => "ws",
        "https" | "wss" => "wss",
        _ => return Err(LinkError::Url),
    };
    Ok(format!("{scheme}://{}{LINK_PATH}", rest.trim_end_matches('/')))
}

/// How long to wait after so many failures in a row; `fraction` in 0..1 keeps relays from dialling in step.
fn pause(failures: u32, fraction: f64) -> Duration {
    PAUSES.after(failures.saturating_add(1), fraction)
}

/// Serves one link. Ends without an error only by `stop`.
async fn serve(
    relay: &Relay,
    mut socket: Socket,
    stop: &CancellationToken,
    welcomed: &mut bool,
) -> Result<(), LinkError> {
    let address = address(relay).await;
    let (hello, mut news) = relay.link_up(address.clone());
    say(&mut socket, &hello).await?;
    let mut report = relay.report();
    let mut every = interval(LOAD_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ping = interval(PING_EVERY);
    let mut heard = clock::monotonic();
    let mut next_load = Instant::now();
    // Orders to hold a session, of this link: how many were obeyed, and how many the lobby knows of.
    let (mut holds, mut told_holds) = (0, 0);
    loop {
        let load = tokio::select! {
            message = socket.next() => {
                let message = message.ok_or(LinkError::Ended)??;
                heard = clock::monotonic();
                holds += u64::from(hear(relay, &message, welcomed)?);
                false
            }
            item = news.recv() => {
                say(&mut socket, &item.ok_or(LinkError::Behind)?).await?;
                false
            }
            // Many changes in a moment are one message.
            Ok(()) = async {
                sleep_until(next_load).await;
                if holds > told_holds { Ok(()) } else { report.changed().await }
            } => true,
            _ = every.tick() => true,
            _ = ping.tick() => {
                if clock::monotonic().saturating_sub(heard) > SILENT_AFTER {
                    return Err(LinkError::Silent);
                }
                if self::address(relay).await != address {
                    return Err(LinkError::Readdressed);
                }
                send(&mut socket, Message::Ping(Bytes::new())).await?;
                false
            }
            () = stop.cancelled() => {
                while let Ok(item) = news.try_recv() {
                    say(&mut socket, &item).await?;
                }
                while let Some(last) = relay.participants() {
                    say(&mut socket, &last).await?;
                }
                let _ = timeout(PATIENCE, socket.close(None)).await;
                return Ok(());
            }
        };
        if load {
            let stats = report.borrow_and_update().stats.clone();
            say(&mut socket, &FromRelay::Load(Load { stats, holds: Some(holds) })).await?;
            told_holds = holds;
            if let Some(participants) = relay.participants() {
                say(&mut socket, &participants).await?;
            }
            next_load = Instant::now() + LOAD_GAP;
        }
    }
}

/// Obeys; returns whether it was to hold a session.
fn hear(relay: &Relay, message: &Message, welcomed: &mut bool) -> Result<bool, LinkError> {
    match message {
        Message::Text(text) => match serde_json::from_str::<FromLobby>(text) {
            Ok(order) => {
                if matches!(order, FromLobby::Welcome { .. }) {
                    *welcomed = true;
                    relay.metrics.link_up.set(1);
                    tracing::info!("welcomed by the lobby");
                }
                let hold = matches!(order, FromLobby::Hold { .. });
                relay.obey(order);
                return Ok(hold);
            }
            // One message that is not understood must not cost the link.
            Err(error) => tracing::warn!(%error, "the lobby said something that is not understood"),
        },
        Message::Close(_) => return Err(LinkError::Ended),
        Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
    }
    Ok(false)
}

async fn say(socket: &mut Socket, message: &FromRelay) -> Result<(), LinkError> {
    let text = serde_json::to_string(message).expect("messages of the link are JSON");
    send(socket, Message::text(text)).await
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), LinkError> {
    timeout(PATIENCE, socket.send(message)).await.map_err(|_| LinkError::Timeout)?.map_err(LinkError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_are_spread() {
        let lengths: Vec<u128> = (0..6).map(|failures| pause(failures, 1.0).as_millis()).collect();
        assert_eq!(lengths, [200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(u32::MAX, 0.0), Duration::from_secs(1));
    }

    #[test]
    fn the_link_is_dialled_beside_the_lobbys_api() {
        let url = |base| link_url(base).ok();
        assert_eq!(url("http://lobby.team.svc:8080").as_deref(), Some("ws://lobby.team.svc:8080/v1/relay-link"));
        assert_eq!(url("https://meet.example.com/").as_deref(), Some("wss://meet.example.com/v1/relay-link"));
        assert_eq!(url("wss://x/base").as_deref(), Some("wss://x/base/v1/relay-link"));
        assert_eq!(url("ftp://x"), None);
        assert_eq!(url("lobby:8080"), None);
    }
}

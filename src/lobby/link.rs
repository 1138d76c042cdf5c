//! The relay link's end at the lobby: identity, hello, then load and orders until one side ends.
//!
//! Frames in and out only; what they mean for sessions is decided by the book.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::caller::{self, Caller};
use super::problem::Refusal;
use super::renewal;
use super::state::Lobby;
use super::store::{Away, Link, Via};
use crate::decide::sessions::{Dial, LinkUp, Outrun};
use crate::process::{clock, secret};
use crate::wire::link::{FromLobby, FromRelay};

/// In which a relay must have said hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A link on which nothing is heard for so long is cut: the relay dials again.
const CUT_AFTER: Duration = Duration::from_secs(15);
/// In which one message must have been written.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// Room for a hello with the records of a full relay of 10,000 seats.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Most records of one hello.
const MAX_RECORDS: usize = 20_000;
/// Orders that may wait for one relay: all its holds after a link-up, and more.
const MAX_ORDERS: usize = 32_768;
/// Messages that a relay may send at once, and each second: every seat of a large relay may open and end together.
const BURST: u32 = 20_000;
const PER_SECOND: u32 = 2_000;
/// Longest name of a boot.
const MAX_BOOT_ID: usize = 128;

/// `GET /v1/relay-link`: refuses in one way whoever is not a relay of the table.
pub(super) async fn accept(
    State(shared): State<Shared>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let lobby = shared.lobby;
    let Some(caller) = caller::identify(&lobby, &headers) else {
        lobby.metrics.links_refused.with_label_values(&["identity"]).inc();
        return Refusal::unauthorized().into_response();
    };
    let Ok(upgrade) = upgrade else { return Refusal::upgrade_required().into_response() };
    // Before the answer, and so before the hello.
    let Ok(dial) = lobby.store.dial().await else {
        lobby.metrics.links_refused.with_label_values(&["store"]).inc();
        return Refusal::from(Away).into_response();
    };
    let (tasks, shutdown) = (shared.tasks.token(), shared.shutdown);
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(MAX_MESSAGE_BYTES)
        .on_upgrade(move |socket| async move {
            serve(lobby, caller, dial, socket, shutdown).await;
            drop(tasks);
        })
}

/// Why a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The relay left.
    Left,
    /// No hello, or one that is none.
    NoHello,
    /// Not one message for too long.
    Silent,
    /// Too many messages.
    Rate,
    /// A newer link of the same relay took over or was faster, it took no orders, or the store wants all told anew.
    Cut,
    /// The store cannot take the relay in now.
    Away,
    /// The lobby ends.
    Shutdown,
}

async fn serve(lobby: Arc<Lobby>, caller: Caller, dial: Dial, socket: WebSocket, shutdown: CancellationToken) {
    let (mut sink, mut stream) = socket.split();
    let (ended, heard) = tokio::select! {
        hello = tokio::time::timeout(HELLO_WITHIN, next(&mut stream)) => match hello {
            Ok(Some(FromRelay::Hello { boot_id, version, capacity, records, open, keys, url })) if is_sound(&boot_id, &records) => {
                let hello = Hello { dial, boot_id, capacity, records, open, keys, url };
                tracing::info!(relay = caller.name(), of = caller.of(), version, "relay linked");
                (linked(&lobby, &caller, hello, &mut sink, &mut stream, &shutdown).await, true)
            }
            Ok(Some(_) | None) | Err(_) => (Ended::NoHello, false),
        },
        () = shutdown.cancelled() => (Ended::Shutdown, false),
    };
    let (code, metric) = match ended {
        Ended::Left => (close_code::NORMAL, None),
        Ended::NoHello => (close_code::POLICY, Some("hello")),
        Ended::Rate => (close_code::POLICY, Some("rate")),
        Ended::Silent => (close_code::AWAY, Some("silent")),
        Ended::Cut => (close_code::AWAY, None),
        Ended::Away => (close_code::AGAIN, Some("store")),
        Ended::Shutdown => (close_code::RESTART, None),
    };
    if let Some(reason) = metric {
        lobby.metrics.links_refused.with_label_values(&[reason]).inc();
    }
    tracing::info!(relay = caller.name(), of = caller.of(), ?ended, heard, "relay link ended");
    let frame = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    let _ = tokio::time::timeout(Duration::from_secs(1), sink.send(frame)).await;
}

struct Hello {
    dial: Dial,
    boot_id: String,
    capacity: u32,
    records: Vec<String>,
    open: Vec<String>,
    keys: Vec<String>,
    url: Option<String>,
}

fn is_sound(boot_id: &str, records: &[String]) -> bool {
    (1..=MAX_BOOT_ID).contains(&boot_id.len())
        && boot_id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        && records.len() <= MAX_RECORDS
}

async fn linked(
    lobby: &Arc<Lobby>,
    caller: &Caller,
    hello: Hello,
    sink: &mut SplitSink<WebSocket, Message>,
    stream: &mut SplitStream<WebSocket>,
    shutdown: &CancellationToken,
) -> Ended {
    let Hello { dial, boot_id, capacity, records, open, keys, url } = hello;
    let records = renewal::verify(lobby, caller.uid(), &boot_id, records).await;
    // The table may have lost this Pod meanwhile.
    let Some(table) = lobby.table() else { return Ended::NoHello };
    let Some(home) = caller.home(&table, &lobby.store.view(), &boot_id, url) else { return Ended::NoHello };
    let (sender, mut orders) = mpsc::channel(MAX_ORDERS);
    let (number, cut) = (secret::random_number(), CancellationToken::new());
    let mut rings = lobby.keys.subscribe();
    let keys = renewal::known(&rings.borrow_and_update(), keys);
    let link = Link { number, dial: dial.number, boot_id: boot_id.clone(), orders: sender, cut: cut.clone() };
    let up = LinkUp { link: number, dial, home, capacity, records, open: open.into_iter().collect(), keys };
    let via = Via { pod_uid: caller.uid(), link: number };
    let refused = match lobby.link_up(up, link).await {
        Ok(Ok(())) => None,
        Ok(Err(Outrun)) => Some(Ended::Cut),
        Err(Away) => Some(Ended::Away),
    };
    if let Some(refused) = refused {
        lobby.store.link_down(via).await;
        return refused;
    }
    let (renewing, mut renewed) = mpsc::channel(2);
    let read = async {
        let (mut budget, mut leaves) = (Budget::new(), false);
        loop {
            match tokio::time::timeout(CUT_AFTER, next(stream)).await {
                Err(_) => return Ended::Silent,
                Ok(None) => return Ended::Left,
                Ok(Some(_)) if !budget.spend(clock::monotonic()) => return Ended::Rate,
                Ok(Some(_)) if !lobby.table().is_some_and(|table| caller.is_listed(&table)) => return Ended::Cut,
                Ok(Some(FromRelay::Keys { keys, records })) => {
                    let renewed = renewal::renew(lobby, via, &boot_id, keys, records).await;
                    let _ = renewing.send(renewed).await;
                }
                Ok(Some(message)) => {
                    let left = leaves;
                    if let FromRelay::Load(load) = &message {
                        leaves = load.stats.draining;
                    }
                    hear(lobby, via, message, leaves).await;
                    if leaves && !left {
                        lobby.leaving.notify_one();
                    }
                }
            }
        }
    };
    let write = async {
        let welcome =
            FromLobby::Welcome { at: Some(clock::unix_seconds()), lobby: Some(table.table.lobby_uid.clone()) };
        let mut messages = vec![welcome, FromLobby::Keys(rings.borrow_and_update().public().clone())];
        loop {
            for message in messages {
                if !matches!(tokio::time::timeout(WRITE_WITHIN, say(sink, &message)).await, Ok(Ok(()))) {
                    return Ended::Left;
                }
            }
            messages = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => vec![lobby.message(&table.table.lobby_uid, order)],
                    None => return Ended::Cut,
                },
                Some(renewed) = renewed.recv() => renewed,
                Ok(()) = rings.changed() => vec![FromLobby::Keys(rings.borrow_and_update().public().clone())],
            };
        }
    };
    let ended = tokio::select! {
        ended = read => ended,
        ended = write => ended,
        () = cut.cancelled() => Ended::Cut,
        () = shutdown.cancelled() => Ended::Shutdown,
    };
    lobby.absent.link_down(via);
    lobby.store.link_down(via).await;
    ended
}

/// What the store cannot take in now is told again on the next link, for which the store itself cares.
async fn hear(lobby: &Lobby, via: Via<'_>, message: FromRelay, leaves: bool) {
    let _ = match message {
        FromRelay::Load(load) => lobby.store.load(via, load).await,
        FromRelay::Opened { session, epoch } => lobby.store.opened(via, &session, epoch).await,
        FromRelay::Participants { sessions } => lobby.participants(via, sessions, leaves).await,
        FromRelay::Ended { session, epoch } => lobby.store.ended(via, &session, epoch).await,
        FromRelay::Hello { .. } | FromRelay::Keys { .. } | FromRelay::Unknown => Ok(()),
    };
}

/// The next message; `None` at the end, also when what came is none.
async fn next(stream: &mut SplitStream<WebSocket>) -> Option<FromRelay> {
    loop {
        match stream.next().await?.ok()? {
            Message::Text(text) => return serde_json::from_str(text.as_str()).ok(),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Binary(_) | Message::Close(_) => return None,
        }
    }
}

async fn say(sink: &mut SplitSink<WebSocket, Message>, order: &FromLobby) -> Result<(), axum::Error> {
    let text = serde_json::to_string(order).expect("orders are JSON");
    sink.send(Message::Text(text.into())).await
}

/// How many messages a relay may still send.
struct Budget {
    left: u32,
    at: Duration,
}

impl Budget {
    fn new() -> Self {
        Self { left: BURST, at: clock::monotonic() }
    }

    fn spend(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.at).as_millis() * u128::from(PER_SECOND) / 1000;
        if earned > 0 {
            self.at = now;
            self.left = self.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(BURST);
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_may_send_bursts_but_not_for_ever() {
        let mut budget = Budget { left: BURST, at: Duration::ZERO };
        let now = Duration::ZERO;
        assert!((0..BURST).all(|_| budget.spend(now)));
        assert!(!budget.spend(now));
        let later = Duration::from_secs(1);
        assert!((0..PER_SECOND).all(|_| budget.spend(later)));
        assert!(!budget.spend(later));
    }

    #[test]
    fn a_boot_has_a_name_that_fits_into_an_audience() {
        assert!(is_sound("abc-_1", &[]));
        for wrong in ["", "a/b", "a b", "ü", &"x".repeat(129)] {
            assert!(!is_sound(wrong, &[]), "{wrong}");
        }
    }
}

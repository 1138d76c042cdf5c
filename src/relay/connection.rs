//! One participant's connection: frames from its socket into the room, frames from the room to its socket.
//!
//! Reading and writing go on independently in one task, so that a member that does not read can still be heard, and
//! one that only writes cannot lock up. Keeps no frame and looks into none.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite;

use super::state::Membership;
use crate::decide::quota::Bucket;
use crate::decide::room::{End, Said, Taken};
use crate::process::clock;
use crate::wire::relay as public;

type Sink = SplitSink<WebSocket, Message>;
type Stream = SplitStream<WebSocket>;

/// How long a sender pauses after each frame while somebody's queue is more than half full: gives readers the time to
/// catch up, and costs the others a millisecond at most before who is really slow is dropped.
const CONGESTION_PAUSE: Duration = Duration::from_millis(1);
/// How long the connection stays after a close that the peer may not be able to answer.
const LINGER: Duration = Duration::from_millis(250);

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// The peer said goodbye.
    Left,
    /// The peer is gone without a word, or breaks the protocol.
    Broken,
    /// Nothing was heard for too long.
    Silent,
    /// It sent too large a message.
    TooBig,
    /// The room says so.
    Ended(End),
}

impl Parting {
    const fn label(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Broken => "broken",
            Self::Silent => "silent",
            Self::TooBig => "too_big",
            Self::Ended(End::SlowReader) => "slow_reader",
            Self::Ended(End::SessionClosed) => "session_closed",
            Self::Ended(End::Draining) => "draining",
        }
    }

    /// What the peer is told, if it can be.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Left | Self::Broken => None,
            Self::Silent => Some((public::CLOSE_RETRY, public::REASON_SILENT)),
            Self::TooBig => Some((public::CLOSE_TOO_BIG, public::REASON_TOO_BIG)),
            Self::Ended(End::SlowReader) => Some((public::CLOSE_RETRY, public::REASON_SLOW_READER)),
            Self::Ended(End::SessionClosed) => Some((public::CLOSE_SESSION_CLOSED, public::REASON_SESSION_CLOSED)),
            Self::Ended(End::Draining) => Some((public::CLOSE_RETRY, public::REASON_DRAINING)),
        }
    }
}

/// Serves a participant until it leaves or is ended.
pub(super) async fn run(socket: WebSocket, membership: Membership) {
    let abandon = membership.relay().abandon.clone();
    tokio::select! {
        () = converse(socket, membership) => {}
        () = abandon.cancelled() => {}
    }
}

async fn converse(socket: WebSocket, membership: Membership) {
    let (mut sink, mut stream) = socket.split();
    let parting = tokio::select! {
        parting = read(&mut stream, &membership) => parting,
        parting = write(&mut sink, &membership) => parting,
    };
    let relay = membership.relay().clone();
    relay.metrics.closed(parting.label());
    // The place is free from now on, also while the goodbye takes its time.
    drop(membership);
    let _ = timeout(relay.config.goodbye, part(sink, stream, parting)).await;
}

async fn read(stream: &mut Stream, membership: &Membership) -> Parting {
    let relay = membership.relay();
    let config = &relay.config;
    let started = clock::monotonic();
    let mut messages = Bucket::new(config.messages_per_participant, started);
    let mut bytes = Bucket::new(config.bytes_per_participant, started);
    loop {
        let message = match timeout(config.silent_after, stream.next()).await {
            Err(_) => return Parting::Silent,
            Ok(None) => return Parting::Broken,
            Ok(Some(Err(error))) => return broken(error),
            Ok(Some(Ok(message))) => message,
        };
        let size = size(&message);
        let said = match &message {
            Message::Text(_) | Message::Binary(_) => {
                relay.metrics.messages_in.inc();
                relay.metrics.bytes_in.inc_by(size as u64);
                membership.room().say(membership.id(), &message, size, |waker| waker.notify_one())
            }
            Message::Close(_) => return Parting::Left,
            // Answered by the library. They count against the rate like everything else.
            Message::Ping(_) | Message::Pong(_) => Said::default(),
        };
        let now = clock::monotonic();
        let wait = messages.take(1.0, now).max(bytes.take(precise(size), now));
        if !wait.is_zero() {
            relay.metrics.throttled.inc();
            sleep(wait).await;
        } else if said.congested {
            sleep(CONGESTION_PAUSE).await;
        }
    }
}

async fn write(sink: &mut Sink, membership: &Membership) -> Parting {
    let relay = membership.relay();
    let every = relay.config.ping_every;
    let mut next_ping = clock::monotonic() + every;
    loop {
        let Some(taken) = membership.room().take(membership.id()) else { return Parting::Broken };
        let nothing = taken.frames.is_empty();
        let end = taken.end;
        let now = clock::monotonic();
        // Also while there is much to write: who only listens is heard by its answers.
        let ping = now >= next_ping;
        if ping {
            next_ping = now + every;
        }
        let (frames, bytes) = (taken.frames.len(), taken.bytes);
        if ping || !nothing {
            if let Err(parting) = send_or_give_up(sink, taken, ping, membership).await {
                return parting;
            }
            relay.metrics.messages_out.inc_by(frames as u64);
            relay.metrics.bytes_out.inc_by(bytes as u64);
        }
        if let Some(end) = end {
            return Parting::Ended(end);
        }
        if nothing {
            // Past its time = the next ping is due.
            let _ = timeout(next_ping.saturating_sub(clock::monotonic()), membership.woken()).await;
        }
    }
}

/// Writes frames to the socket; gives up once the room says that the reader is too slow, since it may never read.
async fn send_or_give_up(
    sink: &mut Sink,
    taken: Taken<Message>,
    ping: bool,
    membership: &Membership,
) -> Result<(), Parting> {
    let mut sending = std::pin::pin!(send(sink, taken, ping));
    loop {
        tokio::select! {
            sent = &mut sending => return sent.map_err(|_| Parting::Broken),
            () = membership.woken() => {
                if membership.room().end_of(membership.id()) == Some(End::SlowReader) {
                    return Err(Parting::Ended(End::SlowReader));
                }
            }
        }
    }
}

async fn send(sink: &mut Sink, taken: Taken<Message>, ping: bool) -> Result<(), axum::Error> {
    if ping {
        sink.feed(Message::Ping(Bytes::new())).await?;
    }
    for frame in taken.frames {
        sink.feed(frame).await?;
    }
    sink.flush().await
}

/// Says goodbye and waits for the answer: a socket that is dropped with unread input resets the connection, and the
/// peer might never see why.
async fn part(mut sink: Sink, mut stream: Stream, parting: Parting) {
    let Some((code, reason)) = parting.close() else {
        // Sends the answer to the peer's own goodbye.
        let _ = sink.close().await;
        return;
    };
    if sink.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await.is_err() {
        return;
    }
    if parting == Parting::TooBig {
        // The rest of that message is still in the way of the peer's answer.
        sleep(LINGER).await;
        return;
    }
    while let Some(Ok(_)) = stream.next().await {}
}

fn broken(error: axum::Error) -> Parting {
    match error.into_inner().downcast::<tungstenite::Error>().map(|error| *error) {
        Ok(tungstenite::Error::Capacity(_)) => Parting::TooBig,
        Ok(_) | Err(_) => Parting::Broken,
    }
}

fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(data) | Message::Ping(data) | Message::Pong(data) => data.len(),
        Message::Close(_) => 0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a message is far smaller than 2^52 bytes")]
const fn precise(bytes: usize) -> f64 {
    bytes as f64
}

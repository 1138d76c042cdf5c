//! Whether a connection lives: pings, silence, and what a close means.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::ending::Ending;
use crate::process::clock;
use crate::wire::relay::CLOSE_SESSION_CLOSED;

/// Silence after which a connection is given up: with the second between two looks, noticed within 5 s.
pub(super) const SILENCE: Duration = Duration::from_secs(4);

/// A ping that is not answered for so long went nowhere, whatever comes the other way: longer than the megabyte takes that
/// may come before its answer over a slow line.
const UNANSWERED: Duration = Duration::from_secs(15);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Lost {
    /// Look for another.
    Retry(String),
    /// For good.
    Ended(Ending),
}

/// The signs of life of one connection. What others say of their own accord is none: it comes also where nothing that is
/// said here arrives.
#[derive(Debug)]
pub(super) struct Pulse {
    heard: Duration,
    answered: Duration,
}

impl Pulse {
    pub(super) fn new() -> Self {
        let now = clock::monotonic();
        Self { heard: now, answered: now }
    }

    /// Something came that goes on only while this side is heard.
    pub(super) fn heard(&mut self) {
        self.heard = clock::monotonic();
    }

    /// A ping was answered.
    pub(super) fn answered(&mut self) {
        *self = Self::new();
    }

    /// Nothing came for too long.
    pub(super) fn is_silent(&self) -> bool {
        let now = clock::monotonic();
        now.saturating_sub(self.heard) > SILENCE || now.saturating_sub(self.answered) > UNANSWERED
    }

    /// Asks for a sign of life; gives whether it has been silent for too long. A socket that takes nothing at the moment
    /// has something to answer to already.
    pub(super) fn beat(&self, sender: &mpsc::Sender<Message>) -> bool {
        sender.try_send(Message::Ping(Bytes::new())).ok();
        self.is_silent()
    }
}

/// What a message that carries nothing means; none = go on.
pub(super) fn closed(message: Option<Result<Message, Error>>) -> Option<Lost> {
    match message {
        Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => Some(match u16::from(code) {
            CLOSE_SESSION_CLOSED => Lost::Ended(Ending::Closed("the session was closed".to_owned())),
            4400..=4499 => Lost::Ended(Ending::Closed(format!("the relay ended the session: {reason}"))),
            _ if reason.is_empty() => Lost::Retry("the relay closed the connection".to_owned()),
            _ => Lost::Retry(reason.as_str().to_owned()),
        }),
        Some(Ok(Message::Close(None))) | None => Some(Lost::Retry("the relay closed the connection".to_owned())),
        Some(Err(error)) => Some(Lost::Retry(error.to_string())),
        Some(Ok(_)) => None,
    }
}

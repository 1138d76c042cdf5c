//! The end of a connection: why, what the peer is told, and a moment for its answer.

use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;

use super::socket::Socket;
use super::websocket::{Decoder, Item, close_frame};
use crate::decide::room::End;
use crate::wire::relay as public;

/// How long the connection stays after a close that the peer may not be able to answer.
const LINGER: Duration = Duration::from_millis(250);
/// Bytes that are read at a time while the peer's answer is awaited.
const READ: usize = 4 * 1024;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parting {
    /// The peer said goodbye, with this code.
    Left(Option<u16>),
    /// The peer is gone without a word.
    Broken,
    /// It breaks RFC 6455.
    Protocol,
    /// It sent a text that is not UTF-8.
    NotText,
    /// Nothing was heard for too long.
    Silent,
    /// It sent too large a message.
    TooBig,
    /// The relay has no memory for the rest of its message.
    Full,
    /// It sent a message without an address in addressed mode.
    NotAddressed,
    /// The room says so.
    Ended(End),
}

impl Parting {
    /// The label in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Left(_) => "left",
            Self::Broken | Self::Protocol | Self::NotText => "broken",
            Self::Silent => "silent",
            Self::TooBig => "too_big",
            Self::Full => "full",
            Self::NotAddressed => "not_addressed",
            Self::Ended(End::SlowReader) => "slow_reader",
            Self::Ended(End::SessionClosed) => "session_closed",
            Self::Ended(End::Moved) => "moved",
            Self::Ended(End::Draining) => "draining",
        }
    }

    /// What the peer is told, if it can be.
    fn close(self) -> Option<Bytes> {
        let (code, reason) = match self {
            Self::Left(code) => return Some(close_frame(code, "")),
            Self::Broken => return None,
            Self::Protocol => (1002, ""),
            Self::NotText => (1007, ""),
            Self::Silent => (public::CLOSE_RETRY, public::REASON_SILENT),
            Self::TooBig => (public::CLOSE_TOO_BIG, public::REASON_TOO_BIG),
            Self::Full => (public::CLOSE_RETRY, public::REASON_FULL),
            Self::NotAddressed => (public::CLOSE_NOT_ADDRESSED, public::REASON_NOT_ADDRESSED),
            Self::Ended(End::SlowReader) => (public::CLOSE_RETRY, public::REASON_SLOW_READER),
            Self::Ended(End::SessionClosed) => (public::CLOSE_SESSION_CLOSED, public::REASON_SESSION_CLOSED),
            Self::Ended(End::Moved) => (public::CLOSE_RETRY, public::REASON_MOVED),
            Self::Ended(End::Draining) => (public::CLOSE_RETRY, public::REASON_DRAINING),
        };
        Some(close_frame(Some(code), reason))
    }
}

/// Finishes the frame that was begun, says goodbye and waits for the answer: a socket that is dropped with unread input
/// resets the connection, and the peer might never see why.
pub(super) async fn part(
    mut socket: Socket,
    mut decoder: Decoder,
    inbox: &[u8],
    begun: Option<Bytes>,
    parting: Parting,
) {
    let Some(close) = parting.close() else { return };
    if socket.write_all(&[&begun.unwrap_or_default()[..], &close].concat()).await.is_err()
        || socket.flush().await.is_err()
    {
        return;
    }
    match parting {
        Parting::Left(_) => {}
        // What follows cannot be understood, but is in the way of the peer's answer.
        Parting::TooBig | Parting::Full | Parting::Protocol | Parting::NotText => {
            let _ = socket.shutdown().await;
            tokio::select! {
                () = sleep(LINGER) => {}
                () = until_gone(&mut socket) => {}
            }
            return;
        }
        _ => until_answered(&mut socket, &mut decoder, inbox).await,
    }
    let _ = socket.shutdown().await;
}

async fn until_gone(socket: &mut Socket) {
    // Not an array: the future would be so much larger for the whole life of the connection.
    let mut buffer = vec![0; READ];
    while socket.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
}

async fn until_answered(socket: &mut Socket, decoder: &mut Decoder, inbox: &[u8]) {
    let mut buffer = inbox.to_vec();
    loop {
        let mut input = &buffer[..];
        loop {
            match decoder.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Item::Close(_))) | Err(_) => return,
                Ok(Some(_)) => {}
            }
        }
        buffer.resize(READ, 0);
        match socket.read(&mut buffer).await {
            Ok(bytes) if bytes > 0 => buffer.truncate(bytes),
            _ => return,
        }
    }
}

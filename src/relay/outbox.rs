//! Frames on their way to one socket: as many as fit into each system call.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use tokio::io::AsyncWrite as _;

use super::socket::Socket;

/// Frames of one system call.
const SLICES: usize = 64;

/// What is being written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Frames, and how much of the first one is written.
    frames: VecDeque<Bytes>,
    written: usize,
    /// Control frames that go between them.
    control: VecDeque<Bytes>,
    unflushed: bool,
    /// Whether something was written since somebody asked.
    moved: bool,
}

impl Outbox {
    /// Takes the next frames. The last ones are written.
    pub(super) fn fill(&mut self, frames: VecDeque<Bytes>) {
        self.frames = frames;
    }

    /// Adds a control frame, which overtakes the frames that were not begun.
    pub(super) fn interject(&mut self, frame: Bytes) {
        self.control.push_back(frame);
    }

    /// Control frames that were not begun.
    pub(super) fn interjections(&self) -> usize {
        self.control.len()
    }

    /// Whether it is empty, or something was written since the last call.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved) || (self.frames.is_empty() && self.control.is_empty())
    }

    /// The rest of the frame that was begun. What waits behind it is lost.
    pub(super) fn begun(self) -> Option<Bytes> {
        let written = self.written;
        self.frames.into_iter().next().filter(|_| written > 0).map(|frame| frame.slice(written..))
    }

    /// Writes all.
    pub(super) fn poll_write(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == 0 {
                while let Some(frame) = self.control.pop_back() {
                    self.frames.push_front(frame);
                }
            }
            if self.frames.is_empty() {
                break;
            }
            let bytes = ready!(self.poll_write_some(Pin::new(&mut *socket), cx))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.advance(bytes);
        }
        if self.unflushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.unflushed = false;
            // Nothing is kept for who hears nothing.
            self.frames = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some(&self, socket: Pin<&mut Socket>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut skip = self.written;
        if let (Some(only), 1) = (self.frames.front(), self.frames.len()) {
            // Most often; the kernel takes a vector at a tenth of the whole cost more.
            return socket.poll_write(cx, only.get(skip..).unwrap_or_default());
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(frame.get(skip..).unwrap_or_default());
            skip = 0;
            count += 1;
        }
        socket.poll_write_vectored(cx, slices.get(..count).unwrap_or_default())
    }

    fn advance(&mut self, bytes: usize) {
        self.moved = true;
        self.written += bytes;
        while let Some(frame) = self.frames.front() {
            if self.written < frame.len() {
                break;
            }
            self.written -= frame.len();
            self.frames.pop_front();
        }
    }
}

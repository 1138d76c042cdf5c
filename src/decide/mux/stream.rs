//! One stream of a tunnel: what was sent and not yet taken, what came and was not yet given out.
//!
//! Positions count bytes from the stream's begin; the end of a direction counts as one more byte, so that it is
//! acknowledged and resent like every other.

use std::collections::VecDeque;

use super::{Broken, STREAM_CREDIT};

/// Tell what was taken once it is so much: rarely enough to cost nothing, and with all streams of a tunnel together
/// less than the tunnel's credit.
const TELL_AFTER: u64 = 32 * 1024;

/// What the local program gets next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The other side sends no more.
    End,
    /// Nothing yet.
    Wait,
}

#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Bytes that the other side did not take yet.
    out: VecDeque<u8>,
    /// Position of the first of `out` = what the other side took.
    base: u64,
    /// Position of the next byte to send through this connection.
    sent: u64,
    /// Length of this direction, once it is known.
    end: Option<u64>,
    /// Whether the other side knows of this stream.
    pub(super) opened: bool,
    inbox: VecDeque<u8>,
    /// Position of the next byte to come.
    received: u64,
    /// The other side's end has come.
    ended: bool,
    /// What the local program took.
    taken: u64,
    /// What was told of that through this connection.
    told: u64,
}

impl Stream {
    /// A stream that the other side has opened.
    pub(super) fn heard_of() -> Self {
        Self { opened: true, ..Self::default() }
    }

    /// Bytes that wait until the other side has taken them.
    pub(super) fn held(&self) -> usize {
        self.out.len()
    }

    pub(super) fn room(&self) -> usize {
        if self.end.is_some() { 0 } else { STREAM_CREDIT.saturating_sub(self.out.len()) }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.out.extend(bytes);
    }

    pub(super) fn finish(&mut self) {
        self.end.get_or_insert(self.base + self.out.len() as u64);
    }

    /// Bytes to send now, at most `most`, and their position.
    pub(super) fn data(&mut self, most: usize) -> Option<(u64, Vec<u8>)> {
        let offset = self.sent;
        let skip = usize::try_from(offset.checked_sub(self.base)?).ok()?;
        let waiting = self.out.len().checked_sub(skip)?.min(most);
        if waiting == 0 {
            return None;
        }
        self.sent += waiting as u64;
        Some((offset, self.out.range(skip..skip + waiting).copied().collect()))
    }

    /// The end, once all before it is sent.
    pub(super) fn fin(&mut self) -> Option<u64> {
        let end = self.end.filter(|end| self.sent == *end)?;
        self.sent += 1;
        Some(end)
    }

    /// What the other side should be told that was taken.
    pub(super) fn news(&mut self) -> Option<u64> {
        let all = self.ended && self.taken == self.received;
        let due = self.taken > self.told && (all || self.taken - self.told >= TELL_AFTER);
        due.then(|| {
            self.told = self.taken;
            self.taken
        })
    }

    /// Takes what came; gives whether there is more than before.
    pub(super) fn hear_data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Broken> {
        // Nothing is lost or doubled within a connection, and each begins where this side says.
        if offset != self.received || self.ended || self.inbox.len() + bytes.len() > STREAM_CREDIT {
            return Err(Broken::Protocol);
        }
        self.inbox.extend(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn hear_fin(&mut self, offset: u64) -> Result<(), Broken> {
        if offset != self.received || self.ended {
            return Err(Broken::Protocol);
        }
        self.ended = true;
        self.received += 1;
        Ok(())
    }

    /// The other side took what is before `offset`.
    pub(super) fn hear_taken(&mut self, offset: u64) -> Result<(), Broken> {
        if offset > self.sent {
            return Err(Broken::Protocol);
        }
        // An older word than one that is known says nothing.
        let fresh = usize::try_from(offset.saturating_sub(self.base)).unwrap_or(usize::MAX).min(self.out.len());
        self.out.drain(..fresh);
        self.base = self.base.max(offset);
        Ok(())
    }

    pub(super) fn next(&mut self, most: usize) -> Next {
        let count = self.inbox.len().min(most);
        if count > 0 {
            return Next::Bytes(self.inbox.drain(..count).collect());
        }
        if self.ended { Next::End } else { Next::Wait }
    }

    pub(super) fn took(&mut self, bytes: u64) {
        self.taken = (self.taken + bytes).min(self.received);
    }

    /// Both directions have ended, and both sides have taken all; the other side was told.
    pub(super) fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.base == end + 1) && self.ended && self.told == self.received
    }

    /// Nothing is left to send or to give out: the other side may have forgotten this stream.
    pub(super) fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| self.sent == end + 1) && self.ended && self.taken == self.received
    }

    /// Bytes that wait for the local program.
    pub(super) fn waiting(&self) -> usize {
        self.inbox.len()
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// A new connection: the other side has what is before `received`.
    pub(super) fn rewind(&mut self, received: u64) -> Result<(), Broken> {
        let most = self.end.map_or(self.base + self.out.len() as u64, |end| end + 1);
        if received < self.base || received > most {
            return Err(Broken::Protocol);
        }
        self.sent = received;
        self.told = 0;
        self.opened = true;
        Ok(())
    }

    /// A new connection to a side that never heard of this stream.
    pub(super) fn begin(&mut self) -> Result<(), Broken> {
        self.rewind(0)?;
        self.opened = false;
        Ok(())
    }
}

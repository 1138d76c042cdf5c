//! Bytes of messages that a relay holds for all its participants together: counted, and bounded.
//!
//! A message counts once, however many get it, from its first byte until the last of them has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;

/// What is held, and may be.
#[derive(Debug)]
pub(super) struct Memory {
    most: usize,
    held: AtomicUsize,
    arriving: AtomicUsize,
}

impl Memory {
    /// For at most so many bytes.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0), arriving: AtomicUsize::new(0) })
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Bytes that are left; 0 = whoever sends must wait.
    pub(super) fn left(&self) -> usize {
        self.most.saturating_sub(self.held())
    }

    /// Whether so much is held that it is time to see who takes nothing.
    pub(super) fn is_filling(&self) -> bool {
        self.left() < self.most / 2
    }

    /// Whether so little is left that who takes nothing must leave.
    pub(super) fn is_short(&self) -> bool {
        self.left() < self.most / 8
    }

    /// Whether messages that have not come to their ends take more than half.
    pub(super) fn is_full_of_pieces(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) > self.most / 2
    }

    /// Counts `buffer` until the last who gets what it holds from `start` on has it.
    pub(super) fn keep(self: &Arc<Self>, buffer: Vec<u8>, start: usize) -> Bytes {
        self.held.fetch_add(buffer.capacity(), Ordering::Relaxed);
        Bytes::from_owner(Kept { buffer, start, memory: Arc::clone(self) })
    }
}

#[derive(Debug)]
struct Kept {
    buffer: Vec<u8>,
    start: usize,
    memory: Arc<Memory>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.buffer.capacity(), Ordering::Relaxed);
    }
}

/// What has arrived of a connection's message.
#[derive(Debug)]
pub(super) struct Arriving {
    bytes: usize,
    memory: Arc<Memory>,
}

impl Arriving {
    /// Nothing yet.
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self { bytes: 0, memory: Arc::clone(memory) }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// It takes so many bytes now. Whether that is more than before.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        if bytes == self.bytes {
            return false;
        }
        let more = bytes > self.bytes;
        for counter in [&self.memory.held, &self.memory.arriving] {
            counter.fetch_add(bytes, Ordering::Relaxed);
            counter.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        more
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_once_until_the_last_has_it() {
        let memory = Memory::new(800);
        let frame = memory.keep(vec![7; 100], 10);
        let other = frame.clone();
        assert_eq!((frame.len(), memory.held(), memory.left()), (90, 100, 700));
        drop(frame);
        assert_eq!(memory.held(), 100);
        drop(other.slice(..3));
        drop(other);
        assert_eq!(memory.left(), 800);
    }

    #[test]
    fn pieces_count_as_they_come_and_go() {
        let memory = Memory::new(800);
        let mut arriving = Arriving::new(&memory);
        assert!(arriving.set(300) && arriving.set(401) && !arriving.set(401));
        assert_eq!((memory.held(), arriving.bytes(), memory.is_full_of_pieces()), (401, 401, true));
        let whole = memory.keep(vec![0; 350], 0);
        assert!(memory.is_short());
        assert!(!arriving.set(0));
        assert_eq!((memory.held(), memory.is_full_of_pieces(), memory.is_short()), (350, false, false));
        arriving.set(1000);
        assert_eq!(memory.left(), 0);
        drop((arriving, whole));
        assert_eq!(memory.left(), 800);
    }
}

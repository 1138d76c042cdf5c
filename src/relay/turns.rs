//! What takes much longer than passing a message on (letting somebody in, reading a great deal of one participant) goes
//! one after the other, and between two of them everybody else has their turn. So who talks waits for one such thing,
//! however many there are: a flood of connections or of bytes is slowed, and not those beside it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The line in which long work waits; each core takes from it.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }
}

impl Turns {
    /// Does something short without a pause in its turn, and then lets the others go first.
    pub(super) async fn take<T>(&self, work: impl FnOnce() -> T) -> T {
        let turn = self.0.acquire().await;
        let done = work();
        tokio::task::yield_now().await;
        drop(turn);
        done
    }
}

/// The place in line of one connection that brings much.
#[derive(Debug)]
pub(super) struct Turn {
    line: PollSemaphore,
    mine: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Not in line yet.
    pub(super) fn new(turns: &Turns) -> Self {
        Self { line: PollSemaphore::new(Arc::clone(&turns.0)), mine: None }
    }

    /// Waits for the turn.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.mine.is_none() {
            self.mine = ready!(self.line.poll_acquire(cx));
        }
        Poll::Ready(())
    }

    /// The others have gone: it is over.
    pub(super) fn end(&mut self) {
        self.mine = None;
    }
}

/// Wakes the task once everybody else has had a turn, and what has come from the network meanwhile was seen.
pub(super) fn rest(cx: &mut Context<'_>) {
    // The first poll only asks for that.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

//! The tasks of all participants' connections. None outlives the relay.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};

use tokio::task::JoinSet;

/// All connections of participants.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<JoinSet<()>>);

impl Connections {
    /// Starts one.
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawn(connection);
    }

    /// Forgets those that have ended.
    pub(super) fn sweep(&self) {
        let mut connections = self.lock();
        while connections.try_join_next().is_some() {}
    }

    /// When none is left.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            let mut connections = self.lock();
            while ready!(connections.poll_join_next(cx)).is_some() {}
            Poll::Ready(())
        })
        .await;
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends them all without a word.
    pub(super) fn abandon(&self) {
        self.lock().abort_all();
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

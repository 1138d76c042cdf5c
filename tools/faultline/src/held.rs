//! Requests that wait for somebody to release them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use crate::plan::Side;
use crate::target::Target;

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// By which it is released.
    pub id: u64,
    /// The door that it came through.
    pub client: String,
    /// What it is about.
    #[serde(flatten)]
    pub target: Target,
    /// On which side of the commit it waits.
    pub side: Side,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It is sent, or its answer is given.
    Forward,
    /// Its connection is closed.
    Drop,
}

/// All that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    inner: Mutex<Inner>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The last id that was given.
    last: u64,
    held: BTreeMap<u64, (Held, oneshot::Sender<Release>)>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is released.
    pub(crate) async fn hold(&self, client: &str, target: &Target, side: Side) -> Release {
        let (sender, released) = oneshot::channel();
        let id = {
            let mut inner = self.lock();
            inner.last += 1;
            let id = inner.last;
            let held = Held { id, client: client.to_owned(), target: target.clone(), side };
            inner.held.insert(id, (held, sender));
            id
        };
        let _gone = Gone { waiting: self, id };
        self.more.notify_waiters();
        released.await.unwrap_or(Release::Drop)
    }

    pub(crate) fn all(&self) -> Vec<Held> {
        self.lock().held.values().map(|(held, _)| held.clone()).collect()
    }

    /// Waits until there is one of this client.
    pub(crate) async fn next(&self, client: &str) -> Held {
        loop {
            let mut more = std::pin::pin!(self.more.notified());
            more.as_mut().enable();
            if let Some(held) = self.all().into_iter().find(|held| held.client == client) {
                return held;
            }
            more.await;
        }
    }

    /// Whether there was one of this id.
    pub(crate) fn release(&self, id: u64, release: Release) -> bool {
        let held = self.lock().held.remove(&id);
        held.is_some_and(|(_, sender)| sender.send(release).is_ok())
    }
}

/// Takes a request from the list however it ends.
struct Gone<'a> {
    waiting: &'a Waiting,
    id: u64,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.waiting.lock().held.remove(&self.id);
    }
}

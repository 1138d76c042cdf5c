//! Event streams of processes (lobbies and relays), followed for as long as their Pods are there: what each said last. A
//! stream that ends is dialled again; who says nothing for a while counts as not known, never as anything else.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::ControlClient;
use super::watch::{LobbyRef, PoolRef};
use crate::decide::backoff::Waits;
use crate::process::{clock, secret, sse};
use crate::wire::control::Server;
use crate::wire::stats::EVENTS_PATH;

/// Time for a connection and the head of the answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// A stream tells each second; one that is quiet for so long is dialled again.
const QUIET: Duration = Duration::from_secs(3);
/// Who has said nothing for so long is not known.
const SILENT_AFTER: Duration = Duration::from_secs(5);
/// Waits between attempts.
const WAITS: Waits = Waits { first: Duration::from_millis(200), longest: Duration::from_secs(2) };
/// Many changes within this time wake once: a relay may tell of a change each 20 ms.
const WAKE_GAP: Duration = Duration::from_millis(100);

/// Whose processes they are.
pub(crate) trait Owner: Clone + Eq + Hash + Send + Sync + 'static {
    /// What their control ports show that they are.
    fn server(&self) -> Server;
}

impl Owner for LobbyRef {
    fn server(&self) -> Server {
        Server::lobby(self.namespace.as_deref().unwrap_or_default(), &self.name)
    }
}

impl Owner for PoolRef {
    fn server(&self) -> Server {
        Server::pool(self.namespace.as_deref().unwrap_or_default(), &self.name)
    }
}

/// What is made of the events of one process.
pub(crate) trait Ear: Clone + Send + 'static {
    /// Whom a change concerns.
    type News: Send + 'static;

    /// Begins to listen.
    fn begin() -> Self;

    /// Takes an event. An error ends the stream: nothing of it is believed.
    fn hear(&mut self, event: &sse::Event) -> anyhow::Result<Vec<Self::News>>;

    /// Nothing was heard for so long that what was said before no longer counts.
    fn lose(&mut self) -> Vec<Self::News>;
}

/// Is told who is concerned by what was heard of an owner's process.
type Wake<K, E> = Arc<dyn Fn(&K, <E as Ear>::News) + Send + Sync>;

/// All streams that are followed, by the owners of the processes.
pub(crate) struct Streams<K, E: Ear> {
    control: ControlClient,
    wake: Wake<K, E>,
    ended: CancellationToken,
    owners: Mutex<HashMap<K, BTreeMap<String, Followed<E>>>>,
}

/// One process. Dropped, it is followed no more.
struct Followed<E> {
    address: SocketAddr,
    heard: Arc<Mutex<E>>,
    _stop: DropGuard,
}

impl<K: Owner, E: Ear> Streams<K, E> {
    /// None yet. All end with `ended`.
    pub(crate) fn new(
        control: ControlClient,
        wake: impl Fn(&K, E::News) + Send + Sync + 'static,
        ended: CancellationToken,
    ) -> Self {
        Self { control, wake: Arc::new(wake), ended, owners: Mutex::default() }
    }

    /// Follows these processes of an owner (control ports by the UIDs of their Pods) from now on, and no others; what was
    /// heard of each.
    pub(crate) fn follow(&self, owner: &K, processes: &BTreeMap<String, SocketAddr>) -> BTreeMap<String, E> {
        let mut owners = self.lock();
        if processes.is_empty() {
            owners.remove(owner);
            return BTreeMap::new();
        }
        let followed = owners.entry(owner.clone()).or_default();
        followed.retain(|uid, known| processes.get(uid) == Some(&known.address));
        for (uid, address) in processes {
            followed.entry(uid.clone()).or_insert_with(|| self.start(owner, *address));
        }
        heard(followed)
    }

    /// What was heard of an owner's processes.
    pub(crate) fn heard(&self, owner: &K) -> BTreeMap<String, E> {
        self.lock().get(owner).map(heard).unwrap_or_default()
    }

    /// Follows an owner no more.
    pub(crate) fn forget(&self, owner: &K) {
        self.lock().remove(owner);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, BTreeMap<String, Followed<E>>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, owner: &K, address: SocketAddr) -> Followed<E> {
        let (stop, heard) = (self.ended.child_token(), Arc::new(Mutex::new(E::begin())));
        let stream = Stream {
            control: self.control.clone(),
            url: self.control.url(&owner.server(), address, EVENTS_PATH),
            heard: Arc::clone(&heard),
            news: Mutex::default(),
            told: Notify::new(),
            wake: Arc::clone(&self.wake),
            owner: owner.clone(),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            futures::future::join(stream.keep(), stream.pass_on()).await;
        }));
        Followed { address, heard, _stop: stop.drop_guard() }
    }
}

fn heard<E: Clone>(followed: &BTreeMap<String, Followed<E>>) -> BTreeMap<String, E> {
    let heard = |known: &Followed<E>| known.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
    followed.iter().map(|(uid, known)| (uid.clone(), heard(known))).collect()
}

/// One stream.
struct Stream<K, E: Ear> {
    control: ControlClient,
    url: String,
    heard: Arc<Mutex<E>>,
    /// What was not passed on yet.
    news: Mutex<Vec<E::News>>,
    told: Notify,
    wake: Wake<K, E>,
    owner: K,
}

impl<K: Owner, E: Ear> Stream<K, E> {
    /// Listens, for ever.
    async fn keep(&self) {
        let (mut failures, mut last) = (0_u32, clock::monotonic());
        loop {
            let listened = self.listen(|| {
                last = clock::monotonic();
                failures = 0;
            });
            let Err(error) = listened.await;
            tracing::debug!(url = self.url, %error, "an event stream has ended");
            if clock::monotonic().saturating_sub(last) >= SILENT_AFTER {
                self.tell(self.ear().lose());
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(WAITS.after(failures, secret::random_fraction())).await;
        }
    }

    async fn listen(&self, mut told: impl FnMut()) -> anyhow::Result<std::convert::Infallible> {
        let answer = tokio::time::timeout(CONNECT_WITHIN, self.control.client().get(&self.url).send()).await??;
        let mut answer = answer.error_for_status()?;
        let mut events = sse::Events::default();
        loop {
            let piece = tokio::time::timeout(QUIET, answer.chunk()).await??;
            let piece = piece.ok_or_else(|| anyhow::anyhow!("it was closed"))?;
            for event in events.feed(&piece)? {
                let news = self.ear().hear(&event)?;
                told();
                self.tell(news);
            }
        }
    }

    fn tell(&self, news: Vec<E::News>) {
        if !news.is_empty() {
            self.news.lock().unwrap_or_else(PoisonError::into_inner).extend(news);
            self.told.notify_one();
        }
    }

    /// Wakes at once, and then not again for a moment.
    async fn pass_on(&self) {
        loop {
            self.told.notified().await;
            for news in std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner)) {
                (self.wake)(&self.owner, news);
            }
            tokio::time::sleep(WAKE_GAP).await;
        }
    }

    fn ear(&self) -> MutexGuard<'_, E> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;

//! The store of a lobby of one process: the session book, behind a lock that is held for no longer than one decision.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Away, Link, Links, Store, Via};
use crate::decide::cuts::Came;
use crate::decide::sessions::{
    Book, Dial, Grant, Home, Known, Limits, LinkUp, NotAsked, Order, Outrun, Party, Present, Recall, Refused, Seen,
    Session, Shift, Swept, View,
};
use crate::process::clock;
use crate::wire::link::Load;
use crate::wire::session::Guest;

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    book: Mutex<Book>,
    links: Links,
    changed: Notify,
}

/// The book while it is changed; that it was is told when this is dropped.
struct Change<'a> {
    book: MutexGuard<'a, Book>,
    changed: &'a Notify,
}

impl Deref for Change<'_> {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.book
    }
}

impl DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Book {
        &mut self.book
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.changed.notify_one();
    }
}

impl Memory {
    /// An empty store whose orders go to `links`.
    pub fn new(limits: Limits, links: Links) -> Self {
        let book = Mutex::new(Book::new(limits, clock::monotonic()));
        Self { book, links, changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> Change<'_> {
        Change { book: self.lock(), changed: &self.changed }
    }

    /// Takes a step of the book that orders follow from; they are sent before the next step can be taken.
    fn step(&self, step: impl FnOnce(&mut Book) -> Result<(Session, Vec<Order>), Refused>) -> Result<Session, Refused> {
        let mut book = self.change();
        let (session, orders) = step(&mut book)?;
        self.links.send(orders);
        Ok(session)
    }
}

#[async_trait]
impl Store for Memory {
    fn view(&self) -> Arc<View> {
        Arc::new(self.lock().view(clock::monotonic()))
    }

    fn changed(&self) -> &Notify {
        &self.changed
    }

    fn is_away(&self) -> bool {
        false
    }

    async fn run(&self, _shutdown: CancellationToken) {}

    async fn grant(&self, grant: Grant) -> Result<Result<Session, Refused>, Away> {
        Ok(self.step(|book| book.grant(grant, clock::monotonic())))
    }

    async fn shift(&self, shift: Shift) -> Result<Result<Session, Refused>, Away> {
        Ok(self.step(|book| book.shift(shift, clock::monotonic())))
    }

    async fn renew(&self, id: &str, epoch: u64) -> Result<Result<Session, Refused>, Away> {
        Ok(self.step(|book| book.renew(id, epoch, clock::monotonic())))
    }

    async fn meet(&self, session: &str, guest: Party) -> Result<Result<Session, Refused>, Away> {
        Ok(self.lock().meet(session, guest))
    }

    async fn rename(&self, id: &str, name: String) -> Result<Result<Session, Refused>, Away> {
        Ok(self.lock().rename(id, name))
    }

    async fn close(&self, id: &str) -> Result<(), Away> {
        let mut book = self.change();
        self.links.send(book.close(id, clock::monotonic()));
        Ok(())
    }

    async fn find(&self, id: &str) -> Result<Known, Away> {
        Ok(self.lock().find(id))
    }

    async fn recall(&self, key: &str, request: &str) -> Result<Recall, Away> {
        Ok(self.lock().recall(key, request, clock::monotonic()))
    }

    async fn ask(
        &self,
        session: &str,
        guest: &str,
        name: Option<&str>,
        at: i64,
    ) -> Result<Result<Guest, NotAsked>, Away> {
        Ok(self.lock().ask(session, guest, name, at, clock::monotonic()))
    }

    async fn admit(&self, session: &str, guest: &str, approve: bool) -> Result<Option<Guest>, Away> {
        Ok(self.lock().admit(session, guest, approve, clock::monotonic()))
    }

    async fn look(&self, ids: &[String]) -> Result<Vec<Seen>, Away> {
        let (book, now) = (self.lock(), clock::monotonic());
        Ok(ids.iter().map(|id| book.look(id, now)).collect())
    }

    async fn line(&self, _here: &[Duration]) -> Result<Vec<Duration>, Away> {
        Ok(Vec::new())
    }

    async fn page(&self, after: Option<(i64, String)>, limit: usize) -> Result<Vec<Session>, Away> {
        Ok(self.lock().page(after.as_ref(), limit).into_iter().cloned().collect())
    }

    async fn open_on(&self, pod_uid: &str, limit: usize) -> Result<Vec<Session>, Away> {
        Ok(self.lock().open_on(pod_uid, limit).into_iter().cloned().collect())
    }

    async fn dial(&self) -> Result<Dial, Away> {
        Ok(self.lock().dial())
    }

    async fn link_up(&self, up: LinkUp, link: Link) -> Result<Result<(), Outrun>, Away> {
        let mut book = self.change();
        let linked = self.links.put(&up.home.pod_uid, link).and_then(|()| book.link_up(up, clock::monotonic()));
        Ok(linked.map(|orders| self.links.send(orders)))
    }

    async fn link_down(&self, via: Via<'_>) {
        let mut book = self.change();
        self.links.remove(via.pod_uid, via.link);
        book.link_down(via.pod_uid, via.link);
    }

    async fn load(&self, via: Via<'_>, load: Load) -> Result<(), Away> {
        self.change().load(via.pod_uid, via.link, load, clock::monotonic());
        Ok(())
    }

    async fn leave(&self, pod_uid: &str, leave: bool) -> Result<bool, Away> {
        let book = self.lock();
        let order = book.leave(pod_uid, leave, clock::monotonic());
        let told = order.is_some();
        self.links.send(order);
        Ok(told)
    }

    async fn keys(&self, via: Via<'_>, keys: &[String]) -> Result<(), Away> {
        self.change().keys(via.pod_uid, via.link, keys.to_vec(), clock::monotonic());
        Ok(())
    }

    fn keys_of(&self, home: &Home) -> Vec<String> {
        self.lock().keys_of(home).to_vec()
    }

    async fn opened(&self, via: Via<'_>, session: &str, epoch: u64) -> Result<(), Away> {
        let mut book = self.change();
        self.links.send(book.opened(via.pod_uid, via.link, session, epoch, clock::monotonic()));
        Ok(())
    }

    async fn came(&self, via: Via<'_>, came: &[Came]) -> Result<(), Away> {
        self.change().came(via.pod_uid, via.link, came, clock::monotonic());
        Ok(())
    }

    async fn present(&self, via: Via<'_>, present: &[Present], at: i64) -> Result<(), Away> {
        self.lock().present(via.pod_uid, via.link, present, at, clock::monotonic());
        Ok(())
    }

    async fn ended(&self, via: Via<'_>, session: &str, epoch: u64) -> Result<(), Away> {
        self.change().ended(via.pod_uid, via.link, session, epoch, clock::monotonic());
        Ok(())
    }

    async fn sweep(&self) -> Result<Swept, Away> {
        let mut book = self.change();
        let expired = book.sweep(clock::monotonic());
        let (leased, open) = book.counts();
        Ok(Swept { expired, leased, open })
    }
}

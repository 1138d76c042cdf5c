//! Where sessions, seats and answers are kept. The lobby looks at a view of its relays and chooses; the store alone
//! grants, in one step that no other lobby process can come between.
//!
//! What a store's operations mean is written down once, by [`crate::decide::sessions::Book`]; every store does the same.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::decide::cuts::Came;
use crate::decide::sessions::{
    Dial, Grant, Home, Known, LinkUp, NotAsked, Outrun, Party, Present, Recall, Refused, Seen, Session, Shift, Swept,
    View,
};
use crate::wire::link::Load;
use crate::wire::session::Guest;

mod links;
mod memory;
mod redis;
mod shelf;

pub use links::{Link, Links};
pub use memory::Memory;
pub use redis::{Files, Redis, Settings, Unusable};
pub use shelf::{Changed, Shelf, Wrote};

/// The store cannot be asked now, or has lost what it knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store is not available")]
pub struct Away;

/// A relay and its link, of which it says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// UID of the relay's Pod.
    pub pod_uid: &'a str,
    /// Number of its link.
    pub link: u64,
}

/// A store. Orders that follow from an operation reach the relays' links by themselves, in their order.
#[async_trait]
pub trait Store: Debug + Send + Sync {
    /// All relays as far as is known now, without asking anybody. May be a little old, and takes its time where there are
    /// many: choices are made by the lobby's board.
    fn view(&self) -> Arc<View>;

    /// Notified when a view may show something else than the one before.
    fn changed(&self) -> &Notify;

    /// Whether it can be asked now, as far as is known. While it cannot, nothing that runs is touched.
    fn is_away(&self) -> bool;

    /// Where what clients have measured is kept for all processes; none = this one remembers alone.
    fn shelf(&self) -> Option<&dyn Shelf> {
        None
    }

    /// What the store must do all the time, until `shutdown`.
    async fn run(&self, shutdown: CancellationToken);

    /// Begins a session at its home, and keeps the answer under the request's key, or does neither.
    async fn grant(&self, grant: Grant) -> Result<Result<Session, Refused>, Away>;

    /// Moves a session, if it still has the epoch that the mover knows. Its old relay is told.
    async fn shift(&self, shift: Shift) -> Result<Result<Session, Refused>, Away>;

    /// Lets somebody join a session where it is: a lease starts anew.
    async fn renew(&self, id: &str, epoch: u64) -> Result<Result<Session, Refused>, Away>;

    /// A guest joins a session, and it is known where it is.
    async fn meet(&self, session: &str, guest: Party) -> Result<Result<Session, Refused>, Away>;

    /// Gives a session another name.
    async fn rename(&self, id: &str, name: String) -> Result<Result<Session, Refused>, Away>;

    /// Closes a session for good.
    async fn close(&self, id: &str) -> Result<(), Away>;

    /// What is known of a session id.
    async fn find(&self, id: &str) -> Result<Known, Away>;

    /// What was answered under a key (hashes of key and request).
    async fn recall(&self, key: &str, request: &str) -> Result<Recall, Away>;

    /// A guest (its id, its name, the seconds since 1970) asks to be let into a session, or asks again: what the host has
    /// said of it.
    async fn ask(
        &self,
        session: &str,
        guest: &str,
        name: Option<&str>,
        at: i64,
    ) -> Result<Result<Guest, NotAsked>, Away>;

    /// The host has decided on a guest; none = no such session or guest.
    async fn admit(&self, session: &str, guest: &str, approve: bool) -> Result<Option<Guest>, Away>;

    /// Sessions and their guests at one moment, in the order of the ids.
    async fn look(&self, ids: &[String]) -> Result<Vec<Seen>, Away>;

    /// Says how long those have waited who wait for a seat at this lobby process, and hears how long those at others have;
    /// looks at the relays anew where somebody waits here. Said a few times a second: a process that says nothing is gone.
    async fn line(&self, here: &[Duration]) -> Result<Vec<Duration>, Away>;

    /// Up to `limit` sessions that come after `after` (creation time and id), oldest first.
    async fn page(&self, after: Option<(i64, String)>, limit: usize) -> Result<Vec<Session>, Away>;

    /// Up to `limit` open sessions of the relay of a Pod.
    async fn open_on(&self, pod_uid: &str, limit: usize) -> Result<Vec<Session>, Away>;

    /// Numbers a relay's dial. Before the relay is answered, so that whatever it says comes later.
    async fn dial(&self) -> Result<Dial, Away>;

    /// A relay has linked up here: what it holds is taken in before anything is granted there, unless a later dial of it
    /// was taken in already.
    async fn link_up(&self, up: LinkUp, link: Link) -> Result<Result<(), Outrun>, Away>;

    /// A link has ended.
    async fn link_down(&self, via: Via<'_>);

    /// A relay reports its load.
    async fn load(&self, via: Via<'_>, load: Load) -> Result<(), Away>;

    /// Orders the relay of a Pod to leave, or to stay after all, by whichever lobby process has its link; false = none has.
    async fn leave(&self, pod_uid: &str, leave: bool) -> Result<bool, Away>;

    /// A relay has other keys of the lobby.
    async fn keys(&self, via: Via<'_>, keys: &[String]) -> Result<(), Away>;

    /// The keys of the lobby that a relay has, as far as is known now, without asking anybody; none if it has not said.
    fn keys_of(&self, home: &Home) -> Vec<String>;

    /// The first participant of a session has connected.
    async fn opened(&self, via: Via<'_>, session: &str, epoch: u64) -> Result<(), Away>;

    /// Participants have come to sessions that have moved to this relay.
    async fn came(&self, via: Via<'_>, came: &[Came]) -> Result<(), Away>;

    /// A relay names those who are in its sessions, at so many seconds since 1970.
    async fn present(&self, via: Via<'_>, present: &[Present], at: i64) -> Result<(), Away>;

    /// A relay does not hold a session (any more).
    async fn ended(&self, via: Via<'_>, session: &str, epoch: u64) -> Result<(), Away>;

    /// Ends what is over: leases, sessions of lost relays, keys. Every lobby process may do it at any time.
    async fn sweep(&self) -> Result<Swept, Away>;
}

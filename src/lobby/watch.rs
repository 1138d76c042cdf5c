//! Sessions that somebody follows: event streams, and guests that wait for their host. A few looks at the store in a second
//! serve all of them, whichever lobby process made the change; a change that was made here is looked at at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::state::Lobby;
use crate::decide::sessions::{Known, Seen};

/// How often it is looked while somebody follows.
const EVERY: Duration = Duration::from_millis(250);
/// Shortest time between two looks.
const GAP: Duration = Duration::from_millis(20);

/// How a session stands; none until it was looked at.
pub(super) type Following = watch::Receiver<Option<Arc<Seen>>>;

/// What is followed in this lobby process.
#[derive(Debug, Default)]
pub(super) struct Watch {
    followed: Mutex<HashMap<String, watch::Sender<Option<Arc<Seen>>>>>,
    changed: Notify,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Option<Arc<Seen>>>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a session until the value is dropped. What was seen of it before counts as new.
    pub(super) fn follow(&self, session: &str) -> Following {
        let mut followed = self.lock();
        let sender = followed.entry(session.to_owned()).or_insert_with(|| watch::Sender::new(None));
        let mut following = sender.subscribe();
        following.mark_changed();
        drop(followed);
        self.look();
        following
    }

    /// Something has changed here: it is worth a look.
    pub(super) fn look(&self) {
        self.changed.notify_one();
    }

    /// Those that somebody still follows.
    fn ids(&self) -> Vec<String> {
        let mut followed = self.lock();
        followed.retain(|_, sender| sender.receiver_count() > 0);
        followed.keys().cloned().collect()
    }

    fn tell(&self, session: &str, seen: Seen) {
        let followed = self.lock();
        let Some(sender) = followed.get(session) else { return };
        sender.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(&seen);
            if is_new {
                *known = Some(Arc::new(seen));
            }
            is_new
        });
    }
}

/// Looks at what is followed, until `shutdown`.
pub(super) async fn run(lobby: &Lobby, shutdown: &CancellationToken) {
    let rounds = async {
        loop {
            let ids = lobby.watch.ids();
            if ids.is_empty() {
                lobby.watch.changed.notified().await;
                continue;
            }
            round(lobby, &ids).await;
            tokio::time::sleep(GAP).await;
            let _ = tokio::time::timeout(EVERY, lobby.watch.changed.notified()).await;
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

async fn round(lobby: &Lobby, ids: &[String]) {
    // While the store is away all stays as it was.
    let Ok(all) = lobby.store.look(ids).await else { return };
    let whole = lobby.table().is_some_and(|table| lobby.store.view().is_whole(&table.table));
    for (id, seen) in ids.iter().zip(all) {
        // What is not known while relays have yet to tell has not ended.
        if whole || seen.known != Known::Nothing {
            lobby.watch.tell(id, seen);
        }
    }
}

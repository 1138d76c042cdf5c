//! Moves sessions off relays that are to leave, by the table or by their own word: one by one, only where another relay has
//! room, and again each second while there are some left. It begins at once when a relay is to leave, and stops with the next
//! session when that is taken back. A relay that is only cordoned keeps its sessions.
//!
//! And moves a session when a guest joins it to whom, with all others, another pool is clearly nearer.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::guests::Asking;
use super::service::TRIES;
use super::state::Lobby;
use super::store::Away;
use super::table::Table;
use crate::decide::sessions::{Choice, Known, Party, Session, Shift, Standing, is_known};
use crate::process::clock;

/// How often relays that are to leave are looked after.
const EVERY: Duration = Duration::from_secs(1);
/// Sessions of one relay that move in one round.
const AT_ONCE: usize = 500;

/// Moves what must move, until `shutdown`.
pub(super) async fn run(lobby: &Lobby, shutdown: &CancellationToken) {
    let rounds = async {
        loop {
            let _ = timeout(EVERY, lobby.leaving.notified()).await;
            // Without the store nothing moves; it is tried again.
            let _ = round(lobby).await;
        }
    };
    shutdown.run_until_cancelled(rounds).await;
}

impl Lobby {
    /// A guest comes in. Where it is known to be is kept while it is there, and if another pool is clearly nearer to all now, the
    /// session moves. None of this keeps a guest out: without the store, or without room, the session is as it was.
    pub(super) async fn meet(&self, table: &Table, session: Session, asking: &Asking) -> Session {
        if !session.minds_guests(table.table.routing.strategy) {
            return session;
        }
        let place = asking.place(&self.origins, &table.table);
        self.metrics.guest_places.with_label_values(&[if is_known(place) { "known" } else { "unknown" }]).inc();
        if !is_known(place) {
            return session;
        }
        let at = clock::unix_seconds();
        let guest = Party::new(asking.id(), place.clone(), &table.table, at);
        let Ok(Ok(session)) = self.store.meet(&session.id, guest).await else { return session };
        let Some(Choice { chosen, wanted, home, capacity }) = self.board().for_guests(&session, at) else {
            return session;
        };
        let shift = Shift { id: session.id.clone(), from: session.epoch, home, capacity, at };
        match self.store.shift(shift).await {
            Ok(Ok(moved)) => {
                self.metrics.moves.with_label_values(&["guests"]).inc();
                self.placed(&table.table, &moved, chosen, wanted);
                self.watch.look();
                moved
            }
            // There was no room, or somebody else moved it: whoever joins next sees to it.
            Ok(Err(_)) | Err(Away) => session,
        }
    }
}

async fn round(lobby: &Lobby) -> Result<(), Away> {
    let Some(table) = lobby.table() else { return Ok(()) };
    let leaving = lobby.store.view().leaving(&table.table);
    // Relays that are linked elsewhere are looked after there.
    for pod_uid in leaving.iter().filter(|pod_uid| lobby.links.has(pod_uid)) {
        for session in lobby.store.open_on(pod_uid, AT_ONCE).await? {
            if !leave(lobby, session).await? {
                break;
            }
        }
    }
    Ok(())
}

/// Moves a session; false = there is no room for it now.
async fn leave(lobby: &Lobby, mut session: Session) -> Result<bool, Away> {
    for _ in 0..TRIES {
        // The one of this moment: what is taken back moves nobody any more.
        let Some(table) = lobby.table() else { return Ok(false) };
        if lobby.store.view().standing(&table.table, &session) != Standing::Leaving {
            return Ok(true);
        }
        match lobby.settle(&table, session.clone(), None).await {
            Ok(Some(settled)) => return Ok(settled.epoch > session.epoch),
            Err(_) => return Ok(false),
            // The relay that was chosen has filled up, or the session has changed meanwhile.
            Ok(None) => match lobby.store.find(&session.id).await? {
                Known::Live(now) => session = *now,
                Known::Closed { .. } | Known::Nothing => return Ok(true),
            },
        }
    }
    Ok(false)
}

//! Moves sessions off relays that are to leave, by the table or by their own word: one by one, only where another relay has
//! room, and again each second while there are some left. It begins at once when a relay is to leave, and stops with the next
//! session when that is taken back. A relay that is only cordoned keeps its sessions.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::service::TRIES;
use super::state::Lobby;
use super::store::Away;
use crate::decide::sessions::{Known, Session, Standing};

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

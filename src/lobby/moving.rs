//! Moves sessions off relays that are to leave, by the table or by their own word: one by one, only where another relay has
//! room, and again each second while there are some left. It begins at once when a relay is to leave, and stops with the next
//! session when that is taken back. A relay that is only cordoned keeps its sessions.
//!
//! And moves a session when somebody joins it whose relay is lost or to leave, or a guest to whom, with all others, another pool is
//! clearly nearer.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::guests::Asking;
use super::problem::Refusal;
use super::service::TRIES;
use super::state::Lobby;
use super::store::Away;
use super::table::Table;
use crate::decide::sessions::{Asked, Board, Choice, Known, NoSeat, Session, Shift, Standing, Try};
use crate::process::clock;
use crate::wire::session::SessionState;

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
        let now = self.boards.now();
        let board = &now.board;
        if !board.minds_guests(&session) {
            return session;
        }
        let place = asking.place(&self.origins, &table.table);
        let is_known = board.knows(place);
        self.metrics.guest_places.with_label_values(&[if is_known { "known" } else { "unknown" }]).inc();
        if !is_known {
            return session;
        }
        let at = clock::unix_seconds();
        let guest = session.guest(asking.id(), place.clone(), &board.table, at);
        let Ok(Ok(session)) = self.store.meet(&session.id, guest).await else { return session };
        let now = self.boards.now();
        let choice = now.board.for_guests(&session, Try { at, attempt: 0, asked: &now.asked });
        let Some(choice) = choice else { return session };
        match self.shift(session.clone(), choice, "guests").await {
            Ok(Some(moved)) => {
                self.watch.look();
                moved
            }
            // There was no room, or somebody else moved it: whoever joins next sees to it.
            Ok(None) | Err(Away) => session,
        }
    }

    /// Makes sure that a session has a seat, here or elsewhere; none = what was known has changed meanwhile, and it is to be tried
    /// again. `lost` as in [`Board::way`].
    pub(super) async fn settle(
        &self,
        session: Session,
        lost: Option<u64>,
        attempt: usize,
    ) -> Result<Option<Session>, Refusal> {
        let find = |board: &Board, asked: &Asked| {
            let now = Try { at: clock::unix_seconds(), attempt: attempt as u64, asked };
            let standing = board.view.standing(&board.table, &session);
            Ok::<_, NoSeat>((board.way(&session, lost, now)?, standing))
        };
        let mut way = self.look(attempt > 0, find);
        // Nobody is refused by a board that may be old, and who comes from a relay that it has lost may know more than it.
        let is_lost = lost == Some(session.epoch);
        if attempt == 0 && way.as_ref().map_or(true, |(choice, _)| choice.is_none() && is_lost) {
            way = self.look(true, find);
        }
        match way? {
            (None, _) if session.state == SessionState::Open => Ok(Some(session)),
            (None, _) => Ok(self.store.renew(&session.id, session.epoch).await?.ok()),
            (Some(choice), Standing::Leaving) => Ok(self.shift(session, choice, "drain").await?),
            (Some(choice), Standing::Serves | Standing::Lost) => Ok(self.shift(session, choice, "relay_lost").await?),
        }
    }

    /// Moves a session; none = the relay takes it no more, or the session has changed meanwhile.
    pub(super) async fn shift(
        &self,
        session: Session,
        choice: Choice,
        cause: &'static str,
    ) -> Result<Option<Session>, Away> {
        let Choice { chosen, wakes, home, capacity } = choice;
        let asked = self.boards.ask(&home.pod_uid);
        let shift = Shift { id: session.id, from: session.epoch, home, capacity, at: clock::unix_seconds() };
        let moved = self.store.shift(shift).await?.ok();
        drop(asked);
        if let Some(session) = &moved {
            self.metrics.moves.with_label_values(&[cause]).inc();
            self.placed(session, chosen, wakes);
        }
        Ok(moved)
    }
}

async fn round(lobby: &Lobby) -> Result<(), Away> {
    let board = lobby.new_board();
    let leaving = board.view.leaving(&board.table);
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
    for attempt in 0..TRIES {
        // The board of now: what is taken back moves nobody any more.
        let board = lobby.board();
        if board.view.standing(&board.table, &session) != Standing::Leaving {
            return Ok(true);
        }
        match lobby.settle(session.clone(), None, attempt).await {
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

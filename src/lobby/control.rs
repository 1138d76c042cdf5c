//! What a session's host and the admin can do with it while it runs: give it a name, move it.

use std::time::Duration;

use super::problem::Refusal;
use super::service::{TRIES, check_name, live};
use super::state::Lobby;
use crate::decide::sessions::{Asked, Board, NoSeat, Session, Target, Try, readdressed};
use crate::decide::waiting::Wish;
use crate::process::clock;
use crate::wire::session::{ClientPlace, MoveSession, RenameSession, SessionView};

impl Lobby {
    /// Gives a session another name.
    pub(super) async fn rename(
        &self,
        id: &str,
        bearer: Option<&str>,
        request: RenameSession,
    ) -> Result<SessionView, Refusal> {
        self.controlled(id, bearer).await?;
        check_name(Some(&request.name))?;
        let renamed = self.store.rename(id, request.name).await?;
        // It ended meanwhile: the same as if it had ended before.
        let Ok(session) = renamed else { return Err(self.gone(bearer)) };
        self.watch.look();
        Ok(session.view())
    }

    /// Moves a session to where it is wanted, as soon as there is room within `wait`; there already, it stays.
    pub(super) async fn relocate(
        &self,
        id: &str,
        bearer: Option<&str>,
        request: MoveSession,
        wait: Duration,
    ) -> Result<SessionView, Refusal> {
        let session = self.controlled(id, bearer).await?;
        let target = Target::of(request).map_err(|detail| Refusal::invalid_body(detail.to_owned()))?;
        let mut patience = self.patience(wait);
        loop {
            match self.try_to_relocate(id, bearer, &target).await {
                Err(refusal) => patience.again(refusal, || self.wish_of(&session, &target)).await?,
                Ok(view) => {
                    self.watch.look();
                    return Ok(view);
                }
            }
        }
    }

    async fn try_to_relocate(&self, id: &str, bearer: Option<&str>, target: &Target) -> Result<SessionView, Refusal> {
        for attempt in 0..TRIES {
            // Each time anew: it may have changed or ended, or the relay that was chosen has filled up.
            let session = self.controlled(id, bearer).await?;
            let table = self.table().ok_or(NoSeat::NoRelay)?;
            let toward = |board: &Board, asked: &Asked| {
                board.toward(&session, target, Try { at: clock::unix_seconds(), attempt: attempt as u64, asked })
            };
            let Some(choice) = self.look(true, toward)? else {
                return Ok(readdressed(session, &table.table).view());
            };
            if let Some(moved) = self.shift(session, choice, "asked").await? {
                return Ok(moved.view());
            }
        }
        Err(NoSeat::NoCapacity.into())
    }

    /// What somebody who may go to `target` waits for.
    pub(super) fn wish(&self, place: &ClientPlace, target: &Target) -> Option<Wish> {
        Wish::of(&self.board(), place, target)
    }

    /// What a session waits for that may go to `target`.
    pub(super) fn wish_of(&self, session: &Session, target: &Target) -> Option<Wish> {
        let board = self.board();
        Wish::of(&board, &board.place_of(session), target)
    }

    /// A session, for its host or the admin.
    pub(super) async fn controlled(&self, id: &str, bearer: Option<&str>) -> Result<Session, Refusal> {
        let session = live(self.store.find(id).await?);
        let allowed = self.may_control(session.as_ref(), bearer);
        allowed.map_err(|refusal| self.or_rebuilding(self.table().as_deref(), refusal))?;
        session.ok_or(Refusal::not_found())
    }

    fn gone(&self, bearer: Option<&str>) -> Refusal {
        self.may_control(None, bearer).err().unwrap_or(Refusal::not_found())
    }
}

//! Where a session goes when somebody asks that it move: to a region, to a pool, or to where it is best.
//!
//! A session that is already where it is wanted stays, so that a request that is repeated moves it once.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Board, Choice, NoSeat, Session, Standing, Try};
use crate::decide::route::{self, Ask, RelayState};
use crate::wire::session::MoveSession;
use crate::wire::table::{PoolEntry, RelayTable};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The pool that is best by the places of the host and of guests that are known.
    Best,
    /// Any pool of a region.
    Region(String),
    /// One pool.
    Pool(String),
}

/// Why a session does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMove {
    /// No pool of the lobby is in this region.
    NoSuchRegion,
    /// The lobby has no pool of this name.
    NoSuchPool,
    /// The session must reside elsewhere.
    OtherResidency,
    /// There is no room where it is wanted.
    NoSeat(NoSeat),
}

impl Target {
    /// What a request asks for; an error names the field and what to do.
    pub fn of(request: MoveSession) -> Result<Self, &'static str> {
        match request {
            MoveSession { region: None, pool: None } => Ok(Self::Best),
            MoveSession { region: Some(region), pool: None } if route::is_region_name(&region) => {
                Ok(Self::Region(region))
            }
            MoveSession { region: None, pool: Some(pool) } if route::is_region_name(&pool) => Ok(Self::Pool(pool)),
            MoveSession { region: Some(_), pool: None } => Err("region: must be 1 to 63 printable ASCII characters"),
            MoveSession { region: None, pool: Some(_) } => Err("pool: must be 1 to 63 printable ASCII characters"),
            MoveSession { region: Some(_), pool: Some(_) } => Err("pool: give a region or a pool, not both"),
        }
    }

    fn admits(&self, pool: &PoolEntry) -> bool {
        match self {
            Self::Best => true,
            Self::Region(region) => pool.region == *region,
            Self::Pool(name) => pool.name == *name,
        }
    }

    /// The board with those pools alone that may be gone to.
    pub fn narrow<'a>(&self, board: &'a Board) -> Cow<'a, Board> {
        if *self == Self::Best {
            return Cow::Borrowed(board);
        }
        let pools = board.table.pools.iter().filter(|pool| self.admits(pool)).cloned().collect();
        let table = RelayTable { pools, ..RelayTable::clone(&board.table) };
        Cow::Owned(Board::new(Arc::new(table), Arc::clone(&board.view)))
    }

    const fn nowhere(&self) -> NoMove {
        match self {
            Self::Best => NoMove::NoSeat(NoSeat::NoRelay),
            Self::Region(_) => NoMove::NoSuchRegion,
            Self::Pool(_) => NoMove::NoSuchPool,
        }
    }
}

impl Board {
    /// Where a session goes that is wanted at `target`; none = it is there already.
    pub fn toward(&self, session: &Session, target: &Target, now: Try<'_>) -> Result<Option<Choice>, NoMove> {
        // Where its host is, all pools tell, not only those that it may go to.
        let host = self.place_of(session);
        let board = target.narrow(self);
        let pools = board.pools();
        if pools.is_empty() {
            return Err(target.nowhere());
        }
        if host.residency.is_some() && !pools.iter().any(|pool| pool.residency() == host.residency.as_deref()) {
            return Err(NoMove::OtherResidency);
        }
        let asked = board.in_flight(now.asked);
        let ask = session.ask(&host, now, &asked);
        if board.view.standing(&board.table, session) == Standing::Serves && board.is_best(session, &ask) {
            return Ok(None);
        }
        board.choose_among(pools, &ask).map(Some).map_err(NoMove::NoSeat)
    }

    /// Whether no pool with room is clearly better than the one where the session has its seat. A relay that takes no new
    /// sessions is none to stay at for a session that is asked to move.
    fn is_best(&self, session: &Session, ask: &Ask<'_>) -> bool {
        let Some((home, relay)) = self.relay_of(&session.home.pod_uid) else { return false };
        let seat = self.pools().get(home).and_then(|pool| pool.relays().get(relay));
        if seat.is_none_or(|seat| seat.state != RelayState::Serving) {
            return false;
        }
        route::may_stay(&self.without_own_seat(home, relay), home, ask, &self.table.routing)
    }
}

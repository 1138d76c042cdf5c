//! Where a session goes when somebody asks that it move: to a region, to a pool, or to where it is best.
//!
//! A session that is already where it is wanted stays, so that a request that is repeated moves it once.

use super::{Choice, NoSeat, Session, Standing, View, place_of};
use crate::decide::route::{self, Pools, Relay, RelayState, Terms};
use crate::wire::session::MoveSession;
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

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

    /// The table with those pools alone that may be gone to.
    pub fn narrow(&self, table: &RelayTable) -> RelayTable {
        let pools = table.pools.iter().filter(|pool| self.admits(pool)).cloned().collect();
        RelayTable { pools, ..table.clone() }
    }

    const fn nowhere(&self) -> NoMove {
        match self {
            Self::Best => NoMove::NoSeat(NoSeat::NoRelay),
            Self::Region(_) => NoMove::NoSuchRegion,
            Self::Pool(_) => NoMove::NoSuchPool,
        }
    }
}

impl View {
    /// Where a session goes that is wanted at `target`; none = it is there already.
    pub fn toward(&self, table: &RelayTable, session: &Session, target: &Target) -> Result<Option<Choice>, NoMove> {
        let table = target.narrow(table);
        if table.pools.is_empty() {
            return Err(target.nowhere());
        }
        let resides = |pool: &PoolEntry, residency| {
            Terms::of(&table.routing, &pool.region).residency.as_deref() == Some(residency)
        };
        if let Some(residency) = place_of(&table, session).residency.as_deref()
            && !table.pools.iter().any(|pool| resides(pool, residency))
        {
            return Err(NoMove::OtherResidency);
        }
        if self.standing(&table, session) == Standing::Serves && self.is_best(&table, session) {
            return Ok(None);
        }
        self.choose_anew(&table, session).map(Some).map_err(NoMove::NoSeat)
    }

    /// Whether no pool with room is clearly better than the one where the session has its seat. A relay that takes no new
    /// sessions is none to stay at for a session that is asked to move.
    fn is_best(&self, table: &RelayTable, session: &Session) -> bool {
        let Some((home, relay)) = seat_of(table, session) else { return false };
        let pools = self.pools(table);
        let state = pools.get(home).and_then(|pool| pool.relays().get(relay)).map(|seat| seat.state);
        if state != Some(RelayState::Serving) {
            return false;
        }
        let pools = without_own_seat(pools, home, relay);
        route::may_stay(&pools, home, &session.ask(&place_of(table, session)), &table.routing)
    }
}

/// Where in the table a session has its seat: which pool, and which of its relays.
fn seat_of(table: &RelayTable, session: &Session) -> Option<(usize, usize)> {
    let here = |relay: &RelayEntry| relay.pod_uid == session.home.pod_uid;
    let of = |(at, pool): (usize, &PoolEntry)| Some((at, pool.relays.iter().position(here)?));
    table.pools.iter().enumerate().find_map(of)
}

/// The pools, as if a session had not taken its seat: others must not look better only because home is full with it.
pub(super) fn without_own_seat(pools: Pools, home: usize, relay: usize) -> Pools {
    let Some(seat) = pools.get(home).and_then(|pool| pool.relays().get(relay)) else { return pools };
    let free = Relay { used: seat.used.min(seat.capacity).saturating_sub(1), ..seat.clone() };
    pools.with_relay(home, relay, free)
}

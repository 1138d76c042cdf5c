//! Where a session goes that lives already: because somebody joins it, because its relay is to leave, or because it has lost
//! its relay.

use std::time::Duration;

use super::{Asked, Board, Choice, NoSeat, Session, Standing};
use crate::decide::route::{self, Ask, InFlight, Pools, Relay, RelayState, Terms};
use crate::wire::routing::Strategy;
use crate::wire::session::ClientPlace;

/// One try at placing a session that lives.
#[derive(Clone, Copy, Debug)]
pub struct Try<'a> {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Which it is, from 0: another relay may be drawn than the one that has refused.
    pub attempt: u64,
    /// Seats that were asked for meanwhile.
    pub asked: &'a Asked,
}

impl Session {
    /// What is asked for it, wherever it goes: a relay for its host, which is at `host`, and for those guests that are there or on
    /// their way.
    pub(super) fn ask<'a>(&'a self, host: &'a ClientPlace, now: Try<'_>, asked: &'a [InFlight]) -> Ask<'a> {
        let guests = self.parties.iter().filter(|guest| guest.may_be_there(now.at)).map(|guest| &guest.place);
        let parties = std::iter::once(host).chain(guests).collect();
        // Epochs are small, and so are attempts.
        let draw = route::draw(&self.id, self.epoch | (now.attempt << 32));
        Ask { parties, draw, asked, ..Ask::of(host) }
    }
}

impl Board {
    /// Whether it is known at all where a client is: how far it is from any pool.
    pub fn knows(&self, place: &ClientPlace) -> bool {
        route::is_known(self.pools(), place)
    }

    /// Whether a guest's place would say something of where a session is best: its host's is known, and counts not alone.
    pub fn minds_guests(&self, session: &Session) -> bool {
        self.table.routing.strategy != Strategy::Host && self.knows(&session.place)
    }

    /// Where a session is wanted: where its host is. Of a host of whose place nothing is known (not told, forgotten with a restart,
    /// or of no pool that there is), near where it was.
    pub fn place_of(&self, session: &Session) -> ClientPlace {
        let told = &session.place;
        if self.knows(told) {
            return told.clone();
        }
        // What was forgotten may have named a residency: it stays in that of where it is.
        let of_home = || Terms::of(&self.table.routing, &session.home.region).residency;
        let residency = if *told == ClientPlace::default() { of_home() } else { told.residency.clone() };
        ClientPlace { location: Some(session.home.point), residency, ..ClientPlace::default() }
    }

    /// Where a session goes when somebody joins it, or its relay is to leave; none = it stays where it is. `lost` = the
    /// epoch under which whoever joins has lost its connection: when the relay's link is gone as well, or was silent for
    /// half of the time that it may be, nobody waits for the rest. Should the relay live all the same, it is told that the
    /// session has moved.
    pub fn way(&self, session: &Session, lost: Option<u64>, now: Try<'_>) -> Result<Option<Choice>, NoSeat> {
        let silent = self.view.silent / 2;
        let lost_run = self.view.run_of(session).filter(|_| lost == Some(session.epoch));
        if lost_run.is_some_and(|run| run.silence > silent) {
            // Nor to another that may be as silent, if there is one that is not.
            let heard = self.pools_heard_within(silent);
            if let Ok(choice) = self.choose_anew(&heard, session, now) {
                return Ok(Some(choice));
            }
        }
        let gone = lost_run.is_some_and(|run| !run.linked);
        match if gone { Standing::Lost } else { self.view.standing(&self.table, session) } {
            Standing::Serves => Ok(None),
            // Better where it is than nowhere.
            Standing::Leaving => Ok(self.choose_anew(self.pools(), session, now).ok()),
            Standing::Lost => self.choose_anew(self.pools(), session, now).map(Some),
        }
    }

    fn choose_anew(&self, pools: &Pools, session: &Session, now: Try<'_>) -> Result<Choice, NoSeat> {
        let asked = self.in_flight(now.asked);
        self.choose_among(pools, &session.ask(&self.place_of(session), now, &asked))
    }

    /// Its pools, as if relays that were not heard for so long were silent for too long.
    fn pools_heard_within(&self, silent: Duration) -> Pools {
        let quiet = self.view.runs.iter().filter(|(_, run)| run.silence > silent);
        let seats = quiet.filter_map(|(pod_uid, _)| self.relay_of(pod_uid));
        seats.fold(self.pools().clone(), |pools, (pool, at)| {
            match self.pools().get(pool).and_then(|of| of.relays().get(at)) {
                Some(relay) if relay.state == RelayState::Serving => {
                    pools.with_relay(pool, at, Relay { state: RelayState::Silent, ..relay.clone() })
                }
                _ => pools,
            }
        })
    }

    /// The pools, as if a session had not taken its seat: others must not look better only because home is full with it.
    pub(super) fn without_own_seat(&self, pool: usize, at: usize) -> Pools {
        let pools = self.pools().clone();
        let Some(seat) = pools.get(pool).and_then(|pool| pool.relays().get(at)) else { return pools };
        let free = Relay { used: seat.used.min(seat.capacity).saturating_sub(1), ..seat.clone() };
        pools.with_relay(pool, at, free)
    }
}

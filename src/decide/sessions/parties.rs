//! Where the guests of a session are, and whether the session moves for them.
//!
//! A guest's place is known from its join until its relay no longer names it among those who are there. It is a hint for the
//! choice of a relay and nothing else: nobody is let in or kept out by it, it is in no record of the session, in no answer
//! and in no log, and a store that has lost it only knows less.

use std::collections::HashSet;
use std::time::Duration;

use super::{Board, Book, Choice, Refused, Session, Standing, Try};
use crate::decide::route;
use crate::wire::session::{ClientPlace, GeoPoint};
use crate::wire::table::RelayTable;

/// Guests of one session whose places are known at once; of further ones none is, while these stay.
pub const MAX_PLACES: usize = 16;
/// Seconds for which a guest is thought to be on its way that its relay does not name yet: as long as its pass counts. After a
/// move all are on their way.
pub const ON_THE_WAY: i64 = 60;
/// Seconds after a move, whatever it was for, in which a session does not move for its guests. A move is a pause of a second
/// or two, so that who joins and leaves in turn to have a session moved takes a thirtieth of its time at most. Not less than
/// [`ON_THE_WAY`]: by then it is known who has come along.
pub const REST: i64 = 60;

/// A guest whose place is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Party {
    /// Its id: the participant of its passes.
    pub id: String,
    /// When it joined, or its session moved, in seconds since 1970.
    pub since: i64,
    /// Whether its relay has named it since.
    pub here: bool,
    /// Where it is.
    pub place: ClientPlace,
}

impl Party {
    /// A guest that joins now. Of its place no more is kept than [`kept`]; where it would have the session reside does not
    /// count.
    pub(super) fn new(id: &str, place: ClientPlace, table: &RelayTable, at: i64) -> Self {
        let place = kept(ClientPlace { residency: None, ..place }, table);
        Self { id: id.to_owned(), since: at, here: false, place }
    }

    /// The same when it comes back to a session that knows it, to where it was: what it had measured before counts for those
    /// regions that it has not measured this time. A region that once does not answer in time is no farther for that, and
    /// who measures now the one and now the other must not have the session moved to and fro.
    fn back(mut self, known: &[Self]) -> Self {
        let was = known.iter().find(|known| known.id == self.id && known.may_be_there(self.since));
        let was = was.map(|known| &known.place).filter(|was| is_there(was, &self.place));
        for (region, ms) in was.into_iter().flat_map(|was| &was.latencies) {
            self.place.latencies.entry(region.clone()).or_insert(*ms);
        }
        self
    }

    pub(super) fn may_be_there(&self, at: i64) -> bool {
        self.here || at < self.since.saturating_add(ON_THE_WAY)
    }
}

/// Whether two places are the same one, as far as that is told: what it measures there may differ.
fn is_there(one: &ClientPlace, other: &ClientPlace) -> bool {
    let told = |place: &ClientPlace| (place.location, place.beside.geoip);
    told(one) == told(other) && one.region == other.region
}

impl Session {
    /// A guest that joins now; one that comes back is known as well as it was.
    pub fn guest(&self, id: &str, place: ClientPlace, table: &RelayTable, at: i64) -> Party {
        let guest = Party::new(id, place, table, at).back(&self.parties);
        // Regions may have gone since.
        Party { place: kept(guest.place, table), ..guest }
    }
}

/// What is kept of a place with a session: no more than the choice of a relay needs. Round trips to the regions of `table`,
/// to a tenth of a millisecond, and coordinates to a hundredth of a degree, which is a kilometre.
#[must_use]
pub fn kept(mut place: ClientPlace, table: &RelayTable) -> ClientPlace {
    let has = |region: &str| table.pools.iter().any(|pool| pool.region == region);
    for times in [&mut place.latencies, &mut place.beside.network] {
        times.retain(|region, _| has(region));
        for ms in times.values_mut() {
            *ms = (*ms * 10.0).round() / 10.0;
        }
    }
    for point in [&mut place.location, &mut place.beside.geoip].into_iter().flatten() {
        let hundredth = |degrees: f64| (degrees * 100.0).round() / 100.0;
        *point = GeoPoint { latitude: hundredth(point.latitude), longitude: hundredth(point.longitude) };
    }
    place
}

/// The participants of a session that a relay names: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The session.
    pub session: String,
    /// Its epoch.
    pub epoch: u64,
    /// Their ids.
    pub who: Vec<String>,
}

impl Book {
    /// A guest joins a session, and it is known where it is. If too many are known already, this one is not.
    pub fn meet(&mut self, session: &str, guest: Party) -> Result<Session, Refused> {
        let session = self.sessions.get_mut(session).ok_or(Refused::Unknown)?;
        let parties = &mut session.parties;
        parties.retain(|known| known.id != guest.id && known.may_be_there(guest.since));
        // Who has joined twice since a move is still known as it was before.
        if parties.len() >= MAX_PLACES
            && let Some(oldest) = parties.iter().position(|known| !known.here)
        {
            parties.remove(oldest);
        }
        if parties.len() < MAX_PLACES {
            parties.push(guest);
        }
        Ok(session.clone())
    }

    /// A relay names those who are in its sessions; `at` = seconds since 1970. The places of guests that have left are
    /// forgotten.
    pub fn present(&mut self, pod_uid: &str, link: u64, present: &[Present], at: i64, now: Duration) {
        let Some(boot_id) = self.heard(pod_uid, link, now).map(|run| run.boot_id.clone()) else { return };
        for Present { session, epoch, who } in present {
            let here = |known: &&mut Session| {
                known.epoch == *epoch && known.home.pod_uid == pod_uid && known.home.boot_id == boot_id
            };
            let Some(session) = self.sessions.get_mut(session).filter(here) else { continue };
            let who: HashSet<&String> = who.iter().collect();
            session.parties.retain_mut(|guest| {
                let is_named = who.contains(&guest.id);
                let has_left = guest.here && !is_named;
                guest.here = is_named;
                !has_left && guest.may_be_there(at)
            });
        }
    }
}

impl Board {
    /// Where a session goes because of a guest that has joined; none = it stays. It goes only to a pool that has room and
    /// is clearly nearer to all parties, not soon after another move, and never from a relay that it is to leave anyway.
    pub fn for_guests(&self, session: &Session, now: Try<'_>) -> Option<Choice> {
        let routing = &self.table.routing;
        if session.parties.is_empty()
            || !self.minds_guests(session)
            || now.at < session.moved_at.saturating_add(REST)
            || self.view.standing(&self.table, session) != Standing::Serves
        {
            return None;
        }
        let (home, relay) = self.relay_of(&session.home.pod_uid)?;
        let asked = self.in_flight(now.asked);
        let ask = session.ask(&session.place, now, &asked);
        // With its own seat home only looks farther: who stays by this stays in any case, and most do.
        route::clearly_nearer(self.pools(), home, &ask, routing)?;
        let pools = self.without_own_seat(home, relay);
        let nearer = route::clearly_nearer(&pools, home, &ask, routing)?;
        let choice = self.choose_among(&pools, &ask).ok()?;
        (choice.chosen.pool == nearer).then_some(choice)
    }
}

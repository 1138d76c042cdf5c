//! Placement: which pool, and which relay in it, a client is sent to.
//!
//! Given what is known of a session's parties and of all pools at one moment, ranks the pools and picks the best that has
//! room. It reads no state, no clock and no chance of its own, so the same values give the same answer. What it must not
//! do: count seats (that is [`super::sessions`]), or keep time.
//!
//! Three steps: how far each pool is ([`estimate`]), which pool that makes the best ([`choose`]), which of its relays
//! ([`inside`]).

mod admit;
mod check;
mod choose;
mod estimate;
mod inside;

pub use check::{BadPlace, MAX_LATENCIES, MAX_LATENCY_MS, MAX_REGION_NAME, check, is_region_name};
pub use choose::{
    Ask, Chosen, KNEE, PENALTY_WHEN_FULL, Placement, choose, clearly_nearer, is_clearly_better, load_penalty, may_stay,
    place,
};
pub use estimate::{Estimate, estimates, is_known};
pub use inside::draw;

use std::ops::Deref;

use super::geo::{self, Spot};
use crate::wire::routing::Routing;
use crate::wire::session::GeoPoint;

/// All pools of a lobby in declared order, made once for many choices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pools {
    list: Vec<Pool>,
    /// Indices by the names of the regions.
    by_region: Vec<usize>,
}

impl From<Vec<Pool>> for Pools {
    fn from(list: Vec<Pool>) -> Self {
        let mut by_region: Vec<usize> = (0..list.len()).collect();
        by_region.sort_by(|a, b| list.get(*a).map(|pool| &pool.region).cmp(&list.get(*b).map(|pool| &pool.region)));
        Self { list, by_region }
    }
}

impl FromIterator<Pool> for Pools {
    fn from_iter<T: IntoIterator<Item = Pool>>(pools: T) -> Self {
        Self::from(pools.into_iter().collect::<Vec<_>>())
    }
}

impl Pools {
    /// The same with another relay in place of one.
    #[must_use]
    pub fn with_relay(mut self, pool: usize, at: usize, relay: Relay) -> Self {
        if let Some(pool) = self.list.get_mut(pool)
            && let Some(there) = pool.relays.get_mut(at)
        {
            pool.seats = pool.seats.minus(there.seats(0)).plus(relay.seats(0));
            *there = relay;
        }
        self
    }
}

impl Deref for Pools {
    type Target = [Pool];

    fn deref(&self) -> &[Pool] {
        &self.list
    }
}

/// A pool as placement sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    name: String,
    region: String,
    point: GeoPoint,
    terms: Terms,
    relays: Vec<Relay>,
    /// What follows from these, worked out once.
    spot: Spot,
    seats: Seats,
}

/// Seats of those relays of a pool that serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seats {
    used: u64,
    all: u64,
    free: u32,
}

/// What a lobby says of a pool's region.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Where its sessions reside, if that is said.
    pub residency: Option<String>,
    /// It is used only when no pool of a lower number has room.
    pub priority: u32,
    /// By how much its round trips count more, or less, than they are.
    pub factor: f64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { residency: None, priority: 0, factor: 1.0 }
    }
}

impl Terms {
    /// What `routing` says of a region.
    pub fn of(routing: &Routing, region: &str) -> Self {
        routing.rule(region).map_or_else(Self::default, |rule| Self {
            residency: rule.residency.clone(),
            priority: rule.priority,
            // Never nothing: what is no distance at all would hide all others.
            factor: f64::from(rule.distance_percent.max(1)) / 100.0,
        })
    }
}

/// A relay as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its name.
    pub name: String,
    /// Whether it takes new sessions.
    pub state: RelayState,
    /// Seats.
    pub capacity: u32,
    /// Seats that are taken, leases included; may exceed the capacity.
    pub used: u32,
}

/// Whether a relay takes new sessions, and what keeps it from that. The order is that of the reasons that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RelayState {
    /// It takes new sessions while it has seats.
    Serving,
    /// The operator or the relay itself let it take no more.
    Cordoned,
    /// Linked, but silent for too long.
    Silent,
    /// It has no relay link.
    NotLinked,
    /// It has no address for clients yet.
    NoAddress,
}

impl Relay {
    /// Seats that a new session could take now.
    pub fn free_seats(&self) -> u32 {
        self.seats(0).free
    }

    /// Its seats when so many were asked for beside what it shows.
    fn seats(&self, asked: u32) -> Seats {
        if self.state != RelayState::Serving {
            return Seats::default();
        }
        let used = self.used.saturating_add(asked).min(self.capacity);
        Seats { used: used.into(), all: self.capacity.into(), free: self.capacity - used }
    }
}

/// Seats of a relay that were asked for, and that the pools do not show yet: requests that come at once would all choose the
/// same relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Which pool.
    pub pool: usize,
    /// Which of its relays.
    pub relay: usize,
    /// How many.
    pub seats: u32,
}

impl Pool {
    /// A pool of this name and region, where it is, what its lobby says of its region, and its relays.
    pub fn new(name: &str, region: &str, point: GeoPoint, terms: Terms, relays: Vec<Relay>) -> Self {
        let seats = relays.iter().map(|relay| relay.seats(0)).fold(Seats::default(), Seats::plus);
        let spot = geo::network().spot(point);
        Self { name: name.to_owned(), region: region.to_owned(), point, terms, relays, spot, seats }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where it is.
    pub fn point(&self) -> GeoPoint {
        self.point
    }

    /// Where its sessions reside, if its lobby says that.
    pub fn residency(&self) -> Option<&str> {
        self.terms.residency.as_deref()
    }

    /// Its relays.
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// Seats that new sessions could take now.
    pub fn free_seats(&self) -> u32 {
        self.seats.free
    }

    /// Which part of the seats of its relays that serve is taken, 0 to 1. One that has no seats counts as full.
    pub fn load(&self) -> f64 {
        self.seats.load()
    }

    /// Its seats when these were asked for as well.
    fn seats_with(&self, asked: &[InFlight]) -> Seats {
        asked.iter().fold(self.seats, |seats, asked| match self.relays.get(asked.relay) {
            Some(relay) => seats.minus(relay.seats(0)).plus(relay.seats(asked.seats)),
            None => seats,
        })
    }

    /// Why no session fits, when none does.
    fn why_no_room(&self) -> &'static str {
        match self.relays.iter().map(|relay| relay.state).min() {
            None => "has no relay",
            Some(RelayState::Serving) => "full",
            Some(RelayState::Cordoned) => "takes no new sessions",
            Some(RelayState::Silent) => "not heard",
            Some(RelayState::NotLinked) => "not linked",
            Some(RelayState::NoAddress) => "has no address yet",
        }
    }
}

impl Seats {
    fn plus(self, other: Self) -> Self {
        Self { used: self.used + other.used, all: self.all + other.all, free: self.free.saturating_add(other.free) }
    }

    fn minus(self, part: Self) -> Self {
        Self { used: self.used - part.used, all: self.all - part.all, free: self.free.saturating_sub(part.free) }
    }

    fn load(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "pools have far fewer than 2^52 seats")]
        let load = self.used as f64 / self.all.max(1) as f64;
        if self.all == 0 { 1.0 } else { load }
    }
}

/// To a tenth, as numbers are told.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod choice_tests;
#[cfg(test)]
mod herd_tests;
#[cfg(test)]
mod partly_tests;
#[cfg(test)]
mod stay_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worlds_tests;

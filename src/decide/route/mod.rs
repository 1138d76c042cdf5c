//! Placement: which pool, and which relay in it, a client is sent to.
//!
//! Given what is known of the client and of all pools at one moment, ranks the pools by nearness and picks the nearest
//! that has room. It reads no state of its own, so the same values give the same answer. What it must not do: count
//! seats (that is [`super::sessions`]), or keep time.
//!
//! Three steps: how far each pool is ([`estimate`]), which pool that makes the best ([`choose`]), which of its relays
//! ([`inside`]).

mod check;
mod choose;
mod estimate;
mod inside;

pub use check::{BadPlace, MAX_LATENCIES, MAX_LATENCY_MS, MAX_REGION_NAME, check, is_region_name};
pub use choose::{Chosen, Placement, place};
pub use estimate::{Estimate, estimates};

use crate::wire::session::GeoPoint;

/// A pool as placement sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Where it is.
    pub point: GeoPoint,
    /// Its relays.
    pub relays: Vec<Relay<'a>>,
}

/// A relay as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay<'a> {
    /// Its name.
    pub name: &'a str,
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

impl Relay<'_> {
    /// Seats that a new session could take now.
    pub fn free_seats(&self) -> u32 {
        match self.state {
            RelayState::Serving => self.capacity.saturating_sub(self.used),
            RelayState::Cordoned | RelayState::Silent | RelayState::NotLinked | RelayState::NoAddress => 0,
        }
    }
}

impl Pool<'_> {
    /// Seats that new sessions could take now.
    pub fn free_seats(&self) -> u32 {
        self.relays.iter().fold(0, |sum, relay| sum.saturating_add(relay.free_seats()))
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

/// To a tenth, as numbers are told.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;

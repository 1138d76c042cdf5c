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
    Ask, Chosen, KNEE, PENALTY_WHEN_FULL, Placement, choose, is_clearly_better, load_penalty, may_stay, place,
};
pub use estimate::{Estimate, estimates};
pub use inside::draw;

use crate::wire::routing::Routing;
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
    /// What its lobby says of its region.
    pub terms: Terms<'a>,
    /// Its relays.
    pub relays: Vec<Relay<'a>>,
}

/// What a lobby says of a pool's region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms<'a> {
    /// Where its sessions reside, if that is said.
    pub residency: Option<&'a str>,
    /// It is used only when no pool of a lower number has room.
    pub priority: u32,
    /// By how much its round trips count more, or less, than they are.
    pub factor: f64,
}

impl Default for Terms<'_> {
    fn default() -> Self {
        Self { residency: None, priority: 0, factor: 1.0 }
    }
}

impl<'a> Terms<'a> {
    /// What `routing` says of a region.
    pub fn of(routing: &'a Routing, region: &str) -> Self {
        routing.rule(region).map_or_else(Self::default, |rule| Self {
            residency: rule.residency.as_deref(),
            priority: rule.priority,
            // Never nothing: what is no distance at all would hide all others.
            factor: f64::from(rule.distance_percent.max(1)) / 100.0,
        })
    }
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

    /// Which part of the seats of its relays that serve is taken, 0 to 1. One that has no seats counts as full.
    pub fn load(&self) -> f64 {
        let serving = self.relays.iter().filter(|relay| relay.state == RelayState::Serving);
        let (used, seats) = serving.fold((0_u64, 0_u64), |(used, seats), relay| {
            (used + u64::from(relay.used.min(relay.capacity)), seats + u64::from(relay.capacity))
        });
        #[expect(clippy::cast_precision_loss, reason = "pools have far fewer than 2^52 seats")]
        let load = used as f64 / seats.max(1) as f64;
        if seats == 0 { 1.0 } else { load }
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
mod choice_tests;
#[cfg(test)]
mod herd_tests;
#[cfg(test)]
mod tests;

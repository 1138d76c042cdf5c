//! Placement: which pool, and which relay in it, a client is sent to.
//!
//! Given what is known of the client and of all pools at one moment, ranks the pools by nearness and picks the nearest
//! that has room. It reads no state of its own, so the same values give the same answer. What it must not do: count
//! seats (that is [`super::sessions`]), or hide a full pool: every pool stands in the ranking, with its reason.
//!
//! **Rungs.** A round trip that the client measured beats coordinates, which beat the name of a region, which beats the
//! pools' declared order. A client may have measured only some regions: those come first, by what was measured; the
//! others follow by the best rung below. A measured pool never stands behind a guessed one, since a guess from distance
//! can be wrong by any amount (a far-off peering), while a measurement is what the client will get.

use std::cmp::Reverse;

use super::geo::{distance_km, on_earth, round_trip_ms};
use super::regions;
use crate::wire::session::{ClientPlace, GeoPoint, RankedPool, Rung};

/// Most regions for which a client may give latencies.
pub const MAX_LATENCIES: usize = 256;
/// Longest name of a region.
pub const MAX_REGION_NAME: usize = 63;
/// Largest round trip that is believed, in milliseconds.
pub const MAX_LATENCY_MS: f64 = 60_000.0;

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

    /// The relay that the next session goes to: the fullest that has room, so that others can empty and leave; of equally
    /// full ones the first by name.
    fn pack(&self) -> Option<usize> {
        let open = self.relays.iter().enumerate().filter(|(_, relay)| relay.free_seats() > 0);
        open.min_by_key(|(_, relay)| (Reverse(relay.used), relay.name)).map(|(index, _)| index)
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

/// The relay that was picked, as indices into the pools that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which pool.
    pub pool: usize,
    /// Which of its relays.
    pub relay: usize,
    /// From which knowledge its distance was estimated.
    pub rung: Rung,
}

/// All pools by nearness, and the relay of the nearest that has room.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// All pools, nearest first.
    pub ranking: Vec<RankedPool>,
    /// Where the session goes; `None` when no pool has room.
    pub chosen: Option<Chosen>,
}

/// One pool with its keys of order.
struct Estimate {
    index: usize,
    rung: Rung,
    /// What the pools of a rung are ordered by.
    ms: Option<f64>,
    km: Option<f64>,
    free_seats: u32,
}

/// Ranks `pools`, given in declared order, for a client at `place`.
pub fn place(pools: &[Pool<'_>], place: &ClientPlace) -> Placement {
    let origin = origin(pools, place);
    let mut estimates: Vec<Estimate> =
        pools.iter().enumerate().map(|(index, pool)| estimate(index, pool, place, origin)).collect();
    // Rungs are declared best first. Equal estimates: more free seats, then the declared order.
    estimates.sort_by(|a, b| {
        let ms = |estimate: &Estimate| estimate.ms.unwrap_or(f64::MAX);
        a.rung.cmp(&b.rung).then(ms(a).total_cmp(&ms(b))).then(match a.ms {
            Some(_) => b.free_seats.cmp(&a.free_seats).then(a.index.cmp(&b.index)),
            None => a.index.cmp(&b.index),
        })
    });
    let chosen = estimates.iter().find_map(|estimate| {
        let relay = pools.get(estimate.index)?.pack()?;
        Some(Chosen { pool: estimate.index, relay, rung: estimate.rung })
    });
    let ranking = estimates.iter().enumerate().filter_map(|(rank, estimate)| {
        let pool = pools.get(estimate.index)?;
        let picked = chosen.is_some_and(|chosen| chosen.pool == estimate.index);
        Some(ranked(rank, estimate, pool, picked))
    });
    Placement { ranking: ranking.collect(), chosen }
}

/// Where the client is, and from which knowledge.
fn origin(pools: &[Pool<'_>], place: &ClientPlace) -> Option<(Rung, GeoPoint)> {
    if let Some(point) = place.location {
        return Some((Rung::Coordinates, point));
    }
    let name = place.region.as_deref()?;
    // A lobby's own pools know better where their region is than a catalogue of clouds.
    let own = pools.iter().find(|pool| pool.region == name).map(|pool| pool.point);
    let cloud =
        || regions::lookup(name).map(|region| GeoPoint { latitude: region.latitude, longitude: region.longitude });
    own.or_else(cloud).map(|point| (Rung::Region, point))
}

fn estimate(index: usize, pool: &Pool<'_>, place: &ClientPlace, origin: Option<(Rung, GeoPoint)>) -> Estimate {
    // To a tenth of a kilometre, and of a millisecond: what differs by less is equally near, and not ordered by the noise
    // of arithmetic.
    let km = origin.map(|(_, point)| tenth(distance_km(point, pool.point)));
    let free_seats = pool.free_seats();
    // `+ 0.0` turns a negative zero into zero, which it equals but is not ordered as.
    let measured = place.latencies.get(pool.region).map(|ms| (Rung::Measured, Some(ms + 0.0)));
    let guessed = origin.map(|(rung, point)| (rung, Some(tenth(round_trip_ms(point, pool.point)))));
    let (rung, ms) = measured.or(guessed).unwrap_or((Rung::DeclaredOrder, None));
    Estimate { index, rung, ms, km, free_seats }
}

fn ranked(rank: usize, estimate: &Estimate, pool: &Pool<'_>, picked: bool) -> RankedPool {
    let by = match estimate.rung {
        Rung::Measured => "by the round trip that the client measured",
        Rung::Coordinates => "by distance from the client's coordinates",
        Rung::Region => "by distance from the client's region",
        Rung::DeclaredOrder => "in declared order, as nothing is known of the client",
    };
    let place = match rank {
        0 => format!("first {by}"),
        _ => format!("number {} {by}", rank + 1),
    };
    let room = match (estimate.free_seats, picked) {
        (0, _) => pool.why_no_room(),
        (_, true) if rank == 0 => "has room: chosen",
        (_, true) => "the first that has room: chosen",
        (_, false) => "has room",
    };
    RankedPool {
        pool: pool.name.to_owned(),
        region: pool.region.to_owned(),
        rung: estimate.rung,
        estimate_ms: estimate.ms.map(tenth),
        distance_km: estimate.km,
        free_seats: estimate.free_seats,
        reason: format!("{place}; {room}"),
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What is wrong with a client's place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct BadPlace {
    /// Path of the field in the request.
    pub field: String,
    /// What it must be.
    pub problem: &'static str,
}

/// Checks what a client says of its place; after this no number in it is absurd.
pub fn check(place: &ClientPlace) -> Result<(), BadPlace> {
    let bad = |field: &str, problem| Err(BadPlace { field: field.to_owned(), problem });
    if place.latencies.len() > MAX_LATENCIES {
        return bad("place.latencies", "must name at most 256 regions");
    }
    for (region, ms) in &place.latencies {
        if !is_region_name(region) {
            // The name itself is not repeated: it may be anything.
            return bad("place.latencies", "names of regions must be 1 to 63 printable ASCII characters");
        }
        if !(0.0..=MAX_LATENCY_MS).contains(ms) {
            return bad(&format!("place.latencies.{region}"), "must be 0 to 60000 milliseconds");
        }
    }
    if let Some(point) = place.location {
        if !on_earth(GeoPoint { longitude: 0.0, ..point }) {
            return bad("place.location.latitude", "must be -90 to 90 degrees");
        }
        if !on_earth(point) {
            return bad("place.location.longitude", "must be -180 to 180 degrees");
        }
    }
    match place.region.as_deref() {
        Some(region) if !is_region_name(region) => bad("place.region", "must be 1 to 63 printable ASCII characters"),
        Some(_) | None => Ok(()),
    }
}

/// Whether this could be the name of a region, or of a pool.
pub fn is_region_name(name: &str) -> bool {
    (1..=MAX_REGION_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

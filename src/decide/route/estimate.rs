//! How far one pool is from one client, and from which rung of knowledge that is known. What it must not do: look at load or
//! room, or compare pools.
//!
//! **Rungs.** A round trip that the client measured beats one that others of its network measured, which beats the client's
//! coordinates, which beat the name of a region, which beats where a database places its address, which beats the pools'
//! declared order. A client may have measured only some regions: those come first, by what was measured; the others follow
//! by the best rung below. A measured pool never stands behind a guessed one, since a guess from distance
//! can be wrong by any amount (a far-off peering), while a measurement is what the client will get.

use super::{Pool, tenth};
use crate::decide::geo::{distance_km, round_trip_ms};
use crate::decide::regions;
use crate::wire::session::{ClientPlace, GeoPoint, Rung};

/// What is known of the way from a client to a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// From which knowledge.
    pub rung: Rung,
    /// Round trip in milliseconds; `None` on the last rung.
    pub ms: Option<f64>,
    /// Great-circle distance in kilometres, where the client's place is known.
    pub km: Option<f64>,
}

/// Estimates the way to each pool, in the order of `pools`.
pub fn estimates(pools: &[Pool<'_>], place: &ClientPlace) -> Vec<Estimate> {
    let origin = origin(pools, place);
    pools.iter().map(|pool| estimate(pool, place, origin)).collect()
}

/// Where the client is, and from which knowledge.
fn origin(pools: &[Pool<'_>], place: &ClientPlace) -> Option<(Rung, GeoPoint)> {
    if let Some(point) = place.location {
        return Some((Rung::Coordinates, point));
    }
    let by_address = || place.beside.geoip.map(|point| (Rung::GeoIp, point));
    let Some(name) = place.region.as_deref() else { return by_address() };
    // A lobby's own pools know better where their region is than a catalogue of clouds.
    let own = pools.iter().find(|pool| pool.region == name).map(|pool| pool.point);
    let cloud =
        || regions::lookup(name).map(|region| GeoPoint { latitude: region.latitude, longitude: region.longitude });
    // A region that nobody knows says nothing.
    own.or_else(cloud).map(|point| (Rung::Region, point)).or_else(by_address)
}

fn estimate(pool: &Pool<'_>, place: &ClientPlace, origin: Option<(Rung, GeoPoint)>) -> Estimate {
    // To a tenth of a kilometre, and of a millisecond: what differs by less is equally near, and not ordered by the noise
    // of arithmetic.
    let km = origin.map(|(_, point)| tenth(distance_km(point, pool.point)));
    // `+ 0.0` turns a negative zero into zero, which it equals but is not ordered as.
    let measured = place.latencies.get(pool.region).map(|ms| (Rung::Measured, Some(ms + 0.0)));
    let by_others = || place.beside.network.get(pool.region).map(|ms| (Rung::Network, Some(ms + 0.0)));
    let guessed = origin.map(|(rung, point)| (rung, Some(tenth(round_trip_ms(point, pool.point)))));
    let (rung, ms) = measured.or_else(by_others).or(guessed).unwrap_or((Rung::DeclaredOrder, None));
    Estimate { rung, ms, km }
}

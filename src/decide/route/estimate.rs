//! How far one pool is from one client, and from which rung of knowledge that is known. What it must not do: look at load or
//! room, or compare pools.
//!
//! **Rungs.** A round trip that the client measured beats one that others of its network measured, which beats the client's
//! coordinates, which beat the name of a region, which beats where a database places its address, which beats the pools'
//! declared order. A client may have measured only some regions: those come first, by what was measured; the others follow
//! by the best rung below. A measured pool never stands behind a guessed one, since a guess from distance
//! can be wrong by any amount (a far-off peering), while a measurement is what the client will get.

use std::collections::BTreeMap;

use super::{Pool, Pools, tenth};
use crate::decide::geo::{self, distance_km};
use crate::decide::regions;
use crate::wire::session::{ClientPlace, GeoPoint, Rung};

/// What is known of the way from a client to a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// From which knowledge.
    pub rung: Rung,
    /// Round trip in milliseconds. On the last rung `None`, or a floor ([`with_floors`]).
    pub ms: Option<f64>,
}

/// Estimates the way to each pool, in the order of `pools`.
pub fn estimates(pools: &Pools, place: &ClientPlace) -> Vec<Estimate> {
    let measured = told(pools, &place.latencies);
    let by_others = told(pools, &place.beside.network);
    let spot = origin(pools, place).map(|(rung, point)| (rung, geo::network().spot(point)));
    let reach = spot.as_ref().map(|(rung, spot)| (*rung, geo::network().reach(spot)));
    let of = |(index, pool): (usize, &Pool)| {
        let told = |all: &[Option<f64>]| all.get(index).copied().flatten();
        // To a tenth of a millisecond: what differs by less is equally near, and not ordered by the noise of arithmetic.
        let guess = || reach.as_ref().map(|(rung, reach)| (*rung, Some(tenth(reach.round_trip_ms(&pool.spot)))));
        let measured = told(&measured).map(|ms| (Rung::Measured, Some(ms)));
        let network = || told(&by_others).map(|ms| (Rung::Network, Some(ms)));
        let (rung, ms) = measured.or_else(network).or_else(guess).unwrap_or((Rung::DeclaredOrder, None));
        Estimate { rung, ms }
    };
    pools.iter().enumerate().map(of).collect()
}

/// Whether anything is known of the way from a client to these pools: some estimate has milliseconds. A region that nobody knows,
/// and measurements of regions that are gone, say nothing.
pub fn is_known(pools: &Pools, place: &ClientPlace) -> bool {
    let tells = |by_region| told(pools, by_region).iter().any(Option::is_some);
    !pools.is_empty() && origin(pools, place).is_some() || tells(&place.latencies) || tells(&place.beside.network)
}

/// The same with a floor for each pool of which nothing is known to a party that has measured others: who is near Madrid is not
/// near Tokyo. The way between two pools is not longer than the one by way of the party, so what of the way to a measured pool
/// its own round trip leaves over is still to go. The rung stays the last: a floor is no estimate, it only keeps a pool from
/// looking nearer than it can be.
pub(super) fn with_floors(pools: &Pools, mut all: Vec<Estimate>) -> Vec<Estimate> {
    let known: Vec<Option<f64>> = all.iter().map(|estimate| estimate.ms).collect();
    if known.iter().all(Option::is_some) {
        return all;
    }
    let told = known.iter().zip(pools.iter()).filter_map(|(ms, pool)| Some(((*ms)?, pool)));
    for (ms, measured) in told {
        let reach = geo::network().reach(&measured.spot);
        let unknown = all.iter_mut().zip(&known).zip(pools.iter()).filter(|((_, known), _)| known.is_none());
        for ((estimate, _), pool) in unknown {
            let left = tenth(reach.round_trip_ms(&pool.spot) - ms);
            estimate.ms = Some(left.max(estimate.ms.unwrap_or(0.0)));
        }
    }
    all
}

/// How far the client is from a pool in kilometres of great circle, where its place is known.
pub(super) fn kilometres(pools: &[Pool], place: &ClientPlace) -> impl Fn(&Pool) -> Option<f64> {
    let origin = origin(pools, place);
    move |pool| origin.map(|(_, point)| tenth(distance_km(point, pool.point)))
}

/// Where the client is, and from which knowledge.
fn origin(pools: &[Pool], place: &ClientPlace) -> Option<(Rung, GeoPoint)> {
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

/// What stands under each pool's region, in the order of `pools`; nothing at all if nothing is told. Both are in the order of
/// their names, so one walk finds all: as fast as it is to compare the names once.
fn told(pools: &Pools, by_region: &BTreeMap<String, f64>) -> Vec<Option<f64>> {
    if by_region.is_empty() {
        return Vec::new();
    }
    let mut told = vec![None; pools.len()];
    let mut left = by_region.iter().peekable();
    for &index in &pools.by_region {
        let (Some(pool), Some(slot)) = (pools.get(index), told.get_mut(index)) else { continue };
        while left.next_if(|(name, _)| name.as_str() < pool.region.as_str()).is_some() {}
        // `+ 0.0` turns a negative zero into zero, which it equals but is not ordered as.
        *slot = left.peek().filter(|(name, _)| **name == pool.region).map(|(_, ms)| **ms + 0.0);
    }
    told
}

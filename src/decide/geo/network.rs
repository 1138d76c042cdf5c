//! The network of hubs and links over which round trips are estimated.
//!
//! A point reaches the network at the nearest hub, or at one of that hub's neighbours where this is shorter; it goes on by
//! the shortest way over the links. Two points whose nearest hubs are the same, or neighbours, may also meet directly.
//! So a border without cables, or a mountain range, is a link that does not exist. The numbers are given, not made here.

use std::collections::BTreeMap;

use super::EARTH_RADIUS_KM;
use super::hubs::HUBS;
use crate::wire::session::GeoPoint;

/// What was fitted: the numbers of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// What is added to each round trip, whatever its length.
    pub access_ms: f64,
    /// Round trip for each kilometre between a point and a hub, or between two points that meet directly.
    pub leg_ms_per_km: f64,
    /// Round trips between hubs.
    pub links: Vec<Link>,
}

/// Two hubs that are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Codes of both hubs.
    pub ends: [&'static str; 2],
    /// Round trip in milliseconds.
    pub ms: f64,
    /// There is a way, but networks seldom exchange traffic over it, so nobody reaches one end through the other.
    pub seldom: bool,
}

/// A link names a hub that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the link {from}-{to} names a hub that is not in hubs.rs", from = .0[0], to = .0[1])]
pub struct UnknownHub(pub [&'static str; 2]);

/// Hubs, and how long a round trip takes between any two of them.
#[derive(Clone, Debug)]
pub struct Network {
    access_ms: f64,
    leg_ms_per_km: f64,
    /// Each hub's vector from the earth's centre, of length 1.
    units: Vec<[f64; 3]>,
    /// Which hubs each one is joined to, seldom used links aside.
    neighbours: Vec<Vec<u16>>,
    /// Round trips between hubs, one row a hub; infinite where there is no way.
    between: Vec<f64>,
}

/// A point, and where it reaches the network. Made once for each pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Spot {
    unit: [f64; 3],
    /// Hub and round trip to it: the nearest hub first, then its neighbours.
    legs: Vec<(u16, f64)>,
}

/// A spot, and how far it is to every hub: for comparing one client with many pools.
#[derive(Clone, Debug)]
pub struct Reach<'a> {
    network: &'a Network,
    spot: &'a Spot,
    to_hubs: Vec<f64>,
}

/// How two spots reach each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Without a hub.
    Direct,
    /// In at one hub and out at another, as indices into [`HUBS`].
    Hubs {
        /// Where the one side enters.
        first: usize,
        /// Where the other side leaves.
        last: usize,
    },
}

impl Network {
    /// The network of these numbers.
    pub fn new(fitted: &Fitted) -> Result<Self, UnknownHub> {
        let count = HUBS.len();
        let index: BTreeMap<&str, u16> = HUBS.iter().map(|hub| hub.code).zip(0..).collect();
        let mut neighbours = vec![Vec::new(); count];
        let mut between = vec![f64::INFINITY; count * count];
        (0..count).for_each(|hub| between[hub * count + hub] = 0.0);
        for link in &fitted.links {
            let end = |code| index.get(code).copied().ok_or(UnknownHub(link.ends));
            let (from, to) = (end(link.ends[0])?, end(link.ends[1])?);
            for (from, to) in [(from, to), (to, from)] {
                let direct = &mut between[usize::from(from) * count + usize::from(to)];
                *direct = direct.min(link.ms);
                if !link.seldom {
                    neighbours[usize::from(from)].push(to);
                }
            }
        }
        shorten(&mut between, count);
        let units = HUBS.iter().map(|hub| unit(hub.point)).collect();
        let Fitted { access_ms, leg_ms_per_km, .. } = *fitted;
        Ok(Self { access_ms, leg_ms_per_km, units, neighbours, between })
    }

    /// Where a point reaches the network.
    pub fn spot(&self, point: GeoPoint) -> Spot {
        let unit = unit(point);
        let nearest = (0_u16..).zip(&self.units).fold((0, f64::NEG_INFINITY), |nearest, (hub, other)| {
            let cosine = dot(unit, *other);
            if cosine > nearest.1 { (hub, cosine) } else { nearest }
        });
        let nearest = nearest.0;
        let hubs = std::iter::once(nearest).chain(self.neighbours[usize::from(nearest)].iter().copied());
        Spot { unit, legs: hubs.map(|hub| (hub, self.leg_ms(unit, self.units[usize::from(hub)]))).collect() }
    }

    /// How far a spot is to every hub.
    pub fn reach<'a>(&'a self, spot: &'a Spot) -> Reach<'a> {
        let mut to_hubs = vec![f64::INFINITY; self.units.len()];
        for &(hub, leg) in &spot.legs {
            for (to, between) in to_hubs.iter_mut().zip(self.row(usize::from(hub))) {
                *to = to.min(leg + between);
            }
        }
        Reach { network: self, spot, to_hubs }
    }

    /// Estimated round trip in milliseconds.
    pub fn round_trip_ms(&self, a: &Spot, b: &Spot) -> f64 {
        self.shortest(a, b).1
    }

    /// How the two reach each other.
    pub fn way(&self, a: &Spot, b: &Spot) -> Way {
        self.shortest(a, b).0
    }

    /// Round trip between two hubs, as indices into [`HUBS`]; infinite if there is no way.
    pub fn between_ms(&self, from: usize, to: usize) -> f64 {
        self.between[from * self.units.len() + to]
    }

    fn shortest(&self, a: &Spot, b: &Spot) -> (Way, f64) {
        let mut shortest = match self.direct_ms(a, b) {
            Some(ms) => (Way::Direct, ms),
            None => (Way::Hubs { first: 0, last: 0 }, f64::INFINITY),
        };
        for &(first, in_ms) in &a.legs {
            let row = self.row(usize::from(first));
            for &(last, out_ms) in &b.legs {
                // Both legs first, so that the sum is the same from either side.
                let ms = (in_ms + out_ms) + row[usize::from(last)];
                if ms < shortest.1 {
                    shortest = (Way::Hubs { first: first.into(), last: last.into() }, ms);
                }
            }
        }
        (shortest.0, shortest.1 + self.access_ms)
    }

    /// The way without a hub, for those whose nearest hubs are the same or neighbours.
    fn direct_ms(&self, a: &Spot, b: &Spot) -> Option<f64> {
        let ((nearest, _), legs) = (b.legs.first()?, &a.legs);
        legs.iter().any(|(hub, _)| hub == nearest).then(|| self.leg_ms(a.unit, b.unit))
    }

    fn leg_ms(&self, a: [f64; 3], b: [f64; 3]) -> f64 {
        km_between(a, b) * self.leg_ms_per_km
    }

    fn row(&self, hub: usize) -> &[f64] {
        let count = self.units.len();
        &self.between[hub * count..(hub + 1) * count]
    }
}

impl Reach<'_> {
    /// Estimated round trip in milliseconds.
    pub fn round_trip_ms(&self, other: &Spot) -> f64 {
        let over_hubs = other.legs.iter().map(|&(hub, leg)| leg + self.to_hubs[usize::from(hub)]);
        let ms = over_hubs.fold(f64::INFINITY, f64::min);
        let direct = self.network.direct_ms(self.spot, other).unwrap_or(f64::INFINITY);
        ms.min(direct) + self.network.access_ms
    }
}

/// Lets each pair go by any hub that makes it shorter (Floyd and Warshall).
fn shorten(between: &mut [f64], count: usize) {
    for hub in 0..count {
        let via: Vec<f64> = between[hub * count..(hub + 1) * count].to_vec();
        for row in between.chunks_exact_mut(count) {
            let to_hub = row[hub];
            for (direct, from_hub) in row.iter_mut().zip(&via) {
                *direct = direct.min(to_hub + from_hub);
            }
        }
    }
}

/// A point as a vector of length 1.
pub(super) fn unit(point: GeoPoint) -> [f64; 3] {
    let (lat, lon) = (point.latitude.to_radians(), point.longitude.to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Great-circle distance in kilometres between two such vectors.
pub(super) fn km_between(a: [f64; 3], b: [f64; 3]) -> f64 {
    let part = |axis: usize| (a[axis] - b[axis]).powi(2);
    let half_chord = (part(0) + part(1) + part(2)).sqrt() / 2.0;
    2.0 * EARTH_RADIUS_KM * half_chord.min(1.0).asin()
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;

//! How long the estimates take.

use std::hint::black_box;
use std::time::Instant;

use convene::decide::geo::{Spot, network, round_trip_ms};
use convene::decide::regions;
use convene::wire::session::GeoPoint;

use crate::cities::{CITIES, City};

/// In nanoseconds.
pub(crate) struct Speed {
    /// One estimate from two points.
    pub(crate) pair_ns: f64,
    /// One client against a hundred pools whose spots are known.
    pub(crate) hundred_pools_ns: f64,
}

pub(crate) fn measure() -> Speed {
    let pools: Vec<GeoPoint> = regions::all()
        .iter()
        .map(|region| GeoPoint { latitude: region.latitude, longitude: region.longitude })
        .cycle()
        .take(100)
        .collect();
    let spots: Vec<Spot> = pools.iter().map(|pool| network().spot(*pool)).collect();
    let pair_ns = best(|city| {
        black_box(pools.iter().map(|pool| round_trip_ms(city.point, *pool)).sum::<f64>());
    });
    let hundred_pools_ns = best(|city| {
        let spot = network().spot(city.point);
        let reach = network().reach(&spot);
        black_box(spots.iter().map(|pool| reach.round_trip_ms(pool)).fold(f64::INFINITY, f64::min));
    });
    let pair_ns = pair_ns / pools.len() as f64;
    Speed { pair_ns, hundred_pools_ns }
}

/// Nanoseconds for a city, in the mean; for each city the best of a hundred runs counts, so that what else the machine does
/// is left out.
fn best(run: impl Fn(&City)) -> f64 {
    let time = |city: &City| {
        let start = Instant::now();
        run(city);
        start.elapsed().as_nanos() as f64
    };
    let of = |city| std::iter::repeat_n(city, 100).map(time).fold(f64::INFINITY, f64::min);
    CITIES.iter().map(of).sum::<f64>() / CITIES.len() as f64
}

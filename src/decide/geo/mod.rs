//! Distances on earth, and what they say about latency.
//!
//! A round trip follows cables and the places where networks meet, not the great circle: it is estimated over a small
//! network of hubs, whose links were fitted to measured pairs (`docs/routing.md`, ADR 32). Arithmetic only: which relay
//! follows from it is decided in [`super::route`].

mod fitted;
pub mod hubs;
mod network;

use std::sync::LazyLock;

use crate::wire::session::GeoPoint;

pub use network::{Fitted, Link, Network, Reach, Spot, UnknownHub, Way};

/// The network that estimates are made over, built when first asked for.
static NETWORK: LazyLock<Network> =
    LazyLock::new(|| Network::new(&fitted::fitted()).expect("the fitted links join known hubs: a test reads them all"));

/// Mean radius of the earth in kilometres (IUGG, R1).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// Great-circle distance in kilometres, by the chord: exact enough, and stable for near points.
pub fn distance_km(a: GeoPoint, b: GeoPoint) -> f64 {
    network::km_between(network::unit(a), network::unit(b))
}

/// The network that estimates are made over.
pub fn network() -> &'static Network {
    &NETWORK
}

/// Estimated round trip between two points, in milliseconds: data centre to data centre, so that what somebody's own
/// access adds is missing. It is the same for all pools and never changes their order.
///
/// Who compares one client with many pools asks [`network`] for a [`Spot`] of each pool once and for the client's
/// [`Reach`], which is a hundred times faster.
pub fn round_trip_ms(a: GeoPoint, b: GeoPoint) -> f64 {
    NETWORK.round_trip_ms(&NETWORK.spot(a), &NETWORK.spot(b))
}

/// Whether both coordinates are numbers in range.
pub fn on_earth(point: GeoPoint) -> bool {
    (-90.0..=90.0).contains(&point.latitude) && (-180.0..=180.0).contains(&point.longitude)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> GeoPoint {
        GeoPoint { latitude, longitude }
    }

    #[test]
    fn known_distances() {
        for (a, b, km) in [
            (at(0.0, 0.0), at(0.0, 0.0), 0.0),
            // A quarter and half of a great circle.
            (at(0.0, 0.0), at(90.0, 0.0), 10_007.557),
            (at(0.0, 0.0), at(0.0, 180.0), 20_015.115),
            (at(90.0, 12.0), at(-90.0, -100.0), 20_015.115),
            // Across the date line: one degree on the equator.
            (at(0.0, 179.5), at(0.0, -179.5), 111.195),
            // Paris – New York.
            (at(48.8566, 2.3522), at(40.7128, -74.0060), 5_837.2),
        ] {
            let measured = distance_km(a, b);
            assert!((measured - km).abs() < 0.5, "{a:?} to {b:?}: {measured}");
        }
    }

    #[test]
    fn what_is_not_on_earth_is_told() {
        assert!(on_earth(at(-90.0, 180.0)));
        for wrong in [at(90.01, 0.0), at(0.0, -180.01), at(f64::NAN, 0.0), at(0.0, f64::INFINITY)] {
            assert!(!on_earth(wrong), "{wrong:?}");
        }
    }

    prop_compose! {
        fn points()(latitude in -90.0..=90.0_f64, longitude in -180.0..=180.0_f64) -> GeoPoint {
            at(latitude, longitude)
        }
    }

    proptest! {
        #[test]
        fn distance_is_a_metric_on_the_sphere(a in points(), b in points(), c in points()) {
            let (ab, ba, bc, ac) = (distance_km(a, b), distance_km(b, a), distance_km(b, c), distance_km(a, c));
            prop_assert!((0.0..=20_015.2).contains(&ab));
            prop_assert!((ab - ba).abs() < 1e-6);
            prop_assert!(ac <= ab + bc + 1e-6);
        }
    }
}

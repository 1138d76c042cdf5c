//! Distances on earth, and what they say about latency.
//!
//! Arithmetic only: which relay follows from it is decided in [`super::route`].

use crate::wire::session::GeoPoint;

/// Mean radius of the earth in kilometres (IUGG, R1).
const EARTH_RADIUS_KM: f64 = 6371.0088;

/// Light in fibre, kilometres a millisecond, one way: the speed in vacuum over a refractive index of about 1.47.
const FIBRE_KM_PER_MS: f64 = 200.0;

/// How much longer the way of packets is than the great circle. Measurement campaigns on the public internet agree on
/// a rule of thumb: line of sight × 2.1, divided by the speed of light in fibre (Bozkurt et al., *Dissecting latency
/// in the Internet's fiber infrastructure*, 2018, §1).
const PATH_INFLATION: f64 = 2.1;

/// What access networks and hosts add to a round trip, whatever the distance. A round figure for wired access; it is
/// the same for all pools and so never changes their order.
const ACCESS_MS: f64 = 5.0;

/// Great-circle distance in kilometres (haversine: exact enough, and stable for near and antipodal points).
pub fn distance_km(a: GeoPoint, b: GeoPoint) -> f64 {
    let (lat_a, lat_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let half_lat = ((lat_b - lat_a) / 2.0).sin();
    let half_lon = ((b.longitude - a.longitude).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lon * half_lon;
    // Rounding may carry the antipodes a hair above 1, where asin has no value.
    2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

/// Estimated round trip in milliseconds over a great-circle distance.
///
/// A first model, with constants from the literature and none of our own measurements; a model fitted to measured
/// pairs replaces it later. It rises with distance, so between pools known by coordinates alone the nearest wins.
pub fn round_trip_ms(km: f64) -> f64 {
    2.0 * km * PATH_INFLATION / FIBRE_KM_PER_MS + ACCESS_MS
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
    fn the_estimate_is_of_the_size_that_people_see() {
        // Around the corner, across the Atlantic, to the antipodes.
        assert!((round_trip_ms(0.0) - 5.0).abs() < 1e-9);
        assert!((100.0..150.0).contains(&round_trip_ms(5_840.0)));
        assert!(round_trip_ms(20_015.0) < 450.0);
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

        #[test]
        fn farther_is_never_estimated_faster(near in 0.0..20_000.0_f64, more in 0.0..100.0_f64) {
            prop_assert!(round_trip_ms(near + more) >= round_trip_ms(near));
        }
    }
}

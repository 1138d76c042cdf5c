//! The cities in which the demo's hosts and guests sit, on all continents where people live.

use crate::wire::session::GeoPoint;

/// A city.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct City {
    pub(super) name: &'static str,
    pub(super) point: GeoPoint,
}

const fn city(name: &'static str, latitude: f64, longitude: f64) -> City {
    City { name, point: GeoPoint { latitude, longitude } }
}

/// Each hosts one session; its guest sits half the list away.
pub(super) const CITIES: [City; 18] = [
    city("Tokyo", 35.68, 139.69),
    city("Mumbai", 19.08, 72.88),
    city("Dublin", 53.35, -6.26),
    city("Helsinki", 60.17, 24.94),
    city("São Paulo", -23.55, -46.63),
    city("Charleston", 32.78, -79.93),
    city("Seoul", 37.57, 126.98),
    city("Sydney", -33.87, 151.21),
    city("Singapore", 1.35, 103.82),
    city("Dubai", 25.20, 55.27),
    city("Nairobi", -1.29, 36.82),
    city("Cape Town", -33.92, 18.42),
    city("Lagos", 6.52, 3.38),
    city("Berlin", 52.52, 13.41),
    city("Stockholm", 59.33, 18.07),
    city("Buenos Aires", -34.60, -58.38),
    city("Mexico City", 19.43, -99.13),
    city("San Francisco", 37.77, -122.42),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::geo::distance_km;

    #[test]
    fn no_two_cities_are_one() {
        for (index, city) in CITIES.iter().enumerate() {
            assert!(CITIES.iter().skip(index + 1).all(|other| distance_km(city.point, other.point) > 100.0));
        }
    }
}

//! What a client may say of its place: limits on what comes from outside.

use crate::decide::geo::on_earth;
use crate::wire::session::{ClientPlace, GeoPoint};

/// Most regions for which a client may give latencies.
pub const MAX_LATENCIES: usize = 256;
/// Longest name of a region.
pub const MAX_REGION_NAME: usize = 63;
/// Largest round trip that is believed, in milliseconds.
pub const MAX_LATENCY_MS: f64 = 60_000.0;

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
    for (field, name) in [("place.region", &place.region), ("place.residency", &place.residency)] {
        if name.as_deref().is_some_and(|name| !is_region_name(name)) {
            return bad(field, "must be 1 to 63 printable ASCII characters");
        }
    }
    Ok(())
}

/// Whether this could be the name of a region, or of a pool.
pub fn is_region_name(name: &str) -> bool {
    (1..=MAX_REGION_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

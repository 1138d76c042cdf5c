//! What stands of a place in the query of a redirect, and what is left of that query.

use crate::decide::geo::on_earth;
use crate::decide::route::is_region_name;
use crate::wire::session::{ClientPlace, GeoPoint};

/// What the query says of where the client is, and the rest of it with its question mark; `None` = that is no place.
pub(super) fn told(query: &str) -> Option<(ClientPlace, String)> {
    let (mut place, mut rest) = (ClientPlace::default(), Vec::new());
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("location", text)) => place.location = Some(point(text)?),
            Some(("region", name)) if is_region_name(name) => place.region = Some(name.to_owned()),
            Some(("region", _)) => return None,
            _ => rest.push(part),
        }
    }
    let rest = if rest.is_empty() { String::new() } else { format!("?{}", rest.join("&")) };
    Some((place, rest))
}

fn point(text: &str) -> Option<GeoPoint> {
    // A comma may be written as %2C.
    let (latitude, longitude) = text.split_once(',').or_else(|| text.split_once("%2C"))?;
    let point = GeoPoint { latitude: latitude.parse().ok()?, longitude: longitude.parse().ok()? };
    on_earth(point).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_taken_out_of_the_query() {
        let read = |query: &str| told(query).map(|(place, rest)| (place.location, place.region, rest));
        let tokyo = GeoPoint { latitude: 35.68, longitude: 139.69 };
        assert_eq!(read(""), Some((None, None, String::new())));
        assert_eq!(read("a=1&location=35.68,139.69&b"), Some((Some(tokyo), None, "?a=1&b".to_owned())));
        assert_eq!(read("location=35.68%2C139.69"), Some((Some(tokyo), None, String::new())));
        assert_eq!(read("region=eu-west-1"), Some((None, Some("eu-west-1".to_owned()), String::new())));
        for wrong in ["location=", "location=91,0", "location=NaN,0", "location=1", "region="] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

//! A place as it stands in a URL: plain numbers and short names. Nothing else is taken; what is taken is in range.

use std::collections::BTreeMap;

use crate::decide::route;
use crate::wire::session::GeoPoint;

/// Most regions for which latencies are taken here: what stands in a URL should be short.
const MAX_LATENCIES: usize = 64;

/// Whether this is a name as the URL takes them: 1 to 63 lower-case letters, digits and dashes.
pub(super) fn is_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_part)
}

/// A plain decimal number from 0 to `most`, of so many digits on either side of its point.
fn decimal(text: &str, most: f64, whole_digits: usize, digits: usize) -> Option<f64> {
    let (whole, rest) = text.split_once('.').map_or((text, None), |(whole, rest)| (whole, Some(rest)));
    let is_number =
        |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole, whole_digits) || rest.is_some_and(|rest| !is_number(rest, digits)) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= most)
}

/// Latitude and longitude: `35.68,139.69`.
pub(super) fn point(text: &str) -> Option<GeoPoint> {
    let (latitude, longitude) = text.split_once(',')?;
    let degrees = |text: &str, most, whole_digits| match text.strip_prefix('-') {
        Some(rest) => decimal(rest, most, whole_digits, 9).map(|number| -number),
        None => decimal(text, most, whole_digits, 9),
    };
    Some(GeoPoint { latitude: degrees(latitude, 90.0, 2)?, longitude: degrees(longitude, 180.0, 3)? })
}

/// Round trips in milliseconds by region: `asia-northeast1=8.5,eu-west-1=240`.
pub(super) fn latencies(text: &str) -> Option<BTreeMap<String, f64>> {
    let mut latencies = BTreeMap::new();
    for (index, one) in text.split(',').enumerate() {
        let (region, ms) = one.split_once('=')?;
        if index >= MAX_LATENCIES || !is_name(region) {
            return None;
        }
        latencies.insert(region.to_owned(), decimal(ms, route::MAX_LATENCY_MS, 5, 3)?);
    }
    Some(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_a_url_are_plain_numbers_in_range() {
        let read = |location: &str| point(location).map(|point| (point.latitude, point.longitude));
        for (text, expected) in [
            ("35.68,139.69", (35.68, 139.69)),
            ("-90,180.0", (-90.0, 180.0)),
            ("-0.5,-179.999999999", (-0.5, -179.999_999_999)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
        for wrong in [
            "",
            ",",
            "1",
            "1,",
            ",1",
            "1,2,3",
            "90.1,0",
            "0,180.1",
            "1e1,0",
            "NaN,0",
            "inf,0",
            "+1,0",
            "1.,0",
            ".5,0",
            "--1,0",
            "1.0123456789,0",
            " 1,0",
            "001,0",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn latencies_in_a_url_are_of_a_few_regions_each_a_plain_number_in_range() {
        let found = latencies("a=8.5,eu-west-1=240").expect("whole");
        assert_eq!(found, BTreeMap::from([("a".to_owned(), 8.5), ("eu-west-1".to_owned(), 240.0)]));
        let many = (0..=MAX_LATENCIES).map(|n| format!("r{n}=1")).collect::<Vec<_>>().join(",");
        for wrong in ["", "a", "a=", "=1", "a=-1", "a=60000.5", "a=1e3", "A=1", "a=1,", "a=1;b=2", &many] {
            assert_eq!(latencies(wrong), None, "{wrong}");
        }
    }
}

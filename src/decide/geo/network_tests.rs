//! What the shipped numbers say of the world, and what holds for any point on it.

use proptest::prelude::*;

use super::*;
use crate::decide::geo::{distance_km, fitted::fitted, network};

/// Round trip over a kilometre of fibre, there and back, at the speed of light in glass.
const LIGHT_MS_PER_KM: f64 = 0.01;

fn at(latitude: f64, longitude: f64) -> GeoPoint {
    GeoPoint { latitude, longitude }
}

fn ms(a: GeoPoint, b: GeoPoint) -> f64 {
    network().round_trip_ms(&network().spot(a), &network().spot(b))
}

fn hub(code: &str) -> GeoPoint {
    HUBS.iter().find(|hub| hub.code == code).expect("a hub of this code").point
}

#[test]
fn the_shipped_links_join_known_hubs_and_are_no_faster_than_light() {
    let fitted = fitted();
    assert!(fitted.leg_ms_per_km >= LIGHT_MS_PER_KM && fitted.access_ms >= 0.0);
    for link in &fitted.links {
        let km = distance_km(hub(link.ends[0]), hub(link.ends[1]));
        assert!(link.ms >= km * LIGHT_MS_PER_KM, "{link:?} over {km} km");
    }
    Network::new(&fitted).expect("known hubs");
}

#[test]
fn every_hub_is_reached_from_every_other() {
    let lost = (0..HUBS.len()).filter(|hub| !network().between_ms(0, *hub).is_finite());
    assert_eq!(lost.map(|hub| HUBS[hub].code).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn an_unknown_hub_is_told() {
    let link = Link { ends: ["LON", "ATLANTIS"], ms: 1.0, seldom: false };
    let wrong = Network::new(&Fitted { access_ms: 0.0, leg_ms_per_km: 1.0, links: vec![link] });
    let message = wrong.expect_err("no such hub").to_string();
    assert_eq!(message, "the link LON-ATLANTIS names a hub that is not in hubs.rs");
}

#[test]
fn estimates_are_of_the_size_that_people_measure() {
    for (a, b, measured) in [
        ("LON", "NYC", 70.0..85.0),
        ("FRA", "SIN", 150.0..190.0),
        ("SIN", "SYD", 85.0..110.0),
        ("TYO", "LAX", 95.0..120.0),
        ("JNB", "LON", 150.0..190.0),
        ("SAO", "MIA", 100.0..125.0),
        ("FRA", "AMS", 5.0..15.0),
    ] {
        assert!(measured.contains(&ms(hub(a), hub(b))), "{a} to {b}: {}", ms(hub(a), hub(b)));
    }
}

/// Each of these has another relay nearer on the globe.
#[test]
fn where_cables_leave_the_great_circle_the_estimate_follows_the_cables() {
    for (client, near_by_cable, near_on_the_globe) in [
        ("JNB", "DUB", "BOM"), // West and east cables end in Europe.
        ("NBO", "DUB", "BOM"),
        ("LOS", "DUB", "SAO"),
        ("TAS", "HEL", "BOM"), // No cable crosses the Himalaya.
        ("HAN", "TYO", "BOM"),
        ("TLV", "FRA", "DXB"), // Israel's cables land in the Mediterranean.
        ("BOG", "IAD", "SAO"),
    ] {
        let (right, wrong) = (ms(hub(client), hub(near_by_cable)), ms(hub(client), hub(near_on_the_globe)));
        assert!(right < wrong, "{client}: {near_by_cable} in {right} ms, {near_on_the_globe} in {wrong} ms");
    }
}

#[test]
fn around_the_corner_is_a_few_milliseconds() {
    // Seven kilometres apart, far from any hub and at one.
    for point in [at(47.0, 2.0), hub("LON"), at(-50.0, 100.0), at(89.9, 0.0)] {
        let beside = at(point.latitude - 0.06, point.longitude);
        assert!(ms(point, beside) < 5.0, "{point:?}: {}", ms(point, beside));
    }
}

prop_compose! {
    fn points()(latitude in -90.0..=90.0_f64, longitude in -180.0..=180.0_f64) -> GeoPoint {
        at(latitude, longitude)
    }
}

proptest! {
    #[test]
    fn an_estimate_is_finite_symmetric_and_no_faster_than_light(a in points(), b in points()) {
        let there = ms(a, b);
        prop_assert!(there.is_finite());
        prop_assert_eq!(there.to_bits(), ms(b, a).to_bits());
        prop_assert!(there >= distance_km(a, b) * LIGHT_MS_PER_KM);
        prop_assert!(there < 1_000.0);
    }

    #[test]
    fn reaching_many_says_the_same_as_one_by_one(a in points(), others in prop::collection::vec(points(), 0..8)) {
        let spot = network().spot(a);
        let reach = network().reach(&spot);
        for other in others {
            let other = network().spot(other);
            prop_assert!((reach.round_trip_ms(&other) - network().round_trip_ms(&spot, &other)).abs() < 1e-6);
        }
    }

    #[test]
    fn a_hub_that_lies_between_never_makes_it_longer_than_its_links(first in 0..HUBS.len(), over in 0..HUBS.len(), last in 0..HUBS.len()) {
        let direct = network().between_ms(first, last);
        prop_assert!(direct <= network().between_ms(first, over) + network().between_ms(over, last) + 1e-9);
    }

    /// Within the country around one hub, farther is never faster.
    #[test]
    fn around_one_hub_farther_is_never_faster(hub in 0..HUBS.len(), bearing in -1.0..1.0_f64, near in 0.0..0.3_f64, more in 0.0..0.3_f64) {
        let centre = HUBS[hub].point;
        let along = |degrees: f64| at(centre.latitude + degrees * bearing, centre.longitude + degrees * (1.0 - bearing.abs()));
        prop_assert!(ms(centre, along(near + more)) >= ms(centre, along(near)) - 1e-9);
    }
}

//! Tables and properties of placement.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::decide::geo::round_trip_ms;
use crate::wire::session::{Beside, ClientPlace, Rung};

/// For a host alone, by a lobby that has no settings.
fn place(pools: &[Pool], client: &ClientPlace) -> Placement {
    super::place(&pools.iter().cloned().collect(), &Ask::of(client), &Routing::default())
}

const TOKYO: GeoPoint = GeoPoint { latitude: 35.68, longitude: 139.69 };
const MUMBAI: GeoPoint = GeoPoint { latitude: 19.08, longitude: 72.88 };
const DUBLIN: GeoPoint = GeoPoint { latitude: 53.35, longitude: -6.26 };

fn relay(name: &'static str, capacity: u32, used: u32) -> Relay {
    Relay { name: name.to_owned(), state: RelayState::Serving, capacity, used }
}

fn pool(name: &'static str, point: GeoPoint, relays: Vec<Relay>) -> Pool {
    Pool::new(name, name, point, Terms::default(), relays)
}

fn three() -> Vec<Pool> {
    vec![
        pool("dublin", DUBLIN, vec![relay("dublin-0", 10, 0)]),
        pool("mumbai", MUMBAI, vec![relay("mumbai-0", 10, 0)]),
        pool("tokyo", TOKYO, vec![relay("tokyo-0", 10, 0)]),
    ]
}

fn at(latitude: f64, longitude: f64) -> ClientPlace {
    ClientPlace { location: Some(GeoPoint { latitude, longitude }), ..ClientPlace::default() }
}

fn measured(latencies: &[(&str, f64)]) -> ClientPlace {
    let latencies = latencies.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect();
    ClientPlace { latencies, ..ClientPlace::default() }
}

fn named(region: &str) -> ClientPlace {
    ClientPlace { region: Some(region.to_owned()), ..ClientPlace::default() }
}

fn order(placement: &Placement) -> Vec<&str> {
    placement.ranking.iter().map(|ranked| ranked.pool.as_str()).collect()
}

#[test]
fn each_rung_orders_the_pools() {
    let both = ClientPlace { latencies: measured(&[("mumbai", 80.0)]).latencies, ..at(51.5, -0.1) };
    for (case, client, expected, rungs) in [
        ("measured", measured(&[("tokyo", 9.0), ("dublin", 240.0), ("mumbai", 120.0)]), "tokyo mumbai dublin", "mmm"),
        ("coordinates: Osaka", at(34.7, 135.5), "tokyo mumbai dublin", "ccc"),
        ("coordinates: London", at(51.5, -0.1), "dublin mumbai tokyo", "ccc"),
        ("a pool's region", named("mumbai"), "mumbai tokyo dublin", "rrr"),
        ("a cloud's region", named("asia-northeast3"), "tokyo mumbai dublin", "rrr"),
        ("an unknown region", named("moon-base1"), "dublin mumbai tokyo", "ddd"),
        ("nothing", ClientPlace::default(), "dublin mumbai tokyo", "ddd"),
        // Measured in part: what was measured comes first, the others by the rung below.
        ("measured and coordinates", both, "mumbai dublin tokyo", "mcc"),
        ("measured and nothing else", measured(&[("tokyo", 300.0)]), "tokyo dublin mumbai", "mdd"),
        ("measured elsewhere only", measured(&[("moon-base1", 3.0)]), "dublin mumbai tokyo", "ddd"),
    ] {
        let placement = place(&three(), &client);
        assert_eq!(order(&placement).join(" "), expected, "{case}");
        let found: String = placement.ranking.iter().map(|ranked| &ranked.rung.as_str()[..1]).collect();
        assert_eq!(found, rungs, "{case}");
        assert_eq!(
            placement.chosen.map(|chosen| three()[chosen.pool].name.clone()).as_deref(),
            expected.split(' ').next(),
            "{case}"
        );
    }
}

#[test]
fn a_pool_without_room_is_passed_over_and_says_why() {
    let states = [
        (RelayState::Serving, "full"),
        (RelayState::Cordoned, "takes no new sessions"),
        (RelayState::Silent, "not heard"),
        (RelayState::NotLinked, "not linked"),
        (RelayState::NoAddress, "has no address yet"),
    ];
    for (state, why) in states {
        let mut pools = three();
        let used = if state == RelayState::Serving { 10 } else { 0 };
        pools[2] = pool("tokyo", TOKYO, vec![Relay { state, used, ..relay("tokyo-0", 10, 0) }]);
        let placement = place(&pools, &at(35.0, 139.0));
        assert_eq!(order(&placement), ["tokyo", "mumbai", "dublin"]);
        assert_eq!(placement.chosen.map(|chosen| chosen.pool), Some(1));
        let reasons: Vec<&str> = placement.ranking.iter().map(|ranked| ranked.reason.as_str()).collect();
        assert_eq!(reasons[0], format!("first by distance from the client's coordinates; {why}"));
        assert_eq!(reasons[1], "number 2 by distance from the client's coordinates; the first that has room: chosen");
        assert!(reasons[2].ends_with("; has room"), "{}", reasons[2]);
        assert_eq!(placement.ranking[0].free_seats, 0);
    }
    let mut pools = three();
    pools[2] = pool("tokyo", TOKYO, vec![]);
    assert!(place(&pools, &at(35.0, 139.0)).ranking[0].reason.ends_with("; has no relay"));
}

#[test]
fn without_any_room_nothing_is_chosen_and_all_is_told() {
    let pools = [("a", DUBLIN), ("b", MUMBAI), ("c", TOKYO)].map(|(name, at)| pool(name, at, vec![relay("r", 10, 11)]));
    let placement = place(&pools, &ClientPlace::default());
    assert_eq!(placement.chosen, None);
    assert_eq!(placement.ranking.len(), 3);
    assert_eq!(place(&[], &ClientPlace::default()), Placement { ranking: vec![], chosen: None, wanted: None });
}

#[test]
fn a_pool_is_packed_and_its_fullest_relay_with_room_goes_first() {
    for (relays, expected) in [
        (vec![relay("a", 10, 3), relay("b", 10, 7), relay("c", 10, 10)], Some(1)),
        (vec![relay("b", 10, 3), relay("a", 10, 3)], Some(1)),
        (vec![relay("a", 0, 0), relay("b", 1, 0)], Some(1)),
        (vec![relay("a", 2, 2)], None),
    ] {
        let pools = [pool("here", TOKYO, relays)];
        assert_eq!(place(&pools, &ClientPlace::default()).chosen.map(|chosen| chosen.relay), expected);
    }
}

#[test]
fn equally_near_pools_go_by_free_seats_then_by_declared_order() {
    let near = |name, used| Pool::new(name, "here", TOKYO, Terms::default(), vec![relay("r", 10, used)]);
    let pools = [near("first", 5), near("second", 5), near("third", 2)];
    for client in [at(35.0, 139.0), measured(&[("here", 4.0)]), named("here")] {
        assert_eq!(order(&place(&pools, &client)), ["third", "first", "second"]);
    }
    // Nothing is known: the declared order stands, whoever has more room.
    assert_eq!(order(&place(&pools, &ClientPlace::default())), ["first", "second", "third"]);
}

#[test]
fn the_answer_tells_distance_and_estimate_where_they_are_known() {
    let ranking = place(&three(), &named("tokyo")).ranking;
    assert_eq!((ranking[0].distance_km, ranking[0].estimate_ms), (Some(0.0), Some(tenth(round_trip_ms(TOKYO, TOKYO)))));
    let ranking = place(&three(), &measured(&[("tokyo", 12.34)])).ranking;
    assert_eq!((ranking[0].distance_km, ranking[0].estimate_ms), (None, Some(12.3)));
    assert_eq!((ranking[1].distance_km, ranking[1].estimate_ms), (None, None));
}

#[test]
fn absurd_places_are_refused_and_the_field_is_named() {
    let many: BTreeMap<String, f64> = (0..=MAX_LATENCIES).map(|n| (format!("r{n}"), 1.0)).collect();
    for (client, field) in [
        (measured(&[("tokyo", -0.1)]), "place.latencies.tokyo"),
        (measured(&[("tokyo", f64::NAN)]), "place.latencies.tokyo"),
        (measured(&[("tokyo", f64::INFINITY)]), "place.latencies.tokyo"),
        (measured(&[("tokyo", 60_000.5)]), "place.latencies.tokyo"),
        (measured(&[("", 1.0)]), "place.latencies"),
        (measured(&[("with\nnewline", 1.0)]), "place.latencies"),
        (ClientPlace { latencies: many, ..ClientPlace::default() }, "place.latencies"),
        (at(90.5, 0.0), "place.location.latitude"),
        (at(f64::NAN, 0.0), "place.location.latitude"),
        (at(0.0, -180.5), "place.location.longitude"),
        (named(""), "place.region"),
        (named(&"x".repeat(64)), "place.region"),
    ] {
        assert_eq!(check(&client).map_err(|bad| bad.field), Err(field.to_owned()), "{client:?}");
    }
    for client in [ClientPlace::default(), at(-90.0, 180.0), named("moon-base1"), measured(&[("tokyo", -0.0)])] {
        assert_eq!(check(&client), Ok(()), "{client:?}");
    }
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

prop_compose! {
    fn relays()(states in prop::collection::vec((0..5_u8, 0..4_u32, 0..5_u32), 0..4)) -> Vec<Relay> {
        let of = |(index, (state, capacity, used)): (usize, (u8, u32, u32))| Relay {
            name: NAMES[index].to_owned(),
            state: match state {
                0 => RelayState::Cordoned,
                1 => RelayState::Silent,
                _ => RelayState::Serving,
            },
            capacity,
            used,
        };
        states.into_iter().enumerate().map(of).collect()
    }
}

prop_compose! {
    fn some_pools()(all in prop::collection::vec((0..4_usize, -80.0..80.0_f64, -180.0..180.0_f64, relays()), 1..8))
        -> Vec<Pool> {
        let of = |(index, (region, latitude, longitude, relays)): (usize, (usize, f64, f64, Vec<Relay>))| {
            // Whole tens, so that equal keys come up.
            let point =
                GeoPoint { latitude: (latitude / 40.0).round() * 40.0, longitude: (longitude / 90.0).round() * 90.0 };
            Pool::new(NAMES[index], NAMES[region], point, Terms::default(), relays)
        };
        all.into_iter().enumerate().map(of).collect()
    }
}

prop_compose! {
    fn clients()(
        latencies in prop::collection::btree_map(0..4_usize, 0..4_u32, 0..4),
        location in prop::option::of((-90.0..=90.0_f64, -180.0..=180.0_f64)),
        region in prop::option::of(0..6_usize),
    ) -> ClientPlace {
        ClientPlace {
            latencies: latencies.into_iter().map(|(r, ms)| (NAMES[r].to_owned(), f64::from(ms))).collect(),
            location: location.map(|(latitude, longitude)| GeoPoint { latitude, longitude }),
            region: region.map(|r| NAMES[r].to_owned()),
            residency: None,
            beside: Beside::default(),
        }
    }
}

proptest! {
    #[test]
    fn a_place_is_known_if_some_pool_is_so_far_from_it(pools in some_pools(), client in clients(), network in clients()) {
        let pools: Pools = pools.into_iter().collect();
        let beside = Beside { network: network.latencies, geoip: network.location };
        for client in [client.clone(), ClientPlace { beside, ..client }] {
            let is_far = estimates(&pools, &client).iter().any(|estimate| estimate.ms.is_some());
            prop_assert_eq!(is_known(&pools, &client), is_far, "{:?}", client);
        }
    }

    #[test]
    fn the_chosen_pool_is_the_first_of_the_ranking_with_room(pools in some_pools(), client in clients()) {
        let placement = place(&pools, &client);
        prop_assert_eq!(placement.ranking.len(), pools.len());
        let first = placement.ranking.iter().find(|ranked| ranked.free_seats > 0).map(|ranked| ranked.pool.as_str());
        prop_assert_eq!(placement.chosen.map(|chosen| pools[chosen.pool].name()), first);
        prop_assert_eq!(placement.chosen.is_some(), pools.iter().any(|pool| pool.free_seats() > 0));
        if let Some(chosen) = placement.chosen {
            prop_assert!(pools[chosen.pool].relays[chosen.relay].free_seats() > 0);
        }
    }

    #[test]
    fn while_no_pool_is_above_the_knee_nobody_with_room_is_nearer_than_the_chosen(
        pools in some_pools(), lat in -90.0..90.0_f64, lon in -180.0..180.0_f64,
    ) {
        let mut pools = pools;
        pools.retain(|pool| pool.free_seats() == 0 || pool.load() <= KNEE);
        let client = at(lat, lon);
        let from = client.location.expect("set");
        if let Some(chosen) = place(&pools, &client).chosen {
            let ms = round_trip_ms(from, pools[chosen.pool].point);
            for pool in pools.iter().filter(|pool| pool.free_seats() > 0) {
                prop_assert!(round_trip_ms(from, pool.point) >= ms - 0.1);
            }
        }
    }

    #[test]
    fn better_rungs_stand_first_and_scores_rise_within_one(pools in some_pools(), client in clients()) {
        let ranking = place(&pools, &client).ranking;
        for (a, b) in ranking.iter().zip(ranking.iter().skip(1)) {
            prop_assert!(a.rung <= b.rung);
            if a.rung == b.rung {
                prop_assert!(a.score <= b.score);
            }
            if a.rung == b.rung && a.load.total_cmp(&b.load).is_eq() && a.score == b.score && a.score.is_some() && a.distance_km == b.distance_km {
                prop_assert!(a.free_seats >= b.free_seats);
            }
        }
    }

    #[test]
    fn the_same_values_give_the_same_answer_and_declared_order_breaks_only_ties(pools in some_pools(), client in clients()) {
        let placement = place(&pools, &client);
        prop_assert_eq!(&placement, &place(&pools, &client));
        // Declared the other way round, the keys of order stand as they stood; only equals may change places. (A client
        // that names a region of two pools is where the first of them is, so the declared order counts there.)
        prop_assume!(client.location.is_some() || client.region.is_none());
        let mut turned = pools.clone();
        turned.reverse();
        let keys = |placement: &Placement| -> Vec<_> {
            placement.ranking.iter().map(|r| (r.rung, r.score, r.estimate_ms.map(|_| r.free_seats))).collect()
        };
        prop_assert_eq!(keys(&placement), keys(&place(&turned, &client)));
    }
}

/// Each rung alone, and then the better one beside it.
#[test]
fn the_best_rung_that_there_is_counts() {
    let of = |told: ClientPlace, network: &[(&str, f64)], geoip: Option<GeoPoint>| {
        let network = network.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect();
        let placement = place(&three(), &ClientPlace { beside: Beside { network, geoip }, ..told });
        placement.ranking.iter().map(|pool| (pool.pool.clone(), pool.rung)).collect::<Vec<_>>()
    };
    let first = |ranking: Vec<(String, Rung)>| ranking.first().cloned().expect("three pools");
    let is = |name: &str, rung| (name.to_owned(), rung);
    let nothing = ClientPlace::default;
    assert_eq!(first(of(nothing(), &[], None)), is("dublin", Rung::DeclaredOrder));
    assert_eq!(first(of(nothing(), &[], Some(TOKYO))), is("tokyo", Rung::GeoIp));
    assert_eq!(first(of(named("mumbai"), &[], Some(TOKYO))), is("mumbai", Rung::Region));
    assert_eq!(first(of(named("atlantis"), &[], Some(TOKYO))), is("tokyo", Rung::GeoIp), "nobody knows that region");
    assert_eq!(first(of(at(53.0, -6.0), &[], Some(TOKYO))), is("dublin", Rung::Coordinates));
    let by_others = of(at(53.0, -6.0), &[("tokyo", 250.0), ("mumbai", 9.0)], None);
    assert_eq!(
        by_others,
        [is("mumbai", Rung::Network), is("tokyo", Rung::Network), is("dublin", Rung::Coordinates)],
        "what was measured stands before what was guessed"
    );
    let own = of(measured(&[("tokyo", 40.0)]), &[("tokyo", 250.0), ("mumbai", 9.0)], Some(DUBLIN));
    assert_eq!(own, [is("tokyo", Rung::Measured), is("mumbai", Rung::Network), is("dublin", Rung::GeoIp)]);
}

//! What clients say of where they are, in bodies and in URLs, with the whole way to a choice.

use std::sync::LazyLock;
use std::time::Duration;

use convene::decide::route::{self, Ask, MAX_LATENCIES, MAX_LATENCY_MS, Pool, Pools, Relay, RelayState, Terms};
use convene::wire::routing::{Cap, Inside, Overflow, RegionRule, Routing, Strategy};
use convene::wire::session::{ClientPlace, GeoPoint, RankedPool};

use crate::{lobby_query, router_query};

/// Settings in which each part of the choice counts.
static ROUTING: LazyLock<Routing> = LazyLock::new(|| {
    let rule = |name: &str, residency: Option<&str>, priority, distance_percent| RegionRule {
        name: name.to_owned(),
        residency: residency.map(str::to_owned),
        priority,
        distance_percent,
    };
    Routing {
        strategy: Strategy::Average,
        overflow: Overflow::SameResidency,
        inside: Inside::Spread,
        caps: vec![Cap { at_most_ms: 100, for_seconds: 10 }],
        regions: vec![
            rule("tokyo", Some("jp"), 0, 1000),
            rule("osaka", Some("jp"), 1, 10),
            rule("madrid", None, 0, 100),
        ],
    }
});

fn pools(routing: &Routing) -> Pools {
    let relay = |name: &str, state, used| Relay { name: name.to_owned(), state, capacity: 9, used };
    let pool = |name: &str, region: &str, latitude, longitude, relays| {
        Pool::new(name, region, GeoPoint { latitude, longitude }, Terms::of(routing, region), relays)
    };
    let two = || vec![relay("r-0", RelayState::Serving, 8), relay("r-1", RelayState::Serving, 3)];
    Pools::from(vec![
        pool("tokyo", "tokyo", 35.68, 139.69, two()),
        pool("tokyo-2", "tokyo", 35.68, 139.69, vec![relay("r-0", RelayState::Cordoned, 1)]),
        pool("osaka", "osaka", 34.69, 135.5, vec![]),
        pool("madrid", "madrid", 40.42, -3.7, vec![relay("r-0", RelayState::Serving, 9)]),
        pool("pole", "pole", 90.0, 180.0, two()),
    ])
}

/// A place is refused for what is out of range, and for nothing else; what is taken makes numbers of which each is one, and
/// with reasons and without the same choice.
pub(crate) fn place(data: &[u8]) -> bool {
    let Ok(place) = serde_json::from_slice::<ClientPlace>(data) else { return false };
    let taken = route::check(&place);
    assert_eq!(taken.is_ok(), is_in_range(&place), "{taken:?}: {place:?}");
    if taken.is_err() {
        return false;
    }
    let measured = [("tokyo".to_owned(), 5.0), ("madrid".to_owned(), 230.0)];
    let other = ClientPlace { latencies: measured.into(), ..ClientPlace::default() };
    for routing in [&Routing::default(), &*ROUTING] {
        let pools = pools(routing);
        for parties in [vec![&place], vec![&place, &other], vec![&other, &place]] {
            let ask = Ask { parties, waited: Some(Duration::ZERO), draw: 7, asked: &[] };
            let placement = route::place(&pools, &ask, routing);
            assert_eq!(route::choose(&pools, &ask, routing), (placement.chosen, placement.wanted));
            assert_eq!(placement.ranking.len(), pools.len());
            placement.ranking.iter().for_each(is_of_numbers);
            let chosen = placement.chosen.map(|chosen| &pools[chosen.pool]);
            assert!(chosen.is_none_or(|pool| pool.free_seats() > 0), "{chosen:?}");
            let residency = ask.parties[0].residency.as_deref();
            assert!(chosen.is_none_or(|pool| residency.is_none() || pool.residency() == residency), "{chosen:?}");
        }
    }
    true
}

fn is_in_range(place: &ClientPlace) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.len() <= 63 && name.chars().all(|c| ('!'..='~').contains(&c));
    let mut names = place.latencies.keys().chain(&place.region).chain(&place.residency);
    names.all(|name| is_name(name))
        && place.latencies.len() <= 256
        && place.latencies.values().all(|ms| *ms >= 0.0 && *ms <= 60_000.0)
        && place.location.is_none_or(|at| at.latitude.abs() <= 90.0 && at.longitude.abs() <= 180.0)
}

fn is_of_numbers(ranked: &RankedPool) {
    let all = [ranked.estimate_ms, ranked.score, ranked.distance_km, Some(ranked.load)];
    assert!(all.into_iter().flatten().all(|number| number.is_finite() && number >= 0.0), "{ranked:?}");
}

/// What stands in a URL: in the query of `GET /v1/route` a point or latencies, for the redirect a whole query. What is taken
/// is in range; a point that the one takes is the same one for the other; and of what the redirect passes on nothing
/// more is taken out.
pub(crate) fn query(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let is_good = |place: &ClientPlace| route::check(place).is_ok();
    let point = lobby_query::point(text);
    if point.is_some() {
        assert!(is_good(&ClientPlace { location: point, ..ClientPlace::default() }), "{point:?}");
        let (told, rest) =
            router_query::told(&format!("location={text}")).expect("it takes more numbers than the lobby");
        assert_eq!((told.location, rest.as_str()), (point, ""));
    }
    let latencies = lobby_query::latencies(text);
    if let Some(latencies) = &latencies {
        assert!(!latencies.is_empty() && latencies.len() <= MAX_LATENCIES);
        assert!(latencies.values().all(|ms| (0.0..=MAX_LATENCY_MS).contains(ms)), "{latencies:?}");
        assert!(is_good(&ClientPlace { latencies: latencies.clone(), ..ClientPlace::default() }), "{latencies:?}");
    }
    let told = router_query::told(text);
    if let Some((place, rest)) = &told {
        assert!(is_good(place), "{place:?}");
        let again = router_query::told(rest.strip_prefix('?').unwrap_or_default());
        assert_eq!(again, Some((ClientPlace::default(), rest.clone())), "of {text:?}");
    }
    point.is_some() || latencies.is_some() || told.is_some_and(|(place, _)| place != ClientPlace::default())
}

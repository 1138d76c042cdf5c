//! Names that stay with sessions, and sessions that are asked to move.

use super::*;
use crate::wire::routing::{Inside, RegionRule};

#[test]
fn a_name_stays_with_its_session_through_moves_and_links() {
    let (mut book, table) = with_one();
    assert_eq!(book.rename("none", "x".to_owned()), Err(Refused::Unknown));
    assert_eq!(book.rename("s", "stand-up".to_owned()).expect("known").name.as_deref(), Some("stand-up"));
    // Records hold no names, so what a relay returns must not take this one away.
    book.linked(up("a0", 2, "x", &[("s", 1)], &["s"]), at(1));
    assert_eq!(book.get("s").and_then(|session| session.name.as_deref()), Some("stand-up"));
    book.linked(up("b0", 3, "x", &[], &[]), at(1));
    let target = Target::Pool("b".to_owned());
    let session = book.get("s").expect("live").clone();
    let choice = board(&book, &table, at(1)).toward(&session, &target, first_try(7)).expect("room").expect("elsewhere");
    let shift = Shift { id: "s".to_owned(), from: 1, home: choice.home, capacity: choice.capacity, at: 7 };
    let (moved, said) = book.shift(shift, at(1)).expect("room");
    assert_eq!((moved.epoch, moved.view().name.as_deref()), (2, Some("stand-up")));
    assert_eq!(orders(&said), ["hold s 2 at b0", "move s 1 at a0"]);
}

fn ask(book: &Book, table: &RelayTable, target: &Target) -> Result<Option<String>, NoMove> {
    let session = book.get("s").expect("live");
    let choice = board(book, table, at(0)).toward(session, target, first_try(0))?;
    Ok(choice.map(|choice| choice.home.pod_uid))
}

/// A session `s` at `a0`; linked are also `a1` and `b0`.
fn three_relays(capacity: u32) -> (Book, RelayTable) {
    let (mut book, _) = with_one();
    for (link, pod) in [(2, "a1"), (3, "b0")] {
        book.linked(up(pod, link, "x", &[], &[]), at(0));
    }
    (book, table(capacity))
}

#[test]
fn a_session_goes_where_it_is_asked_to_and_stays_where_it_is_wanted() {
    let (book, table) = three_relays(10);
    let (region, pool) = (|name: &str| Target::Region(name.to_owned()), |name: &str| Target::Pool(name.to_owned()));
    for (target, goes) in [
        (Target::Best, Ok(None)),
        (region("a"), Ok(None)),
        (pool("a"), Ok(None)),
        (region("b"), Ok(Some("b0".to_owned()))),
        (pool("b"), Ok(Some("b0".to_owned()))),
        (region("c"), Err(NoMove::NoSuchRegion)),
        (pool("c"), Err(NoMove::NoSuchPool)),
    ] {
        assert_eq!(ask(&book, &table, &target), goes, "{target:?}");
    }
}

#[test]
fn a_full_home_is_not_left_for_a_farther_pool_and_a_full_target_is_no_move() {
    let (mut book, table) = three_relays(1);
    book.create(&table, new("t"), at(0)).expect("room");
    assert_eq!(ask(&book, &table, &Target::Best), Ok(None), "home is full with this session");
    book.create(&table, new("u"), at(0)).expect("room");
    let full = Err(NoMove::NoSeat(NoSeat::NoCapacity));
    assert_eq!(ask(&book, &table, &Target::Pool("b".to_owned())), full);
    assert_eq!(ask(&book, &table, &Target::Best), Ok(None));
}

#[test]
fn a_session_that_is_asked_to_move_leaves_a_relay_that_takes_no_more() {
    let (mut book, mut table) = three_relays(10);
    table.pools[0].relays[0].cordoned = true;
    assert_eq!(ask(&book, &table, &Target::Best), Ok(Some("a1".to_owned())));
    book.link_down("a1", 2);
    assert_eq!(ask(&book, &table, &Target::Best), Ok(Some("b0".to_owned())));
    assert_eq!(ask(&book, &table, &Target::Pool("a".to_owned())), Err(NoMove::NoSeat(NoSeat::NoCapacity)));
}

#[test]
fn a_session_is_best_by_the_place_of_its_host() {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    for (link, pod) in [(1, "a0"), (2, "b0")] {
        book.linked(up(pod, link, "x", &[], &[]), at(0));
    }
    let place = ClientPlace { region: Some("b".to_owned()), ..ClientPlace::default() };
    book.create(&table, NewSession { place, ..new("s") }, at(0)).expect("room");
    assert_eq!(book.get("s").map(|session| session.home.pool.as_str()), Some("b"));
    assert_eq!(ask(&book, &table, &Target::Best), Ok(None));
    assert_eq!(ask(&book, &table, &Target::Region("a".to_owned())), Ok(Some("a0".to_owned())));
}

#[test]
fn a_session_of_a_host_of_whose_place_nothing_is_known_stays_near_where_it_was() {
    let of = |region: Option<&str>, residency: Option<&str>| ClientPlace {
        region: region.map(str::to_owned),
        residency: residency.map(str::to_owned),
        ..ClientPlace::default()
    };
    for (place, residencies, expected) in [
        (ClientPlace::default(), ["eu", "us"], Ok("b1")),
        (of(Some("tokyo-office"), None), ["eu", "us"], Ok("b1")),
        (of(None, Some("eu")), ["eu", "eu"], Ok("b1")),
        (of(Some("tokyo-office"), Some("eu")), ["eu", "eu"], Ok("b1")),
        // What the host has asked for holds, wherever the session has come.
        (of(Some("tokyo-office"), Some("eu")), ["eu", "us"], Ok("a0")),
        (of(None, Some("asia")), ["eu", "us"], Err(NoSeat::NoCapacity)),
    ] {
        let (mut book, mut table) = (Book::new(LIMITS, at(0)), table(10));
        book.linked(up("b0", 1, "x", &[], &[]), at(0));
        book.create(&table, new("s"), at(0)).expect("room");
        for (link, pod) in [(2, "a0"), (3, "b1")] {
            book.linked(up(pod, link, "x", &[], &[]), at(0));
        }
        table.routing.regions = ["a", "b"]
            .into_iter()
            .zip(residencies)
            .map(|(name, residency)| RegionRule {
                name: name.to_owned(),
                residency: Some(residency.to_owned()),
                priority: 0,
                distance_percent: 100,
            })
            .collect();
        book.link_down("b0", 1);
        let session = Session { place, homeless: true, ..book.get("s").expect("live").clone() };
        let way = board(&book, &table, at(0)).way(&session, None, first_try(0));
        let goes = way.map(|choice| choice.expect("it has lost its relay").home.pod_uid);
        assert_eq!(goes, expected.map(str::to_owned), "{:?} {residencies:?}", session.place);
    }
}

#[test]
fn the_pool_that_is_woken_is_the_one_that_the_session_would_rather_go_to() {
    let (book, mut table) = three_relays(10);
    let asleep = |name: &str, longitude| PoolEntry {
        name: name.to_owned(),
        longitude,
        relays: Vec::new(),
        ..table.pools[0].clone()
    };
    let (x, c) = (asleep("x", 1.0), asleep("c", 60.0));
    table.pools.insert(1, x);
    table.pools.push(c);
    for (pool, region) in table.pools.iter_mut().zip(["east", "east", "west", "west"]) {
        pool.region = region.to_owned();
    }
    let woken = |longitude, target: Target| {
        let location = Some(GeoPoint { latitude: 0.0, longitude });
        let place = ClientPlace { location, ..ClientPlace::default() };
        let session = Session { place, homeless: true, ..book.get("s").expect("live").clone() };
        let choice = board(&book, &table, at(0)).toward(&session, &target, first_try(0)).expect("room");
        choice.and_then(|choice| choice.wakes).map(|(_, name)| name)
    };
    let west = || Target::Region("west".to_owned());
    assert_eq!(woken(0.0, Target::Best), None, "a is best, and has relays");
    // It is the second pool of the west; the second of all is another.
    assert_eq!(woken(60.0, west()).as_deref(), Some("c"));
    assert_eq!(woken(60.0, Target::Best).as_deref(), Some("c"));
    assert_eq!(woken(90.0, west()), None);
}

#[test]
fn a_relay_that_has_refused_is_not_drawn_again_and_others_seats_count() {
    let (mut book, mut table) = three_relays(10);
    // Both relays of a are equally full.
    book.load("a1", 2, RelayStats { capacity: 10, sessions: 1, ..RelayStats::default() }.into(), at(0));
    table.routing.inside = Inside::Spread;
    let lost = Session { homeless: true, ..book.get("s").expect("live").clone() };
    let board = board(&book, &table, at(0));
    let goes = |now: Try<'_>| board.way(&lost, None, now).expect("room").expect("it is lost").home.pod_uid;
    let drawn: BTreeSet<String> = (0..20).map(|attempt| goes(Try { attempt, ..first_try(0) })).collect();
    assert_eq!(drawn, BTreeSet::from(["a0".to_owned(), "a1".to_owned()]));
    // While others ask for all of a, it goes to b; and moves nowhere for what is as good as taken.
    let asked: Asked = [("a0".into(), 10), ("a1".into(), 10)].into();
    assert_eq!(goes(Try { asked: &asked, ..first_try(0) }), "b0");
}

#[test]
fn a_request_names_one_target_of_a_readable_name() {
    use crate::wire::session::MoveSession;
    let request = |region: Option<&str>, pool: Option<&str>| MoveSession {
        region: region.map(str::to_owned),
        pool: pool.map(str::to_owned),
    };
    assert_eq!(Target::of(request(None, None)), Ok(Target::Best));
    assert_eq!(Target::of(request(Some("r"), None)), Ok(Target::Region("r".to_owned())));
    assert_eq!(Target::of(request(None, Some("p"))), Ok(Target::Pool("p".to_owned())));
    let long = "x".repeat(64);
    for (request, field) in [
        (request(Some("r"), Some("p")), "pool: "),
        (request(Some(""), None), "region: "),
        (request(None, Some("")), "pool: "),
        (request(None, Some(&long)), "pool: "),
    ] {
        assert!(Target::of(request).is_err_and(|why| why.starts_with(field)), "{field}");
    }
}

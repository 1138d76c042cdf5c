//! Where guests are, as long as they are there, and sessions that move for them.

use proptest::prelude::*;

use super::*;
use crate::decide::geo::round_trip_ms;
use crate::decide::regions;
use crate::wire::routing::{Inside, Overflow, RegionRule, Routing, Strategy as Whom};
use crate::wire::session::Beside;

/// Measured round trips to the pools `a` and `b`.
fn measured(a: f64, b: f64) -> ClientPlace {
    ClientPlace { latencies: [("a".to_owned(), a), ("b".to_owned(), b)].into(), ..ClientPlace::default() }
}

fn guest(id: &str, place: ClientPlace, since: i64) -> Party {
    Party::new(id, place, &table(10), since)
}

fn ids(book: &Book) -> Vec<String> {
    let parties = book.get("s").map(|session| session.parties.clone()).unwrap_or_default();
    parties.into_iter().map(|guest| guest.id).collect()
}

fn names(who: &[&str]) -> Vec<Present> {
    let who = who.iter().map(|id| (*id).to_owned()).collect();
    vec![Present { session: "s".to_owned(), epoch: 1, who }]
}

/// A session `s` of a host that has measured so, at the pool `a`; linked are `a0` and `b0`.
fn hosted(place: ClientPlace) -> (Book, RelayTable) {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    for (link, pod) in [(1, "a0"), (2, "b0")] {
        book.linked(up(pod, link, "x", &[], &[]), at(0));
    }
    book.create(&table, NewSession { place, ..new("s") }, at(0)).expect("room");
    assert_eq!(book.get("s").map(|session| session.home.pool.as_str()), Some("a"));
    (book, table)
}

fn for_guests(view: &View, table: &RelayTable, session: &Session, at: i64) -> Option<Choice> {
    Board::new(Arc::new(table.clone()), Arc::new(view.clone())).for_guests(session, first_try(at))
}

/// Where the session goes when this guest joins at second 1000.
fn goes(book: &Book, table: &RelayTable, place: ClientPlace) -> Option<String> {
    let mut book = book.clone();
    let session = book.meet("s", guest("g", place, 1000)).expect("live");
    for_guests(&book.view(at(0)), table, &session, 1000).map(|choice| choice.home.pool)
}

#[test]
fn a_session_moves_for_a_far_guest_when_another_pool_is_clearly_nearer_to_all() {
    let (book, table) = hosted(measured(20.0, 60.0));
    let to_b = Some("b".to_owned());
    for (place, expected) in [
        (measured(25.0, 62.0), None),
        // Nearer, but not by a third.
        (measured(90.0, 62.0), None),
        // By a third, but not by 10 ms.
        (measured(70.0, 60.5), None),
        (measured(200.0, 70.0), to_b.clone()),
        (ClientPlace::default(), None),
        (ClientPlace { region: Some("nobody-knows-it".to_owned()), ..ClientPlace::default() }, None),
    ] {
        assert_eq!(goes(&book, &table, place.clone()), expected, "{place:?}");
    }
    // What is known beside its own words counts too.
    let network: std::collections::BTreeMap<_, _> = measured(200.0, 70.0).latencies;
    let beside = Beside { network, geoip: None };
    assert_eq!(goes(&book, &table, ClientPlace { beside, ..ClientPlace::default() }), to_b);
    // Worst: 120, not 90. Average: 70, not 75.
    let mut table = table;
    let place = measured(120.0, 90.0);
    assert_eq!(goes(&book, &table, place.clone()), None);
    table.routing.strategy = Whom::Average;
    assert_eq!(goes(&book, &table, measured(200.0, 70.0)), to_b);
    assert_eq!(goes(&book, &table, place), None);
    table.routing.strategy = Whom::Host;
    assert_eq!(goes(&book, &table, measured(200.0, 70.0)), None);
}

#[test]
fn a_session_whose_hosts_place_is_not_known_does_not_follow_its_guests() {
    let nobody_knows = |region: &str| ClientPlace { region: Some(region.to_owned()), ..ClientPlace::default() };
    let gone: std::collections::BTreeMap<_, _> = [("gone".to_owned(), 3.0)].into();
    for place in [
        ClientPlace::default(),
        ClientPlace { residency: Some("eu".to_owned()), ..ClientPlace::default() },
        nobody_knows("tokyo-office"),
        // What it measured has left the table.
        ClientPlace { latencies: gone.clone(), ..ClientPlace::default() },
        ClientPlace { beside: Beside { network: gone, geoip: None }, ..nobody_knows("tokyo-office") },
    ] {
        let (mut book, table) = hosted(measured(20.0, 60.0));
        book.sessions.get_mut("s").expect("live").place = place.clone();
        assert_eq!(goes(&book, &table, measured(500.0, 5.0)), None, "{place:?}");
    }
}

#[test]
fn nobody_is_moved_again_at_once_nor_from_a_relay_that_leaves_nor_where_there_is_no_room() {
    let (book, table) = hosted(measured(20.0, 60.0));
    let far = measured(200.0, 70.0);
    let with = |change: &dyn Fn(&mut Book, &mut RelayTable)| {
        let (mut book, mut table) = (book.clone(), table.clone());
        change(&mut book, &mut table);
        goes(&book, &table, far.clone())
    };
    let moved_at = |at: i64| {
        move |book: &mut Book, _: &mut RelayTable| {
            book.sessions.get_mut("s").expect("live").moved_at = at;
        }
    };
    assert_eq!(with(&moved_at(1000 - REST + 1)), None);
    assert_eq!(with(&moved_at(1000 - REST)), Some("b".to_owned()));
    assert_eq!(with(&|_, table| table.pools[0].relays[0].leaving = true), None, "that is the drain's to do");
    assert_eq!(with(&|book, _| book.link_down("a0", 1)), Some("b".to_owned()), "its relay serves on");
    assert_eq!(with(&|book, _| book.sessions.get_mut("s").expect("live").homeless = true), None);
    assert_eq!(with(&|_, table| table.pools[1].relays[0].cordoned = true), None);
    assert_eq!(with(&|_, table| table.pools[1].relays[0].capacity = 0), None);
    assert_eq!(with(&|_, table| table.pools[0].relays[0].cordoned = true), Some("b".to_owned()));
    // Its own seat is the last at home: it is no nearer elsewhere for that.
    assert_eq!(with(&|_, table| table.pools[0].relays[0].capacity = 1), Some("b".to_owned()));
}

#[test]
fn settings_bind_a_move_for_guests_too() {
    let (mut book, table) = hosted(measured(20.0, 60.0));
    book.sessions.get_mut("s").expect("live").place.residency = Some("eu".to_owned());
    let rule = |name: &str, residency: &str, priority| RegionRule {
        name: name.to_owned(),
        residency: Some(residency.to_owned()),
        priority,
        distance_percent: 100,
    };
    let far = ClientPlace { residency: Some("us".to_owned()), ..measured(200.0, 70.0) };
    let goes = |regions, overflow| {
        let routing = Routing { overflow, regions, ..Routing::default() };
        goes(&book, &RelayTable { routing, ..table.clone() }, far.clone())
    };
    let both = || vec![rule("a", "eu", 0), rule("b", "eu", 0)];
    assert_eq!(goes(both(), Overflow::Nearest), Some("b".to_owned()));
    assert_eq!(goes(vec![rule("a", "eu", 0), rule("b", "us", 0)], Overflow::Nearest), None, "the host's residency");
    assert_eq!(goes(vec![rule("a", "eu", 0), rule("b", "eu", 1)], Overflow::Nearest), None, "only when a is full");
    // The best for all is another region than before: it does not overflow from there.
    assert_eq!(goes(both(), Overflow::Never), Some("b".to_owned()));
}

#[test]
fn load_alone_moves_nobody() {
    let (mut book, table) = hosted(measured(40.0, 45.0));
    // All but its own seat are taken at home.
    book.load("a0", 1, RelayStats { capacity: 10, sessions: 10, ..RelayStats::default() }.into(), at(0));
    book.load("b0", 2, RelayStats { capacity: 10, ..RelayStats::default() }.into(), at(0));
    assert_eq!(goes(&book, &table, measured(60.0, 45.0)), None);
    assert_eq!(goes(&book, &table, measured(80.0, 45.0)), Some("b".to_owned()));
    // And what is clearly nearer, but as good as full, is not worth it.
    book.load("b0", 2, RelayStats { capacity: 10, sessions: 9, ..RelayStats::default() }.into(), at(0));
    book.load("a0", 1, RelayStats { capacity: 10, sessions: 1, ..RelayStats::default() }.into(), at(0));
    assert_eq!(goes(&book, &table, measured(80.0, 50.0)), None);
}

#[test]
fn a_guests_place_is_known_while_it_is_there() {
    let (mut book, table) = hosted(measured(20.0, 60.0));
    let place = || measured(30.0, 50.0);
    assert_eq!(book.meet("none", guest("g", place(), 0)), Err(Refused::Unknown));
    for id in ["g", "h", "late"] {
        book.meet("s", guest(id, place(), 100)).expect("live");
    }
    book.present("a0", 1, &names(&["host", "g", "h"]), 101, at(1));
    assert_eq!(ids(&book), ["g", "h", "late"], "who is on the way is known");
    // Of another link, relay or epoch.
    book.present("a0", 9, &names(&[]), 102, at(1));
    book.present("b0", 2, &names(&[]), 102, at(1));
    book.present("a0", 1, &[Present { epoch: 2, ..names(&[])[0].clone() }], 102, at(1));
    assert_eq!(ids(&book), ["g", "h", "late"]);
    book.present("a0", 1, &names(&["host", "g"]), 102, at(1));
    assert_eq!(ids(&book), ["g", "late"], "who has left is not");
    book.present("a0", 1, &names(&["g"]), 100 + ON_THE_WAY, at(1));
    assert_eq!(ids(&book), ["g"], "nor who never came");
    // Its relay links up anew, and then it moves: it is known through both.
    book.linked(up("a0", 3, "x", &[("s", 1)], &["s"]), at(2));
    assert_eq!(ids(&book), ["g"]);
    let session = book.get("s").expect("live").clone();
    let to_b = Target::Pool("b".to_owned());
    let choice = board(&book, &table, at(2)).toward(&session, &to_b, first_try(500)).expect("room");
    let Choice { home, capacity, .. } = choice.expect("elsewhere");
    // Who was let in long ago and never came does not come along.
    book.meet("s", guest("ghost", place(), 500 - ON_THE_WAY)).expect("live");
    let shift = Shift { id: "s".to_owned(), from: 1, home, capacity, at: 500 };
    let moved = book.shift(shift, at(2)).expect("room").0;
    assert_eq!((moved.moved_at, moved.parties.as_slice()), (500, [guest("g", place(), 500)].as_slice()));
    book.present("b0", 2, &[Present { epoch: 2, ..names(&["host"])[0].clone() }], 500 + ON_THE_WAY, at(3));
    assert_eq!(ids(&book), Vec::<String>::new(), "it has not come along");
}

#[test]
fn who_was_let_in_and_never_came_is_not_placed_for() {
    let (mut book, table) = hosted(measured(20.0, 60.0));
    book.linked(up("a1", 3, "x", &[], &[]), at(0));
    let session = book.meet("s", guest("ghost", measured(500.0, 5.0), 100)).expect("live");
    let board = board(&book, &table, at(0));
    let later = 100 + ON_THE_WAY;
    let pool = |choice: Option<Choice>| choice.map(|choice| choice.home.pool);
    for (second, best) in [(later - 1, Some("b".to_owned())), (later, None)] {
        assert_eq!(
            board.toward(&session, &Target::Best, first_try(second)).map(pool),
            Ok(best.clone()),
            "asked to move"
        );
        assert_eq!(pool(board.for_guests(&session, first_try(second))), best, "somebody else joins");
        let homeless = Session { homeless: true, ..session.clone() };
        let placed_anew = best.unwrap_or_else(|| "a".to_owned());
        assert_eq!(board.way(&homeless, None, first_try(second)).map(pool), Ok(Some(placed_anew)), "placed anew");
    }
}

#[test]
fn places_are_bounded_in_number_and_in_size() {
    let (mut book, table) = hosted(measured(20.0, 60.0));
    for number in 0..MAX_PLACES + 3 {
        book.meet("s", guest(&format!("g{number}"), measured(1.0, 2.0), 10)).expect("live");
    }
    let all: Vec<String> = (3..MAX_PLACES + 3).map(|number| format!("g{number}")).collect();
    assert_eq!(ids(&book), all, "who has not come yet makes room");
    let here: Vec<&str> = all.iter().map(String::as_str).collect();
    book.present("a0", 1, &names(&here), 11, at(1));
    book.meet("s", guest("further", measured(1.0, 2.0), 12)).expect("live");
    assert_eq!(ids(&book), all, "who is there stays");
    book.meet("s", guest("g4", measured(3.0, 4.0), 13)).expect("live");
    let known = book.get("s").expect("live").parties.clone();
    assert_eq!((known.len(), known.last()), (MAX_PLACES, Some(&guest("g4", measured(3.0, 4.0), 13))));
    let mut told = measured(1.04, 1.96);
    let point = |latitude, longitude| Some(GeoPoint { latitude, longitude });
    (told.location, told.beside.geoip) = (point(52.520_008, -13.404_954), point(-0.001, 179.999));
    told.residency = Some("eu".to_owned());
    told.latencies.insert("of-no-pool".to_owned(), 3.0);
    told.beside.network.insert("of-no-pool".to_owned(), 3.0);
    let mut kept = measured(1.0, 2.0);
    (kept.location, kept.beside.geoip) = (point(52.52, -13.4), point(0.0, 180.0));
    assert_eq!(Party::new("g", told, &table, 0).place, kept);
}

#[test]
fn a_book_that_has_forgotten_who_is_where_leaves_the_session_where_it_is() {
    let (_, table) = hosted(measured(20.0, 60.0));
    let mut book = Book::new(LIMITS, at(0));
    book.linked(up("a0", 1, "x", &[("s", 1)], &["s"]), at(0));
    book.linked(up("b0", 2, "x", &[], &[]), at(0));
    assert_eq!(goes(&book, &table, measured(500.0, 5.0)), None);
}

#[test]
fn for_two_people_the_worst_off_is_a_fifth_nearer_than_at_the_best_for_the_host() {
    let sites = ["asia-northeast1", "asia-south1", "eu-west-1", "europe-north1", "southamerica-east1", "us-east1"];
    let point = |region: &regions::CloudRegion| GeoPoint { latitude: region.latitude, longitude: region.longitude };
    let pools: Vec<(String, GeoPoint)> =
        sites.iter().map(|name| ((*name).to_owned(), point(regions::lookup(name).expect("a region")))).collect();
    let (table, view) = world(&pools.iter().map(|(_, point)| (*point, 0, 10)).collect::<Vec<_>>());
    let board = Board::new(Arc::new(table), Arc::new(view));
    let people: Vec<GeoPoint> = regions::all().iter().step_by(2).map(point).collect();
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for host in &people {
        for other in &people {
            let told = |point: GeoPoint| ClientPlace { location: Some(point), ..ClientPlace::default() };
            let host_place = told(*host);
            let home = board.choose(&Ask::of(&host_place), &NOBODY).expect("room").home;
            let session = of(&home, host_place, [told(*other)]);
            let moved = board.for_guests(&session, first_try(0)).map_or(home.clone(), |choice| choice.home);
            let worst = |home: &Home| round_trip_ms(*host, home.point).max(round_trip_ms(*other, home.point));
            assert!(worst(&moved) <= worst(&home), "never worse");
            alone.push(worst(&home));
            together.push(worst(&moved));
        }
    }
    let p95 = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() * 95 / 100]
    };
    let (alone, together) = (p95(&mut alone), p95(&mut together));
    assert!(together <= 0.8 * alone, "p95 {together} ms, and {alone} ms at the best for the host");
}

/// A pool with one relay at each point, of which so many seats are used and there are.
fn world(pools: &[Site]) -> (RelayTable, View) {
    let relay = |n: usize, seats| RelayEntry {
        name: format!("p{n}-0"),
        pod_uid: format!("p{n}"),
        url: "ws://x".to_owned(),
        capacity: seats,
        cordoned: false,
        leaving: false,
    };
    let pool = |(n, (point, _, seats)): (usize, &Site)| PoolEntry {
        namespace: "n".to_owned(),
        name: format!("p{n}"),
        region: format!("r{n}"),
        latitude: point.latitude,
        longitude: point.longitude,
        relays: vec![relay(n, *seats)],
    };
    let run = |(n, (_, used, seats)): (usize, &Site)| {
        let view = RunView {
            stats: RelayStats { capacity: *seats, sessions: *used, ..RelayStats::default() },
            held: *used,
            ..RunView::linked("x")
        };
        (format!("p{n}"), view)
    };
    let table = RelayTable { pools: pools.iter().enumerate().map(pool).collect(), ..RelayTable::default() };
    let runs = pools.iter().enumerate().map(run).collect();
    (table, View { runs, age: Duration::ZERO, silent: LIMITS.silent })
}

/// A session there, with guests at these places, that has not moved for long.
fn of(home: &Home, host: ClientPlace, guests: impl IntoIterator<Item = ClientPlace>) -> Session {
    let party = |(n, place): (usize, ClientPlace)| Party { id: format!("g{n}"), since: 0, here: true, place };
    Session {
        parties: guests.into_iter().enumerate().map(party).collect(),
        moved_at: -REST,
        ..Session::begin(NewSession { place: host, ..new("s") }, home.clone())
    }
}

/// Where a pool is, seats that are used, and seats.
type Site = (GeoPoint, u32, u32);

/// Pools on the equator with used seats and seats, and of each of two to five parties its true round trip to each pool.
fn parties_and_pools() -> impl Strategy<Value = (Vec<Site>, Vec<Vec<f64>>)> {
    (2..6_usize, 2..6_usize).prop_flat_map(|(pools, parties)| {
        let point = |n: usize| GeoPoint { latitude: 0.0, longitude: f64::from(count(n)) * 30.0 };
        let seats = (1..9_u32).prop_flat_map(|seats| (0..=seats, Just(seats)));
        let seats = prop::collection::vec(seats, pools).prop_map(move |seats| {
            seats.into_iter().enumerate().map(|(n, (used, seats))| (point(n), used, seats)).collect()
        });
        let times = prop::collection::vec(prop::collection::vec(1.0..400.0_f64, pools), parties);
        (seats, times)
    })
}

/// What a client tells that measures this.
fn tells(times: impl IntoIterator<Item = f64>) -> ClientPlace {
    let latencies = times.into_iter().enumerate().map(|(n, ms)| (format!("r{n}"), ms)).collect();
    ClientPlace { latencies, ..ClientPlace::default() }
}

fn home_of(table: &RelayTable, pool: usize) -> Home {
    Home::of(&table.pools[pool], &table.pools[pool].relays[0], "x")
}

fn index(table: &RelayTable, home: &Home) -> usize {
    table.pools.iter().position(|pool| pool.name == home.pool).expect("of the table")
}

proptest! {
    #[test]
    fn a_move_for_guests_is_worth_it_to_the_worst_off_and_finds_room(
        (pools, times) in parties_and_pools(), from in any::<prop::sample::Index>(), spread in any::<bool>(),
    ) {
        let (mut table, view) = world(&pools);
        table.routing.inside = if spread { Inside::Spread } else { Inside::Pack };
        let home = home_of(&table, from.index(pools.len()));
        let mut places = times.iter().map(|times| tells(times.iter().copied()));
        let host = places.next().expect("a host");
        let session = of(&home, host, places);
        let choice = for_guests(&view, &table, &session, 0);
        prop_assert_eq!(&choice, &for_guests(&view, &table, &session, 0), "the same again");
        let worst = |pool: usize| times.iter().map(|times| times[pool]).fold(0.0, f64::max);
        if let Some(choice) = choice {
            let (was, is) = (worst(index(&table, &home)), worst(index(&table, &choice.home)));
            prop_assert!(is <= was * 2.0 / 3.0 && was - is >= 10.0, "{} ms, {} ms before", is, was);
            let (_, used, seats) = pools[index(&table, &choice.home)];
            prop_assert!(used < seats, "there is room");
        }
    }

    /// Every party measures anew before each decision, up to 20 % off in either direction.
    #[test]
    fn noise_takes_no_session_back_to_where_it_was(
        (pools, times) in parties_and_pools(), from in any::<prop::sample::Index>(),
        noise in prop::collection::vec(prop::collection::vec(0.8001..1.1999_f64, 25), 8),
        average in any::<bool>(),
    ) {
        let (mut table, view) = world(&pools);
        table.routing.strategy = if average { Whom::Average } else { Whom::Worst };
        let mut visited = vec![from.index(pools.len())];
        for noise in &noise {
            let mut noise = noise.iter();
            let mut heard = times.iter().map(|times| tells(times.iter().map(|ms| ms * noise.next().expect("enough"))));
            let host = heard.next().expect("a host");
            let home = home_of(&table, *visited.last().expect("somewhere"));
            let session = of(&home, host, heard.collect::<Vec<_>>());
            if let Some(choice) = for_guests(&view, &table, &session, 0) {
                let there = index(&table, &choice.home);
                prop_assert!(!visited.contains(&there), "{} again, after {:?}", there, visited);
                visited.push(there);
            }
        }
    }
}

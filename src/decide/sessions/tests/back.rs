//! Guests that come back: after a move, or a connection that was lost. What they have measured now may be less than before.

use super::*;
use crate::wire::session::Beside;

/// Half way between the pools `a` and `b`, and beside the first.
const BETWEEN: GeoPoint = GeoPoint { latitude: 0.0, longitude: 45.0 };
const BESIDE_A: GeoPoint = GeoPoint { latitude: 0.0, longitude: 1.0 };

fn tells(location: Option<GeoPoint>, latencies: &[(&str, f64)]) -> ClientPlace {
    let latencies = latencies.iter().map(|(region, ms)| ((*region).to_owned(), *ms)).collect();
    ClientPlace { latencies, location, ..ClientPlace::default() }
}

/// Where a session lives after each join of one guest, which is there in between. It begins at `a`, as near to its host as `b`.
fn lives(joins: &[ClientPlace]) -> Vec<String> {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    for (link, pod) in [(1, "a0"), (2, "b0")] {
        book.linked(up(pod, link, "x", &[], &[]), at(0));
    }
    let host = tells(None, &[("a", 20.0), ("b", 20.0)]);
    book.create(&table, NewSession { place: host, ..new("s") }, at(0)).expect("room");
    let mut lived = Vec::new();
    for (second, place) in (1..).map(|n| n * 1000).zip(joins) {
        let guest = book.get("s").expect("live").guest("g", place.clone(), &table, second);
        let mut session = book.meet("s", guest).expect("live");
        if let Some(choice) = board(&book, &table, at(0)).for_guests(&session, first_try(second)) {
            let Choice { home, capacity, .. } = choice;
            let shift = Shift { id: "s".to_owned(), from: session.epoch, home, capacity, at: second };
            session = book.shift(shift, at(0)).expect("room").0;
        }
        let link = if session.home.pod_uid == "a0" { 1 } else { 2 };
        let who = vec!["host".to_owned(), "g".to_owned()];
        let present = [Present { session: "s".to_owned(), epoch: session.epoch, who }];
        book.present(&session.home.pod_uid, link, &present, second, at(0));
        assert!(book.get("s").expect("live").parties[0].here, "it has come");
        lived.push(session.home.pool);
    }
    lived
}

#[test]
fn who_measures_now_the_one_pool_and_now_the_other_has_the_session_moved_once() {
    let (only_a, only_b) = (tells(Some(BETWEEN), &[("a", 40.0)]), tells(Some(BETWEEN), &[("b", 40.0)]));
    let joins = [only_b.clone(), only_a.clone(), only_b, only_a];
    assert_eq!(lives(&joins), ["b", "b", "b", "b"]);
    // Nor does one that measures nothing any more: by coordinates it would be `a`.
    let all = tells(Some(BESIDE_A), &[("a", 80.0), ("b", 40.0)]);
    let none = tells(Some(BESIDE_A), &[]);
    assert_eq!(lives(&[all.clone(), none.clone(), all, none.clone()]), ["b", "b", "b", "b"]);
    assert_eq!(lives(&[tells(Some(BETWEEN), &[("b", 40.0)]), none]), ["b", "a"], "it has gone elsewhere");
}

#[test]
fn what_a_guest_had_measured_counts_while_it_is_there_and_where_it_was() {
    let table = table(10);
    let before = tells(Some(BETWEEN), &[("a", 40.0), ("b", 50.0)]);
    let known = |here| Party { id: "g".to_owned(), since: 100, here, place: before.clone() };
    let home = Home::of(&table.pools[0], &table.pools[0].relays[0], "x");
    let session = |here| Session { parties: vec![known(here)], ..Session::begin(new("s"), home.clone()) };
    let now = tells(Some(BETWEEN), &[("b", 60.0)]);
    let both = tells(Some(BETWEEN), &[("a", 40.0), ("b", 60.0)]);
    let (here, later) = (true, 100 + ON_THE_WAY);
    let geoip =
        |place: &ClientPlace, geoip| ClientPlace { beside: Beside { geoip, ..Beside::default() }, ..place.clone() };
    let region = ClientPlace { region: Some("a".to_owned()), ..now.clone() };
    for (case, is_here, id, at, told, expected) in [
        ("it is there", here, "g", later, now.clone(), both.clone()),
        ("it is on its way", !here, "g", later - 1, now.clone(), both.clone()),
        ("to a hundredth of a degree it is there", here, "g", later, at_longitude(45.004), both),
        ("it has not come", !here, "g", later, now.clone(), now.clone()),
        ("another", here, "h", later, now.clone(), now.clone()),
        ("it is elsewhere", here, "g", later, at_longitude(46.0), at_longitude(46.0)),
        ("it names a region", here, "g", later, region.clone(), region),
        ("its address is elsewhere", here, "g", later, geoip(&now, Some(BESIDE_A)), geoip(&now, Some(BESIDE_A))),
    ] {
        assert_eq!(session(is_here).guest(id, told, &table, at).place, expected, "{case}");
    }
    let only_b = RelayTable { pools: vec![table.pools[1].clone()], ..table.clone() };
    assert_eq!(session(here).guest("g", now.clone(), &only_b, later).place, now, "the other region has gone");
}

/// Somewhere on the equator, with `b` measured.
fn at_longitude(longitude: f64) -> ClientPlace {
    tells(Some(GeoPoint { latitude: 0.0, longitude }), &[("b", 60.0)])
}

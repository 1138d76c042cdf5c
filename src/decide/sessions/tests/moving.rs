//! Names that stay with sessions, and sessions that are asked to move.

use super::*;

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
    let choice = book.view(at(1)).toward(&table, &session, &target).expect("room").expect("elsewhere");
    let shift = Shift { id: "s".to_owned(), from: 1, home: choice.home, capacity: choice.capacity, at: 7 };
    let (moved, said) = book.shift(shift, at(1)).expect("room");
    assert_eq!((moved.epoch, moved.view().name.as_deref()), (2, Some("stand-up")));
    assert_eq!(orders(&said), ["hold s 2 at b0", "move s 1 at a0"]);
}

fn ask(book: &Book, table: &RelayTable, target: &Target) -> Result<Option<String>, NoMove> {
    let session = book.get("s").expect("live");
    let choice = book.view(at(0)).toward(table, session, target)?;
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

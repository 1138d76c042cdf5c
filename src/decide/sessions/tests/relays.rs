//! Relays that come back, fall silent, start anew or are to leave, and what becomes of their sessions.

use super::*;

#[test]
fn a_silent_or_restarted_relay_loses_its_sessions_to_whoever_joins() {
    let (mut book, table) = with_one();
    book.opened("a0", 1, "s", 1, at(0));
    book.linked(up("b1", 2, "y", &[], &[]), at(4));
    assert_eq!(book.join(&table, "s", at(5)).expect("stays").session.epoch, 1);
    // Five seconds of silence are over.
    let moved = book.join(&table, "s", at(6)).expect("moved");
    assert_eq!(orders(&moved.orders), ["hold s 2 at b1", "move s 1 at a0"]);
    assert_eq!((moved.session.epoch, moved.session.state), (2, SessionState::Leased));
    // What the old relay still says of it counts no more.
    book.ended("a0", 1, "s", 1, at(6));
    assert!(book.get("s").is_some());
    // b1 restarts: its sessions are lost at once, and live on in its new run, near to where they were.
    book.linked(up("b1", 3, "z", &[], &[]), at(7));
    book.load("a0", 1, RelayStats { capacity: 10, ..RelayStats::default() }.into(), at(7));
    let back = book.join(&table, "s", at(7)).expect("moved");
    assert_eq!((back.session.epoch, back.session.home.relay.as_str()), (3, "b-1"));
}

#[test]
fn a_rebuilt_book_moves_a_session_near_to_where_it_was() {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    book.linked(up("a0", 1, "x", &[], &[]), at(0));
    book.linked(up("b0", 2, "y", &[("s", 4)], &["s"]), at(0));
    book.linked(up("b1", 3, "y", &[], &[]), at(0));
    book.link_down("b0", 2);
    book.load("b1", 3, RelayStats { capacity: 10, ..RelayStats::default() }.into(), at(6));
    book.load("a0", 1, RelayStats { capacity: 10, ..RelayStats::default() }.into(), at(6));
    let moved = book.join(&table, "s", at(6)).expect("moved").session;
    assert_eq!((moved.epoch, moved.home.pod_uid.as_str()), (5, "b1"), "not a0, which is declared first");
}

#[test]
fn a_hello_that_a_later_dial_has_outrun_changes_nothing() {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    let (first, second) = (book.dial(), book.dial());
    let late = LinkUp { dial: first, ..up("a0", 7, "x", &[("old", 1)], &["old"]) };
    book.linked(LinkUp { dial: second.clone(), ..up("a0", 3, "y", &[], &[]) }, at(1));
    book.create(&table, new("s"), at(1)).expect("room");
    assert_eq!(book.link_up(late.clone(), at(2)), Err(Outrun));
    book.link_down("a0", 3);
    assert_eq!(
        book.link_up(late.clone(), at(2)),
        Err(Outrun),
        "its run is over, whether or not the later one is linked"
    );
    book.linked(LinkUp { dial: second, ..up("a0", 3, "y", &[], &["s"]) }, at(2));
    assert!(book.get("old").is_none() && book.get("s").is_some_and(|s| s.state == SessionState::Open));
    let third = book.dial();
    book.linked(LinkUp { dial: third, ..late }, at(3));
    assert!(book.get("old").is_some() && book.get("s").is_some_and(|s| s.homeless), "a later one is a new run");
}

#[test]
fn a_link_up_brings_back_what_the_relay_holds() {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    let back = book.linked(up("a0", 1, "x", &[("open", 3), ("leased", 1)], &["open", "without record"]), at(50));
    assert!(back.is_empty());
    let open = book.get("open").expect("rebuilt");
    assert_eq!((open.epoch, open.state, open.created_at), (3, SessionState::Open, 100));
    assert_eq!(open.secrets, new("open").secrets);
    assert_eq!(open.home.url, "ws://a0");
    assert_eq!(book.counts(), (1, 1));
    // Three seats: the session without a record is not known, but counts.
    assert_eq!(book.pools(&table, at(50))[0].relays()[0].used, 3);
    assert_eq!((book.sweep(at(83)), book.counts()), (1, (0, 1)));
}

#[test]
fn a_new_link_of_the_same_run_settles_what_was_missed() {
    let (mut book, table) = with_one();
    for id in ["opened", "gone", "closed", "unrecorded"] {
        book.create(&table, new(id), at(0)).expect("room");
    }
    book.opened("a0", 1, "gone", 1, at(1));
    book.link_down("a0", 1);
    assert!(book.close("closed", at(2)).is_empty(), "nobody to tell");
    let records = [("opened", 1), ("closed", 1)];
    let settled = book.linked(up("a0", 2, "x", &records, &["opened", "unrecorded"]), at(3));
    assert_eq!(orders(&settled), ["close closed 1 at a0", "hold s 1 at a0", "hold unrecorded 1 at a0"]);
    assert_eq!(book.get("opened").map(|s| s.state), Some(SessionState::Open));
    assert_eq!(book.get("unrecorded").map(|s| s.state), Some(SessionState::Open));
    assert_eq!(book.get("gone"), None, "it ended while the link was away");
    assert_eq!(book.get("s").map(|s| s.state), Some(SessionState::Leased));
    // The first link says something late: it is not heard.
    book.load("a0", 1, RelayStats { draining: true, ..RelayStats::default() }.into(), at(3));
    assert_eq!(book.opened("a0", 1, "s", 1, at(3)), None);
    assert_eq!(book.get("s").map(|s| s.state), Some(SessionState::Leased));
    book.link_down("a0", 1);
    assert_eq!(book.view(at(3)).linked(), 1);
}

#[test]
fn a_seat_that_is_asked_for_again_is_kept_for_as_long_as_the_relay_keeps_it() {
    let (mut book, _) = with_one();
    // The first order was lost with its link: the relay's lease begins at second 29, and ends at 59.
    assert_eq!(orders(&book.linked(up("a0", 2, "x", &[], &[]), at(29))), ["hold s 1 at a0"]);
    assert_eq!((book.sweep(at(59)), book.counts()), (0, (1, 0)));
    assert_eq!((book.sweep(at(61)), book.counts()), (1, (0, 0)));
}

#[test]
fn of_two_relays_with_one_session_the_higher_epoch_has_it() {
    for turned in [false, true] {
        let mut book = Book::new(LIMITS, at(0));
        let mut ups = [up("a0", 1, "x", &[("s", 1)], &["s"]), up("b0", 2, "y", &[("s", 2)], &["s"])];
        if turned {
            ups.reverse();
        }
        let all: Vec<Order> = ups.into_iter().flat_map(|up| book.linked(up, at(0))).collect();
        assert_eq!(orders(&all), ["move s 1 at a0"]);
        assert_eq!(book.get("s").map(|s| (s.epoch, s.home.pod_uid.as_str())), Some((2, "b0")));
    }
    // Even if a relay returns two records of one session.
    let mut book = Book::new(LIMITS, at(0));
    let both = book.linked(up("a0", 1, "x", &[("s", 1), ("s", 2)], &["s"]), at(0));
    assert_eq!(orders(&both), ["move s 1 at a0"]);
    assert_eq!(book.get("s").map(|s| s.epoch), Some(2));
}

#[test]
fn a_relay_that_is_to_leave_gives_up_what_is_open_and_nothing_else() {
    let (mut book, table) = with_one();
    book.create(&table, new("leased"), at(0)).expect("room");
    book.opened("a0", 1, "s", 1, at(0));
    book.load("a0", 1, RelayStats { capacity: 10, cordoned: true, ..RelayStats::default() }.into(), at(1));
    let standing = |book: &Book, id: &str| book.view(at(1)).standing(&table, book.get(id).expect("it lives"));
    assert_eq!(standing(&book, "s"), Standing::Serves, "a cordon moves nothing");
    assert_eq!(book.view(at(1)).leaving(&table), BTreeSet::new());
    book.load("a0", 1, RelayStats { capacity: 10, draining: true, ..RelayStats::default() }.into(), at(1));
    assert_eq!((standing(&book, "s"), standing(&book, "leased")), (Standing::Leaving, Standing::Leaving));
    assert_eq!(book.view(at(1)).leaving(&table), BTreeSet::from(["a0".to_owned()]));
    assert_eq!(book.open_on("a0", 10).iter().map(|session| session.id.as_str()).collect::<Vec<_>>(), ["s"]);
    let stays = book.join(&table, "s", at(1)).expect("better there than nowhere");
    assert_eq!((stays.session.epoch, stays.orders.len()), (1, 0));
    book.linked(up("b0", 2, "y", &[], &[]), at(1));
    let moved = book.join(&table, "s", at(1)).expect("moved");
    assert_eq!(orders(&moved.orders), ["hold s 2 at b0", "move s 1 at a0"]);
    // Who comes second knows an old epoch, and whoever grants must still find room.
    let shift = |from| Shift { id: "s".to_owned(), from, home: moved.session.home.clone(), capacity: 1, at: 0 };
    assert_eq!(book.shift(shift(1), at(1)), Err(Refused::Changed));
    assert_eq!(book.shift(shift(2), at(1)), Err(Refused::NotThere));
}

#[test]
fn a_relay_that_the_table_says_is_to_leave_gets_nobody_until_that_is_taken_back() {
    let (mut book, mut table) = with_one();
    book.create(&table, new("leased"), at(0)).expect("room");
    book.opened("a0", 1, "s", 1, at(0));
    table.pools[0].relays[0].leaving = true;
    let leaving = |book: &Book, table: &RelayTable| book.view(at(1)).leaving(table);
    assert_eq!(leaving(&book, &table), BTreeSet::from(["a0".to_owned()]));
    assert_eq!(book.create(&table, new("t"), at(1)), Err(NoSeat::NoCapacity), "nobody new");
    // Nowhere else is room: whoever joins goes where the session is.
    for (id, orders_then) in [("s", vec![]), ("leased", vec!["renew leased 1 at a0".to_owned()])] {
        let stays = book.join(&table, id, at(1)).expect("better there than nowhere");
        assert_eq!((stays.session.epoch, orders(&stays.orders)), (1, orders_then));
    }
    book.link_up(up("a1", 2, "y", &[], &[]), at(1)).expect("the latest");
    let moved = book.join(&table, "leased", at(1)).expect("moved");
    assert_eq!(orders(&moved.orders), ["hold leased 2 at a1", "move leased 1 at a0"]);
    let first = book.get("s").expect("it lives").clone();
    table.pools[0].relays[1].leaving = true;
    let way = board(&book, &table, at(1)).way(&first, None, first_try(1));
    assert_eq!(way, Ok(None), "never to one that is to leave as well");
    table.pools[0].relays[1].leaving = false;
    assert_eq!(book.view(at(1)).standing(&table, &first), Standing::Leaving);
    table.pools[0].relays[0].leaving = false;
    assert_eq!(leaving(&book, &table), BTreeSet::new());
    assert_eq!(book.view(at(1)).standing(&table, &first), Standing::Serves, "taken back: it stays");
    assert_eq!(book.create(&table, new("t"), at(1)).expect("room").session.home.pod_uid, "a0");
    table.pools[0].relays[0].leaving = true;
    book.link_down("a0", 1);
    assert_eq!(leaving(&book, &table), BTreeSet::new(), "without a link nobody can be told");
}

#[test]
fn who_has_lost_a_relay_whose_link_is_gone_need_not_wait_for_its_silence() {
    let (mut book, table) = with_one();
    book.linked(up("b1", 2, "y", &[], &[]), at(0));
    book.opened("a0", 1, "s", 1, at(0));
    let Known::Live(session) = book.find("s") else { panic!("it lives") };
    let goes_at = |book: &Book, lost, second| {
        let mut view = book.view(at(second));
        // The other relay is heard all the time.
        view.runs.get_mut("b1").expect("linked").silence = at(0);
        let board = Board::new(Arc::new(table.clone()), Arc::new(view));
        let way = board.way(&session, lost, first_try(0)).expect("room");
        way.is_some_and(|choice| choice.home.pod_uid == "b1")
    };
    let goes = |book: &Book, lost| goes_at(book, lost, 1);
    // It tells its load each second: two that are missing are one sign, and the lost connection is another.
    assert!(!goes_at(&book, Some(1), 2) && goes_at(&book, Some(1), 3), "a relay that the lobby does not hear either");
    assert!(!goes_at(&book, None, 3) && !goes_at(&book, Some(0), 3) && goes_at(&book, None, 6));
    assert!(!goes(&book, Some(1)), "a relay that is linked may be out of one participant's reach");
    book.link_down("a0", 1);
    assert!(!goes(&book, None), "a link may be away for a moment");
    assert!(!goes(&book, Some(0)), "lost under another epoch");
    assert!(goes(&book, Some(1)));
}

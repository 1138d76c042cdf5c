//! Guests that ask, and what their host decides.

use super::*;

const HOUR: u64 = 3600;

/// A book with the session `s`.
fn book() -> Book {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    book.linked(up("a0", 1, "boot", &[], &[]), at(0));
    book.create(&table, NewSession { approval: true, ..new("s") }, at(0)).expect("room");
    // Somebody is there, so that it does not end with its lease.
    book.opened("a0", 1, "s", 1, at(0));
    book
}

fn states(book: &Book, now: Duration) -> Vec<(String, GuestState)> {
    book.look("s", now).guests.into_iter().map(|guest| (guest.id, guest.state)).collect()
}

#[test]
fn a_guest_waits_until_its_host_decides_and_keeps_its_first_name() {
    let mut book = book();
    assert_eq!(book.ask("s", "g", None, 7, at(0)).expect("room").name, None);
    let asked = book.ask("s", "g", Some("Ada"), 8, at(0)).expect("known");
    assert_eq!((asked.state, asked.name.as_deref(), asked.asked_at), (GuestState::Waiting, Some("Ada"), 7));
    assert_eq!(book.ask("s", "g", Some("Mallory"), 8, at(1)).expect("known"), asked);
    assert_eq!(book.admit("s", "g", true, at(2)).map(|guest| guest.state), Some(GuestState::Approved));
    assert_eq!(book.ask("s", "g", None, 9, at(3)).expect("known").state, GuestState::Approved);
    assert_eq!(book.admit("s", "g", false, at(4)).map(|guest| guest.state), Some(GuestState::Refused));
    assert_eq!(book.ask("s", "g", None, 9, at(5)).expect("known").state, GuestState::Refused);
    assert_eq!(book.admit("s", "other", true, at(6)), None);
    assert_eq!(book.ask("t", "g", None, 9, at(6)), Err(NotAsked::Unknown));
    assert_eq!(book.admit("t", "g", true, at(6)), None);
    // A move changes nothing of it; the end of the session ends it.
    assert_eq!(states(&book, at(6)), [("g".to_owned(), GuestState::Refused)]);
    book.close("s", at(7));
    assert_eq!(book.admit("s", "g", true, at(7)), None);
    assert_eq!(states(&book, at(7)), []);
}

#[test]
fn what_is_known_of_a_guest_ends_with_its_time() {
    // Since when, and after how long it is forgotten although it has asked once more in the meantime.
    for (decision, asked_again, forgotten) in
        [(None, 60, 60 + 120), (Some(false), HOUR / 2, HOUR), (Some(true), HOUR, HOUR + 24 * HOUR)]
    {
        let mut book = book();
        book.ask("s", "g", None, 7, at(0)).expect("room");
        if let Some(approve) = decision {
            book.admit("s", "g", approve, at(0)).expect("known");
        }
        book.ask("s", "g", None, 8, at(asked_again)).expect("known");
        assert_eq!(states(&book, at(forgotten - 1)).len(), 1, "{decision:?}");
        assert_eq!(states(&book, at(forgotten)), [], "{decision:?}");
        assert_eq!(book.admit("s", "g", true, at(forgotten)), None, "{decision:?}");
        let again = book.ask("s", "g", None, 9, at(forgotten)).expect("room");
        assert_eq!((again.state, again.asked_at), (GuestState::Waiting, 9), "{decision:?}");
    }
}

#[test]
fn only_so_many_wait_and_are_known() {
    let mut book = book();
    let mut asked = 0;
    // Approved ones do not wait, but are known.
    for round in 0..MAX_GUESTS / MAX_WAITING {
        for n in 0..MAX_WAITING {
            asked += 1;
            book.ask("s", &format!("{round}-{n}"), None, asked, at(0)).expect("room");
        }
        assert_eq!(book.ask("s", "late", None, 0, at(0)), Err(NotAsked::TooMany));
        for n in 0..MAX_WAITING {
            book.admit("s", &format!("{round}-{n}"), true, at(0)).expect("known");
        }
    }
    assert_eq!(book.ask("s", "late", None, 0, at(0)), Err(NotAsked::TooMany));
    assert_eq!(book.ask("s", "0-0", None, 0, at(0)).expect("known").state, GuestState::Approved);
    let order: Vec<i64> = book.look("s", at(0)).guests.into_iter().map(|guest| guest.asked_at).collect();
    assert!(order.is_sorted() && order.len() == MAX_GUESTS);
    let later = at(24 * HOUR);
    assert_eq!(book.ask("s", "late", None, 0, later).expect("room").state, GuestState::Waiting);
    book.sweep(later + WAITING_LIFE);
    assert!(book.guests.0.is_empty());
}

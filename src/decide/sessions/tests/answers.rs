//! Answers that are given again under the same key.

use super::*;

fn answer(id: &str) -> SessionCreated {
    let view = crate::wire::session::SessionView {
        id: id.to_owned(),
        name: None,
        created_at: 0,
        epoch: 1,
        approval: false,
        region: String::new(),
        relay: String::new(),
        state: SessionState::Leased,
    };
    let connect = Connect {
        url: String::new(),
        token: String::new(),
        expires_at: 0,
        participant: String::new(),
        role: Role::Host,
    };
    let (join_link, join_key, host_token) = (String::new(), None, "secret".to_owned());
    SessionCreated { session: view, join_link, join_key, host_token, connect, ranking: Vec::new() }
}

#[test]
fn an_answer_is_repeated_for_a_minute_and_its_key_known_for_ten() {
    let (mut book, _) = with_one();
    book.opened("a0", 1, "s", 1, at(0));
    assert_eq!(book.recall("k", "r", at(0)), Recall::New);
    book.remember("k".to_owned(), "r".to_owned(), answer("s"), at(0));
    for (now, request, expected) in [
        (0, "r", Recall::Same(Box::new(answer("s")))),
        (59, "r", Recall::Same(Box::new(answer("s")))),
        (59, "other", Recall::Mismatch),
        (60, "r", Recall::Gone),
        (60, "other", Recall::Mismatch),
        (599, "r", Recall::Gone),
        (600, "r", Recall::New),
    ] {
        assert_eq!(book.recall("k", request, at(now)), expected, "{now} {request}");
        book.sweep(at(now));
    }
    // A session that has ended frees its key.
    book.remember("k2".to_owned(), "r".to_owned(), answer("s"), at(600));
    book.close("s", at(600));
    assert_eq!(book.recall("k2", "r", at(600)), Recall::New);
}

#[test]
fn keys_are_bounded_and_the_oldest_goes_first() {
    let (mut book, table) = with_one();
    for id in ["p", "q", "r", "t"] {
        book.create(&table, new(id), at(0)).expect("room");
        book.remember(id.to_owned(), "r".to_owned(), answer(id), at(0));
    }
    let known: Vec<bool> = ["p", "q", "r", "t"].iter().map(|key| book.recall(key, "r", at(1)) != Recall::New).collect();
    assert_eq!(known, [false, true, true, true]);
    // A key that is used anew has its time anew.
    book.remember("q".to_owned(), "r2".to_owned(), answer("q"), at(2));
    assert!(matches!(book.recall("q", "r2", at(3)), Recall::Same(_)));
}

#[test]
fn a_grant_and_the_answer_to_its_key_are_one_step() {
    let (mut book, table) = with_one();
    let grant = |book: &Book, id: &str, capacity| {
        let nowhere = ClientPlace::default();
        let home = board(book, &table, at(0)).choose(&Ask::of(&nowhere), &NOBODY).expect("room").home;
        let keyed = Keyed { key: "k".to_owned(), request: "r".to_owned(), answer: answer(id) };
        Grant { session: Session::begin(new(id), home), capacity, keyed: Some(keyed) }
    };
    let (full, first, second) = (grant(&book, "p", 1), grant(&book, "p", 2), grant(&book, "q", 9));
    assert_eq!(book.grant(full, at(0)), Err(Refused::NotThere));
    assert_eq!(book.recall("k", "r", at(0)), Recall::New, "nothing was answered");
    assert!(book.grant(first, at(0)).is_ok());
    let before = Recall::Same(Box::new(answer("p")));
    assert_eq!(book.grant(second, at(0)), Err(Refused::Answered(before)));
    assert_eq!(book.counts(), (2, 0));
    // Another run of the same Pod is another relay.
    let mut late = grant(&book, "t", 9);
    (late.session.home.boot_id, late.keyed) = ("another".to_owned(), None);
    assert_eq!(book.grant(late, at(0)), Err(Refused::NotThere));
}

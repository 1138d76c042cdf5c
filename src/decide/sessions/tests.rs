//! The session book against relays that behave as ours do, under any interleaving.

mod exploration;
mod guests;
mod interleaving;
mod moving;
mod parties;

use super::*;
use crate::decide::route::{Ask, Pool, Pools};
use crate::wire::claims::{RecordClaims, Role};
use crate::wire::session::{ClientPlace, Connect, GeoPoint, GuestState, SessionCreated};
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

const LIMITS: Limits = Limits {
    sessions: 1000,
    keys: 3,
    lease: Duration::from_secs(30),
    key_life: Duration::from_secs(600),
    answer_life: Duration::from_secs(60),
    silent: Duration::from_secs(5),
    orphan: Duration::from_secs(600),
};

/// A session that was created or joined.
#[derive(Clone, Debug, PartialEq)]
struct Granted {
    session: Session,
    orders: Vec<Order>,
}

/// What a lobby does with a book of its own: looks, chooses, asks for the grant.
trait Lobby {
    fn create(&mut self, table: &RelayTable, new: NewSession, now: Duration) -> Result<Granted, NoSeat>;
    fn join(&mut self, table: &RelayTable, id: &str, now: Duration) -> Result<Granted, NoSeat>;
    fn pools(&self, table: &RelayTable, now: Duration) -> Pools;
    fn remember(&mut self, key: String, request: String, answer: SessionCreated, now: Duration);
    /// A hello that no other has outrun.
    fn linked(&mut self, up: LinkUp, now: Duration) -> Vec<Order>;
}

impl Lobby for Book {
    fn create(&mut self, table: &RelayTable, new: NewSession, now: Duration) -> Result<Granted, NoSeat> {
        let Choice { home, capacity, .. } = self.view(now).choose(table, &Ask::of(&new.place))?;
        let grant = Grant { session: Session::begin(new, home), capacity, keyed: None };
        match self.grant(grant, now) {
            Ok((session, orders)) => Ok(Granted { session, orders }),
            Err(Refused::TooManySessions) => Err(NoSeat::TooManySessions),
            Err(other) => unreachable!("the view is of now: {other:?}"),
        }
    }

    fn join(&mut self, table: &RelayTable, id: &str, now: Duration) -> Result<Granted, NoSeat> {
        let Known::Live(session) = self.find(id) else { return Err(NoSeat::Unknown) };
        let granted = match self.view(now).way(table, &session, None)? {
            None => self.renew(id, session.epoch, now),
            Some(Choice { home, capacity, .. }) => {
                self.shift(Shift { id: id.to_owned(), from: session.epoch, home, capacity, at: 0 }, now)
            }
        };
        let (session, orders) = granted.expect("the view is of now");
        Ok(Granted { session: readdressed(session, table), orders })
    }

    fn pools(&self, table: &RelayTable, now: Duration) -> Pools {
        self.view(now).pools(table)
    }

    fn remember(&mut self, key: String, request: String, answer: SessionCreated, now: Duration) {
        self.answers.remember(key, request, answer, now);
    }

    fn linked(&mut self, up: LinkUp, now: Duration) -> Vec<Order> {
        self.link_up(up, now).expect("the last dial")
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Pools `a` and `b`, each with relays 0 and 1, of `capacity` seats.
fn table(capacity: u32) -> RelayTable {
    let relay = |pool: &str, n: u32| RelayEntry {
        name: format!("{pool}-{n}"),
        pod_uid: format!("{pool}{n}"),
        url: format!("ws://{pool}{n}"),
        capacity,
        cordoned: false,
        leaving: false,
    };
    let pool = |name: &str, longitude: f64| PoolEntry {
        namespace: "n".to_owned(),
        name: name.to_owned(),
        region: name.to_owned(),
        latitude: 0.0,
        longitude,
        relays: vec![relay(name, 0), relay(name, 1)],
    };
    RelayTable { lobby_uid: "l".to_owned(), pools: vec![pool("a", 0.0), pool("b", 90.0)], ..RelayTable::default() }
}

fn new(id: &str) -> NewSession {
    NewSession {
        id: id.to_owned(),
        name: None,
        secrets: SecretHashes { host_token: format!("{id} host"), join_key: format!("{id} key") },
        approval: false,
        created_at: 100,
        place: ClientPlace::default(),
    }
}

fn up(pod: &str, link: u64, boot: &str, records: &[(&str, u64)], open: &[&str]) -> LinkUp {
    let record = |(sid, epoch): &(&str, u64)| RecordClaims {
        iss: "l".to_owned(),
        sid: (*sid).to_owned(),
        epoch: *epoch,
        aud: format!("{pod}/{boot}"),
        host_token_hash: format!("{sid} host"),
        join_key_hash: format!("{sid} key"),
        approval: false,
        iat: 100,
    };
    let table = table(10);
    let (pool, relay) = find(&table, pod).expect("a relay of the table");
    LinkUp {
        link,
        dial: Dial { number: link, store: String::new() },
        home: Home::of(pool, relay, boot),
        capacity: 10,
        records: records.iter().map(record).collect(),
        open: open.iter().map(|id| (*id).to_owned()).collect(),
        keys: vec!["k".to_owned()],
    }
}

fn orders(orders: &[Order]) -> Vec<String> {
    orders.iter().map(|o| format!("{} {} {} at {}", o.kind.as_str(), o.session, o.epoch, o.pod_uid)).collect()
}

/// A book with relay `a0` linked at second 0, and one session `s` there.
fn with_one() -> (Book, RelayTable) {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    book.linked(up("a0", 1, "x", &[], &[]), at(0));
    let granted = book.create(&table, new("s"), at(0)).expect("room");
    assert_eq!(orders(&granted.orders), ["hold s 1 at a0"]);
    (book, table)
}

#[test]
fn without_relays_and_without_room_is_told_apart() {
    let (mut book, mut table) = (Book::new(LIMITS, at(0)), table(1));
    assert_eq!(book.create(&table, new("s"), at(0)), Err(NoSeat::NoRelay));
    book.linked(up("a0", 1, "x", &[], &[]), at(0));
    assert!(book.create(&table, new("s"), at(0)).is_ok());
    assert_eq!(book.create(&table, new("t"), at(0)), Err(NoSeat::NoCapacity));
    table.pools[0].relays[0].capacity = 2;
    assert!(book.create(&table, new("t"), at(0)).is_ok());
    table.pools[0].relays[0].cordoned = true;
    assert_eq!(book.create(&table, new("u"), at(0)), Err(NoSeat::NoCapacity));
    book.link_down("a0", 1);
    assert_eq!(book.create(&table, new("u"), at(0)), Err(NoSeat::NoRelay));
    table.pools[1].relays[0].capacity = 2;
    let mut small = Book::new(Limits { sessions: 1, ..LIMITS }, at(0));
    small.linked(up("b0", 1, "x", &[], &[]), at(0));
    assert!(small.create(&table, new("s"), at(0)).is_ok());
    assert_eq!(small.create(&table, new("t"), at(0)), Err(NoSeat::TooManySessions));
}

#[test]
fn a_lease_that_nobody_claims_returns_and_a_join_renews_it() {
    let (mut book, table) = with_one();
    book.load("a0", 1, RelayStats { capacity: 10, leases: 1, ..RelayStats::default() }.into(), at(29));
    assert_eq!(orders(&book.join(&table, "s", at(29)).expect("joined").orders), ["renew s 1 at a0"]);
    assert_eq!(book.sweep(at(33)), 0, "renewed");
    assert_eq!(book.sweep(at(61)), 1);
    assert_eq!(book.get("s"), None);
    assert_eq!(book.join(&table, "s", at(61)), Err(NoSeat::Unknown));
    // Somebody came after all: the relay is told that nobody knows the session.
    let order = book.opened("a0", 1, "s", 1, at(61));
    assert_eq!(orders(order.as_slice()), ["close s 1 at a0"]);
}

#[test]
fn an_open_session_stays_until_it_ends() {
    let (mut book, table) = with_one();
    assert_eq!(book.opened("a0", 1, "s", 1, at(3)), None);
    book.load("a0", 1, RelayStats::default().into(), at(9_999));
    assert_eq!((book.sweep(at(10_000)), book.counts()), (0, (0, 1)));
    assert!(book.join(&table, "s", at(10_000)).expect("joined").orders.is_empty(), "no new lease for an open one");
    book.ended("a0", 1, "s", 0, at(10_001));
    assert!(book.get("s").is_some(), "an older epoch ended");
    book.ended("b0", 7, "s", 1, at(10_001));
    assert!(book.get("s").is_some(), "another relay says so");
    book.ended("a0", 1, "s", 1, at(10_001));
    assert_eq!(book.get("s"), None);
}

#[test]
fn a_session_that_its_relay_refused_moves_on_the_next_join() {
    let (mut book, table) = with_one();
    book.linked(up("b0", 2, "y", &[], &[]), at(1));
    book.ended("a0", 1, "s", 1, at(1));
    assert!(book.get("s").is_some());
    // Of the two relays the nearer is still a0: it may have been full for a moment only.
    let granted = book.join(&table, "s", at(2)).expect("moved");
    assert_eq!(orders(&granted.orders), ["hold s 2 at a0", "move s 1 at a0"]);
    // A late claim of the epoch before is of nobody.
    assert_eq!(orders(book.opened("a0", 1, "s", 1, at(2)).as_slice()), ["move s 1 at a0"]);
    assert_eq!(book.opened("a0", 1, "s", 2, at(2)), None);
}

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
fn closed_sessions_and_lost_relays_are_forgotten_in_time() {
    let (mut book, _) = with_one();
    assert_eq!(orders(&book.close("s", at(1))), ["close s 1 at a0"]);
    assert_eq!(book.find("s"), Known::Closed { host_token: "s host".to_owned() });
    assert!(book.close("s", at(1)).is_empty());
    book.sweep(at(601));
    assert_eq!(book.find("s"), Known::Nothing);

    let (mut book, _) = with_one();
    book.opened("a0", 1, "s", 1, at(1));
    book.link_down("a0", 1);
    book.sweep(at(600));
    assert!(book.get("s").is_some() && book.runs.contains_key("a0"));
    book.sweep(at(601));
    assert!(book.get("s").is_none() && !book.runs.contains_key("a0"));

    // And those of a run that was replaced.
    let (mut book, _) = with_one();
    book.opened("a0", 1, "s", 1, at(1));
    book.linked(up("a0", 2, "y", &[], &[]), at(1));
    book.sweep(at(600));
    assert!(book.get("s").is_some());
    book.sweep(at(601));
    assert!(book.get("s").is_none());
}

#[test]
fn pages_go_on_where_the_last_one_ended_even_if_that_session_has_ended() {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    book.linked(up("a0", 1, "x", &[], &[]), at(0));
    for (id, created_at) in [("c", 1), ("a", 2), ("b", 2), ("d", 3)] {
        book.create(&table, NewSession { created_at, ..new(id) }, at(0)).expect("room");
    }
    let ids = |book: &Book, after: Option<(i64, &str)>, limit| -> String {
        let after = after.map(|(created_at, id)| (created_at, id.to_owned()));
        book.page(after.as_ref(), limit).into_iter().map(|session| session.id.as_str()).collect()
    };
    assert_eq!(ids(&book, None, 10), "cabd");
    assert_eq!(ids(&book, None, 2), "ca");
    book.close("a", at(0));
    assert_eq!(ids(&book, Some((2, "a")), 2), "bd");
    assert_eq!(ids(&book, Some((3, "d")), 2), "");
}

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
    assert_eq!(book.view(at(1)).way(&table, &first, None), Ok(None), "never to one that is to leave as well");
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
fn a_grant_and_the_answer_to_its_key_are_one_step() {
    let (mut book, table) = with_one();
    let grant = |book: &Book, id: &str, capacity| {
        let home = book.view(at(0)).choose(&table, &Ask::of(&ClientPlace::default())).expect("room").home;
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

#[test]
fn a_moved_pool_of_the_table_keeps_its_live_sessions() {
    let (mut book, mut table) = with_one();
    book.opened("a0", 1, "s", 1, at(0));
    table.pools[0].relays[0].url = "ws://elsewhere".to_owned();
    assert_eq!(book.join(&table, "s", at(1)).expect("joined").session.home.url, "ws://elsewhere");
    // What no table names any more is where it was granted.
    table.pools.remove(0);
    assert_eq!(book.join(&table, "s", at(1)).expect("joined").session.home.url, "ws://a0");
    assert_eq!(book.create(&table, new("t"), at(1)), Err(NoSeat::NoCapacity));
}

#[test]
fn where_a_session_goes_is_where_its_host_is() {
    let (mut book, table) = (Book::new(LIMITS, at(0)), table(10));
    book.linked(up("a0", 1, "x", &[], &[]), at(0));
    book.linked(up("b0", 2, "y", &[], &[]), at(0));
    let place = ClientPlace { location: Some(GeoPoint { latitude: 1.0, longitude: 80.0 }), ..ClientPlace::default() };
    let granted = book.create(&table, NewSession { place, ..new("s") }, at(0)).expect("room");
    assert_eq!(granted.session.home.region, "b");
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
        let way = view.way(&table, &session, lost).expect("room");
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

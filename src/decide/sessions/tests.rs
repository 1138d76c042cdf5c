//! The session book against relays that behave as ours do, under any interleaving.

mod answers;
mod back;
mod exploration;
mod guests;
mod interleaving;
mod moving;
mod parties;
mod relays;

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
        let Choice { home, capacity, .. } = board(self, table, now).choose(&Ask::of(&new.place), &NOBODY)?;
        let grant = Grant { session: Session::begin(new, home), capacity, keyed: None };
        match self.grant(grant, now) {
            Ok((session, orders)) => Ok(Granted { session, orders }),
            Err(Refused::TooManySessions) => Err(NoSeat::TooManySessions),
            Err(other) => unreachable!("the view is of now: {other:?}"),
        }
    }

    fn join(&mut self, table: &RelayTable, id: &str, now: Duration) -> Result<Granted, NoSeat> {
        let Known::Live(session) = self.find(id) else { return Err(NoSeat::Unknown) };
        let granted = match board(self, table, now).way(&session, None, first_try(0))? {
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

/// What a lobby sees of its book.
fn board(book: &Book, table: &RelayTable, now: Duration) -> Board {
    Board::new(Arc::new(table.clone()), Arc::new(book.view(now)))
}

static NOBODY: Asked = Asked::new();

/// The first try to place a session, while nobody else asks.
fn first_try(at: i64) -> Try<'static> {
    Try { at, attempt: 0, asked: &NOBODY }
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

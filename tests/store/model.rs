//! The same random steps against the session book and against Redis: the same outcomes, orders, views and sessions.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use convene::decide::cuts::Came;
use convene::decide::sessions::{
    Book, Dial, Grant, Keyed, Limits, LinkUp, MAX_PLACES, Order, OrderKind, Outrun, Party, Present, Refused, Seen,
    Session, Shift, Swept, View,
};
use convene::lobby::store::{Link, Store as _, Via};
use convene::wire::claims::{RecordClaims, Role};
use convene::wire::link::Load;
use convene::wire::session::{Beside, ClientPlace, Connect, GeoPoint, SessionCreated};
use convene::wire::stats::RelayStats;
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::server::Server;
use crate::values::{self, Connected, home, session};

const SMALL: Limits = Limits { sessions: 8, ..values::LIMITS };
const PODS: [&str; 3] = ["p0", "p1", "p2"];
const IDS: usize = 12;
const GUESTS: usize = 4;
/// Lobby processes at which somebody waits.
const PROCESSES: usize = 3;
/// A process that has said nothing for longer is gone, and nobody waits there.
const LINE_KEPT: Duration = Duration::from_secs(2);

/// Which session, relay or key is meant is a number, so that steps can be random and shrink.
#[derive(Clone, Debug)]
enum Step {
    Grant {
        id: usize,
        pod: usize,
        boot: u8,
        capacity: u32,
        key: Option<(u8, bool)>,
    },
    Shift {
        id: usize,
        from: u64,
        pod: usize,
        boot: u8,
        capacity: u32,
    },
    Renew {
        id: usize,
        epoch: u64,
    },
    Rename {
        id: usize,
        name: u8,
    },
    /// Guests that join one after the other; many at once, so that the bound is met.
    Meet {
        id: usize,
        guests: Vec<usize>,
    },
    Close {
        id: usize,
    },
    LinkUp {
        pod: usize,
        late: bool,
        boot: u8,
        capacity: u32,
        records: Vec<(usize, u64)>,
        open: Vec<usize>,
    },
    LinkDown {
        pod: usize,
        stale: bool,
    },
    Load {
        pod: usize,
        stale: bool,
        stats: (u32, u32, u32, bool, bool),
        holds: Option<u64>,
    },
    Keys {
        pod: usize,
        stale: bool,
        keys: usize,
    },
    Opened {
        pod: usize,
        stale: bool,
        id: usize,
        epoch: u64,
    },
    Ended {
        pod: usize,
        stale: bool,
        id: usize,
        epoch: u64,
    },
    Came {
        pod: usize,
        stale: bool,
        came: Vec<(usize, u64, u32)>,
    },
    Present {
        pod: usize,
        stale: bool,
        present: Vec<(usize, u64, Vec<usize>)>,
    },
    Recall {
        key: (u8, bool),
    },
    Ask {
        id: usize,
        guest: usize,
        named: bool,
    },
    Admit {
        id: usize,
        guest: usize,
        approve: bool,
    },
    Leave {
        pod: usize,
        leave: bool,
    },
    /// How long those have waited, in milliseconds, who wait at a process.
    Line {
        process: usize,
        waited: Vec<u64>,
    },
    Wait {
        ms: u64,
    },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, pod, boot, epoch, capacity) = (0..IDS, 0..PODS.len(), 0..2_u8, 1..4_u64, 0..5_u32);
    let stale = prop::bool::weighted(0.2);
    let key = (0..3_u8, any::<bool>());
    let stats = (0..5_u32, 0..4_u32, 0..3_u32, prop::bool::weighted(0.15), prop::bool::weighted(0.15));
    let records = prop::collection::vec((id.clone(), epoch.clone()), 0..6);
    prop_oneof![
        8 => (id.clone(), pod.clone(), boot.clone(), capacity.clone(), prop::option::of(key.clone()))
            .prop_map(|(id, pod, boot, capacity, key)| Step::Grant { id, pod, boot, capacity, key }),
        4 => (id.clone(), epoch.clone(), pod.clone(), boot.clone(), capacity.clone())
            .prop_map(|(id, from, pod, boot, capacity)| Step::Shift { id, from, pod, boot, capacity }),
        3 => (id.clone(), epoch.clone()).prop_map(|(id, epoch)| Step::Renew { id, epoch }),
        2 => (id.clone(), any::<u8>()).prop_map(|(id, name)| Step::Rename { id, name }),
        6 => (id.clone(), prop::collection::vec(0..2 * MAX_PLACES, 1..24)).prop_map(|(id, guests)| Step::Meet { id, guests }),
        2 => id.clone().prop_map(|id| Step::Close { id }),
        5 => (pod.clone(), stale, boot, capacity, records, prop::collection::vec(id.clone(), 0..5))
            .prop_map(|(pod, late, boot, capacity, records, open)| {
                Step::LinkUp { pod, late, boot, capacity, records, open }
            }),
        1 => (pod.clone(), stale).prop_map(|(pod, stale)| Step::LinkDown { pod, stale }),
        4 => (pod.clone(), stale, stats, prop::option::weighted(0.9, 0..6_u64))
            .prop_map(|(pod, stale, stats, holds)| Step::Load { pod, stale, stats, holds }),
        2 => (pod.clone(), stale, 0..3_usize).prop_map(|(pod, stale, keys)| Step::Keys { pod, stale, keys }),
        5 => (pod.clone(), stale, id.clone(), epoch.clone())
            .prop_map(|(pod, stale, id, epoch)| Step::Opened { pod, stale, id, epoch }),
        3 => (pod.clone(), stale, prop::collection::vec((id.clone(), epoch.clone(), 0..9_u32), 0..4))
            .prop_map(|(pod, stale, came)| Step::Came { pod, stale, came }),
        6 => (pod.clone(), stale, prop::collection::vec((id.clone(), epoch.clone(), prop::collection::vec(0..2 * MAX_PLACES, 0..30)), 0..6))
            .prop_map(|(pod, stale, present)| Step::Present { pod, stale, present }),
        3 => (pod, stale, id, epoch).prop_map(|(pod, stale, id, epoch)| Step::Ended { pod, stale, id, epoch }),
        1 => key.prop_map(|key| Step::Recall { key }),
        3 => (0..IDS, 0..GUESTS, any::<bool>()).prop_map(|(id, guest, named)| Step::Ask { id, guest, named }),
        3 => (0..PROCESSES, prop::collection::vec(0..3_000_u64, 0..4)).prop_map(|(process, waited)| Step::Line { process, waited }),
        2 => (0..IDS, 0..GUESTS, any::<bool>()).prop_map(|(id, guest, approve)| Step::Admit { id, guest, approve }),
        3 => (0..PODS.len(), any::<bool>()).prop_map(|(pod, leave)| Step::Leave { pod, leave }),
        3 => prop_oneof![1..2_000_u64, 1..40_000_u64, 1..700_000_u64, 1..90_000_000_u64].prop_map(|ms| Step::Wait { ms }),
        2 => Just(Step::Sweep),
    ]
}

fn id(number: usize) -> String {
    format!("s{number}")
}

/// Ids of so many keys.
fn keys(number: usize) -> Vec<String> {
    (0..number).map(|key| format!("k{key}")).collect()
}

fn seconds(now: Duration) -> i64 {
    i64::try_from(now.as_secs()).expect("small")
}

/// A guest that joins, with all that can be known of its place, or a part.
fn party(number: usize, since: i64) -> Party {
    let part = |of: usize| number.is_multiple_of(of);
    let point = |latitude: f64| GeoPoint { latitude, longitude: -12.34 };
    let times = |ms: f64| [("region".to_owned(), ms), ("\"/\\".to_owned(), 2.0 * ms)].into();
    let place = ClientPlace {
        latencies: if part(2) { times(12.25) } else { [].into() },
        location: part(3).then_some(point(52.52)),
        region: part(4).then(|| "a/\"region\"".to_owned()),
        residency: None,
        beside: Beside {
            network: if part(5) { times(0.1) } else { [].into() },
            geoip: part(2).then_some(point(-33.9)),
        },
    };
    Party { id: format!("guest {number}"), since, here: false, place }
}

fn boot(number: u8) -> String {
    format!("boot{number}")
}

fn answer(session: &Session) -> SessionCreated {
    let connect = Connect {
        url: "ws://x".to_owned(),
        token: "\"quoted\" \\ and ünïcode".to_owned(),
        expires_at: 1,
        participant: String::new(),
        role: Role::Host,
    };
    let (join_link, join_key, host_token) = (String::new(), String::new(), session.id.clone());
    SessionCreated {
        session: session.view(),
        join_link,
        join_key: Some(join_key),
        host_token,
        connect,
        ranking: Vec::new(),
    }
}

/// Both stores, and what the relays of the Redis one were told.
struct Both {
    book: Book,
    redis: Connected,
    links: BTreeMap<&'static str, (u64, String, mpsc::Receiver<Order>)>,
    next_link: u64,
    dials: Vec<Dial>,
    /// Numbers of the dials of the links that end in the process. It knows the later of two links even where the run was forgotten.
    here: BTreeMap<&'static str, u64>,
    /// Other lobby processes on the same store.
    others: Vec<Connected>,
    line: Line,
}

/// Who waits at which process: when it said so, and when each of them came.
type Line = BTreeMap<usize, (Duration, Vec<Duration>)>;

impl Both {
    fn new(book: Book, redis: Connected, others: Vec<Connected>) -> Self {
        let (links, here) = (BTreeMap::new(), BTreeMap::new());
        Self { book, redis, links, next_link: 0, dials: Vec::new(), here, others, line: Line::new() }
    }

    fn via(&self, pod: usize, stale: bool) -> Via<'static> {
        let link = self.links.get(PODS[pod]).map_or(0, |(number, ..)| *number);
        Via { pod_uid: PODS[pod], link: link.saturating_sub(u64::from(stale)) }
    }

    /// What the book wants said is what arrives, relay by relay.
    async fn orders(&mut self, expected: Vec<Order>) {
        for order in expected {
            let view = self.book.view(self.redis.now());
            let linked = view.runs.get(&order.pod_uid).is_some_and(|run| run.linked && run.boot_id == order.boot_id);
            if !linked {
                continue;
            }
            let (.., orders) = self.links.get_mut(order.pod_uid.as_str()).expect("it has a link");
            let told = tokio::time::timeout(Duration::from_secs(20), orders.recv()).await;
            assert_eq!(told.expect("an order in time"), Some(order));
        }
    }

    async fn settled(&mut self, book: Result<(Session, Vec<Order>), Refused>, redis: Result<Session, Refused>) {
        let (session, orders) =
            book.map_or_else(|why| (Err(why), Vec::new()), |(session, orders)| (Ok(session), orders));
        assert_eq!(session, redis);
        self.orders(orders).await;
    }

    async fn take(&mut self, step: Step) {
        let now = self.redis.now();
        let store = std::sync::Arc::clone(&self.redis.store);
        match step {
            Step::Grant { id: number, pod, boot: b, capacity, key } => {
                let created = i64::try_from(number / 3).expect("small");
                let session = session(&id(number), created, home(PODS[pod], &boot(b)));
                let keyed = key.map(|(key, request)| Keyed {
                    key: format!("k{key}"),
                    request: request.to_string(),
                    answer: answer(&session),
                });
                let grant = Grant { session, capacity, keyed };
                let redis = store.grant(grant.clone()).await.expect("there");
                let book = self.book.grant(grant, now);
                self.settled(book, redis).await;
            }
            Step::Shift { id: number, from, pod, boot: b, capacity } => {
                let shift = Shift { id: id(number), from, home: home(PODS[pod], &boot(b)), capacity, at: seconds(now) };
                let redis = store.shift(shift.clone()).await.expect("there");
                let book = self.book.shift(shift, now);
                self.settled(book, redis).await;
            }
            Step::Renew { id: number, epoch } => {
                let redis = store.renew(&id(number), epoch).await.expect("there");
                let book = self.book.renew(&id(number), epoch, now);
                self.settled(book, redis).await;
            }
            Step::Rename { id: number, name } => {
                let redis = store.rename(&id(number), name.to_string()).await.expect("there");
                assert_eq!(self.book.rename(&id(number), name.to_string()), redis);
            }
            Step::Meet { id: number, guests } => {
                for guest in guests {
                    let party = party(guest, seconds(now));
                    let redis = store.meet(&id(number), party.clone()).await.expect("there");
                    assert_eq!(self.book.meet(&id(number), party), redis);
                }
            }
            Step::Close { id: number } => {
                store.close(&id(number)).await.expect("there");
                let orders = self.book.close(&id(number), now);
                self.orders(orders).await;
            }
            Step::LinkUp { pod, late, boot: b, capacity, records, open } => {
                self.link_up(pod, late, b, capacity, &records, &open).await;
            }
            Step::LinkDown { pod, stale } => {
                let via = self.via(pod, stale);
                store.link_down(via).await;
                self.book.link_down(via.pod_uid, via.link);
                if !stale {
                    self.here.remove(PODS[pod]);
                }
            }
            Step::Recall { key: (key, request) } => {
                let (key, request) = (format!("k{key}"), request.to_string());
                let redis = store.recall(&key, &request).await.expect("there");
                assert_eq!(self.book.recall(&key, &request, now), redis);
            }
            Step::Ask { id: number, guest, named } => self.ask(number, guest, named).await,
            Step::Line { process, waited } => self.line(process, &waited).await,
            Step::Admit { id: number, guest, approve } => self.admit(number, guest, approve).await,
            Step::Leave { pod, leave } => self.leave(PODS[pod], leave).await,
            Step::Wait { ms } => self.redis.wait(ms),
            Step::Sweep => {
                let redis = store.sweep().await.expect("there");
                let expired = self.book.sweep(now);
                let (leased, open) = self.book.counts();
                assert_eq!(Swept { expired, leased, open }, redis);
            }
            said => self.say(said).await,
        }
        self.compare().await;
        // No two steps at the same moment: the order of equal times is not promised.
        self.redis.wait(1);
    }

    /// What a relay says over its link.
    async fn say(&mut self, step: Step) {
        let (store, now) = (&self.redis.store, self.redis.now());
        match step {
            Step::Load { pod, stale, stats: (capacity, sessions, leases, cordoned, draining), holds } => {
                let via = self.via(pod, stale);
                let stats = RelayStats { capacity, sessions, leases, participants: sessions, cordoned, draining };
                let load = Load { stats, holds };
                store.load(via, load.clone()).await.expect("there");
                self.book.load(via.pod_uid, via.link, load, now);
            }
            Step::Keys { pod, stale, keys: number } => {
                let via = self.via(pod, stale);
                store.keys(via, &keys(number)).await.expect("there");
                self.book.keys(via.pod_uid, via.link, keys(number), now);
            }
            Step::Opened { pod, stale, id: number, epoch } => {
                let via = self.via(pod, stale);
                store.opened(via, &id(number), epoch).await.expect("there");
                let order = self.book.opened(via.pod_uid, via.link, &id(number), epoch, now);
                self.orders(order.into_iter().collect()).await;
            }
            Step::Ended { pod, stale, id: number, epoch } => {
                let via = self.via(pod, stale);
                store.ended(via, &id(number), epoch).await.expect("there");
                self.book.ended(via.pod_uid, via.link, &id(number), epoch, now);
            }
            Step::Came { pod, stale, came } => {
                let via = self.via(pod, stale);
                let came = came.into_iter().map(|(number, epoch, joined)| Came { session: id(number), epoch, joined });
                let came: Vec<Came> = came.collect();
                store.came(via, &came).await.expect("there");
                self.book.came(via.pod_uid, via.link, &came, now);
            }
            Step::Present { pod, stale, present } => {
                let via = self.via(pod, stale);
                let present = present.into_iter().map(|(number, epoch, who)| {
                    let who = who.into_iter().map(|guest| format!("guest {guest}")).collect();
                    Present { session: id(number), epoch, who }
                });
                let present: Vec<Present> = present.collect();
                store.present(via, &present, seconds(now)).await.expect("there");
                self.book.present(via.pod_uid, via.link, &present, seconds(now), now);
            }
            other => unreachable!("nothing that a relay says: {other:?}"),
        }
    }

    async fn ask(&mut self, number: usize, guest: usize, named: bool) {
        let now = self.redis.now();
        let name = ["Ada", "Grace Hopper", "two\u{85}lines 7", "9 9"][guest];
        let name = named.then_some(name);
        let at = i64::try_from(now.as_secs()).expect("small");
        let redis = self.redis.store.ask(&id(number), &format!("g{guest}"), name, at).await.expect("there");
        assert_eq!(self.book.ask(&id(number), &format!("g{guest}"), name, at, now), redis);
    }

    /// Each process hears how long those have waited who wait at the others, in no order.
    async fn line(&mut self, process: usize, waited: &[u64]) {
        let now = self.redis.now();
        let at = if process == 0 { &self.redis } else { &self.others[process - 1] };
        at.set(now);
        let waited: Vec<Duration> = waited.iter().map(|ms| Duration::from_millis(*ms)).collect();
        let mut told = at.store.line(&waited).await.expect("there");
        self.line.retain(|_, (said, _)| now.saturating_sub(*said) <= LINE_KEPT);
        let others = self.line.iter().filter(|(other, _)| **other != process);
        let mut expected: Vec<Duration> =
            others.flat_map(|(_, (_, came))| came).map(|came| now.saturating_sub(*came)).collect();
        expected.sort_unstable();
        told.sort_unstable();
        assert_eq!(expected, told);
        self.line.insert(process, (now, waited.into_iter().map(|waited| now.saturating_sub(waited)).collect()));
    }

    async fn admit(&mut self, number: usize, guest: usize, approve: bool) {
        let redis = self.redis.store.admit(&id(number), &format!("g{guest}"), approve).await.expect("there");
        assert_eq!(self.book.admit(&id(number), &format!("g{guest}"), approve, self.redis.now()), redis);
    }

    /// A relay is ordered to leave, or to stay, wherever it has a link and is heard.
    async fn leave(&mut self, pod: &str, leave: bool) {
        let told = self.redis.store.leave(pod, leave).await.expect("there");
        let order = self.book.leave(pod, leave, self.redis.now());
        assert_eq!(order.is_some(), told);
        self.orders(order.into_iter().collect()).await;
    }

    /// `late` = by a dial some dials ago.
    async fn link_up(
        &mut self,
        pod: usize,
        late: bool,
        b: u8,
        capacity: u32,
        records: &[(usize, u64)],
        open: &[usize],
    ) {
        self.next_link += 10;
        let home = home(PODS[pod], &boot(b));
        let record = |(number, epoch): &(usize, u64)| RecordClaims {
            iss: "lobby".to_owned(),
            sid: id(*number),
            epoch: *epoch,
            aud: home.audience(),
            host_token_hash: format!("{} host", id(*number)),
            join_key_hash: format!("{} key", id(*number)),
            approval: number % 5 == 0,
            iat: i64::try_from(number / 3).expect("small"),
        };
        let open: HashSet<String> = open.iter().map(|number| id(*number)).collect();
        let before = self.dials.iter().rev().nth(1).filter(|_| late).cloned();
        self.dials.push(self.redis.store.dial().await.expect("there"));
        let dial = before.or_else(|| self.dials.last().cloned()).expect("one was made");
        let up = LinkUp {
            link: self.next_link,
            dial,
            home: home.clone(),
            capacity,
            records: records.iter().map(record).collect(),
            open,
            keys: keys(usize::from(b)),
        };
        let (link, orders, _) = values::link(self.next_link, &boot(b));
        let link = Link { dial: up.dial.number, ..link };
        let linked = self.redis.store.link_up(up.clone(), link).await.expect("there");
        let number = up.dial.number;
        let told = match self.here.get(PODS[pod]) {
            Some(here) if *here > number => Err(Outrun),
            _ => self.book.link_up(up, self.redis.now()),
        };
        assert_eq!(told.as_ref().err(), linked.as_ref().err());
        let Ok(told) = told else {
            self.redis.store.link_down(Via { pod_uid: PODS[pod], link: self.next_link }).await;
            return self.book.link_down(PODS[pod], self.next_link);
        };
        self.links.insert(PODS[pod], (self.next_link, boot(b), orders));
        self.here.insert(PODS[pod], number);
        self.orders(told).await;
    }

    async fn compare(&self) {
        let (store, now) = (&self.redis.store, self.redis.now());
        store.refresh().await.expect("there");
        let (View { runs, .. }, redis) = (self.book.view(now), store.view());
        assert_eq!(runs, redis.runs);
        for number in 0..IDS {
            assert_eq!(self.book.find(&id(number)), store.find(&id(number)).await.expect("there"));
        }
        let ids: Vec<String> = (0..IDS).map(id).collect();
        let seen: Vec<Seen> = ids.iter().map(|id| self.book.look(id, now)).collect();
        assert_eq!(seen, store.look(&ids).await.expect("there"));
        let after = Some((1, id(4)));
        for after in [None, after] {
            let redis = store.page(after.clone(), 3).await.expect("there");
            assert_eq!(self.book.page(after.as_ref(), 3), redis.iter().collect::<Vec<_>>());
        }
        for pod in PODS {
            let redis = store.open_on(pod, 2).await.expect("there");
            assert_eq!(self.book.open_on(pod, 2), redis.iter().collect::<Vec<_>>());
        }
    }

    /// Every relay has been told all, and nothing else: one more order for each comes next.
    async fn finish(&mut self) {
        for (number, pod) in PODS.iter().enumerate() {
            self.link_up(number, false, 0, 4, &[], &[]).await;
            self.redis.wait(1);
            let via = self.via(number, false);
            self.redis.store.opened(via, "fence", 7).await.expect("there");
            let order = self.book.opened(pod, via.link, "fence", 7, self.redis.now());
            assert_eq!(order.as_ref().map(|order| &order.kind), Some(&OrderKind::Close));
            self.orders(order.into_iter().collect()).await;
        }
    }
}

#[test]
fn redis_does_what_the_book_does() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(Server::start());
    let case = std::sync::atomic::AtomicU32::new(0);
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(step(), 1..60);
    proptest!(config, |(steps in steps)| {
        let prefix = format!("case{}", case.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        runtime.block_on(async {
            let redis = Connected::to(server.url(), &prefix, SMALL, Some(1_000_000)).await;
            let mut others = Vec::new();
            for _ in 1..PROCESSES {
                others.push(Connected::to(server.url(), &prefix, SMALL, Some(1_000_000)).await);
            }
            let book = Book::new(SMALL, redis.now());
            let mut both = Both::new(book, redis, others);
            for step in steps {
                both.take(step).await;
            }
            both.finish().await;
        });
    });
}

#[tokio::test]
async fn a_run_that_was_forgotten_while_its_link_stands_is_known_by_the_link() {
    let server = Server::start().await;
    let redis = Connected::to(server.url(), "x", SMALL, Some(1_000_000)).await;
    let book = Book::new(SMALL, redis.now());
    let mut both = Both::new(book, redis, Vec::new());
    let up = |pod, late| Step::LinkUp { pod, late, boot: 0, capacity: 1, records: Vec::new(), open: Vec::new() };
    for step in [up(0, false), up(1, false), up(0, false), Step::Wait { ms: 700_000 }, Step::Sweep, up(0, true)] {
        both.take(step).await;
    }
    both.finish().await;
}

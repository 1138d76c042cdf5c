//! The session book and Redis, step by step: whatever one of them says, keeps or orders, the other does.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use convene::decide::cuts::Came;
use convene::decide::sessions::{
    Book, Dial, Grant, Keyed, LinkUp, Order, OrderKind, Outrun, Party, Present, Refused, Seen, Session, Shift, Swept,
    View,
};
use convene::lobby::store::{Link, Store as _, Via};
use convene::wire::claims::{RecordClaims, Role};
use convene::wire::link::Load;
use convene::wire::session::{Beside, ClientPlace, Connect, GeoPoint, SessionCreated};
use convene::wire::stats::RelayStats;
use tokio::sync::mpsc;

use super::step::Step;
use super::{IDS, PODS};
use crate::values::{self, Connected, home, session};

/// A process that has said nothing for longer is gone, and nobody waits there.
const LINE_KEPT: Duration = Duration::from_secs(2);

/// Both stores, and what the relays of the Redis one were told.
pub(super) struct Both {
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
    pub(super) fn new(book: Book, redis: Connected, others: Vec<Connected>) -> Self {
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

    pub(super) async fn take(&mut self, step: Step) {
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
    pub(super) async fn finish(&mut self) {
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

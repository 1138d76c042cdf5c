//! Properties under any interleaving of clients, relays, their links, restarts of both, and time.
//!
//! The relays here are our own rules of seats, and links deliver in order but late, or not at all when they break.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::decide::seats::{Effect, Place, SeatLimits, Seats};
use crate::wire::link::Load;

const PODS: [&str; 4] = ["a0", "a1", "b0", "b1"];
const CAPACITY: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Create,
    Join(usize),
    Connect(usize),
    Leave,
    Close(usize),
    /// One order arrives at a relay.
    OrderArrives(usize),
    /// One message arrives at the lobby.
    NewsArrives(usize),
    Load(usize),
    LinkDown(usize),
    LinkUp(usize),
    RelayRestarts(usize),
    LobbyRestarts,
    Wait(u64),
    Cordon(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pod = 0..PODS.len();
    let step = prop_oneof![
        6 => Just(Step::Create),
        3 => (0..20_usize).prop_map(Step::Join),
        5 => (0..20_usize).prop_map(Step::Connect),
        2 => Just(Step::Leave),
        1 => (0..20_usize).prop_map(Step::Close),
        6 => pod.clone().prop_map(Step::OrderArrives),
        6 => pod.clone().prop_map(Step::NewsArrives),
        4 => pod.clone().prop_map(Step::Load),
        1 => pod.clone().prop_map(Step::LinkDown),
        3 => pod.clone().prop_map(Step::LinkUp),
        1 => pod.clone().prop_map(Step::RelayRestarts),
        1 => Just(Step::LobbyRestarts),
        3 => (1..12_000_u64).prop_map(Step::Wait),
        1 => pod.prop_map(Step::Cordon),
    ];
    prop::collection::vec(step, 1..150)
}

#[derive(Debug)]
enum News {
    Opened(String, u64),
    Ended(String, u64),
    Load(Load),
}

#[derive(Debug)]
struct Pod {
    name: &'static str,
    boot: u64,
    seats: Seats,
    link: Option<u64>,
    /// Orders to hold a session that were obeyed over this link.
    holds: u64,
    orders: VecDeque<Order>,
    news: VecDeque<News>,
    places: Vec<Place>,
}

impl Pod {
    fn seats() -> Seats {
        Seats::new(SeatLimits { capacity: CAPACITY, participants_per_session: 8, idle: at(60) })
    }

    fn tell(&mut self, effects: Vec<Effect>) {
        // Without a link nobody hears it; the next hello tells what is left.
        for effect in effects.into_iter().filter(|_| self.link.is_some()) {
            match effect {
                Effect::Opened { session, epoch } => self.news.push_back(News::Opened(session, epoch)),
                Effect::Ended { session, epoch } => self.news.push_back(News::Ended(session, epoch)),
                Effect::CloseRoom { .. } => {}
            }
        }
    }
}

struct World {
    table: RelayTable,
    book: Book,
    pods: Vec<Pod>,
    now: Duration,
    next_link: u64,
    /// Passes: session, epoch, pod, boot.
    passes: Vec<(String, u64, String, String)>,
    created: u32,
    linked_as: BTreeMap<String, String>,
}

impl World {
    fn new() -> Self {
        let pod = |name| Pod {
            name,
            boot: 0,
            seats: Pod::seats(),
            link: None,
            holds: 0,
            orders: VecDeque::new(),
            news: VecDeque::new(),
            places: Vec::new(),
        };
        let mut world = Self {
            table: table(CAPACITY),
            book: Book::new(LIMITS, at(0)),
            pods: PODS.map(pod).into_iter().collect(),
            now: at(0),
            next_link: 0,
            passes: Vec::new(),
            created: 0,
            linked_as: BTreeMap::new(),
        };
        (0..PODS.len()).for_each(|pod| world.link_up(pod));
        world
    }

    fn send(&mut self, orders: Vec<Order>) {
        for order in orders {
            let pod = self.pods.iter_mut().find(|pod| pod.name == order.pod_uid);
            if let Some(pod) = pod.filter(|pod| pod.link.is_some()) {
                pod.orders.push_back(order);
            }
        }
    }

    fn granted(&mut self, granted: Result<Granted, NoSeat>) {
        let Ok(Granted { session, orders }) = granted else { return };
        self.send(orders);
        let home = &session.home;
        self.passes.push((session.id.clone(), session.epoch, home.pod_uid.clone(), home.boot_id.clone()));
    }

    fn link_up(&mut self, index: usize) {
        self.next_link += 1;
        let pod = &mut self.pods[index];
        (pod.link, pod.orders, pod.news) = (Some(self.next_link), VecDeque::new(), VecDeque::new());
        pod.holds = 0;
        let records = pod.seats.records();
        let records: Vec<(&str, u64)> = records
            .iter()
            .map(|record| record.split_once(' ').expect("a record of ours"))
            .map(|(id, epoch)| (id, epoch.parse().expect("a number")))
            .collect();
        let open = pod.seats.open();
        let open: Vec<&str> = open.iter().map(String::as_str).collect();
        let up = LinkUp { capacity: CAPACITY, ..up(pod.name, self.next_link, &pod.boot.to_string(), &records, &open) };
        self.linked_as.insert(up.home.pod_uid.clone(), up.home.audience());
        let orders = self.book.linked(up, self.now);
        self.send(orders);
    }

    fn link_down(&mut self, index: usize) {
        let pod = &mut self.pods[index];
        if let Some(link) = pod.link.take() {
            (pod.orders, pod.news) = (VecDeque::new(), VecDeque::new());
            self.book.link_down(pod.name, link);
        }
    }

    fn order_arrives(&mut self, index: usize) {
        let (now, pod) = (self.now, &mut self.pods[index]);
        let Some(order) = pod.orders.pop_front() else { return };
        let effects = match order.kind {
            OrderKind::Hold(_) => {
                pod.holds += 1;
                let record = format!("{} {}", order.session, order.epoch);
                pod.seats.hold(&order.session, order.epoch, Some(record), 30, now)
            }
            OrderKind::Renew => pod.seats.renew(&order.session, order.epoch, 30, now),
            OrderKind::Close => pod.seats.close(&order.session, order.epoch, now),
            OrderKind::Move => pod.seats.move_away(&order.session, order.epoch, now),
            OrderKind::Leave | OrderKind::Stay => unreachable!("nobody orders a relay to leave here"),
        };
        pod.tell(effects);
    }

    fn news_arrives(&mut self, index: usize) {
        let pod = &mut self.pods[index];
        let (Some(link), Some(news)) = (pod.link, pod.news.pop_front()) else { return };
        let name = pod.name;
        match news {
            News::Load(stats) => self.book.load(name, link, stats, self.now),
            News::Ended(session, epoch) => self.book.ended(name, link, &session, epoch, self.now),
            News::Opened(session, epoch) => {
                let order = self.book.opened(name, link, &session, epoch, self.now);
                self.send(order.into_iter().collect());
            }
        }
    }

    fn connect(&mut self, which: usize) {
        if self.passes.is_empty() {
            return;
        }
        let (session, epoch, pod, boot) = self.passes[which % self.passes.len()].clone();
        let pod = self.pods.iter_mut().find(|known| known.name == pod).expect("a pod");
        if pod.boot.to_string() == boot
            && let Ok((place, effects)) = pod.seats.join(&session, epoch, 0)
        {
            pod.places.push(place);
            pod.tell(effects);
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        for pod in &mut self.pods {
            let effects = pod.seats.tick(self.now);
            pod.tell(effects);
        }
        self.book.sweep(self.now);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Create => {
                self.created += 1;
                let granted = self.book.create(&self.table, new(&format!("s{}", self.created)), self.now);
                self.granted(granted);
            }
            Step::Join(which) if self.created > 0 => {
                let id = format!("s{}", which as u64 % u64::from(self.created) + 1);
                let granted = self.book.join(&self.table, &id, self.now);
                self.granted(granted);
            }
            Step::Close(which) if self.created > 0 => {
                let id = format!("s{}", which as u64 % u64::from(self.created) + 1);
                let orders = self.book.close(&id, self.now);
                self.send(orders);
            }
            Step::Join(_) | Step::Close(_) => {}
            Step::Connect(which) => self.connect(which),
            Step::Leave => {
                for pod in &mut self.pods {
                    if let Some(place) = pod.places.pop() {
                        pod.seats.leave(&place, self.now);
                    }
                }
            }
            Step::OrderArrives(pod) => self.order_arrives(pod),
            Step::NewsArrives(pod) => self.news_arrives(pod),
            Step::Load(pod) => {
                let pod = &mut self.pods[pod];
                if pod.link.is_some() {
                    let (stats, holds) = (pod.seats.stats(), Some(pod.holds));
                    pod.news.push_back(News::Load(Load { stats, holds }));
                }
            }
            Step::LinkDown(pod) => self.link_down(pod),
            Step::LinkUp(pod) => self.link_up(pod),
            Step::RelayRestarts(pod) => {
                self.link_down(pod);
                self.pods[pod].boot += 1;
                self.pods[pod].seats = Pod::seats();
                self.pods[pod].places.clear();
            }
            Step::LobbyRestarts => {
                for pod in &mut self.pods {
                    (pod.link, pod.orders, pod.news) = (None, VecDeque::new(), VecDeque::new());
                }
                self.book = Book::new(LIMITS, self.now);
            }
            Step::Wait(ms) => self.wait(ms),
            Step::Cordon(pod) => {
                let relay = &mut self.table.pools[pod / 2].relays[pod % 2];
                // Cordoned, then to leave, then neither.
                (relay.cordoned, relay.leaving) = (!relay.leaving, relay.cordoned && !relay.leaving);
            }
        }
    }

    /// What must hold after every step.
    fn check(&self, before: &Book) {
        for session in self.book.page(None, usize::MAX) {
            if let Some(before) = before.get(&session.id) {
                assert!(session.epoch >= before.epoch, "{} fell from {}", session.id, before.epoch);
                let moved = session.home.audience() != before.home.audience();
                assert!(!moved || session.epoch > before.epoch, "{} has two homes in one epoch", session.id);
            }
        }
        for pod in &self.pods {
            let stats = pod.seats.stats();
            assert!(stats.sessions + stats.leases <= CAPACITY, "{} holds too many", pod.name);
        }
        let (leased, open) = self.book.counts();
        assert_eq!(leased + open, self.book.page(None, usize::MAX).len(), "each session is listed once");
    }

    /// A grant goes where, as far as the book knows, a seat was free.
    fn check_grant(&self, before: &Book) {
        let Some(session) = self.book.get(&format!("s{}", self.created)) else { return };
        let pod = &session.home.pod_uid;
        let there = |book: &Book| {
            let lives = |session: &&Session| {
                session.home.audience() == self.home(pod) && session.home.pod_uid == *pod && !session.homeless
            };
            book.page(None, usize::MAX).iter().filter(|session| lives(session)).count()
        };
        assert!(there(&self.book) <= CAPACITY as usize, "{pod} was given too many");
        let pools = before.pools(&self.table, self.now);
        let relay = pools.iter().flat_map(Pool::relays).find(|relay| relay.name.replace('-', "") == *pod);
        assert!(relay.is_some_and(|relay| relay.free_seats() > 0), "{pod} had no seat");
    }

    /// Audience of the run of a pod that linked last.
    fn home(&self, pod: &str) -> &str {
        &self.linked_as[pod]
    }

    /// Everything is delivered and heard, every relay is linked, all leases run out, and
    /// what is lost is forgotten.
    fn settle(&mut self) {
        for relay in self.table.pools.iter_mut().flat_map(|pool| &mut pool.relays) {
            (relay.cordoned, relay.leaving) = (false, false);
        }
        for pod in 0..self.pods.len() {
            if self.pods[pod].link.is_none() {
                self.link_up(pod);
            }
        }
        for _ in 0..2 {
            self.deliver();
            self.wait(33_000);
        }
        self.deliver();
        // Until sessions of lost relays are forgotten; the others are heard in between.
        for _ in 0..2 {
            self.wait(300_000);
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        for pod in 0..self.pods.len() {
            self.take(&Step::Load(pod));
            while !self.pods[pod].orders.is_empty() || !self.pods[pod].news.is_empty() {
                self.order_arrives(pod);
                self.news_arrives(pod);
            }
        }
        for pod in 0..self.pods.len() {
            self.take(&Step::Load(pod));
            self.news_arrives(pod);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn relays_are_never_overfilled_and_no_seat_is_lost(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            let before = world.book.clone();
            world.take(step);
            world.check(&before);
            if matches!(step, Step::Create) {
                world.check_grant(&before);
            }
        }
        world.settle();
        // What the relays hold is what the book knows, each session once; every other seat is free again.
        let mut homes: BTreeMap<String, &str> = BTreeMap::new();
        for pod in &world.pods {
            for session in pod.seats.open() {
                let known = world.book.get(&session);
                if known.is_some_and(|known| known.home.pod_uid == pod.name) {
                    prop_assert!(homes.insert(session, pod.name).is_none());
                }
            }
            let used = pod.seats.stats().sessions + pod.seats.stats().leases;
            let entry = world.book.pools(&world.table, world.now);
            let relay = entry.iter().flat_map(Pool::relays).find(|relay| relay.name.replace('-', "") == pod.name);
            prop_assert_eq!(relay.map(|relay| relay.used), Some(used), "{}", pod.name);
        }
        for session in world.book.page(None, usize::MAX) {
            prop_assert_eq!(session.state, SessionState::Open, "{} keeps a seat that nobody took", &session.id);
            let home = world.pods.iter().find(|pod| pod.name == session.home.pod_uid).expect("a pod");
            let here = home.boot.to_string() == session.home.boot_id && home.seats.open().contains(&session.id);
            prop_assert!(here && !session.homeless, "{} is open nowhere", &session.id);
        }
    }
}

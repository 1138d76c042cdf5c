//! A relay, a store and the links between them.

mod checks;

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::decide::seats::{Effect, Newcomers, Place, SeatLimits, Seats};
use crate::wire::link::Load;

#[derive(Clone, Debug, Hash)]
enum News {
    /// The link has ended.
    Down,
    Hello {
        boot: u8,
        records: Vec<(String, u64)>,
        open: Vec<String>,
    },
    Opened(String, u64),
    Ended(String, u64),
    Load(Load),
}

/// A pass for a session, of one epoch and one run of the relay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pass {
    session: String,
    epoch: u64,
    boot: u8,
    issued_at: i64,
}

/// What a lobby process sends a relay.
#[derive(Clone)]
enum Message {
    Welcome { at: i64 },
    Order(Order),
}

#[derive(Clone)]
pub(super) struct World {
    left: Budget,
    now: Duration,
    book: Book,
    seats: Seats,
    boot: u8,
    link: Option<u64>,
    last_link: u64,
    holds: u64,
    orders: VecDeque<Message>,
    news: VecDeque<News>,
    /// Hellos that were taken in: as fine a clock as passes need.
    clock: i64,
    /// What older links carried and the lobby has not heard yet; each keeps its order.
    old_news: VecDeque<(u64, News)>,
    passes: Vec<Pass>,
    places: Vec<Place>,
    created: u8,
    /// How it came to this.
    way: Vec<Action>,
}

fn seats() -> Seats {
    Seats::new(SeatLimits { capacity: SEATS, participants_per_session: 8, idle: at(60) })
}

fn name(number: u8) -> String {
    format!("s{number}")
}

impl World {
    pub(super) fn new(left: Budget) -> Self {
        let mut world = Self {
            left,
            now: at(0),
            book: Book::new(LIMITS, at(0)),
            seats: seats(),
            boot: 0,
            link: None,
            last_link: 0,
            holds: 0,
            clock: 0,
            orders: VecDeque::new(),
            news: VecDeque::new(),
            old_news: VecDeque::new(),
            passes: Vec::new(),
            places: Vec::new(),
            created: 0,
            way: Vec::new(),
        };
        world.dial();
        world.news_arrives();
        world.order_arrives();
        for _ in 0..left.held {
            world.create();
        }
        world.deliver();
        world
    }

    /// Older links over which something is still to come.
    fn old_links(&self) -> BTreeSet<u64> {
        self.old_news.iter().map(|(link, _)| *link).collect()
    }

    /// What can happen next.
    pub(super) fn actions(&self) -> Vec<Action> {
        use Action as A;
        let left = &self.left;
        let linked = self.link.is_some();
        let load_waits = self.news.iter().any(|news| matches!(news, News::Load(_)));
        let mut actions = Vec::new();
        let mut may = |when: bool, action: Action| actions.extend(when.then_some(action));
        may(left.create > 0, A::Create);
        may(left.leave > 0 && !self.places.is_empty(), A::Leave);
        may(!self.orders.is_empty(), A::OrderArrives);
        may(!self.news.is_empty(), A::NewsArrives);
        for link in self.old_links() {
            may(true, A::OldNewsArrives(link));
        }
        may(left.load > 0 && linked && !load_waits, A::Load);
        for cut in [Cut::Noticed, Cut::NoticedLate, Cut::Crashed] {
            may(left.cut > 0 && linked, A::Cut(cut));
        }
        may(!linked, A::Dial);
        may(left.restart > 0, A::Restart);
        may(left.wait > 0, A::LeasePasses);
        may(left.wait > 0, A::GracePasses);
        may(true, A::Tick);
        may(true, A::Sweep);
        for number in 1..=self.created {
            may(left.join > 0, A::Join(number));
            may(left.close > 0, A::Close(number));
        }
        for pass in 0..self.passes.len() {
            may(left.connect > 0, A::Connect(pass));
        }
        actions
    }

    pub(super) fn take(&mut self, action: Action) {
        self.way.push(action);
        let left = &mut self.left;
        match action {
            Action::Create => {
                left.create -= 1;
                self.create();
            }
            Action::Join(number) => {
                left.join -= 1;
                let joined = self.book.join(&one_relay(), &name(number), self.now);
                self.granted(joined);
            }
            Action::Connect(pass) => {
                left.connect -= 1;
                self.connect(pass);
            }
            Action::Leave => {
                left.leave -= 1;
                if let Some(place) = self.places.pop() {
                    self.seats.leave(&place, self.now);
                }
            }
            Action::Close(number) => {
                left.close -= 1;
                let orders = self.book.close(&name(number), self.now);
                self.send(orders);
            }
            Action::OrderArrives => self.order_arrives(),
            Action::NewsArrives => self.news_arrives(),
            Action::OldNewsArrives(link) => {
                let next = self.old_news.iter().position(|(over, _)| *over == link);
                if let Some((link, news)) = next.and_then(|next| self.old_news.remove(next)) {
                    self.hear(link, news);
                }
            }
            Action::Load => {
                left.load -= 1;
                self.load();
            }
            Action::Cut(how) => {
                left.cut -= 1;
                self.cut(how);
            }
            Action::Dial => self.dial(),
            Action::Restart => {
                left.restart -= 1;
                self.cut(Cut::NoticedLate);
                (self.boot, self.seats) = (self.boot + 1, seats());
                self.places.clear();
            }
            Action::LeasePasses | Action::GracePasses => {
                left.wait -= 1;
                let seconds = if matches!(action, Action::LeasePasses) { u64::from(LEASE_SECONDS) } else { 3 };
                self.now += at(seconds);
            }
            Action::Tick => self.tick(),
            Action::Sweep => drop(self.book.sweep(self.now)),
        }
    }

    fn create(&mut self) {
        self.created += 1;
        let created = self.book.create(&one_relay(), new(&name(self.created)), self.now);
        self.granted(created);
    }

    fn granted(&mut self, granted: Result<Granted, NoSeat>) {
        let Ok(Granted { session, orders }) = granted else { return };
        self.send(orders);
        let boot = session.home.boot_id.parse().expect("a number");
        self.passes.push(Pass { session: session.id, epoch: session.epoch, boot, issued_at: self.clock });
    }

    /// Orders go over the link that the store knows, which may be lost already.
    fn send(&mut self, orders: Vec<Order>) {
        let known = self.book.runs.get(RELAY).and_then(|run| run.link);
        let orders = orders.into_iter().filter(|order| order.boot_id == self.boot.to_string());
        if self.link.is_some() && known == self.link {
            self.orders.extend(orders.map(Message::Order));
        }
    }

    fn connect(&mut self, pass: usize) {
        let Pass { session, epoch, boot, issued_at } = self.passes.remove(pass);
        if boot == self.boot
            && let Ok((place, effects)) = self.seats.join(&session, epoch, issued_at)
        {
            self.places.push(place);
            self.tell(effects);
        }
    }

    fn tell(&mut self, effects: Vec<Effect>) {
        for effect in effects.into_iter().filter(|_| self.link.is_some()) {
            match effect {
                Effect::Opened { session, epoch } => self.news.push_back(News::Opened(session, epoch)),
                Effect::Ended { session, epoch } => self.news.push_back(News::Ended(session, epoch)),
                Effect::CloseRoom { .. } => {}
            }
        }
    }

    fn order_arrives(&mut self) {
        let Order { session, epoch, kind, .. } = match self.orders.pop_front() {
            Some(Message::Order(order)) => order,
            Some(Message::Welcome { at }) => return self.seats.take_newcomers(Newcomers::Since(at)),
            None => return,
        };
        let effects = match kind {
            OrderKind::Hold(_) => {
                self.holds += 1;
                let stats = self.seats.stats();
                let room = stats.sessions + stats.leases < SEATS;
                assert!(
                    room || self.seats.holds(&session),
                    "{session} was granted a seat that is not there: {:?}",
                    self.way
                );
                let record = Some(format!("{session} {epoch}"));
                self.seats.hold(&session, epoch, record, LEASE_SECONDS, self.now)
            }
            OrderKind::Renew => self.seats.renew(&session, epoch, LEASE_SECONDS, self.now),
            OrderKind::Close => self.seats.close(&session, epoch, self.now),
            OrderKind::Move => self.seats.move_away(&session, epoch, self.now),
            OrderKind::Leave | OrderKind::Stay => unreachable!("nobody orders a relay to leave here"),
        };
        self.tell(effects);
    }

    fn news_arrives(&mut self) {
        if let (Some(link), Some(news)) = (self.link, self.news.pop_front()) {
            self.hear(link, news);
        }
    }

    fn hear(&mut self, link: u64, news: News) {
        let counted = self.book.runs.get(RELAY).and_then(|run| run.link);
        let is_hello = matches!(news, News::Hello { .. });
        if self.link == Some(link) && counted != self.link && !is_hello {
            // The store takes another link for this relay's: the lobby process cuts it.
            return self.cut(Cut::Noticed);
        }
        match news {
            News::Down => self.book.link_down(RELAY, link),
            News::Hello { boot, records, open } => {
                let records: Vec<(&str, u64)> = records.iter().map(|(id, epoch)| (id.as_str(), *epoch)).collect();
                let open: Vec<&str> = open.iter().map(String::as_str).collect();
                let up = LinkUp { capacity: SEATS, ..up(RELAY, link, &boot.to_string(), &records, &open) };
                // Outrun by a later one: the lobby process cuts the link, at which nobody is any more.
                let Ok(orders) = self.book.link_up(up, self.now) else { return };
                self.clock += 1;
                if self.link == Some(link) {
                    self.orders.push_back(Message::Welcome { at: self.clock });
                }
                self.send(orders);
            }
            News::Opened(session, epoch) => {
                let order = self.book.opened(RELAY, link, &session, epoch, self.now);
                self.send(order.into_iter().collect());
            }
            News::Ended(session, epoch) => self.book.ended(RELAY, link, &session, epoch, self.now),
            News::Load(load) => self.book.load(RELAY, link, load, self.now),
        }
    }

    fn load(&mut self) {
        self.news.push_back(News::Load(Load { stats: self.seats.stats(), holds: Some(self.holds) }));
    }

    /// The link is lost with the orders on it.
    fn cut(&mut self, how: Cut) {
        let Some(link) = self.link.take() else { return };
        self.orders.clear();
        self.seats.take_newcomers(Newcomers::All);
        let news = std::mem::take(&mut self.news);
        match how {
            Cut::Noticed => self.book.link_down(RELAY, link),
            Cut::NoticedLate => self.old_news.extend(news.into_iter().chain([News::Down]).map(|news| (link, news))),
            Cut::Crashed => {}
        }
    }

    fn dial(&mut self) {
        self.last_link += 1;
        (self.link, self.holds) = (Some(self.last_link), 0);
        let record = |record: String| {
            let (id, epoch) = record.split_once(' ').expect("a record of ours");
            (id.to_owned(), epoch.parse().expect("a number"))
        };
        let records = self.seats.records().into_iter().map(record).collect();
        self.seats.take_newcomers(Newcomers::None);
        self.news.push_back(News::Hello { boot: self.boot, records, open: self.seats.open() });
    }

    fn tick(&mut self) {
        let effects = self.seats.tick(self.now);
        self.tell(effects);
    }

    fn deliver(&mut self) {
        while let Some((link, news)) = self.old_news.pop_front() {
            self.hear(link, news);
        }
        while !self.orders.is_empty() || !self.news.is_empty() {
            self.order_arrives();
            self.news_arrives();
        }
        if self.link.is_some() {
            self.load();
            self.news_arrives();
        }
    }
}

/// The table with its first relay only.
fn one_relay() -> RelayTable {
    let mut table = table(SEATS);
    table.pools.truncate(1);
    table.pools[0].relays.truncate(1);
    table
}

//! Which states are alike, and what must hold in each.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::*;

impl World {
    /// What tells this state from others.
    pub(in super::super) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_into(&mut hasher);
        hasher.finish()
    }

    fn hash_into(&self, hasher: &mut DefaultHasher) {
        (self.left, self.now, self.boot, self.link, self.last_link, self.holds, self.clock, self.created).hash(hasher);
        (&self.seats, &self.passes, &self.news, &self.old_news, &self.places).hash(hasher);
        for message in &self.orders {
            match message {
                Message::Welcome { at } => at.hash(hasher),
                Message::Order(order) => (&order.session, order.epoch, order.kind.as_str()).hash(hasher),
            }
        }
        for id in (1..=self.created).map(name) {
            let session = self.book.sessions.get(&id);
            session
                .map(|s| (s.epoch, s.state == SessionState::Open, s.homeless, s.ends_at, &s.home.boot_id))
                .hash(hasher);
            self.book.closed.get(&id).map(|closed| closed.epoch).hash(hasher);
        }
        if let Some(run) = self.book.runs.get(RELAY) {
            let mut held: Vec<_> = run.held.iter().collect();
            let mut in_flight: Vec<_> = run.in_flight.iter().collect();
            held.sort_unstable();
            in_flight.sort_unstable();
            (&run.boot_id, run.link, run.heard, run.holds, held, in_flight).hash(hasher);
            (run.stats.sessions, run.stats.leases).hash(hasher);
        }
    }

    /// What must hold in every state.
    pub(in super::super) fn check(&self, before: &Self) {
        let stats = self.seats.stats();
        assert!(stats.sessions + stats.leases <= SEATS, "the relay holds too many: {:?}", self.way);
        for (id, session) in &self.book.sessions {
            let Some(before) = before.book.sessions.get(id) else { continue };
            assert!(session.epoch >= before.epoch, "{id} fell from {}: {:?}", before.epoch, self.way);
            let moved = session.home.boot_id != before.home.boot_id;
            assert!(!moved || session.epoch > before.epoch, "{id} has two homes in one epoch: {:?}", self.way);
        }
    }

    /// Once everything has arrived and every lease is over, the store and the relay agree and no seat is lost.
    pub(in super::super) fn settle(mut self) {
        for seconds in [0, 33, 33, 300, 300] {
            self.now += at(seconds);
            self.tick();
            // A link that the store does not count is cut, and the next one is counted.
            for _ in 0..2 {
                if self.link.is_none() {
                    self.dial();
                }
                self.deliver();
            }
            self.book.sweep(self.now);
        }
        let used = self.seats.stats().sessions + self.seats.stats().leases;
        assert_eq!(self.book.view(self.now).runs[RELAY].used(), used, "a seat is lost: {:?}", self.way);
        let mut known: Vec<&str> = self.book.page(None, 100).into_iter().map(|session| session.id.as_str()).collect();
        known.sort_unstable();
        assert_eq!(known, self.seats.open(), "store and relay do not hold the same sessions: {:?}", self.way);
    }
}

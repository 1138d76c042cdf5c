//! A pool and its people, second by second: sessions come, wait for a seat, and end; relays start, serve, drain and go.
//!
//! The same world for every policy: only how many relays there should be, and who leaves, is asked of a [`Controller`].

use std::collections::VecDeque;

use super::generate::Chance;
use super::trace::{Kind, Trace};

/// Seconds that a request waits for a seat before its client gives up: the longest that the lobby lets it wait.
const PATIENCE: u32 = 60;
/// Sessions that a leaving relay hands over in a second.
const HANDED_OVER: usize = 10;
/// What an absurd report says: −1, as an unsigned number.
const ABSURD: f64 = 4_294_967_295.0;

/// What is the same for all policies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Of one relay.
    pub(super) seats: u32,
    /// Relays that serve when it begins.
    pub(super) first: u32,
    pub(super) start_seconds: u32,
    /// A relay that leaves waits so long for its sessions, then closes them.
    pub(super) drain_seconds: u32,
    /// A relay that leaves hands its sessions to others that have room.
    pub(super) handoff: bool,
}

impl Settings {
    pub(super) fn without_handoff(self) -> Self {
        Self { handoff: false, ..self }
    }
}

/// Who decides.
pub(super) trait Controller {
    /// Name in the table.
    fn name(&self) -> &'static str;
    /// How many relays there should be, those that leave not among them.
    fn replicas(&mut self, world: &World<'_>) -> usize;
    /// Places in `world.relays` of those that should leave, at most `surplus`.
    fn leave(&self, world: &World<'_>, surplus: usize) -> Vec<usize>;
    /// Whether a relay that leaves may be told to stay.
    fn may_stay(&self) -> bool;
    /// Whether an empty relay that leaves must be heard to be empty before it goes.
    fn must_hear(&self) -> bool;
}

/// One relay.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    pub(super) ordinal: u32,
    pub(super) born: u32,
    pub(super) phase: Phase,
    /// When each of its sessions ends.
    pub(super) sessions: Vec<u32>,
    /// What arrived of it last, and when.
    pub(super) report: Option<(f64, u32)>,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Serving,
    /// Until this time at most.
    Leaving(u32),
}

/// Who waits for a seat.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    since: u32,
    lasts: u32,
}

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) name: &'static str,
    /// Most that waited for a seat at once.
    pub(super) short: usize,
    /// Seconds of seats that were short.
    pub(super) short_seconds: u64,
    /// Sessions that had to wait.
    pub(super) waited: usize,
    /// Seconds that each of those waited which got a seat.
    pub(super) waits: Vec<u32>,
    /// Sessions that got none.
    pub(super) gave_up: usize,
    /// Seconds of relays, from creation to removal.
    pub(super) relay_seconds: u64,
    /// Changes of how many there should be.
    pub(super) changes: usize,
    /// Sessions handed over.
    pub(super) moved: usize,
    /// Sessions closed by us.
    pub(super) cut: usize,
    /// For the picture: a point for each second.
    pub(super) points: Vec<Point>,
}

/// One moment of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) sessions: u32,
    pub(super) waiting: u32,
    /// Seats of relays that serve.
    pub(super) seats: u32,
}

/// The pool at one moment.
#[derive(Debug)]
pub(super) struct World<'a> {
    trace: &'a Trace,
    pub(super) settings: Settings,
    /// Seconds since the trace began.
    pub(super) now: u32,
    pub(super) relays: Vec<Relay>,
    waiting: VecDeque<Waiter>,
    /// Whether the lobby can be heard.
    pub(super) lobby_heard: bool,
    chance: Chance,
    tally: Tally,
}

impl<'a> World<'a> {
    pub(super) fn new(trace: &'a Trace, settings: Settings) -> Self {
        let relays = (0..settings.first).map(|ordinal| Relay::new(ordinal, 0, Phase::Serving)).collect();
        let (waiting, chance, tally) = (VecDeque::new(), Chance(7), Tally::default());
        Self { trace, settings, now: 0, relays, waiting, lobby_heard: true, chance, tally }
    }

    /// Plays the whole trace.
    pub(super) fn play(mut self, controller: &mut impl Controller) -> Tally {
        self.tally.name = controller.name();
        let mut came = 0;
        let mut wanted = self.relays.len();
        for now in 0..self.trace.length {
            self.now = now;
            self.relays_go_on();
            let sessions = &self.trace.sessions;
            while let Some(session) = sessions.get(came).filter(|session| session.at <= now) {
                self.waiting.push_back(Waiter { since: now, lasts: session.lasts });
                came += 1;
            }
            self.seat();
            self.reports();
            let replicas = controller.replicas(&self);
            self.tally.changes += usize::from(replicas != wanted);
            wanted = replicas;
            self.change(wanted, controller);
            self.leaving(controller.must_hear());
            self.count();
        }
        self.tally
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Relays that serve or will.
    pub(super) fn working(&self) -> usize {
        self.relays.iter().filter(|relay| !relay.leaves()).count()
    }

    fn relays_go_on(&mut self) {
        let (now, start) = (self.now, self.settings.start_seconds);
        for relay in &mut self.relays {
            relay.sessions.retain(|end| *end > now);
            if relay.phase == Phase::Starting && now >= relay.born + start {
                relay.phase = Phase::Serving;
            }
        }
    }

    /// The first who waits gets the first seat, on the fullest relay that has one.
    fn seat(&mut self) {
        let now = self.now;
        while let Some(waiter) = self.waiting.front().copied() {
            if now - waiter.since >= PATIENCE {
                self.waiting.pop_front();
                self.tally.gave_up += 1;
                continue;
            }
            let Some(relay) = self.room() else { break };
            self.relays[relay].sessions.push(now.saturating_add(waiter.lasts));
            self.waiting.pop_front();
            if now > waiter.since {
                self.tally.waits.push(now - waiter.since);
            }
        }
        self.tally.waited += self.waiting.iter().filter(|waiter| waiter.since == now).count();
    }

    /// The fullest relay that serves and has a seat; of two, the one of the lower ordinal.
    fn room(&self) -> Option<usize> {
        let seats = self.settings.seats as usize;
        let open = self
            .relays
            .iter()
            .enumerate()
            .filter(|(_, relay)| relay.phase == Phase::Serving && relay.sessions.len() < seats);
        open.max_by_key(|(_, relay)| (relay.sessions.len(), std::cmp::Reverse(relay.ordinal))).map(|(index, _)| index)
    }

    /// Each relay that serves or leaves reports; some reports get lost.
    fn reports(&mut self) {
        let faults: Vec<Kind> = self.trace.faults_at(self.now).collect();
        self.lobby_heard = !faults.contains(&Kind::Deaf);
        let absurd = faults.contains(&Kind::Absurd);
        for relay in self.relays.iter_mut().filter(|relay| relay.phase != Phase::Starting) {
            let lost = faults.iter().any(|fault| match fault {
                Kind::Silent(only) => only.is_none_or(|ordinal| ordinal == relay.ordinal),
                Kind::Lossy(percent) => self.chance.below(100) < *percent,
                Kind::Absurd | Kind::Deaf => false,
            });
            if !lost {
                let sessions = u32::try_from(relay.sessions.len()).unwrap_or(u32::MAX);
                relay.report = Some((if absurd { ABSURD } else { sessions.into() }, self.now));
            }
        }
    }

    fn change(&mut self, wanted: usize, controller: &impl Controller) {
        let mut missing = wanted.saturating_sub(self.working());
        if controller.may_stay() {
            // The fullest first: it would take longest to leave.
            let mut leaving: Vec<usize> = (0..self.relays.len()).filter(|index| self.relays[*index].leaves()).collect();
            leaving.sort_by_key(|index| std::cmp::Reverse(self.relays[*index].sessions.len()));
            for index in leaving.into_iter().take(missing) {
                self.relays[index].phase = Phase::Serving;
                missing -= 1;
            }
        }
        for _ in 0..missing {
            // Of one more ordinal than there are relays one is free.
            let ordinals = 0..=u32::try_from(self.relays.len()).unwrap_or(u32::MAX);
            let taken = |ordinal: &u32| self.relays.iter().any(|relay| relay.ordinal == *ordinal);
            let free = ordinals.clone().find(|ordinal| !taken(ordinal)).unwrap_or(*ordinals.end());
            self.relays.push(Relay::new(free, self.now, Phase::Starting));
        }
        let surplus = self.working().saturating_sub(wanted);
        if surplus > 0 {
            for index in controller.leave(self, surplus) {
                self.relays[index].phase = Phase::Leaving(self.now + self.settings.drain_seconds);
            }
        }
    }

    /// Relays that leave hand over what they can, and go when they are empty or their time is up.
    fn leaving(&mut self, must_hear: bool) {
        for index in 0..self.relays.len() {
            if self.settings.handoff && self.relays[index].leaves() {
                self.hand_over(index);
            }
        }
        let now = self.now;
        let mut cut = 0;
        self.relays.retain_mut(|relay| {
            let Phase::Leaving(deadline) = relay.phase else { return true };
            if must_hear && !relay.heard_within(now, FRESH) {
                // Its clock stands still while nobody knows what it holds.
                relay.phase = Phase::Leaving(deadline + 1);
                return true;
            }
            if relay.sessions.is_empty() {
                return false;
            }
            cut += if now >= deadline { relay.sessions.len() } else { 0 };
            now < deadline
        });
        self.tally.cut += cut;
    }

    fn hand_over(&mut self, from: usize) {
        for _ in 0..HANDED_OVER {
            let Some(to) = self.room() else { return };
            let Some(end) = self.relays[from].sessions.pop() else { return };
            self.relays[to].sessions.push(end);
            self.tally.moved += 1;
        }
    }

    fn count(&mut self) {
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let serving = self.relays.iter().filter(|relay| relay.phase == Phase::Serving).count();
        let sessions = self.relays.iter().map(|relay| relay.sessions.len()).sum();
        let waiting = self.waiting.len();
        self.tally.short = self.tally.short.max(waiting);
        self.tally.short_seconds += u64::from(small(waiting));
        self.tally.relay_seconds += u64::from(small(self.relays.len()));
        self.tally.points.push(Point {
            sessions: small(sessions),
            waiting: small(waiting),
            seats: small(serving) * self.settings.seats,
        });
    }
}

/// Reports older than so many seconds are not known any more.
pub(super) const FRESH: u32 = 10;

impl Relay {
    fn new(ordinal: u32, born: u32, phase: Phase) -> Self {
        Self { ordinal, born, phase, sessions: Vec::new(), report: None }
    }

    pub(super) fn leaves(&self) -> bool {
        matches!(self.phase, Phase::Leaving(_))
    }

    /// Whether a report that can be believed has arrived in the last seconds.
    pub(super) fn heard_within(&self, now: u32, seconds: u32) -> bool {
        self.report.is_some_and(|(value, at)| now - at <= seconds && value < ABSURD)
    }
}

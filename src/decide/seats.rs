//! The seats of one relay: which sessions it holds, under which epoch, and when a seat returns. Knows no sockets.
//!
//! The store of the lobby grants seats; this decides. It never holds more sessions than it has seats, and never takes
//! a token whose epoch is below the highest seen of its session.

mod orders;

use std::collections::BTreeMap;
use std::time::Duration;

pub use orders::Orders;

use super::room::End;
use crate::wire::claims::JOIN_LIFE_SECONDS;
use crate::wire::orders::Order;
use crate::wire::stats::{RelayReport, RelayStats};

/// Longest lease that is kept, in seconds.
const MAX_LEASE_SECONDS: u32 = 3600;

/// How long the epoch of a session that has ended is remembered: longer than any token of it lives.
const REMEMBER_ENDED: Duration = Duration::from_secs(2 * JOIN_LIFE_SECONDS.unsigned_abs());

/// What a relay takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SeatLimits {
    /// Sessions, leased ones included.
    pub capacity: u32,
    /// Participants of one session.
    pub participants_per_session: u32,
    /// How long a session without participants is kept.
    pub idle: Duration,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the lobby that the session's lease is claimed.
    Opened {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Tell the lobby that the session is not held (any more), and forget its room.
    Ended {
        /// The session.
        session: String,
        /// Its epoch.
        epoch: u64,
    },
    /// End all connections of the session.
    CloseRoom {
        /// The session.
        session: String,
        /// What its members are told.
        end: End,
    },
}

/// Why a participant is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The session has moved on or has ended.
    StaleEpoch,
    /// No seat is free.
    NoCapacity,
    /// The session has as many participants as it may have.
    SessionFull,
    /// The relay takes no new sessions.
    Draining,
    /// The lobby has not ordered the session to be held, and may have ended or moved it since the token was issued.
    NotHeld,
}

/// Which tokens open a session that the lobby has not ordered to be held (yet: a participant may be faster than the order).
/// Were it any token, a session that ended elsewhere while the link was away could take a seat that was given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Newcomers {
    /// All: without a link the relay serves alone. Its next hello tells which sessions it has.
    All,
    /// None: it has told what it has, and the lobby has not answered.
    None,
    /// Those of tokens issued at or after this time of the lobby's, in seconds since 1970: their orders are on this link.
    Since(i64),
}

/// A participant's place in a session, to be given back by [`Seats::leave`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The session.
    pub session: String,
    /// Which stay of the session on this relay.
    stay: u64,
}

/// The seats of one relay.
#[derive(Clone, Debug, Hash)]
pub struct Seats {
    limits: SeatLimits,
    orders: Orders,
    /// The lobby has ordered the relay to leave. Independent of what the operator orders.
    asked: bool,
    draining: bool,
    newcomers: Newcomers,
    next_stay: u64,
    sessions: BTreeMap<String, Session>,
    /// How many of them are opened, and have how many participants: the load is asked for at each join and leave.
    opened: u32,
    participants: u32,
    ended: BTreeMap<String, EndedSession>,
}

#[derive(Clone, Debug, Hash)]
struct Session {
    epoch: u64,
    /// Signed by the lobby; absent when a participant was faster than the lobby's order.
    record: Option<String>,
    stay: u64,
    participants: u32,
    /// Whether a participant was ever there: the lease is claimed.
    opened: bool,
    /// When the seat returns; set exactly while nobody is there.
    ends_at: Option<Duration>,
}

#[derive(Clone, Debug, Hash)]
struct EndedSession {
    epoch: u64,
    forget_at: Duration,
}

impl Seats {
    /// All seats free.
    pub fn new(limits: SeatLimits) -> Self {
        Self {
            limits,
            orders: Orders::default(),
            asked: false,
            draining: false,
            newcomers: Newcomers::All,
            next_stay: 0,
            sessions: BTreeMap::new(),
            opened: 0,
            participants: 0,
            ended: BTreeMap::new(),
        }
    }

    /// The lobby wants a seat kept for a session. Saying it again starts the lease anew and replaces the record.
    pub fn hold(
        &mut self,
        session: &str,
        epoch: u64,
        record: Option<String>,
        lease_seconds: u32,
        now: Duration,
    ) -> Vec<Effect> {
        if let Some(held) = self.sessions.get_mut(session) {
            if epoch >= held.epoch {
                held.record = record.or_else(|| held.record.take());
            }
            return self.renew(session, epoch, lease_seconds, now);
        }
        // The lobby may grant again what has ended (a lease that ran out), but not below what was seen.
        if self.takes_no_more() || self.is_full() || self.ended.get(session).is_some_and(|ended| epoch < ended.epoch) {
            return vec![Effect::Ended { session: session.to_owned(), epoch }];
        }
        let ends_at = Some(lease_end(lease_seconds, now));
        self.insert(session, Session { epoch, record, stay: 0, participants: 0, opened: false, ends_at });
        Vec::new()
    }

    /// The record of a held session was signed anew. Neither its lease nor its participants change.
    pub fn renew_record(&mut self, session: &str, epoch: u64, record: String) {
        if let Some(held) = self.sessions.get_mut(session).filter(|held| held.epoch == epoch) {
            held.record = Some(record);
        }
    }

    /// The lobby lets somebody join a session: its lease starts anew. What is not held takes no seat by it: the seat may
    /// have been given to another since.
    pub fn renew(&mut self, session: &str, epoch: u64, lease_seconds: u32, now: Duration) -> Vec<Effect> {
        match self.sessions.get_mut(session) {
            Some(held) if epoch >= held.epoch => {
                held.epoch = epoch;
                if held.opened {
                    // The lobby may not have heard it yet: the participant was faster than this order.
                    return vec![Effect::Opened { session: session.to_owned(), epoch }];
                }
                held.ends_at = Some(lease_end(lease_seconds, now));
                Vec::new()
            }
            _ => vec![Effect::Ended { session: session.to_owned(), epoch }],
        }
    }

    /// A participant with a valid token for `session` and `epoch`, issued at `issued_at` (seconds since 1970, by the
    /// lobby's clock), wants in.
    pub fn join(&mut self, session: &str, epoch: u64, issued_at: i64) -> Result<(Place, Vec<Effect>), Denied> {
        if !self.sessions.contains_key(session) {
            if self.ended.get(session).is_some_and(|ended| epoch <= ended.epoch) {
                return Err(Denied::StaleEpoch);
            }
            if self.takes_no_more() {
                return Err(Denied::Draining);
            }
            match self.newcomers {
                Newcomers::All => {}
                Newcomers::Since(time) if issued_at >= time => {}
                Newcomers::None | Newcomers::Since(_) => return Err(Denied::NotHeld),
            }
            if self.is_full() {
                return Err(Denied::NoCapacity);
            }
            self.insert(
                session,
                Session { epoch, record: None, stay: 0, participants: 0, opened: false, ends_at: None },
            );
        }
        let most = self.limits.participants_per_session;
        let Some(held) = self.sessions.get_mut(session) else { return Err(Denied::NoCapacity) };
        if epoch < held.epoch {
            return Err(Denied::StaleEpoch);
        }
        if held.participants >= most {
            return Err(Denied::SessionFull);
        }
        let news = !held.opened || epoch > held.epoch;
        held.epoch = epoch;
        self.opened += u32::from(!held.opened);
        held.opened = true;
        held.ends_at = None;
        held.participants += 1;
        self.participants += 1;
        let opened = news.then(|| Effect::Opened { session: session.to_owned(), epoch });
        Ok((Place { session: session.to_owned(), stay: held.stay }, opened.into_iter().collect()))
    }

    /// A participant has left. Nothing happens if its session was closed meanwhile, even if it has come back: false.
    pub fn leave(&mut self, place: &Place, now: Duration) -> bool {
        let Some(held) = self.sessions.get_mut(&place.session) else { return false };
        if held.stay != place.stay || held.participants == 0 {
            return false;
        }
        held.participants -= 1;
        self.participants -= 1;
        if held.participants == 0 {
            held.ends_at = Some(now + self.limits.idle);
        }
        true
    }

    /// The lobby closes a session, unless it has moved on beyond `epoch`. Tokens up to `epoch` open it no more.
    pub fn close(&mut self, session: &str, epoch: u64, now: Duration) -> Vec<Effect> {
        self.end(session, epoch, End::SessionClosed, now)
    }

    /// A session lives elsewhere now, under a higher epoch than `epoch`; it may come back under a still higher one.
    pub fn move_away(&mut self, session: &str, epoch: u64, now: Duration) -> Vec<Effect> {
        self.end(session, epoch, End::Moved, now)
    }

    fn end(&mut self, session: &str, epoch: u64, end: End, now: Duration) -> Vec<Effect> {
        if self.sessions.get(session).is_some_and(|held| held.epoch > epoch) {
            return Vec::new();
        }
        let ended = Effect::Ended { session: session.to_owned(), epoch };
        self.remember_ended(session, epoch, now);
        if !self.remove(session) {
            return vec![ended];
        }
        vec![Effect::CloseRoom { session: session.to_owned(), end }, ended]
    }

    /// Seats return whose lease or idle time is over, and old epochs are forgotten.
    pub fn tick(&mut self, now: Duration) -> Vec<Effect> {
        self.ended.retain(|_, ended| now < ended.forget_at);
        let over = |held: &Session| held.ends_at.is_some_and(|ends_at| ends_at <= now);
        let ended: Vec<(String, u64)> = self
            .sessions
            .iter()
            .filter(|(_, held)| over(held))
            .map(|(name, held)| (name.clone(), held.epoch))
            .collect();
        for (session, epoch) in &ended {
            self.remove(session);
            self.remember_ended(session, *epoch, now);
        }
        ended.into_iter().map(|(session, epoch)| Effect::Ended { session, epoch }).collect()
    }

    /// Which sessions may be opened from now on that the lobby has not ordered to be held.
    pub fn take_newcomers(&mut self, newcomers: Newcomers) {
        self.newcomers = newcomers;
    }

    /// Takes one of the operator's orders; false = it is not obeyed. Under a cordon held sessions go on, and leases can
    /// still be claimed.
    pub fn obey(&mut self, order: Order) -> bool {
        self.orders.obey(order)
    }

    /// The lobby orders the relay to leave, or takes that back. Held sessions go on, and leases can still be claimed.
    pub fn ask(&mut self, leave: bool) {
        self.asked = leave;
    }

    /// From now on no new sessions, for good. Held ones go on, and leases can still be claimed.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether no session and no lease is held.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether a session is held.
    pub fn holds(&self, session: &str) -> bool {
        self.sessions.contains_key(session)
    }

    /// Whether it takes no new sessions for good.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// The load, as others are told.
    pub fn stats(&self) -> RelayStats {
        let leases = self.sessions.len().saturating_sub(usize::try_from(self.opened).unwrap_or(usize::MAX));
        RelayStats {
            capacity: self.limits.capacity,
            sessions: self.opened,
            leases: u32::try_from(leases).unwrap_or(u32::MAX),
            participants: self.participants,
            cordoned: self.orders.cordon().is_some(),
            draining: self.draining || self.asked || self.orders.hands_over(),
        }
    }

    /// The load, and whose orders are obeyed, as the operator is told.
    pub fn report(&self) -> RelayReport {
        let (cordon, highest) = (self.orders.cordon(), self.orders.highest());
        RelayReport { stats: self.stats(), cordon, highest, asked: self.asked }
    }

    /// The records of all held sessions, as far as there are any.
    pub fn records(&self) -> Vec<String> {
        self.sessions.values().filter_map(|held| held.record.clone()).collect()
    }

    /// The sessions that have participants, or had them within the idle time.
    pub fn open(&self) -> Vec<String> {
        self.sessions.iter().filter(|(_, held)| held.opened).map(|(session, _)| session.clone()).collect()
    }

    fn takes_no_more(&self) -> bool {
        self.orders.cordon().is_some() || self.asked || self.draining
    }

    fn is_full(&self) -> bool {
        self.sessions.len() >= usize::try_from(self.limits.capacity).unwrap_or(usize::MAX)
    }

    fn insert(&mut self, session: &str, held: Session) {
        self.next_stay += 1;
        self.ended.remove(session);
        self.sessions.insert(session.to_owned(), Session { stay: self.next_stay, ..held });
    }

    /// Whether it was held.
    fn remove(&mut self, session: &str) -> bool {
        let Some(held) = self.sessions.remove(session) else { return false };
        self.opened -= u32::from(held.opened);
        self.participants -= held.participants;
        true
    }

    fn remember_ended(&mut self, session: &str, epoch: u64, now: Duration) {
        let epoch = self.ended.get(session).map_or(epoch, |ended| ended.epoch.max(epoch));
        self.ended.insert(session.to_owned(), EndedSession { epoch, forget_at: now + REMEMBER_ENDED });
    }
}

fn lease_end(lease_seconds: u32, now: Duration) -> Duration {
    now + Duration::from_secs(u64::from(lease_seconds.min(MAX_LEASE_SECONDS)))
}

#[cfg(test)]
mod tests;

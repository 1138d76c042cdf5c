//! What is known of the relays, and what that says of the load. Unknown is never zero.

use jiff::{SignedDuration, Timestamp};

/// One relay as it is seen now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Its name.
    pub name: String,
    /// Its place among the pool's relays; of two that are alike the higher one leaves.
    pub ordinal: i32,
    /// What it is doing.
    pub phase: Phase,
    /// Seats that it was made with.
    pub seats: i32,
    /// What it holds.
    pub occupancy: Occupancy,
}

/// What a relay is doing, as far as scaling minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It will serve; nobody can be there yet.
    Starting,
    /// It serves.
    Serving,
    /// It drains: no capacity any more, but its sessions need seats elsewhere.
    Leaving,
    /// Dead or stuck: no capacity. Its sessions come again as requests.
    Failed,
}

/// What a relay holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupancy {
    /// It said so, just now.
    Known {
        /// Sessions.
        sessions: u32,
        /// Seats kept for sessions to which nobody has connected yet.
        leases: u32,
    },
    /// It said nothing that can be believed.
    Unknown {
        /// Sessions of which it spoke last, by this operator's memory.
        last: Option<u32>,
    },
}

/// A value as it was read, from whatever source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Sessions.
    pub sessions: f64,
    /// Unclaimed leases; 0 where the source does not know them.
    pub leases: f64,
    /// When it arrived here.
    pub at: Timestamp,
}

/// More sessions than so many times the seats are absurd.
const ABSURD: f64 = 10.0;

impl Occupancy {
    /// What a reading says: nothing, if it is missing, older than `fresh`, not a number, negative, or absurd.
    pub fn read(
        reading: Option<&Reading>,
        last: Option<u32>,
        seats: i32,
        fresh: SignedDuration,
        now: Timestamp,
    ) -> Self {
        let unknown = Self::Unknown { last };
        let Some(reading) = reading.filter(|reading| now.duration_since(reading.at) <= fresh) else { return unknown };
        match (count(reading.sessions, seats), count(reading.leases, seats)) {
            (Some(sessions), Some(leases)) => Self::Known { sessions, leases },
            _ => unknown,
        }
    }
}

/// How many sessions a value stands for, on a relay with so many seats; nothing if it is not a number, negative, or absurd.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
pub fn count(value: f64, seats: i32) -> Option<u32> {
    // NaN is in no range.
    let sane = (0.0..=f64::from(seats.max(1)) * ABSURD).contains(&value);
    // Half a session is one: an average that somebody exports is rounded up.
    sane.then(|| value.ceil() as u32)
}

/// What the pool's lobby is asked for beyond what runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Requests that wait for a seat, of all lobby processes together.
    pub waiting: u32,
    /// Seats kept for sessions to which nobody has connected yet.
    pub leases: u32,
}

/// All that is seen of a pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its relays.
    pub relays: Vec<Relay>,
    /// What is asked for; none = no lobby process could be heard.
    pub demand: Option<Demand>,
}

/// What that comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) sessions: i64,
    pub(super) leases: i64,
    pub(super) waiting: i64,
    /// Relays whose occupancy is not known.
    pub(super) unknown: i32,
    /// Whether all is known that must be known to shrink.
    pub(super) known: bool,
}

impl Load {
    /// The least that can be: a silent relay holds what it held last, so that silence starts no relays either.
    pub(super) fn of(seen: &Seen) -> Self {
        let demand = seen.demand.unwrap_or_default();
        let mut load = Self::default();
        for relay in seen.relays.iter().filter(|relay| matches!(relay.phase, Phase::Serving | Phase::Leaving)) {
            match relay.occupancy {
                Occupancy::Known { sessions, leases } => {
                    load.sessions += i64::from(sessions);
                    load.leases += i64::from(leases);
                }
                Occupancy::Unknown { last } => {
                    // Seats that nobody hears of are no help to those who wait. Only of one that was heard before:
                    // new relays that stay silent must not call for more of their kind.
                    let seats = u32::try_from(relay.seats).unwrap_or(0);
                    let full = if demand.waiting > 0 { seats } else { 0 };
                    load.sessions += i64::from(last.map_or(0, |last| last.max(full)));
                    load.unknown += 1;
                }
            }
        }
        // Relays and lobby tell of the same leases; the lobby knows those first that a relay has not been told of.
        load.leases = load.leases.max(demand.leases.into());
        load.waiting = demand.waiting.into();
        load.known = load.unknown == 0 && seen.demand.is_some();
        load
    }

    /// Seats asked for.
    pub(super) fn total(&self) -> i64 {
        self.sessions + self.leases + self.waiting
    }
}

/// Relays that so many seats take: first of those that there are, the smallest first, then of new ones.
pub(super) fn relays_for(seats: i64, seen: &Seen, per_relay: i32) -> i64 {
    let there = seen.relays.iter().filter(|relay| matches!(relay.phase, Phase::Starting | Phase::Serving));
    let mut sizes: Vec<i64> = there.map(|relay| i64::from(relay.seats.max(1))).collect();
    sizes.sort_unstable();
    let (mut left, mut relays) = (seats, 0);
    for size in sizes {
        if left <= 0 {
            return relays;
        }
        left -= size;
        relays += 1;
    }
    relays + super::policy::div_ceil(left.max(0), i64::from(per_relay.max(1)))
}

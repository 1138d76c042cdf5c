//! Traces made up: always the same bytes for the same shape, on every machine. Whole numbers only, since floating-point
//! functions differ between C libraries.

use super::trace::{Fault, Kind, Session, Trace};
use jiff::Timestamp;

/// What can be made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// A Monday of teams in six time zones.
    Workday,
    /// A quiet pool, and 200 sessions within two minutes.
    FlashCrowd,
    /// Six hours of a pool whose reports get lost.
    LossySignal,
}

/// 2026-03-02T00:00:00Z, a Monday.
const START: i64 = 1_772_409_600;
const HOUR: u32 = 3600;

/// Teams: minutes east of Greenwich, and sessions in their busiest hour.
const TEAMS: [(i32, u32); 6] = [(-480, 60), (-300, 70), (0, 40), (60, 80), (330, 60), (540, 40)];

/// How busy a team is: minutes of its own day, and thousandths of its busiest hour; straight lines between.
const DAY: [(u32, u32); 13] = [
    (0, 5),
    (420, 20),
    (540, 600),
    (600, 1000),
    (720, 900),
    (750, 500),
    (810, 900),
    (900, 1000),
    (1020, 700),
    (1080, 300),
    (1200, 100),
    (1380, 10),
    (1440, 5),
];

/// How long sessions last, in seconds: the shortest, each tenth, the longest.
const LENGTHS: [u32; 11] = [60, 300, 600, 1080, 1620, 2340, 3060, 3900, 5400, 8100, 14_400];
/// Of a crowd that came for one event.
const EVENT: [u32; 11] = [300, 900, 1200, 1380, 1500, 1560, 1620, 1680, 1740, 1860, 2400];

impl Shape {
    /// Makes it up.
    pub(super) fn trace(self) -> Trace {
        let mut chance = Chance(START.unsigned_abs());
        let (length, mut sessions, faults) = match self {
            Self::Workday => (24 * HOUR, workday(&mut chance), Vec::new()),
            Self::FlashCrowd => {
                let mut sessions = steady(&mut chance, 2 * HOUR, |_| 40);
                let crowd = (0..200).map(|_| Session { at: 1800 + chance.below(120), lasts: chance.length(&EVENT) });
                sessions.extend(crowd);
                (2 * HOUR, sessions, Vec::new())
            }
            Self::LossySignal => {
                let rate = |now: u32| if now < 4 * HOUR { 60 + now / 160 } else { 150 - (now - 4 * HOUR) / 60 };
                (6 * HOUR, steady(&mut chance, 6 * HOUR, rate), bad_signal())
            }
        };
        sessions.sort_by_key(|session| session.at);
        let start = Timestamp::from_second(START).unwrap_or_default();
        Trace { start, length, sessions, faults }
    }
}

fn workday(chance: &mut Chance) -> Vec<Session> {
    let mut sessions = Vec::new();
    for (east, busiest) in TEAMS {
        let local =
            |now: u32| u32::try_from((i32::try_from(now / 60).unwrap_or(0) + east).rem_euclid(1440)).unwrap_or(0);
        // Thousandths of sessions an hour, to lose nothing by rounding.
        sessions.extend(arrivals(chance, 24 * HOUR, |now| u64::from(busiest * busy(local(now)))));
    }
    sessions
}

fn steady(chance: &mut Chance, length: u32, an_hour: impl Fn(u32) -> u32) -> Vec<Session> {
    arrivals(chance, length, |now| u64::from(an_hour(now)) * 1000)
}

/// In each second one may come, by chance.
fn arrivals(chance: &mut Chance, length: u32, thousandths_an_hour: impl Fn(u32) -> u64) -> Vec<Session> {
    let mut sessions = Vec::new();
    for at in 0..length {
        if chance.next() % (u64::from(HOUR) * 1000) < thousandths_an_hour(at) {
            sessions.push(Session { at, lasts: chance.length(&LENGTHS) });
        }
    }
    sessions
}

fn busy(minute: u32) -> u32 {
    let pair = DAY.windows(2).find(|pair| (pair[0].0..pair[1].0).contains(&minute));
    let Some([(from, low), (to, high)]) = pair.and_then(|pair| <[(u32, u32); 2]>::try_from(pair).ok()) else {
        return 0;
    };
    (low * (to - minute) + high * (minute - from)) / (to - from)
}

/// A fifth of the reports lost all the time; all of them for ten minutes while the load grows and for fifteen while it
/// falls; the lobby for five; one relay for half an hour; and a minute of nonsense.
fn bad_signal() -> Vec<Fault> {
    let fault = |at, lasts, kind| Fault { at, lasts, kind };
    vec![
        fault(0, 6 * HOUR, Kind::Lossy(20)),
        fault(2 * HOUR, 600, Kind::Silent(None)),
        fault(3 * HOUR, 60, Kind::Absurd),
        fault(13_000, 300, Kind::Deaf),
        fault(4 * HOUR, 1800, Kind::Silent(Some(0))),
        fault(5 * HOUR, 900, Kind::Silent(None)),
    ]
}

/// Chance that is the same everywhere: splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u32) -> u32 {
        u32::try_from(self.next() % u64::from(limit.max(1))).unwrap_or(0)
    }

    /// Between the tenths of a table, evenly.
    fn length(&mut self, tenths: &[u32; 11]) -> u32 {
        let tenth = usize::try_from(self.below(10)).unwrap_or(0);
        tenths[tenth] + self.below(tenths[tenth + 1] - tenths[tenth])
    }
}

//! Relays of other images: how often they are looked at, what is made of what they tell, and which orders they are known to
//! obey, since of that they tell nothing.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::drain::Note;
use super::exposition::Unreadable;
use super::listening::{Listening, SILENT_AFTER};
use super::scale;
use crate::wire::orders::Order;
use crate::wire::stats::{RelayReport, RelayStats};

/// Looks in a second at all relays of all pools together, at most.
pub const RATE: u32 = 200;
/// So many looks in a row must fail before a relay is not known.
const LOOKS: i32 = 3;

/// Time from one look to the next: what the spec asks for, or longer where so many relays would be too many looks.
pub fn interval(asked: SignedDuration, relays: usize) -> SignedDuration {
    let millis = i64::try_from(relays).unwrap_or(i64::MAX).saturating_mul(1000) / i64::from(RATE);
    asked.max(SignedDuration::from_millis(millis))
}

/// A relay that is looked at so often, and of which nothing was learnt for so long, is not known.
pub fn silent_after(interval: SignedDuration) -> SignedDuration {
    interval.saturating_mul(LOOKS).max(SILENT_AFTER)
}

/// Why nothing was learnt from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It did not answer, or not in time, or not to the end.
    #[error("it does not answer")]
    Unreachable,
    /// It answered with another status than 200.
    #[error("it answers with another status than 200")]
    Status,
    /// What it answered cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It says that it has far more sessions than seats.
    #[error("it says that it has more than ten times as many sessions as seats")]
    Absurd,
}

impl Refused {
    /// Its word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Unreadable(Unreadable::TooLarge) => "too_large",
            Self::Unreadable(Unreadable::Malformed) => "malformed",
            Self::Unreadable(Unreadable::Missing) => "missing",
            Self::Unreadable(Unreadable::Duplicate) => "duplicate",
            Self::Unreadable(Unreadable::NotAGauge) => "not_a_gauge",
            Self::Unreadable(Unreadable::Dated) => "dated",
            Self::Unreadable(Unreadable::NotANumber) => "not_a_number",
            Self::Unreadable(Unreadable::Negative) => "negative",
            Self::Absurd => "absurd",
        }
    }
}

/// How many sessions a relay with so many seats has, by the value of its metric.
pub fn sessions(value: f64, seats: i32) -> Result<u32, Refused> {
    scale::count(value, seats).ok_or(Refused::Absurd)
}

/// The orders that a relay is known to obey at one moment, as its reports would say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obeys {
    cordon: Option<u32>,
    highest: u32,
}

/// One relay of another image, as this process knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampled {
    listening: Listening,
    /// What stands on its Pod.
    note: Note,
    /// The last order that it obeyed while this process looked.
    obeyed: Option<Order>,
}

impl Sampled {
    /// Nothing is known yet.
    pub fn begin(now: Timestamp) -> Self {
        Self { listening: Listening::begin(now), note: Note::default(), obeyed: None }
    }

    /// What stands on its Pod now.
    pub fn is_noted(&mut self, note: Note) {
        self.note = note;
    }

    /// It obeyed an order.
    pub fn has_obeyed(&mut self, order: Order) {
        self.obeyed = Some(order);
    }

    /// Which orders it obeys now. To be asked before a look: only sessions that are counted after an order was obeyed tell
    /// whether anybody came before it was.
    pub fn obeys(&self, can_be_told: bool) -> Obeys {
        let Note { number, drain } = self.note;
        if !can_be_told {
            // Whoever sends people to it has seen in the pool's status that it leaves.
            return Obeys { cordon: drain.map(|_| number), highest: 0 };
        }
        match self.obeyed {
            Some(Order::Cordon { number }) => Obeys { cordon: Some(number), highest: number },
            Some(Order::Uncordon { number } | Order::HandOver { number }) => Obeys { cordon: None, highest: number },
            // A process before this one may have given an order, and have taken it back or not.
            None => Obeys { cordon: Some(number).filter(|number| *number > 0 && drain.is_none()), highest: 0 },
        }
    }

    /// A look has told how many sessions there are. `obeys` is from before it, `interval` the time until the next one.
    /// Returns whether that is news.
    pub fn is_seen(&mut self, obeys: Obeys, sessions: u32, interval: SignedDuration, now: Timestamp) -> bool {
        let stats = RelayStats { sessions, ..RelayStats::default() };
        self.listening.expect_within(silent_after(interval));
        self.listening.hear(RelayReport { stats, cordon: obeys.cordon, highest: obeys.highest, asked: false }, now)
    }

    /// What was learnt so far.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::drain::{Cause, Occupancy};
    use crate::decide::fixtures::at;

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    fn note(number: u32, drains: bool) -> Note {
        let drain = serde_json::json!({"cause": Cause::ScaleDown, "since": "1970-01-01T00:00:10.000000Z", "clock": {"state": "ahead"}});
        Note { number, drain: drains.then(|| serde_json::from_value(drain).expect("a drain")) }
    }

    /// The cordon that stands in what is known.
    fn cordon(sampled: &Sampled, now: i64) -> Option<u32> {
        match sampled.listening().occupancy(10, at(now)) {
            Occupancy::Known(report) => report.cordon,
            Occupancy::Unknown { .. } => panic!("it was looked at"),
        }
    }

    #[test]
    fn few_relays_are_looked_at_as_asked_and_many_at_the_rate() {
        assert_eq!(interval(seconds(5), 1), seconds(5));
        assert_eq!(interval(seconds(5), 1000), seconds(5));
        assert_eq!(interval(seconds(5), 64_000), seconds(320));
        assert_eq!((silent_after(seconds(1)), silent_after(seconds(60))), (seconds(5), seconds(180)));
    }

    #[test]
    fn what_was_learnt_holds_for_three_looks() {
        let mut sampled = Sampled::begin(at(0));
        assert!(matches!(sampled.listening().occupancy(10, at(1)), Occupancy::Unknown { heard: None, .. }));
        assert!(sampled.is_seen(Obeys::default(), 4, seconds(20), at(1)));
        assert!(!sampled.is_seen(Obeys::default(), 4, seconds(20), at(21)), "said again, it is no news");
        let scale::Occupancy::Known { sessions, leases } = sampled.listening().load(10, at(81)) else {
            panic!("it is known for 60 s");
        };
        assert_eq!((sessions, leases), (4, 0));
        assert_eq!(sampled.listening().load(10, at(82)), scale::Occupancy::Unknown { last: Some(4) });
    }

    #[test]
    fn an_order_counts_with_the_first_look_after_it_was_obeyed() {
        let mut sampled = Sampled::begin(at(0));
        sampled.is_noted(note(1, true));
        let before = sampled.obeys(true);
        sampled.has_obeyed(Order::Cordon { number: 1 });
        sampled.is_seen(before, 0, seconds(5), at(2));
        assert_eq!(cordon(&sampled, 2), None, "somebody may have come after that look and before the order");
        sampled.is_seen(sampled.obeys(true), 1, seconds(5), at(3));
        assert_eq!(cordon(&sampled, 3), Some(1));
        sampled.is_noted(note(1, false));
        assert_eq!(sampled.obeys(true).cordon, Some(1), "until it obeys that it is taken back");
        sampled.has_obeyed(Order::Uncordon { number: 1 });
        assert_eq!(sampled.obeys(true).cordon, None);
        sampled.is_noted(note(2, true));
        assert_eq!(sampled.obeys(true).cordon, None, "the next drain is another order");
    }

    #[test]
    fn what_an_earlier_process_ordered_is_ordered_again() {
        let mut sampled = Sampled::begin(at(0));
        assert_eq!(sampled.obeys(true), Obeys::default());
        sampled.is_noted(note(3, true));
        assert_eq!(sampled.obeys(true).cordon, None, "so it is told to refuse");
        sampled.is_noted(note(3, false));
        assert_eq!(sampled.obeys(true).cordon, Some(3), "so it is told not to");
    }

    #[test]
    fn who_cannot_be_told_counts_as_told_from_the_drain_on() {
        let mut sampled = Sampled::begin(at(0));
        assert_eq!(sampled.obeys(false).cordon, None);
        sampled.is_noted(note(2, true));
        assert_eq!(sampled.obeys(false).cordon, Some(2));
        sampled.is_noted(note(2, false));
        assert_eq!(sampled.obeys(false).cordon, None);
    }

    proptest! {
        /// No value becomes more sessions than there can be, and none that is not a number becomes any.
        #[test]
        fn only_what_can_be_true_is_known(value in any::<f64>(), seats in 1..=10_000_i32) {
            match sessions(value, seats) {
                Ok(known) => prop_assert!(f64::from(known) <= f64::from(seats) * 10.0 && f64::from(known) >= value),
                Err(refused) => prop_assert!(refused == Refused::Absurd && !(0.0..=f64::from(seats) * 10.0).contains(&value)),
            }
        }

        /// All relays together are never looked at more often than the rate allows.
        #[test]
        fn the_rate_is_kept(asked in 1..=60_i64, relays in 0..100_000_u32) {
            let each = interval(seconds(asked), usize::try_from(relays).expect("few"));
            prop_assert!(each >= seconds(asked));
            prop_assert!(f64::from(relays) / each.as_secs_f64() <= f64::from(RATE) + 0.001);
        }
    }
}

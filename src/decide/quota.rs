//! Rates: a bucket that fills steadily and is emptied by what passes. Knows no clock; time is since any fixed moment.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A steady rate and how far one may run ahead of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units per second.
    pub per_second: f64,
    /// Units that may pass at once after a pause.
    pub burst: f64,
}

impl Rate {
    /// So many units per second, and twice as many at once after a pause.
    pub fn per_second(units: u32) -> Self {
        Self { per_second: f64::from(units), burst: 2.0 * f64::from(units) }
    }
}

/// What one sender has left of its rate.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    left: f64,
    filled_at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, left: rate.burst, filled_at: now }
    }

    /// Takes `units` in any case and says how long to wait before taking more, so that the rate holds. One take may
    /// be larger than the burst: it is paid by waiting.
    pub fn take(&mut self, units: f64, now: Duration) -> Duration {
        self.fill(now);
        self.left -= units;
        if self.left >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.left / self.rate.per_second) }
    }

    /// Takes `units` only if they are there.
    pub fn try_take(&mut self, units: f64, now: Duration) -> bool {
        self.fill(now);
        let enough = self.left >= units;
        if enough {
            self.left -= units;
        }
        enough
    }

    /// Whether nothing was taken for so long that a new bucket would be the same.
    pub fn is_full(&self, now: Duration) -> bool {
        let mut filled = *self;
        filled.fill(now);
        filled.left >= self.rate.burst
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.left = (self.left + passed * self.rate.per_second).min(self.rate.burst);
        self.filled_at = self.filled_at.max(now);
    }
}

/// One bucket for each key, forgotten once full, and a bounded number of them.
#[derive(Clone, Debug)]
pub struct PerKey<K> {
    rate: Rate,
    most: usize,
    buckets: HashMap<K, Bucket>,
}

impl<K: Eq + Hash> PerKey<K> {
    /// Whether `key` has used up its rate for now. Takes nothing.
    pub fn is_spent(&self, key: &K, now: Duration) -> bool {
        self.buckets.get(key).copied().is_some_and(|mut bucket| !bucket.try_take(1.0, now))
    }

    /// Buckets of `rate` for at most `most` keys at a time.
    pub fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, buckets: HashMap::new() }
    }

    /// Whether one more of `key` may pass. A new key does not pass while there are too many active ones.
    pub fn admits(&mut self, key: K, now: Duration) -> bool {
        if self.buckets.len() >= self.most && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= self.most {
                return false;
            }
        }
        let rate = self.rate;
        self.buckets.entry(key).or_insert_with(|| Bucket::new(rate, now)).try_take(1.0, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { per_second: 10.0, burst: 20.0 };

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut bucket = Bucket::new(RATE, at(0.0));
        assert!((0..20).all(|_| bucket.try_take(1.0, at(0.0))));
        assert!(!bucket.try_take(1.0, at(0.0)));
        assert!(bucket.try_take(1.0, at(0.1)));
        assert!(!bucket.try_take(1.0, at(0.1)));
        assert!(!bucket.is_full(at(1.0)));
        assert!(bucket.is_full(at(3.0)));
    }

    #[test]
    fn one_large_message_passes_and_is_paid_by_waiting() {
        let mut bucket = Bucket::new(RATE, at(0.0));
        assert_eq!(bucket.take(50.0, at(0.0)), at(3.0));
        assert_eq!(bucket.take(0.0, at(3.0)), Duration::ZERO);
    }

    #[test]
    fn a_rate_is_spent_until_it_has_filled_again() {
        let mut per_key = PerKey::new(Rate { per_second: 1.0, burst: 1.0 }, 2);
        assert!(!per_key.is_spent(&"a", at(0.0)));
        assert!(per_key.admits("a", at(0.0)));
        assert!(per_key.is_spent(&"a", at(0.5)) && !per_key.is_spent(&"b", at(0.5)));
        assert!(!per_key.is_spent(&"a", at(1.0)));
        assert!(per_key.admits("a", at(1.0)), "looking takes nothing");
    }

    #[test]
    fn keys_do_not_share_and_their_number_is_bounded() {
        let mut per_key = PerKey::new(Rate { per_second: 1.0, burst: 1.0 }, 2);
        assert!(per_key.admits("a", at(0.0)));
        assert!(!per_key.admits("a", at(0.0)));
        assert!(per_key.admits("b", at(0.0)));
        assert!(!per_key.admits("c", at(0.5)), "both places are taken");
        assert!(per_key.admits("c", at(2.0)), "the others were forgotten once full");
        assert_eq!(per_key.buckets.len(), 1);
    }

    proptest! {
        #[test]
        fn no_more_passes_than_burst_and_rate_allow(
            takes in prop::collection::vec((0.0..1.0_f64, 0.0..5.0_f64), 1..100)
        ) {
            let mut bucket = Bucket::new(RATE, at(0.0));
            let (mut now, mut passed) = (0.0, 0.0);
            for (pause, units) in takes {
                now += pause;
                if bucket.try_take(units, at(now)) {
                    passed += units;
                }
                prop_assert!(passed <= RATE.burst + now * RATE.per_second + 1e-6);
            }
        }

        #[test]
        fn whoever_waits_as_told_keeps_the_rate(units in prop::collection::vec(0.0..60.0_f64, 1..100)) {
            let mut bucket = Bucket::new(RATE, at(0.0));
            let (mut now, mut passed) = (Duration::ZERO, 0.0);
            for units in units {
                now += bucket.take(units, now);
                passed += units;
                prop_assert!(passed <= RATE.burst + now.as_secs_f64() * RATE.per_second + 1e-3);
            }
        }
    }
}

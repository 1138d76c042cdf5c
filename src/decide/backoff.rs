//! How long to wait after failures in a row: doubling, bounded, with jitter.

use std::time::Duration;

/// Waits from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// After the first failure.
    pub first: Duration,
    /// After however many.
    pub longest: Duration,
}

/// Of an object after failed passes.
pub const PASSES: Waits = Waits { first: Duration::from_secs(1), longest: Duration::from_secs(300) };

impl Waits {
    /// Wait after the `failures`-th failure in a row (1 = first). `jitter` in 0..1 spreads those that failed together
    /// over the upper half of the wait.
    pub fn after(self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Failures in a row of one thing, and the end of the wait after the last that counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failing {
    count: u32,
    until: Duration,
}

impl Failing {
    /// How long to wait after one more failure at `now`. One that comes before the wait is over was not the retry, but
    /// something that happened meanwhile: it neither counts nor makes the wait longer. A namespace that is deleted makes
    /// a dozen passes fail within a second, which is no reason to leave it for minutes.
    pub fn another(&mut self, waits: Waits, now: Duration, jitter: f64) -> Duration {
        if now >= self.until {
            self.count = self.count.saturating_add(1);
            self.until = now.saturating_add(waits.after(self.count, jitter));
        }
        self.until.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_before_its_retry_neither_counts_nor_waits_longer() {
        let mut failing = Failing::default();
        let mut at = |milliseconds| failing.another(PASSES, Duration::from_millis(milliseconds), 1.0);
        assert_eq!(at(10_000), Duration::from_secs(1));
        for burst in 0..20 {
            assert_eq!(at(10_000 + burst * 10), Duration::from_millis(1000 - burst * 10));
        }
        assert_eq!(at(11_000), Duration::from_secs(2), "the retry counts");
        assert_eq!(at(12_500), Duration::from_millis(500));
        assert_eq!(at(13_000), Duration::from_secs(4));
    }

    #[test]
    fn waits_double_and_stay_in_bounds() {
        let wait = |failures, jitter| PASSES.after(failures, jitter);
        assert_eq!(wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(wait(2, 1.0), Duration::from_secs(2));
        assert_eq!(wait(2, 0.0), Duration::from_secs(1));
        for failures in [10, 31, 32, 33, u32::MAX] {
            assert_eq!(wait(failures, 1.0), Duration::from_secs(300));
        }
    }
}

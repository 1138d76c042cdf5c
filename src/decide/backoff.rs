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

#[cfg(test)]
mod tests {
    use super::*;

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

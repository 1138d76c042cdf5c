//! How long an object waits after failed passes: 1 s doubling to 5 min, with jitter.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// Wait after the `failures`-th failure in a row (1 = first). `jitter` in 0..1 spreads objects that failed together
/// over the upper half of the wait.
pub fn wait(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(LONGEST).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_in_bounds() {
        assert_eq!(wait(1, 1.0), Duration::from_secs(1));
        assert_eq!(wait(2, 1.0), Duration::from_secs(2));
        assert_eq!(wait(2, 0.0), Duration::from_secs(1));
        for failures in [10, 31, 32, 33, u32::MAX] {
            assert_eq!(wait(failures, 1.0), LONGEST);
        }
    }
}

//! How long to wait after failures in a row: doubling, bounded, with jitter.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

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
/// The same where something waits for the object: it is being deleted, or somebody else changed it first.
const HASTY: Waits = Waits { first: Duration::from_secs(1), longest: Duration::from_secs(15) };

/// So many times in a row nobody is outrun by chance.
const ODD: u32 = 5;

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

/// What of an object makes failures those of one attempt: made anew, with another spec, or on its way out, it is another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    uid: Option<String>,
    generation: Option<i64>,
    is_deleted: bool,
}

impl Attempt {
    /// With the object as it was when its pass failed.
    pub fn of(meta: &ObjectMeta) -> Self {
        let is_deleted = meta.deletion_timestamp.is_some();
        Self { uid: meta.uid.clone(), generation: meta.generation, is_deleted }
    }
}

/// Failed passes over one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    attempt: Attempt,
    failing: Failing,
    outrun: Failing,
}

/// When a pass is tried again that somebody outran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outrun {
    /// How long to wait: the watch has told of the change by then. Not every such change wakes a pass; one of our own
    /// status does not.
    pub wait: Duration,
    /// It happens again and again: perhaps the watch tells nothing, or two write by turns.
    pub is_odd: bool,
}

impl Passes {
    /// How long to wait after one more failure at `now`.
    pub fn failed(&mut self, attempt: &Attempt, now: Duration, jitter: f64) -> Duration {
        self.begin(attempt);
        self.failing.another(if attempt.is_deleted { HASTY } else { PASSES }, now, jitter)
    }

    /// What follows from having been outrun once more at `now`.
    pub fn outrun(&mut self, attempt: &Attempt, now: Duration, jitter: f64) -> Outrun {
        self.begin(attempt);
        let wait = self.outrun.another(HASTY, now, jitter);
        Outrun { wait, is_odd: self.outrun.count >= ODD }
    }

    /// Failures of another attempt say nothing of this one.
    fn begin(&mut self, attempt: &Attempt) {
        if self.attempt != *attempt {
            *self = Self { attempt: attempt.clone(), ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    /// Waits (seconds) after so many failures, each at the retry of the one before.
    fn waits(passes: &mut Passes, attempt: &Attempt, now: &mut Duration, failures: usize) -> Vec<u64> {
        let failed = |_| {
            let wait = passes.failed(attempt, *now, 1.0);
            *now += wait;
            wait.as_secs()
        };
        (0..failures).map(failed).collect()
    }

    #[test]
    fn another_spec_another_object_and_its_deletion_are_tried_anew() {
        let mut meta = ObjectMeta { uid: Some("one".into()), generation: Some(1), ..ObjectMeta::default() };
        let (mut passes, mut now) = (Passes::default(), Duration::from_secs(100));
        let mut tried = |meta: &ObjectMeta| waits(&mut passes, &Attempt::of(meta), &mut now, 4);
        assert_eq!(tried(&meta), [1, 2, 4, 8]);
        assert_eq!(tried(&meta), [16, 32, 64, 128], "nothing has changed");
        meta.generation = Some(2);
        assert_eq!(tried(&meta), [1, 2, 4, 8]);
        meta.uid = Some("another".into());
        assert_eq!(tried(&meta), [1, 2, 4, 8]);
        meta.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(tried(&meta), [1, 2, 4, 8]);
        assert_eq!(tried(&meta), [15, 15, 15, 15], "somebody waits for it to go");
    }

    #[test]
    fn who_is_outrun_looks_again_soon_and_says_when_it_does_not_end() {
        let (attempt, mut passes) = (Attempt::default(), Passes::default());
        let mut now = Duration::from_secs(100);
        let mut outrun = |burst: u64| {
            let found = passes.outrun(&attempt, now, 1.0);
            for later in 1..burst {
                let more = passes.outrun(&attempt, now + Duration::from_millis(later), 1.0);
                assert_eq!(more.is_odd, found.is_odd, "what comes before the retry does not count");
            }
            now += found.wait;
            (found.wait.as_secs(), found.is_odd)
        };
        let told: Vec<_> = [9, 1, 9, 1, 1, 1].into_iter().map(&mut outrun).collect();
        assert_eq!(told, [(1, false), (2, false), (4, false), (8, false), (15, true), (15, true)]);
        assert_eq!(passes.failed(&attempt, now, 1.0), Duration::from_secs(1), "it was outrun, and did not fail");
    }

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

//! The only place that reads a clock. Decisions get the time as a value.

use std::sync::OnceLock;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Wall-clock time, for what other machines read: tokens, statuses, leases in the API server.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Wall-clock time in whole seconds since 1970.
pub fn unix_seconds() -> i64 {
    now().as_second()
}

/// Wall-clock time at the first call in this process, plus the time since: does not follow when somebody sets the clock.
pub fn steady() -> Timestamp {
    static START: OnceLock<(Timestamp, Duration)> = OnceLock::new();
    let (wall, since) = *START.get_or_init(|| (now(), monotonic()));
    let passed = SignedDuration::try_from(monotonic().saturating_sub(since)).unwrap_or(SignedDuration::MAX);
    wall.saturating_add(passed).unwrap_or(wall)
}

/// Time since the first call in this process; never jumps. For seats, silences and limits within one process.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn monotonic() -> Duration {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

//! When the API server is asked whether a table still holds. What it must not do: ask.

use std::time::Duration;

/// How often is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// While it answers; also the longest pause while it does not.
    pub(super) well: Duration,
    /// After the first failure. Each further one doubles it.
    pub(super) doubt: Duration,
    /// How long an answer may take.
    pub(super) patience: Duration,
}

/// A server that is cut off is noticed within 35 s, and one that is back within 30 s.
pub(super) const PACE: Pace =
    Pace { well: Duration::from_secs(30), doubt: Duration::from_secs(1), patience: Duration::from_secs(5) };

/// When is asked next.
#[derive(Debug)]
pub(super) struct Asks {
    pace: Pace,
    at: Duration,
    /// The pause that a failure has led to; nothing while all is well.
    pause: Option<Duration>,
}

impl Asks {
    /// All is well.
    pub(super) fn new(pace: Pace, now: Duration) -> Self {
        Self { pace, at: now.saturating_add(pace.well), pause: None }
    }

    /// How long until then.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        self.at.saturating_sub(now)
    }

    /// It has answered.
    pub(super) fn answered(&mut self, now: Duration) {
        *self = Self::new(self.pace, now);
    }

    /// It could not be asked, or a watch failed. Before the time that has come no other is set.
    pub(super) fn failed(&mut self, now: Duration) {
        if self.pause.is_some() && now < self.at {
            return;
        }
        let pause = self.pause.map_or(self.pace.doubt, |pause| pause.saturating_mul(2)).min(self.pace.well);
        self.pause = Some(pause);
        self.at = now.saturating_add(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_asked_soon_and_then_ever_later_and_who_answers_now_and_then() {
        let seconds = Duration::from_secs;
        let mut asks = Asks::new(PACE, seconds(100));
        assert_eq!(asks.wait(seconds(110)), seconds(20));
        asks.failed(seconds(110));
        assert_eq!(asks.wait(seconds(110)), seconds(1));
        // The watch fails as well: that is one outage, and puts nothing off.
        asks.failed(seconds(110));
        assert_eq!(asks.wait(seconds(110)), seconds(1));
        let mut now = seconds(111);
        let pauses = [(); 6].map(|()| {
            asks.failed(now);
            let pause = asks.wait(now);
            now += pause;
            pause.as_secs()
        });
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        asks.answered(now);
        assert_eq!(asks.wait(now), seconds(30));
        assert_eq!(asks.wait(now + seconds(99)), seconds(0));
        asks.failed(now);
        assert_eq!(asks.wait(now), seconds(1), "from the beginning");
    }
}

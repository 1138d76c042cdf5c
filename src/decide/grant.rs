//! Whether the operator still has its right in a namespace, by what the API server answers. A refusal counts once it has
//! lasted: a RoleBinding is deleted and made anew to change its role, and an API server that has just started may not
//! know all of them yet.

use std::time::Duration;

/// How long a yes is believed: nobody tells when it ends.
const HELD: Duration = Duration::from_secs(15);
/// How long a no is believed.
const DENIED: Duration = Duration::from_secs(5);
/// How long each answer must have been no before the right counts as lost. Two answers that are further apart than that say
/// nothing of the time between them.
pub const LOST_AFTER: Duration = Duration::from_secs(30);

/// What was answered. Times are of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It may work there.
    Held {
        /// When it was answered.
        answered: Duration,
    },
    /// It may not.
    Denied {
        /// When that was answered first, and not otherwise since.
        since: Duration,
        /// When it was answered last.
        answered: Duration,
    },
}

impl Grant {
    /// After one more answer.
    pub fn after(before: Option<Self>, is_held: bool, now: Duration) -> Self {
        match before {
            _ if is_held => Self::Held { answered: now },
            Some(before @ Self::Denied { since, .. }) if !before.is_old(now) => Self::Denied { since, answered: now },
            _ => Self::Denied { since: now, answered: now },
        }
    }

    /// How much longer it is believed; after that it is asked again.
    pub fn believed_for(self, now: Duration) -> Option<Duration> {
        let believed = match self {
            Self::Held { .. } => HELD,
            Self::Denied { .. } => DENIED,
        };
        let left = self.answered().saturating_add(believed).saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// Whether the right has been gone for so long that it will not come back: what waits for it waits no more.
    pub fn is_lost(self) -> bool {
        match self {
            Self::Held { .. } => false,
            Self::Denied { since, answered } => answered.saturating_sub(since) >= LOST_AFTER,
        }
    }

    /// Whether it says nothing any more.
    pub fn is_old(self, now: Duration) -> bool {
        now.saturating_sub(self.answered()) > LOST_AFTER
    }

    fn answered(self) -> Duration {
        match self {
            Self::Held { answered } | Self::Denied { answered, .. } => answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known after answers at these seconds.
    fn known(answers: &[(u64, bool)]) -> Grant {
        let told = |before, &(at, is_held): &(u64, bool)| Some(Grant::after(before, is_held, Duration::from_secs(at)));
        answers.iter().fold(None, told).expect("somebody answered")
    }

    #[test]
    fn a_right_is_lost_once_it_was_refused_for_half_a_minute_without_a_break() {
        assert!(!known(&[(100, false)]).is_lost());
        assert!(!known(&[(100, false), (105, false), (129, false)]).is_lost());
        assert!(known(&[(100, false), (105, false), (130, false)]).is_lost());
        assert!(!known(&[(100, false), (120, false), (125, true)]).is_lost(), "it was made anew");
        assert!(!known(&[(100, false), (125, true), (130, false), (155, false)]).is_lost(), "it begins again");
        assert!(known(&[(100, true), (130, false), (160, false)]).is_lost());
    }

    #[test]
    fn of_a_time_in_which_nobody_asked_nothing_is_known() {
        assert!(!known(&[(100, false), (131, false)]).is_lost(), "the operator may have stood still");
        assert!(known(&[(100, false), (131, false), (161, false)]).is_lost());
    }

    #[test]
    fn a_no_is_asked_again_sooner_than_a_yes() {
        let left = |grant: Grant, at| grant.believed_for(Duration::from_secs(at)).map(|left| left.as_secs());
        let (held, denied) = (known(&[(100, true)]), known(&[(90, false), (100, false)]));
        assert_eq!([left(held, 100), left(held, 114), left(held, 115)], [Some(15), Some(1), None]);
        assert_eq!([left(denied, 100), left(denied, 104), left(denied, 105)], [Some(5), Some(1), None]);
    }
}

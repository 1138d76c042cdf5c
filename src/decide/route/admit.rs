//! Which pools a session may go to at all: where it must reside, how far it may overflow, how far a pool may be for now.
//! What it must not do: look at room.

use std::fmt;
use std::time::Duration;

use super::Pool;
use super::choose::Candidate;
use crate::wire::routing::{Cap, Overflow, Routing};

/// Why a session may not go to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// The session must reside elsewhere.
    Residency,
    /// It may not overflow so far.
    Overflow(Overflow),
    /// It is farther than so many milliseconds, and nobody has waited long enough for that yet.
    TooFar(u32),
}

impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Residency => f.write_str("not of the residency that is asked for"),
            Self::Overflow(Overflow::Never) => {
                f.write_str("of another region than the best, and routing.overflow is Never")
            }
            Self::Overflow(_) => {
                f.write_str("of another residency than the best, and routing.overflow is SameResidency")
            }
            Self::TooFar(ms) => write!(f, "farther than the {ms} ms that routing.caps has for now"),
        }
    }
}

/// Marks the pools that a session may not go to. `best` = where it would go if all were empty.
pub(super) fn admit(
    candidates: &mut [Candidate],
    pools: &[Pool],
    residency: Option<&str>,
    best: Option<usize>,
    waited: Option<Duration>,
    routing: &Routing,
) {
    let best = best.and_then(|best| pools.get(best));
    let cap = waited.and_then(|waited| cap(&routing.caps, waited));
    for candidate in candidates {
        let Some(pool) = pools.get(candidate.index) else { continue };
        candidate.out = if residency.is_some() && pool.terms.residency.as_deref() != residency {
            Some(Out::Residency)
        } else if best.is_some_and(|best| !reaches(best, pool, routing.overflow)) {
            Some(Out::Overflow(routing.overflow))
        } else {
            // What is not known is not far.
            let is_too_far = |cap: &u32| candidate.estimate.ms.is_some_and(|ms| ms > f64::from(*cap));
            cap.filter(is_too_far).map(Out::TooFar)
        };
    }
}

/// Whether a session may overflow from the best pool to another.
fn reaches(best: &Pool, other: &Pool, overflow: Overflow) -> bool {
    let same_region = best.region == other.region;
    match overflow {
        Overflow::Nearest => true,
        Overflow::SameResidency => {
            same_region || best.terms.residency.is_some() && best.terms.residency == other.terms.residency
        }
        Overflow::Never => same_region,
    }
}

/// How far a pool may be after so long a wait; none = any distance. Never less than before.
pub(super) fn cap(caps: &[Cap], waited: Duration) -> Option<u32> {
    let (mut until, mut most) = (Duration::ZERO, 0);
    for cap in caps {
        until += Duration::from_secs(cap.for_seconds.into());
        most = most.max(cap.at_most_ms);
        if waited < until {
            return Some(most);
        }
    }
    None
}

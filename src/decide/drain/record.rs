//! What stands on a relay's Pod about its drain, and how its clock runs.
//!
//! The record lies on the Pod, not in the pool's status: so the version of the Pod that a write or a deletion names covers
//! the record that it was decided from. Whoever acts on an old record is refused.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::observed::{Occupancy, Policy};

/// How much of a running clock an operator that crashes may lose. Each draining relay's Pod is written so often.
const CHECKPOINT: SignedDuration = SignedDuration::from_secs(60);

/// Value of the annotation `convene.dev/drain` on a relay's Pod. Removed from no Pod, so that numbers never return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Number of the last drain of this Pod. A relay obeys no order with a lower one.
    pub number: u32,
    /// That drain, unless it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// A drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Why the relay leaves.
    pub cause: Cause,
    /// Since when.
    #[serde(with = "moment")]
    pub since: Timestamp,
    /// Seats in use when it began, for an estimate; nothing where that was not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_with: Option<u32>,
    /// How long it still waits for its sessions.
    pub clock: Clock,
}

/// Why a relay leaves, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// It is one too many.
    ScaleDown,
    /// It is of an earlier generation.
    Rollout,
    /// Its lobby ordered it.
    Lobby,
    /// Its node takes no new Pods.
    Node,
    /// It does not serve, and others do in its place.
    Failed,
    /// A person asked for it.
    Person,
    /// Its pool is being deleted.
    Deletion,
}

impl Cause {
    /// Chosen by us to keep a number or a generation, and so ours to give up again.
    pub fn is_chosen(self) -> bool {
        matches!(self, Self::ScaleDown | Self::Rollout)
    }

    /// Whether its clock stands still while nobody knows whether sessions are there.
    pub fn stands_still(self) -> bool {
        self.is_chosen()
    }
}

/// How long a drain still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Clock {
    /// It has not begun: the relay has not acknowledged yet.
    Ahead,
    /// It runs.
    Runs {
        /// Then the relay goes, whatever it holds.
        #[serde(with = "moment")]
        deadline: Timestamp,
        /// Up to here it is sure that time counted. An operator that comes back goes on from here.
        #[serde(with = "moment")]
        counted: Timestamp,
    },
    /// It stands still.
    Stands {
        /// How long it waits once it runs again.
        #[serde(rename = "leftSeconds", with = "seconds")]
        left: SignedDuration,
        /// Why.
        why: Standstill,
    },
}

/// Why a clock stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Standstill {
    /// Nobody knows whether sessions are there.
    OccupancyUnknown,
    /// A person has paused the rollout.
    Paused,
}

impl Note {
    /// Reads the annotation. What cannot be read counts as none: the relay's own word tells which numbers are used up.
    pub fn read(annotation: Option<&str>) -> Self {
        annotation.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The annotation.
    pub fn write(&self) -> String {
        serde_json::to_string(self).expect("a note is JSON")
    }
}

impl Drain {
    /// A drain that begins.
    pub(super) fn begin(cause: Cause, load: Option<u32>, now: Timestamp) -> Self {
        Self { cause, since: now, began_with: load, clock: Clock::Ahead }
    }

    /// The same drain for a cause that holds now. A stronger cause may shorten what is left and never prolongs it; where the
    /// stronger one fell away, the weaker has its own time.
    pub(super) fn for_cause(self, cause: Cause, policy: &Policy, now: Timestamp) -> Self {
        if cause == self.cause || (cause.is_chosen() && self.cause.is_chosen()) {
            return self;
        }
        if cause < self.cause {
            return Self { cause, since: now, clock: Clock::Ahead, ..self };
        }
        let left = match self.clock {
            Clock::Ahead => return Self { cause, ..self },
            Clock::Runs { deadline, .. } => deadline.duration_since(now),
            Clock::Stands { left, .. } => left,
        };
        let clock = Clock::Runs { deadline: later(now, left.min(policy.timeout(cause))), counted: now };
        Self { cause, clock, ..self }
    }

    /// The clock as it stands now. `cordoned`: the relay has acknowledged.
    pub(super) fn clock_at(
        &self,
        occupancy: &Occupancy,
        cordoned: bool,
        paused: bool,
        policy: &Policy,
        now: Timestamp,
    ) -> Clock {
        let standstill = self.standstill(occupancy, paused);
        match (self.clock, standstill) {
            (Clock::Ahead, None) if cordoned || !self.cause.stands_still() => {
                Clock::Runs { deadline: later(now, policy.timeout(self.cause)), counted: now }
            }
            (Clock::Ahead, _) => Clock::Ahead,
            (Clock::Runs { deadline, counted }, None) => self.runs_on(deadline, counted, occupancy, now),
            (Clock::Runs { deadline, counted }, Some(why)) => {
                let counted = evidence(occupancy, counted, now).min(deadline);
                Clock::Stands { left: deadline.duration_since(counted), why }
            }
            (Clock::Stands { left, .. }, None) => Clock::Runs { deadline: later(now, left), counted: now },
            (Clock::Stands { left, .. }, Some(why)) => Clock::Stands { left, why },
        }
    }

    fn standstill(&self, occupancy: &Occupancy, paused: bool) -> Option<Standstill> {
        if !self.cause.stands_still() {
            return None;
        }
        match occupancy {
            Occupancy::Unknown { .. } => Some(Standstill::OccupancyUnknown),
            Occupancy::Known(_) if paused && self.cause == Cause::Rollout => Some(Standstill::Paused),
            Occupancy::Known(_) => None,
        }
    }

    /// A running clock that goes on: what nobody can vouch for (an operator was away) is added to the deadline.
    fn runs_on(&self, deadline: Timestamp, counted: Timestamp, occupancy: &Occupancy, now: Timestamp) -> Clock {
        let Occupancy::Known(report) = occupancy else { return self.clock };
        if !self.cause.stands_still() {
            return self.clock;
        }
        if report.since > counted {
            let gap = report.since.duration_since(counted);
            return Clock::Runs { deadline: later(deadline, gap), counted: report.since };
        }
        if now.duration_since(counted) >= CHECKPOINT {
            return Clock::Runs { deadline, counted: now };
        }
        self.clock
    }
}

impl Clock {
    /// Whether the relay has waited long enough.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        matches!(self, Self::Runs { deadline, .. } if *deadline <= now)
    }

    /// When to look at it again.
    pub(super) fn look_again(&self, cause: Cause) -> Option<Timestamp> {
        match self {
            Self::Runs { deadline, counted } if cause.stands_still() => {
                Some((*deadline).min(later(*counted, CHECKPOINT)))
            }
            Self::Runs { deadline, .. } => Some(*deadline),
            Self::Ahead | Self::Stands { .. } => None,
        }
    }
}

/// Up to when it is sure that reports came: this process heard the relay from `counted` on without a gap until then.
fn evidence(occupancy: &Occupancy, counted: Timestamp, now: Timestamp) -> Timestamp {
    match occupancy {
        Occupancy::Known(report) if report.since <= counted => now.max(counted),
        Occupancy::Unknown { heard: Some(span), .. } if span.from <= counted => span.until.max(counted),
        Occupancy::Known(_) | Occupancy::Unknown { .. } => counted,
    }
}

/// A time after another; the last that there is where that would be beyond it.
pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// Times as Kubernetes writes them.
mod moment {
    use super::{Deserialize, Deserializer, MicroTime, Serialize, Serializer, Timestamp};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        MicroTime(*time).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        MicroTime::deserialize(deserializer).map(|time| time.0)
    }
}

/// Whole seconds, rounded up: nothing is cut earlier for having been written down.
mod seconds {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SignedDuration};

    pub(super) fn serialize<S: Serializer>(duration: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
        (duration.as_secs() + i64::from(duration.subsec_nanos() > 0)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
        i64::deserialize(deserializer).map(SignedDuration::from_secs)
    }
}

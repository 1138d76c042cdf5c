//! Leader election: from the Lease as read, who I am and the time, to what to write. The write carries the
//! resourceVersion that was read, so of two that decide alike only one succeeds.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// How long a leader may act without renewing.
pub const DURATION: SignedDuration = SignedDuration::from_secs(15);
/// How often a leader renews.
pub const RENEW_EVERY: SignedDuration = SignedDuration::from_secs(4);
/// A leader that could not renew for so long stops acting: earlier than others may take over, by more than a request takes.
pub const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_secs(10);
/// How often others look.
pub const RETRY_EVERY: SignedDuration = SignedDuration::from_secs(2);

/// What others saw of the Lease, and since when it has not changed by *our* clock: clocks of other machines do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// resourceVersion.
    pub version: String,
    /// When this version was first seen here.
    pub since: Timestamp,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Write this spec: it makes or keeps me leader.
    Write(LeaseSpec),
    /// Somebody else leads.
    Wait,
}

/// Decides. `sighting` is of the Lease as read now.
pub fn decide(lease: &Lease, me: &str, sighting: &Sighting, now: Timestamp) -> Decision {
    let spec = lease.spec.clone().unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == me {
        let lease_duration_seconds = seconds(DURATION);
        return Decision::Write(LeaseSpec { renew_time: Some(MicroTime(now)), lease_duration_seconds, ..spec });
    }
    let life = spec.lease_duration_seconds.map_or(DURATION, |seconds| SignedDuration::from_secs(i64::from(seconds)));
    // Whatever an edited Lease says, its holder acts for as long as this code lets it.
    let life = life.max(DURATION);
    let abandoned = holder.is_empty() || now.duration_since(sighting.since) >= life;
    if !abandoned {
        return Decision::Wait;
    }
    Decision::Write(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: seconds(DURATION),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(spec.lease_transitions.unwrap_or(0).saturating_add(1)),
        ..LeaseSpec::default()
    })
}

fn seconds(duration: SignedDuration) -> Option<i32> {
    i32::try_from(duration.as_secs()).ok()
}

/// What a leader that leaves in order writes, so that the next need not wait.
pub fn release(lease: &Lease) -> LeaseSpec {
    LeaseSpec { holder_identity: None, ..lease.spec.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        Lease { spec: Some(spec), ..Lease::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn seen(since: i64) -> Sighting {
        Sighting { version: "7".to_owned(), since: at(since) }
    }

    #[test]
    fn a_free_lease_is_taken_at_once() {
        let Decision::Write(spec) = decide(&lease(None), "me", &seen(100), at(100)) else { panic!("waits") };
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(4));
    }

    #[test]
    fn a_held_lease_is_taken_only_after_it_stood_still_for_its_whole_life() {
        assert_eq!(decide(&lease(Some("other")), "me", &seen(100), at(114)), Decision::Wait);
        assert!(matches!(decide(&lease(Some("other")), "me", &seen(100), at(115)), Decision::Write(_)));
    }

    #[test]
    fn my_own_lease_is_renewed_without_a_transition() {
        let Decision::Write(spec) = decide(&lease(Some("me")), "me", &seen(100), at(500)) else { panic!("waits") };
        assert_eq!((spec.lease_transitions, spec.renew_time), (Some(3), Some(MicroTime(at(500)))));
    }

    #[test]
    fn a_released_lease_is_free() {
        let released = Lease { spec: Some(release(&lease(Some("me")))), ..Lease::default() };
        assert!(matches!(decide(&released, "other", &seen(100), at(100)), Decision::Write(_)));
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod interleavings;

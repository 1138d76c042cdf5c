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

/// What a process saw of the Lease, and since when it has not changed by *its* clock: clocks of other machines do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// resourceVersion; empty while there is no Lease.
    pub version: String,
    /// When this version was first seen here.
    pub since: Timestamp,
    /// Whether somebody else has held it, in what this process has seen since it last wrote it.
    pub others: bool,
}

impl Sighting {
    /// The Lease as read now, after what was seen before. `None` = there is none.
    pub fn after(before: Option<Self>, lease: Option<&Lease>, me: &str, now: Timestamp) -> Self {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone()).unwrap_or_default();
        let holder = lease.map(holder).unwrap_or_default();
        let others = (!holder.is_empty() && holder != me) || before.as_ref().is_some_and(|before| before.others);
        let since = before.filter(|before| before.version == version).map_or(now, |before| before.since);
        Self { version, since, others }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Write this spec: it makes or keeps me leader.
    Write(LeaseSpec),
    /// Somebody else leads.
    Wait,
}

/// Decides. `sighting` is of the Lease as read now; no Lease = `None`.
///
/// Somebody who deletes the Lease, or writes another holder into it, tells the one who leads only when it looks next. So what
/// was seen in another's hand is taken without that other's word only once it has stood still for a whole life.
pub fn decide(lease: Option<&Lease>, me: &str, sighting: &Sighting, now: Timestamp) -> Decision {
    let spec = lease.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    // Mine from before: of this process, or of an earlier one in the same Pod.
    if holder == me && !sighting.others {
        let lease_duration_seconds = seconds(DURATION);
        return Decision::Write(LeaseSpec { renew_time: Some(MicroTime(now)), lease_duration_seconds, ..spec });
    }
    let life = spec.lease_duration_seconds.map_or(DURATION, |seconds| SignedDuration::from_secs(i64::from(seconds)));
    // Whatever an edited Lease says, its holder acts for as long as this code lets it.
    let life = life.max(DURATION);
    let given_away = lease.is_some() && holder.is_empty();
    let never_seen = lease.is_none() && !sighting.others;
    if !given_away && !never_seen && now.duration_since(sighting.since) < life {
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

/// Who holds it; empty = nobody.
pub fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
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
        Sighting { version: "7".to_owned(), since: at(since), others: false }
    }

    fn seen_of_others(since: i64) -> Sighting {
        Sighting { others: true, ..seen(since) }
    }

    #[test]
    fn a_free_lease_is_taken_at_once() {
        let Decision::Write(spec) = decide(Some(&lease(None)), "me", &seen(100), at(100)) else { panic!("waits") };
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(4));
    }

    #[test]
    fn a_held_lease_is_taken_only_after_it_stood_still_for_its_whole_life() {
        assert_eq!(decide(Some(&lease(Some("other"))), "me", &seen(100), at(114)), Decision::Wait);
        assert!(matches!(decide(Some(&lease(Some("other"))), "me", &seen(100), at(115)), Decision::Write(_)));
    }

    #[test]
    fn my_own_lease_is_renewed_without_a_transition() {
        let Decision::Write(spec) = decide(Some(&lease(Some("me"))), "me", &seen(100), at(500)) else {
            panic!("waits")
        };
        assert_eq!((spec.lease_transitions, spec.renew_time), (Some(3), Some(MicroTime(at(500)))));
    }

    #[test]
    fn a_lease_that_somebody_wrote_my_name_into_is_mine_only_once_the_other_knows() {
        assert_eq!(decide(Some(&lease(Some("me"))), "me", &seen_of_others(100), at(114)), Decision::Wait);
        let Decision::Write(spec) = decide(Some(&lease(Some("me"))), "me", &seen_of_others(100), at(115)) else {
            panic!("waits")
        };
        assert_eq!(spec.lease_transitions, Some(4));
    }

    #[test]
    fn a_lease_that_is_gone_is_made_at_once_by_its_holder_and_by_who_never_saw_it() {
        assert!(matches!(decide(None, "me", &seen(100), at(100)), Decision::Write(_)));
        assert_eq!(decide(None, "me", &seen_of_others(100), at(114)), Decision::Wait);
        assert!(matches!(decide(None, "me", &seen_of_others(100), at(115)), Decision::Write(_)));
    }

    #[test]
    fn a_sighting_knows_since_when_and_whether_others_held_it() {
        let of = |version: &str, holder: Option<&str>| {
            let mut lease = lease(holder);
            lease.metadata.resource_version = Some(version.to_owned());
            lease
        };
        let first = Sighting::after(None, Some(&of("1", Some("me"))), "me", at(100));
        assert_eq!(first, Sighting { version: "1".to_owned(), since: at(100), others: false });
        let same = Sighting::after(Some(first.clone()), Some(&of("1", Some("me"))), "me", at(110));
        assert_eq!(same, first);
        let other = Sighting::after(Some(same), Some(&of("2", Some("other"))), "me", at(120));
        assert_eq!(other, Sighting { version: "2".to_owned(), since: at(120), others: true });
        let gone = Sighting::after(Some(other), None, "me", at(130));
        assert_eq!(gone, Sighting { version: String::new(), since: at(130), others: true });
        assert_eq!(Sighting::after(Some(gone.clone()), None, "me", at(140)), gone);
    }

    #[test]
    fn a_released_lease_is_free() {
        let released = Lease { spec: Some(release(&lease(Some("me")))), ..Lease::default() };
        assert!(matches!(decide(Some(&released), "other", &seen(100), at(100)), Decision::Write(_)));
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod interleavings;

//! The life of keys: the usual one as a story, the unusual as properties.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::decide::fixtures::at;

const DAY: i64 = 86_400;

fn found(slot: u8, created: i64) -> Found {
    let id = format!("k{slot}-{created}");
    Found { slot, created: at(created), public: json!({"kid": id}), id }
}

fn wish(serving_since: Option<i64>) -> Wish<'static> {
    Wish { every: 30 * DAY, serving_since: serving_since.map(at), ..Wish::default() }
}

fn shown(decided: &Decided) -> String {
    let key = |key: &TokenKey| format!("{:?} {}", key.state, key.id);
    decided.status.keys.iter().map(key).collect::<Vec<_>>().join(", ")
}

/// A lobby's keys over time: what is decided is done.
#[derive(Default)]
struct Cluster {
    there: Vec<Found>,
    status: TokensStatus,
}

impl Cluster {
    fn pass(&mut self, wish: &Wish<'_>, now: i64) -> Decided {
        let decided = decide(&self.there, &self.status, wish, at(now));
        self.there.retain(|key| key.slot == 0 || decided.kept.contains(&key.slot));
        self.there.extend(decided.create.map(|slot| found(slot, now)));
        self.status = decided.status.clone();
        decided
    }
}

#[test]
fn a_key_signs_for_its_time_verifies_for_an_hour_and_goes() {
    let mut cluster = Cluster { there: vec![found(0, 1000)], ..Cluster::default() };
    let wish = wish(Some(1000));
    assert_eq!(shown(&cluster.pass(&wish, 1000)), "Current k0-1000");
    assert_eq!(shown(&cluster.pass(&wish, 1001)), "Current k0-1000, Next k1-1000");
    let late = 1000 + 30 * DAY;
    let settled = cluster.pass(&wish, late - 1);
    assert_eq!((shown(&settled).as_str(), settled.create), ("Current k0-1000, Next k1-1000", None));
    cluster.pass(&wish, late);
    let rotated = format!("Current k1-1000, Previous k0-1000, Next k2-{late}");
    assert_eq!(shown(&cluster.pass(&wish, late + 3599)), rotated);
    assert_eq!(shown(&cluster.pass(&wish, late + 3600)), format!("Current k1-1000, Next k2-{late}"));
    // The first key stays in its Secret and never counts again.
    assert_eq!(shown(&cluster.pass(&wish, late + 7200)), format!("Current k1-1000, Next k2-{late}"));
}

#[test]
fn a_command_is_obeyed_once_for_each_value() {
    let mut cluster = Cluster { there: vec![found(0, 0), found(1, 0)], ..Cluster::default() };
    let mut wish = wish(Some(0));
    cluster.pass(&wish, 10);
    wish.rotate = Some("now");
    for now in 20..30 {
        cluster.pass(&wish, now);
    }
    assert_eq!(cluster.status.rotated_for.as_deref(), Some("now"));
    assert_eq!(shown(&cluster.pass(&wish, 30)), "Current k1-0, Previous k0-0, Next k2-20");
    wish.rotate = Some("again");
    cluster.pass(&wish, 40);
    assert_eq!(shown(&cluster.pass(&wish, 50)), "Current k2-20, Previous k1-0, Previous k0-0, Next k3-40");
    // Without the wish nothing more happens, and the same value later is not a new one.
    wish.rotate = None;
    cluster.pass(&wish, 60);
    wish.rotate = Some("again");
    assert_eq!(shown(&cluster.pass(&wish, 70)), "Current k2-20, Previous k1-0, Previous k0-0, Next k3-40");
}

#[test]
fn a_revoked_key_goes_at_once_and_the_next_one_signs() {
    let mut cluster = Cluster { there: vec![found(0, 0), found(1, 0)], ..Cluster::default() };
    let mut wish = wish(Some(0));
    cluster.pass(&wish, 10);
    wish.revoked = BTreeSet::from(["k0-0"]);
    assert_eq!(shown(&cluster.pass(&wish, 20)), "Current k1-0");
    assert_eq!(shown(&cluster.pass(&wish, 21)), "Current k1-0, Next k2-20");
    wish.revoked.clear();
    assert_eq!(shown(&cluster.pass(&wish, 30)), "Current k1-0, Next k2-20", "it does not come back");
    // All of them: a new one is made.
    wish.revoked = BTreeSet::from(["k1-0", "k2-20"]);
    let none = cluster.pass(&wish, 40);
    assert_eq!((shown(&none).as_str(), none.kept.is_empty(), none.create), ("", true, Some(3)));
    assert_eq!(shown(&cluster.pass(&wish, 41)), "Current k3-40");
}

#[test]
fn no_clock_runs_while_the_lobby_does_not_serve() {
    let mut cluster = Cluster { there: vec![found(0, 0), found(1, 0)], ..Cluster::default() };
    cluster.pass(&wish(Some(0)), 10);
    assert_eq!(shown(&cluster.pass(&wish(None), 90 * DAY)), "Current k0-0, Next k1-0");
    cluster.pass(&Wish { rotate: Some("x"), ..wish(None) }, 90 * DAY);
    let both = format!("Current k1-0, Previous k0-0, Next k2-{}", 90 * DAY);
    assert_eq!(shown(&cluster.pass(&wish(None), 91 * DAY)), both);
    let back = 92 * DAY;
    assert_eq!(shown(&cluster.pass(&wish(Some(back)), back + 3599)), both);
    assert!(!shown(&cluster.pass(&wish(Some(back)), back + 3600)).contains("Previous"));
}

#[test]
fn where_the_status_was_lost_no_key_is() {
    let there = vec![found(0, 5), found(1, 10), found(2, 20)];
    let mut cluster = Cluster { there, ..Cluster::default() };
    assert_eq!(shown(&cluster.pass(&wish(Some(0)), 100)), "Current k1-10, Previous k0-5, Next k2-20");
}

#[test]
fn a_set_that_has_not_changed_keeps_its_version_and_others_are_newer() {
    let first = published(vec![json!({"kid": "a"})], None, at(100));
    assert_eq!(first.version, 100);
    assert_eq!(published(first.keys.clone(), Some(&first), at(200)), first);
    assert_eq!(published(vec![], Some(&first), at(50)).version, 101, "also where a clock is behind");
    assert_eq!(published(vec![], Some(&first), at(200)).version, 200);
}

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Serve(bool),
    Rotate(u8),
    Revoke(usize),
    Forgive,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..100_000_i64).prop_map(Step::Wait),
        2 => (1..40 * DAY).prop_map(Step::Wait),
        1 => any::<bool>().prop_map(Step::Serve),
        3 => (0..4_u8).prop_map(Step::Rotate),
        2 => (0..4_usize).prop_map(Step::Revoke),
        1 => Just(Step::Forgive),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #[test]
    fn something_signs_what_signed_verifies_and_what_is_revoked_is_dead(steps in steps()) {
        let mut cluster = Cluster { there: vec![found(0, 0)], ..Cluster::default() };
        let (mut now, mut serving, mut rotate, mut revoked) = (1, Some(0), None, BTreeSet::<String>::new());
        let mut gone = BTreeSet::<String>::new();
        for step in steps {
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Serve(serves) => serving = serves.then_some(now),
                Step::Rotate(value) => rotate = Some(value.to_string()),
                Step::Revoke(index) => revoked.extend(cluster.status.keys.get(index).map(|key| key.id.clone())),
                Step::Forgive => revoked.clear(),
            }
            now += 1;
            let before = cluster.status.clone();
            let wish = Wish {
                rotate: rotate.as_deref(),
                revoked: revoked.iter().map(String::as_str).collect(),
                ..wish(serving)
            };
            let decided = cluster.pass(&wish, now);
            let again = decide(&cluster.there, &decided.status, &wish, at(now));
            let ids: BTreeSet<&str> = decided.status.keys.iter().map(|key| key.id.as_str()).collect();
            // One signs, unless all were revoked; the first is it.
            let current = |state: TokenKeyState| decided.status.keys.iter().filter(move |key| key.state == state).count();
            prop_assert!(current(TokenKeyState::Current) <= 1);
            prop_assert!(decided.status.keys.first().is_none_or(|key| key.state == TokenKeyState::Current));
            if decided.status.keys.is_empty() {
                prop_assert!(before.keys.iter().all(|key| revoked.contains(&key.id)));
                prop_assert!(decided.create.is_some(), "and another is made");
            }
            prop_assert!(ids.iter().all(|id| !revoked.contains(*id)), "revoked");
            prop_assert!(ids.iter().all(|id| !gone.contains(*id)), "what is gone stays gone");
            // What signed verifies on, or was revoked.
            if let Some(signed) = before.keys.first().filter(|key| key.state == TokenKeyState::Current) {
                prop_assert!(ids.contains(signed.id.as_str()) || revoked.contains(&signed.id));
            }
            // Whoever takes over was known to everybody before, if anything was.
            if let Some(signs) = decided.status.keys.first().filter(|_| !before.keys.is_empty()) {
                let told = before.keys.iter().any(|key| key.id == signs.id);
                prop_assert!(told || before.keys.iter().all(|key| revoked.contains(&key.id)));
            }
            // Decided is decided: where no key has come, the same moment again changes nothing.
            let before_ids: BTreeSet<&str> = before.keys.iter().map(|key| key.id.as_str()).collect();
            if decided.create.is_none() && ids == before_ids {
                prop_assert_eq!(&again.status, &decided.status);
            }
            gone.extend(before.keys.into_iter().map(|key| key.id).filter(|id| !ids.contains(id.as_str())));
        }
    }
}

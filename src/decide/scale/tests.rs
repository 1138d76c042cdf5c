//! Tables of single decisions; `properties` holds what is true of all.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::api::scaling::Scaling;

mod properties;

/// 2026-03-02T00:00:00Z, a Monday.
const MONDAY: i64 = 1_772_409_600;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(MONDAY + seconds).expect("a time")
}

fn policy(scaling: Value) -> Policy {
    let scaling: Scaling = serde_json::from_value(scaling).expect("a policy");
    Policy::of(&scaling, 10).expect("one that can be followed")
}

/// Without a buffer, so that ten sessions are one relay.
fn bare(mut rest: Value) -> Policy {
    let plain = json!({"maxReplicas": 20, "buffer": {"seats": 0}});
    for (name, value) in plain.as_object().expect("an object") {
        rest.as_object_mut().expect("an object").entry(name.clone()).or_insert(value.clone());
    }
    policy(rest)
}

fn relay(ordinal: i32, occupancy: Occupancy) -> Relay {
    Relay { name: format!("pool-{ordinal}"), ordinal, phase: Phase::Serving, seats: 10, occupancy }
}

fn known(sessions: u32) -> Occupancy {
    Occupancy::Known { sessions, leases: 0 }
}

fn silent(last: u32) -> Occupancy {
    Occupancy::Unknown { last: Some(last) }
}

fn seen(relays: &[Occupancy], waiting: u32) -> Seen {
    let relays = (0..).zip(relays).map(|(ordinal, occupancy)| relay(ordinal, *occupancy)).collect();
    Seen { relays, demand: Some(Demand { waiting, leases: 0 }) }
}

/// Decides again and again, each time from what the last one left.
struct Pool {
    policy: Policy,
    past: ScalingPast,
}

impl Pool {
    fn of(policy: Policy, replicas: i32) -> Self {
        Self { policy, past: ScalingPast::begin(replicas) }
    }

    fn at(&mut self, seconds: i64, seen: &Seen) -> Decision {
        let decision = decide(&self.policy, seen, &self.past, at(seconds));
        self.past = decision.past.clone();
        decision
    }

    fn replicas(&mut self, seconds: i64, seen: &Seen) -> (i32, Option<Clamp>) {
        let decision = self.at(seconds, seen);
        (decision.replicas, decision.clamp)
    }
}

#[test]
fn a_buffer_is_seats_or_a_share_of_all_seats() {
    for (buffer, sessions, waiting, needed) in [
        (json!({"seats": 0}), 10, 0, 1),
        (json!({"seats": 1}), 10, 0, 2),
        (json!({"seats": 15}), 0, 0, 2),
        (json!({"percent": 0}), 20, 0, 2),
        (json!({"percent": 20}), 8, 0, 1),
        (json!({"percent": 20}), 9, 0, 2),
        (json!({"percent": 50}), 10, 0, 2),
        (json!({"percent": 50}), 10, 1, 3),
        (json!({"percent": 90}), 0, 0, 1),
    ] {
        let mut pool = Pool::of(policy(json!({"maxReplicas": 9, "buffer": buffer})), 1);
        let decision = pool.at(0, &seen(&[known(sessions)], waiting));
        assert_eq!(decision.inputs.needed, needed, "{buffer} {sessions} {waiting}: {decision}");
    }
}

#[test]
fn growth_is_at_once_and_at_most_double_in_15_seconds() {
    let mut pool = Pool::of(bare(json!({})), 1);
    let crowd = seen(&[known(10)], 150);
    let steps: Vec<i32> = [0, 14, 15, 29, 30, 45, 60].map(|time| pool.replicas(time, &crowd).0).into();
    assert_eq!(steps, [2, 2, 4, 4, 8, 16, 16]);
    let mut pool = Pool::of(bare(json!({"up": {"stepReplicas": 5}})), 1);
    assert_eq!(pool.replicas(0, &crowd), (6, Some(Clamp::UpStep)));
    assert_eq!(pool.at(1, &crowd).look_again, Some(at(15)));
    // What was added in a period counts, in however many steps.
    let mut pool = Pool::of(bare(json!({})), 4);
    assert_eq!(pool.replicas(0, &seen(&[known(10); 5], 0)).0, 5);
    assert_eq!(pool.replicas(1, &seen(&[known(10); 12], 0)), (8, Some(Clamp::UpStep)));
}

#[test]
fn shrinking_waits_for_its_window_and_goes_step_by_step() {
    let mut pool = Pool::of(bare(json!({})), 4);
    let (full, low) = (seen(&[known(10); 4], 0), seen(&[known(3); 4], 0));
    assert_eq!(pool.replicas(0, &full), (4, None));
    assert_eq!(pool.replicas(100, &low), (4, Some(Clamp::DownWindow)));
    assert_eq!(pool.at(101, &low).look_again, Some(at(400)));
    assert_eq!(pool.replicas(399, &low), (4, Some(Clamp::DownWindow)));
    assert_eq!(pool.replicas(400, &low), (3, Some(Clamp::DownStep)));
    assert_eq!(pool.at(401, &low).look_again, Some(at(460)));
    assert_eq!(pool.replicas(459, &low), (3, Some(Clamp::DownStep)));
    assert_eq!(pool.replicas(460, &low), (2, None));
    // A need of one moment opens the whole window again.
    let mut pool = Pool::of(bare(json!({})), 4);
    pool.at(0, &full);
    pool.at(100, &low);
    pool.at(350, &full);
    pool.at(351, &low);
    assert_eq!(pool.replicas(650, &low), (4, Some(Clamp::DownWindow)));
    assert_eq!(pool.replicas(651, &low).0, 3);
}

#[test]
fn a_window_of_growth_takes_the_lowest_need() {
    let mut pool = Pool::of(bare(json!({"up": {"windowSeconds": 60}})), 1);
    pool.at(0, &seen(&[known(5)], 0));
    let crowd = seen(&[known(10)], 5);
    assert_eq!(pool.replicas(10, &crowd), (1, Some(Clamp::UpWindow)));
    assert_eq!(pool.at(11, &crowd).look_again, Some(at(70)));
    assert_eq!(pool.replicas(70, &crowd), (2, None));
}

#[test]
fn while_anything_is_unknown_nothing_shrinks_and_the_window_stands_still() {
    let (low, gap) = (seen(&[known(1), known(1)], 0), seen(&[known(1), silent(1)], 0));
    let deaf = Seen { demand: None, ..low.clone() };
    for gap in [gap, deaf] {
        let mut pool = Pool::of(bare(json!({})), 2);
        pool.at(0, &low);
        pool.at(100, &gap);
        assert_eq!(pool.replicas(1000, &gap).0, 2);
        assert_eq!(pool.replicas(1010, &low), (2, Some(Clamp::DownWindow)));
        // 100 seconds had passed before; 200 are left.
        assert_eq!(pool.replicas(1209, &low), (2, Some(Clamp::DownWindow)));
        assert_eq!(pool.replicas(1210, &low), (1, None));
    }
    // After the window, too.
    let mut pool = Pool::of(bare(json!({"down": {"windowSeconds": 0}})), 2);
    assert_eq!(pool.replicas(0, &seen(&[known(1), silent(1)], 0)), (2, Some(Clamp::OccupancyUnknown)));
    assert_eq!(pool.replicas(1, &seen(&[known(1), known(1)], 0)), (1, None));
}

#[test]
fn silence_starts_no_relays_and_hides_no_load() {
    let mut pool = Pool::of(bare(json!({})), 3);
    // All silent: as many as were there before.
    assert_eq!(pool.replicas(0, &seen(&[silent(9), silent(9), silent(9)], 0)).0, 3);
    // Those who wait count whoever is silent.
    assert_eq!(pool.replicas(1, &seen(&[silent(10), silent(10), silent(10)], 5)).0, 4);
    // Of seats that nobody hears of, those who wait have nothing.
    let mut pool = Pool::of(bare(json!({})), 2);
    assert_eq!(pool.replicas(0, &seen(&[known(10), silent(0)], 0)).0, 2);
    assert_eq!(pool.replicas(1, &seen(&[known(10), silent(0)], 5)).0, 3);
    let never = Occupancy::Unknown { last: None };
    // An operator that starts anew has heard of none yet: what was needed before still is.
    let mut grows = Pool::of(bare(json!({})), 2);
    assert_eq!(grows.replicas(0, &seen(&[known(40), known(40)], 0)), (4, Some(Clamp::UpStep)));
    assert_eq!(grows.replicas(15, &seen(&[never, never], 0)), (8, Some(Clamp::OccupancyUnknown)));
    assert_eq!(
        pool.replicas(2, &seen(&[known(10), silent(0), never], 5)).0,
        3,
        "and new ones that stay silent call for none"
    );
    let mut pool = Pool::of(bare(json!({})), 3);
    assert_eq!(pool.replicas(0, &seen(&[never; 3], 0)).0, 3);
}

#[test]
fn dead_relays_are_no_capacity_and_leaving_ones_leave_their_sessions() {
    let mut pool = Pool::of(bare(json!({})), 2);
    let mut both = seen(&[known(10), known(10)], 0);
    both.relays[1].phase = Phase::Failed;
    assert_eq!(pool.at(0, &both).inputs.needed, 1);
    both.relays[1].phase = Phase::Leaving;
    assert_eq!(pool.at(1, &both).inputs.needed, 2);
    both.relays[1].phase = Phase::Starting;
    assert_eq!(pool.at(2, &both).inputs.sessions, 10);
}

#[test]
fn relays_of_other_sizes_count_with_the_seats_they_have() {
    let mut pool = Pool::of(bare(json!({})), 2);
    let mut seen = seen(&[known(30), known(5), known(5)], 0);
    seen.relays[0].seats = 30;
    seen.relays[1].seats = 5;
    seen.relays[2].seats = 5;
    // Whichever two go, three are needed for 40; and a new one has ten.
    assert_eq!(pool.at(0, &seen).inputs.needed, 3);
    seen.relays[0].occupancy = known(41);
    assert_eq!(pool.at(1, &seen).inputs.needed, 5);
}

#[test]
fn leases_are_told_by_relays_and_lobby_and_count_once() {
    let mut pool = Pool::of(bare(json!({})), 1);
    let mut seen = seen(&[Occupancy::Known { sessions: 6, leases: 4 }], 0);
    seen.demand = Some(Demand { waiting: 0, leases: 4 });
    assert_eq!(pool.at(0, &seen).inputs.needed, 1);
    seen.demand = Some(Demand { waiting: 0, leases: 5 });
    assert_eq!(pool.at(1, &seen).inputs.needed, 2);
}

#[test]
fn bounds_are_orders() {
    let mut pool = Pool::of(bare(json!({"minReplicas": 7})), 1);
    assert_eq!(pool.replicas(0, &seen(&[known(0)], 0)).0, 7, "at once, in one step");
    // And a step is counted from there: double of 7, less the 6 that came.
    assert_eq!(pool.replicas(1, &seen(&[known(10); 10], 0)), (8, Some(Clamp::UpStep)));
    let mut pool = Pool::of(bare(json!({"maxReplicas": 3})), 3);
    assert_eq!(pool.replicas(0, &seen(&[known(10); 3], 90)), (3, Some(Clamp::Maximum)));
    let mut pool = Pool::of(bare(json!({"maxReplicas": 3})), 2);
    assert_eq!(pool.replicas(0, &seen(&[known(10); 2], 90)), (3, Some(Clamp::Maximum)));
    let mut pool = Pool::of(bare(json!({"maxReplicas": 3})), 9);
    assert_eq!(pool.replicas(0, &seen(&[silent(10); 9], 0)), (3, Some(Clamp::Maximum)), "whatever is unknown");
    let mut pool = Pool::of(bare(json!({"maxReplicas": 3, "down": {"windowSeconds": 0, "stepReplicas": 64}})), 9);
    assert_eq!(pool.replicas(0, &seen(&[known(1); 9], 0)), (1, None), "and no less than the rest allows");
}

#[test]
fn schedules_raise_the_floor_in_their_own_time_zone() {
    let schedule = |name: &str, zone: &str, replicas: i32| json!({"name": name, "start": "0 8 * * MON-FRI", "end": "0 18 * * MON-FRI", "timeZone": zone, "minReplicas": replicas});
    let policy =
        bare(json!({"schedules": [schedule("berlin", "Europe/Berlin", 5), schedule("tokyo", "Asia/Tokyo", 3)],
        "down": {"windowSeconds": 0, "stepReplicas": 64}}));
    let mut pool = Pool::of(policy, 1);
    let idle = seen(&[known(0)], 0);
    let hour = 3600;
    // It is winter: Berlin is an hour ahead of UTC, Tokyo nine.
    for (time, replicas) in [
        (0, 3),
        (7 * hour - 1, 3),
        (7 * hour, 5),
        (9 * hour, 5),
        (17 * hour - 1, 5),
        (17 * hour, 1),
        (23 * hour, 3),
        // Saturday.
        (5 * 24 * hour + 8 * hour, 1),
        // Monday 30 March: summer time has begun in Berlin the day before.
        (28 * 24 * hour + 6 * hour - 1, 3),
        (28 * 24 * hour + 6 * hour, 5),
    ] {
        let decision = pool.at(time, &idle);
        assert_eq!(decision.replicas, replicas, "{time}: {decision}");
    }
    // Where an end and a start come at once, it goes on.
    let ends = json!({"name": "x", "start": "0 8 * * *", "end": "0 8,18 * * *", "minReplicas": 4});
    let mut pool = Pool::of(bare(json!({"schedules": [ends]})), 1);
    assert_eq!(pool.at(8 * hour, &idle).inputs.floor, 4);
    assert_eq!(pool.at(18 * hour, &idle).inputs.floor, 1);
    let mut pool = Pool::of(bare(json!({"schedules": [schedule("berlin", "Europe/Berlin", 5)]})), 1);
    let decision = pool.at(6 * hour, &idle);
    assert_eq!((decision.rule, decision.look_again), (Rule::Minimum, Some(at(7 * hour))));
    assert_eq!(pool.at(7 * hour, &idle).rule, Rule::Schedule("berlin".to_owned()));
}

#[test]
fn zero_is_reached_by_idle_time_and_left_at_once() {
    let mut pool = Pool::of(bare(json!({"scaleToZero": {"afterSeconds": 600}})), 1);
    let (used, unused) = (seen(&[known(1)], 0), seen(&[known(0)], 0));
    pool.at(0, &used);
    let decision = pool.at(10, &unused);
    assert_eq!((decision.replicas, decision.look_again), (1, Some(at(610))));
    assert_eq!(pool.replicas(609, &unused).0, 1);
    // A silent relay may not be empty, and its silence is no idle time.
    assert_eq!(pool.replicas(609, &seen(&[silent(0)], 0)).0, 1);
    assert_eq!(pool.replicas(5000, &seen(&[silent(0)], 0)).0, 1);
    assert_eq!(pool.replicas(5001, &unused).0, 1);
    assert_eq!(pool.at(5002, &unused).rule, Rule::Idle);
    assert_eq!(pool.past.replicas, 0);
    let nobody = seen(&[], 0);
    assert_eq!(pool.replicas(9000, &nobody).0, 0);
    assert_eq!(pool.replicas(9001, &seen(&[], 1)).0, 1);
    assert_eq!(pool.replicas(9002, &nobody).0, 1);
    // A lease is as good as somebody who waits.
    let mut pool = Pool::of(bare(json!({"minReplicas": 2, "scaleToZero": {}})), 0);
    let leased = Seen { demand: Some(Demand { waiting: 0, leases: 1 }), ..Seen::default() };
    assert_eq!(pool.replicas(0, &leased).0, 2);
}

#[test]
fn a_forecast_only_raises() {
    let policy = || bare(json!({"forecast": {"season": "Day", "aheadSeconds": 600}}));
    let mut pool = Pool::of(policy(), 1);
    let (full, low) = (seen(&[known(10); 4], 0), seen(&[known(1)], 0));
    let (hour, day) = (3600, 24 * 3600);
    pool.at(9 * hour, &full);
    pool.at(10 * hour, &low);
    // The next day, ten minutes before nine.
    assert_eq!(pool.at(day + 9 * hour - 601, &low).rule, Rule::Load);
    let decision = pool.at(day + 9 * hour - 600, &low);
    assert_eq!((decision.rule, decision.inputs.forecast, decision.inputs.needed), (Rule::Forecast, 40, 4));
    // More than foreseen counts for what it is.
    assert_eq!(pool.at(day + 9 * hour, &seen(&[known(10); 6], 0)).inputs.needed, 6);
    assert_eq!(pool.at(day + 10 * hour, &low).inputs.needed, 1);
    // Half of what was, half of what is: 50 of 40 and 60.
    assert_eq!(pool.at(2 * day + 9 * hour, &low).inputs.forecast, 50);
}

#[test]
fn readings_that_cannot_be_believed_are_unknown() {
    let (now, fresh) = (at(100), SignedDuration::from_secs(10));
    let read = |sessions: f64, leases: f64, age: i64| {
        let reading = Reading { sessions, leases, at: at(100 - age) };
        Occupancy::read(Some(&reading), Some(3), 10, fresh, now)
    };
    assert_eq!(read(7.0, 2.0, 10), Occupancy::Known { sessions: 7, leases: 2 });
    assert_eq!(read(6.2, 0.0, 0), Occupancy::Known { sessions: 7, leases: 0 });
    assert_eq!(read(100.0, 0.0, 0), Occupancy::Known { sessions: 100, leases: 0 });
    assert_eq!(read(0.0, 0.0, -5), Occupancy::Known { sessions: 0, leases: 0 });
    let unknown = Occupancy::Unknown { last: Some(3) };
    for (sessions, leases, age) in [
        (7.0, 0.0, 11),
        (f64::NAN, 0.0, 0),
        (0.0, f64::NAN, 0),
        (-1.0, 0.0, 0),
        (0.0, -0.5, 0),
        (f64::INFINITY, 0.0, 0),
        (101.0, 0.0, 0),
        (1e300, 0.0, 0),
    ] {
        assert_eq!(read(sessions, leases, age), unknown, "{sessions} {leases} {age}");
    }
    assert_eq!(Occupancy::read(None, None, 10, fresh, now), Occupancy::Unknown { last: None });
}

#[test]
fn victims_are_those_whose_going_disturbs_least() {
    let mut relays = seen(&[known(0), known(7), known(2), silent(0), known(0), known(2)], 0).relays;
    relays.push(Relay { phase: Phase::Starting, ..relay(6, Occupancy::Unknown { last: None }) });
    relays.push(Relay { phase: Phase::Leaving, ..relay(7, known(0)) });
    relays.push(Relay { phase: Phase::Failed, ..relay(8, silent(0)) });
    let chosen = victims(&relays, 99);
    let told: Vec<(&str, bool)> = chosen.iter().map(|victim| (victim.name.as_str(), victim.empty)).collect();
    let expected =
        [("pool-6", true), ("pool-4", true), ("pool-0", true), ("pool-5", false), ("pool-2", false), ("pool-1", false)];
    assert_eq!(told, expected);
    assert_eq!(victims(&relays, 2), chosen[..2]);
    assert_eq!(victims(&relays, 0), []);
}

#[test]
fn a_policy_that_cannot_be_followed_says_what_would_be_right() {
    let schedule = |start: &str, zone: &str| json!({"name": "x", "start": start, "end": "0 18 * * *", "timeZone": zone, "minReplicas": 1});
    for (scaling, message) in [
        (json!({"maxReplicas": 0}), "maxReplicas: 0 is not from 1 to 64"),
        (json!({"maxReplicas": 3, "minReplicas": 4}), "minReplicas: 4 is not from 1 to 3"),
        (json!({"maxReplicas": 3, "buffer": {}}), "buffer: set exactly one of seats, percent"),
        (json!({"maxReplicas": 3, "buffer": {"percent": 100}}), "buffer.percent: 100 is not from 0 to 90"),
        (
            json!({"maxReplicas": 3, "up": {"stepReplicas": 0, "stepPercent": 0}}),
            "up: stepReplicas or stepPercent must be above 0",
        ),
        (json!({"maxReplicas": 3, "scaleToZero": {"afterSeconds": 1}}), "scaleToZero.afterSeconds: 1 is not from 60"),
        (json!({"maxReplicas": 3, "schedules": [schedule("0 8 31 2 *", "UTC")]}), "`0 8 31 2 *` never comes"),
        (
            json!({"maxReplicas": 3, "schedules": [schedule("8 o'clock", "UTC")]}),
            "schedules[x].start: `8 o'clock` is no time of cron",
        ),
        (json!({"maxReplicas": 3, "schedules": [schedule("0 0 8 * * *", "UTC")]}), "is no time of cron"),
        (json!({"maxReplicas": 3, "schedules": [schedule("0 8 * * *", "Mars/Base")]}), "`Mars/Base` is no time zone"),
    ] {
        let parsed: Scaling = serde_json::from_value(scaling.clone()).expect("a policy");
        let error = Policy::of(&parsed, 10).map(|_| ()).expect_err("cannot be followed").to_string();
        assert!(error.contains(message), "{scaling}: {error}");
    }
}

#[test]
fn a_decision_says_what_it_was_made_from() {
    let mut pool = Pool::of(bare(json!({})), 2);
    let decision = pool.at(0, &seen(&[known(1), silent(2)], 0));
    assert_eq!(
        decision.to_string(),
        "2 relays: 3 sessions, 0 leases and 0 waiting take 3 seats with those kept free; needed: 1 (Load); \
        held by OccupancyUnknown; 1 relays are silent"
    );
}

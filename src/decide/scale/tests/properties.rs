//! What holds of every decision: over random policies, loads, silences and times between them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What happens at one look: seconds since the last one, relays (sessions; none = silent), who waits, whether the lobby is heard.
type Look = (i64, Vec<Option<u32>>, u32, bool);

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let occupancy = prop_oneof![5 => (0..14_u32).prop_map(Some), 1 => Just(None)];
    let quiet = prop_oneof![2 => Just(0_u32), 1 => 0..40_u32];
    let relays = prop_oneof![3 => vec(occupancy, 0..9), 1 => vec(Just(Some(0)), 0..4)];
    vec(
        (prop_oneof![4 => 1..30_i64, 2 => 30..400_i64, 1 => 400..9_000_i64], relays, quiet, prop::bool::weighted(0.9)),
        1..40,
    )
}

fn policies() -> impl Strategy<Value = Value> {
    let buffer = prop_oneof![
        (0..30).prop_map(|seats| json!({"seats": seats})),
        (0..=90).prop_map(|percent| json!({"percent": percent}))
    ];
    let pace = |windows: std::ops::Range<i32>| {
        (windows, 1..120, 0..5, 1..150_i32).prop_map(|(window, period, replicas, percent)| {
            json!({"windowSeconds": window, "periodSeconds": period, "stepReplicas": replicas, "stepPercent": percent.min(100)})
        })
    };
    let schedule = (0..24, 0..24, 1..5).prop_map(|(start, end, replicas)| {
        json!([{"name": "s", "start": format!("30 {start} * * *"), "end": format!("0 {end} * * MON-FRI"),
            "timeZone": "America/St_Johns", "minReplicas": replicas}])
    });
    let zero = (60..2000).prop_map(|after| json!({"afterSeconds": after}));
    let forecast = (0..3600, any::<bool>()).prop_map(|(ahead, day)| {
        json!({"aheadSeconds": ahead, "season": if day { "Day" } else { "Week" }, "timeZone": "Asia/Kolkata"})
    });
    let options = (prop::option::of(schedule), prop::option::of(zero), prop::option::of(forecast));
    (1..5, 5..21, buffer, pace(0..60), pace(0..900), options).prop_map(
        |(min, max, buffer, up, down, (schedules, zero, forecast))| {
            let mut policy = json!({"minReplicas": min, "maxReplicas": max, "buffer": buffer, "up": up, "down": down});
            for (name, value) in [("schedules", schedules), ("scaleToZero", zero), ("forecast", forecast)] {
                if let Some(value) = value {
                    policy[name] = value;
                }
            }
            policy
        },
    )
}

fn seen_of((_, relays, waiting, heard): &Look) -> Seen {
    let relays: Vec<Occupancy> = relays.iter().map(|sessions| sessions.map_or(silent(3), known)).collect();
    let mut seen = seen(&relays, *waiting);
    if !heard {
        seen.demand = None;
    }
    seen
}

fn all_known((_, relays, _, heard): &Look) -> bool {
    *heard && relays.iter().all(Option::is_some)
}

/// All decisions over the looks, each with its time.
fn follow(policy: &Policy, start: i32, looks: &[Look]) -> Vec<(i64, Decision)> {
    let mut pool = Pool::of(policy.clone(), start);
    let mut time = 0;
    let decided = looks.iter().map(|look| {
        time += look.0;
        (time, pool.at(time, &seen_of(look)))
    });
    decided.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bounds_are_kept(scaling in policies(), start in 0..30_i32, looks in looks()) {
        let rules = policy(scaling);
        for (_, decision) in follow(&rules, start, &looks) {
            prop_assert!(decision.replicas <= rules.max && decision.replicas >= decision.inputs.floor);
            prop_assert!(decision.inputs.floor >= rules.min || decision.rule == Rule::Idle);
            prop_assert_eq!(decision.clamp.is_none(), i64::from(decision.replicas) == decision.inputs.needed);
            let past = &decision.past;
            prop_assert!(past.peaks.len() <= 64 && past.troughs.len() <= 64 && past.changes.len() <= 64);
            prop_assert_eq!(past.replicas, decision.replicas);
        }
    }

    #[test]
    fn unknown_never_shrinks(scaling in policies(), start in 0..30_i32, looks in looks()) {
        let rules = policy(scaling);
        let mut before = start.min(rules.max);
        for (look, (_, decision)) in looks.iter().zip(follow(&rules, start, &looks)) {
            prop_assert!(all_known(look) || decision.replicas >= before, "{decision}");
            before = decision.replicas;
        }
    }

    /// Nothing leaves that was needed at any time of the window.
    #[test]
    fn nothing_flaps_within_a_window(scaling in policies(), start in 0..6_i32, looks in looks()) {
        let rules = policy(scaling);
        let decided = follow(&rules, start, &looks);
        for (index, (time, decision)) in decided.iter().enumerate().skip(1) {
            if decision.replicas >= decided[index - 1].1.replicas || decision.rule == Rule::Idle {
                continue;
            }
            for (other, earlier) in &decided[..index] {
                let inside = time - other < rules.down.window.as_secs();
                let needed = earlier.inputs.needed.min(rules.max.into());
                prop_assert!(!inside || needed <= decision.replicas.into(), "{other} {earlier}; {time} {decision}");
            }
        }
    }

    /// Within any period no more comes and goes than its step, counted from what there was when the period began.
    #[test]
    fn steps_are_kept(scaling in policies(), start in 1..5_i32, looks in looks()) {
        let rules = policy(scaling);
        let decided = follow(&rules, start, &looks);
        for (index, (time, decision)) in decided.iter().enumerate() {
            let before = |index: usize| index.checked_sub(1).map_or(start, |index| decided[index].1.replicas);
            // Of the period that ends here: what there was, what came, what went.
            let moved = |period: SignedDuration| {
                let recent = (0..=index).filter(|other| time - decided[*other].0 < period.as_secs());
                let by: Vec<i32> = recent.clone().map(|other| decided[other].1.replicas - before(other)).collect();
                let sum = |up: i32| by.iter().map(|by| (by * up).max(0)).sum::<i32>();
                (before(recent.min().expect("this one")), sum(1), sum(-1))
            };
            let step = |pace: &policy::Pace, began: i32| ((began * pace.percent + 99) / 100).max(pace.replicas);
            if decision.replicas > before(index).max(decision.inputs.floor) {
                let (began, added, _) = moved(rules.up.period);
                let began = began.max(decision.inputs.floor).max(1);
                prop_assert!(added <= step(&rules.up, began), "{decision}");
            }
            if decision.replicas < before(index) {
                let (began, _, removed) = moved(rules.down.period);
                prop_assert!(removed <= step(&rules.down, began), "{decision}");
            }
        }
    }

    /// One more session, or one more who waits, never makes fewer relays.
    #[test]
    fn more_load_is_never_fewer_relays(scaling in policies(), start in 0..30_i32, looks in looks(), more in 1..30_u32, which in 0..9_usize) {
        let rules = policy(scaling);
        let decided = follow(&rules, start, &looks);
        let past = decided.len().checked_sub(2).map_or_else(|| ScalingPast::begin(start), |index| decided[index].1.past.clone());
        let (time, decision) = decided.last().expect("at least one look");
        let mut seen = seen_of(looks.last().expect("at least one look"));
        if let Some(Occupancy::Known { sessions, .. }) = seen.relays.get_mut(which).map(|relay| &mut relay.occupancy) {
            *sessions += more;
        } else if let Some(demand) = &mut seen.demand {
            demand.waiting += more;
        }
        let busier = decide(&rules, &seen, &past, at(*time));
        prop_assert!(busier.replicas >= decision.replicas, "{decision}\n{busier}");
    }

    /// What stands in status is all that there is to remember.
    #[test]
    fn a_restarted_operator_decides_alike(scaling in policies(), start in 0..30_i32, looks in looks()) {
        let rules = policy(scaling);
        let (mut past, mut time) = (ScalingPast::begin(start), 0);
        for (look, (_, expected)) in looks.iter().zip(follow(&rules, start, &looks)) {
            time += look.0;
            let kept = serde_json::to_string(&past).expect("status is JSON");
            let read: ScalingPast = serde_json::from_str(&kept).expect("and can be read");
            let decision = decide(&rules, &seen_of(look), &read, at(time));
            prop_assert_eq!(&decision, &expected);
            past = decision.past;
        }
    }

    /// Between two looks time alone changes nothing: whoever sleeps until `look_again` misses nothing.
    #[test]
    fn nothing_changes_before_it_is_looked_at_again(scaling in policies(), start in 0..30_i32, looks in looks(), part in 0.0..1.0_f64) {
        let rules = policy(scaling);
        let decided = follow(&rules, start, &looks);
        let (time, decision) = decided.last().expect("at least one look");
        let seen = seen_of(looks.last().expect("at least one look"));
        let again = |past: &ScalingPast, time: Timestamp| decide(&rules, &seen, past, time);
        let next = decision.look_again.unwrap_or(at(time + 100_000));
        prop_assert!(next > at(*time));
        let between = SignedDuration::from_secs_f64(next.duration_since(at(*time)).as_secs_f64() * part);
        let early = again(&decision.past, (at(*time) + between).min(next - SignedDuration::from_micros(1)));
        prop_assert_eq!((early.replicas, &early.rule), (decision.replicas, &decision.rule), "{} {}", time, early);
    }

    /// Nobody who uses the pool finds it without relays.
    #[test]
    fn zero_is_for_nobody(scaling in policies(), start in 0..30_i32, looks in looks()) {
        for (look, (_, decision)) in looks.iter().zip(follow(&policy(scaling), start, &looks)) {
            let used = look.3 && look.2 > 0 || look.1.iter().flatten().any(|sessions| *sessions > 0);
            prop_assert!(!used || decision.replicas > 0, "{decision}");
            prop_assert!(decision.replicas > 0 || start == 0 || decision.rule == Rule::Idle, "{decision}");
        }
    }

    /// Left alone with a load that stays, a pool comes to what that needs, and rests there.
    #[test]
    fn it_comes_to_rest(scaling in policies(), start in 0..30_i32, looks in looks(), sessions in vec(0..12_u32, 1..6)) {
        let mut scaling = scaling;
        let calm = scaling.as_object_mut().expect("an object");
        calm.remove("schedules");
        calm.remove("forecast");
        let rules = policy(scaling);
        let decided = follow(&rules, start, &looks);
        let (mut time, mut decision) = decided.last().expect("at least one look").clone();
        let seen = seen_of(&(0, sessions.into_iter().map(Some).collect(), 0, true));
        decision = decide(&rules, &seen, &decision.past, at(time + 1));
        let mut looks = 0;
        while let Some(next) = decision.look_again {
            time = next.as_second() - MONDAY + 1;
            decision = decide(&rules, &seen, &decision.past, at(time));
            looks += 1;
            prop_assert!(looks < 400, "no rest: {decision}");
        }
        let needed = decision.inputs.needed.min(rules.max.into());
        prop_assert_eq!(i64::from(decision.replicas), needed);
    }

    /// Whatever a status holds, it is decided on.
    #[test]
    fn no_past_is_too_odd(scaling in policies(), numbers in vec(any::<i32>(), 7), times in vec(any::<i64>(), 4), look in looks()) {
        let time = |index: usize| MicroTime(Timestamp::from_microsecond(times[index] % 253_402_207_200_000_000).unwrap_or(Timestamp::MAX));
        let past = ScalingPast {
            replicas: numbers[0],
            needed: numbers[1],
            peaks: vec![crate::api::scaling::PastNeed { replicas: numbers[2], until: time(0) }],
            troughs: vec![crate::api::scaling::PastNeed { replicas: numbers[3], until: time(0) }],
            changes: vec![crate::api::scaling::PastChange { at: time(1), from: numbers[4], to: numbers[5] }],
            idle_since: Some(time(2)),
            unknown_since: Some(time(3)),
            season: Some(crate::api::scaling::PastSeason { peaks: vec![numbers[6]; 48], slot: numbers[4], peak: numbers[5] }),
        };
        let rules = policy(scaling);
        let decision = decide(&rules, &seen_of(&look[0]), &past, at(0));
        prop_assert!((0..=rules.max).contains(&decision.replicas));
    }
}

//! That the world is no toy: sessions end, relays take time to start and to drain, people give up, and silence is silence.

use proptest::prelude::*;
use serde_json::json;

use super::peers::{Agones, Hpa};
use super::trace::{Fault, Kind, Session};
use super::world::{Controller, Relay, Tally};
use super::*;

/// Wants what a table says: from each second on so many relays. The fullest leave first.
struct Table {
    wanted: Vec<(u32, usize)>,
    stays: bool,
    hears: bool,
}

impl Controller for Table {
    fn name(&self) -> &'static str {
        "table"
    }

    fn replicas(&mut self, world: &World<'_>) -> usize {
        self.wanted.iter().rev().find(|(from, _)| *from <= world.now).map_or(0, |(_, wanted)| *wanted)
    }

    fn leave(&self, world: &World<'_>, surplus: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..world.relays.len()).filter(|index| !world.relays[*index].leaves()).collect();
        all.sort_by_key(|index| std::cmp::Reverse(world.relays[*index].sessions.len()));
        all.truncate(surplus);
        all
    }

    fn may_stay(&self) -> bool {
        self.stays
    }

    fn must_hear(&self) -> bool {
        self.hears
    }
}

const SETTINGS: Settings = Settings { seats: 2, first: 1, start_seconds: 20, drain_seconds: 30, handoff: false };

fn trace(length: u32, sessions: &[(u32, u32)], faults: &[Fault]) -> Trace {
    let mut trace: Trace = format!("convene-trace 1\nlength {length}\n").parse().expect("a trace");
    trace.sessions = sessions.iter().map(|(at, lasts)| Session { at: *at, lasts: *lasts }).collect();
    trace.faults = faults.to_vec();
    trace
}

fn play(trace: &Trace, settings: Settings, wanted: &[(u32, usize)]) -> Tally {
    World::new(trace, settings).play(&mut Table { wanted: wanted.to_vec(), stays: false, hears: false })
}

#[test]
fn sessions_take_seats_and_end() {
    let tally = play(&trace(100, &[(0, 50), (10, 10)], &[]), SETTINGS, &[(0, 1)]);
    let at = |second: usize| tally.points[second].sessions;
    assert_eq!([at(0), at(9), at(10), at(19), at(20), at(49), at(50)], [1, 1, 2, 2, 1, 1, 0]);
    assert_eq!((tally.waited, tally.gave_up, tally.cut, tally.relay_seconds, tally.changes), (0, 0, 0, 100, 0));
}

#[test]
fn who_finds_no_seat_waits_until_one_is_free_or_gives_up() {
    // Two seats; the third comes at 5 and gets the one that is free at 40; the fourth gets none.
    let tally = play(&trace(200, &[(0, 40), (0, 150), (5, 100), (6, 100)], &[]), SETTINGS, &[(0, 1)]);
    assert_eq!((tally.waited, tally.waits.as_slice(), tally.gave_up), (2, &[35][..], 1));
    assert_eq!((tally.short, tally.short_seconds), (2, 35 + 60));
}

#[test]
fn a_relay_serves_only_after_its_start() {
    let tally = play(&trace(100, &[(0, 90); 3], &[]), SETTINGS, &[(0, 1), (10, 2)]);
    assert_eq!(tally.waits, [30]);
    assert_eq!((tally.points[29].seats, tally.points[30].seats), (2, 4));
    assert_eq!((tally.relay_seconds, tally.changes), (100 + 90, 1));
}

#[test]
fn a_relay_that_leaves_waits_for_its_sessions_and_closes_them_when_its_time_is_up() {
    let two = Settings { first: 2, ..SETTINGS };
    // One session ends in time, the other does not.
    let sessions = [(0, 60), (0, 90)];
    let tally = play(&trace(200, &sessions, &[]), two, &[(0, 2), (40, 1)]);
    assert_eq!((tally.cut, tally.moved), (1, 0));
    assert_eq!(tally.relay_seconds, 200 + 70);
    let tally = play(&trace(200, &sessions, &[]), two, &[(0, 2), (65, 1)]);
    assert_eq!(tally.cut, 0, "it ends before the deadline");
    let tally = play(&trace(200, &sessions, &[]), Settings { handoff: true, ..two }, &[(0, 2), (40, 1)]);
    assert_eq!((tally.cut, tally.moved), (0, 2));
    // There is no room elsewhere.
    let full = [(0, 190); 4];
    let tally = play(&trace(200, &full, &[]), Settings { handoff: true, ..two }, &[(0, 2), (40, 1)]);
    assert_eq!((tally.cut, tally.moved), (2, 0));
}

#[test]
fn a_drain_can_be_taken_back_and_stands_still_while_the_relay_is_silent() {
    let two = Settings { first: 2, ..SETTINGS };
    let busy = trace(200, &[(0, 190), (0, 190)], &[]);
    let run = |trace: &Trace, wanted: &[(u32, usize)]| {
        World::new(trace, two).play(&mut Table { wanted: wanted.to_vec(), stays: true, hears: true })
    };
    let back = run(&busy, &[(0, 2), (40, 1), (60, 2)]);
    assert_eq!((back.cut, back.relay_seconds), (0, 400));
    let silent = trace(200, &[(0, 190), (0, 190)], &[Fault { at: 40, lasts: 100, kind: Kind::Silent(None) }]);
    let waits = run(&silent, &[(0, 2), (45, 1)]);
    // 5 seconds of its 30 pass until its last report is too old, the other 25 when it is heard again.
    assert_eq!(waits.cut, 2);
    let gone = waits.points.iter().rposition(|point| point.sessions == 2).expect("they were there");
    assert!((163..=167).contains(&gone), "{gone}");
}

fn scaling() -> Scaling {
    serde_json::from_value(json!({"minReplicas": 1, "maxReplicas": 40})).expect("a policy")
}

/// A world at its beginning, whose relays hold so many sessions; none = it has not reported.
fn standing<'a>(trace: &'a Trace, relays: &[Option<u32>]) -> World<'a> {
    let mut world = World::new(trace, Settings { seats: 10, ..SETTINGS });
    let template = world.relays[0].clone();
    let relays = (0..).zip(relays).map(|(ordinal, sessions)| Relay {
        ordinal,
        sessions: (0..sessions.unwrap_or(0)).map(|_| 99).collect(),
        report: sessions.map(|sessions| (sessions.into(), 0)),
        ..template.clone()
    });
    world.relays = relays.collect();
    world
}

#[test]
fn the_hpa_follows_its_published_algorithm() {
    let empty = trace(10, &[], &[]);
    // Ten seats, a fifth of them free: a target of eight.
    for (relays, expected) in [
        (vec![Some(8); 5], 5),
        // Within the tolerance of a tenth.
        (vec![Some(9), Some(9), Some(8), Some(8), Some(8)], 5),
        (vec![Some(10); 5], 7),
        (vec![Some(40); 5], 10),
        (vec![Some(4); 5], 5),
        // One metric is missing: it counts as full to shrink, and as empty to grow.
        (vec![Some(10), Some(10), Some(10), Some(10), None], 5),
        (vec![None; 5], 5),
    ] {
        let mut hpa = Hpa::new(&scaling(), 10);
        hpa.set(5);
        assert_eq!(hpa.replicas(&standing(&empty, &relays)), expected, "{relays:?}");
    }
    let mut hpa = Hpa::new(&scaling(), 10);
    hpa.set(5);
    let mut world = standing(&empty, &[Some(4); 5]);
    for (now, expected) in [(0, 5), (15, 5), (299, 5), (300, 3)] {
        // The first look found five needed, as a look at a steady load does.
        if now == 0 {
            hpa.replicas(&standing(&empty, &[Some(8); 5]));
        }
        world.now = now;
        world.relays.iter_mut().for_each(|relay| relay.report = Some((4.0, now)));
        assert_eq!(hpa.replicas(&world), expected, "{now}");
    }
    assert_eq!(hpa.leave(&world, 2), [4, 3], "the youngest, whoever is busy");
}

#[test]
fn agones_keeps_servers_ready_and_removes_none_in_use() {
    let empty = trace(10, &[], &[]);
    let world = standing(&empty, &[Some(1), Some(0), Some(9), Some(0)]);
    let mut agones = Agones::new(&scaling(), 10);
    // Two are in use: with a fifth ready, three.
    assert_eq!(agones.replicas(&world), 3);
    assert_eq!(agones.leave(&world, 1), [3]);
    assert_eq!(agones.leave(&world, 9), [3, 1]);
    let by_seats =
        Scaling { buffer: Some(crate::api::scaling::Buffer { seats: Some(15), percent: None }), ..scaling() };
    assert_eq!(Agones::new(&by_seats, 10).replicas(&world), 4);
}

#[test]
fn traces_can_be_read_as_they_are_written() {
    for shape in [Shape::Workday, Shape::FlashCrowd, Shape::LossySignal] {
        let trace = shape.trace();
        assert_eq!(trace.to_string().parse::<Trace>().expect("a trace"), trace, "{shape:?}");
    }
    let kinds = "convene-trace 1\nstart 2026-03-02T00:00:00Z\nlength 9\nsilent 1 2\nsilent 1 2 3\nlossy 1 2 30\nabsurd 1 2\ndeaf 1 2\nsession 3 4\n";
    assert_eq!(kinds.parse::<Trace>().expect("a trace").to_string(), kinds);
    let twice = kinds.parse::<Trace>().expect("a trace").repeated(2).expect("short enough");
    assert_eq!((twice.length, twice.sessions[1], twice.faults[5].at), (18, Session { at: 12, lasts: 4 }, 10));
    assert!(trace(86_400, &[], &[]).repeated(32).is_err());
    assert_eq!(trace(100, &[(0, 10), (5, 10), (10, 5)], &[]).most_at_once(), 2);
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(lines in prop::collection::vec("(start|length|session|silent|lossy|absurd|deaf|#)?( [0-9a-zé-]{1,12}){0,4}", 0..8)) {
        let text = format!("convene-trace 1\n{}", lines.join("\n"));
        let _ = text.parse::<Trace>();
        let _ = lines.join("\n").parse::<Trace>();
    }
}

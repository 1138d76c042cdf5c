//! Tables and properties of rooms.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: QueueLimits = QueueLimits { frames: 4, bytes: 100 };
const ALL: QueueLimits = QueueLimits { frames: usize::MAX, bytes: usize::MAX };

fn room() -> Room<u32, u32> {
    Room::new(Mode::Broadcast, LIMITS)
}

fn enter<const N: usize>(room: &mut Room<u32, u32>) -> [MemberId; N] {
    std::array::from_fn(|at| room.enter(10 + u32::try_from(at).expect("small")).expect("a number is left"))
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what `take` returns")]
fn taken(frames: &[u32], bytes: usize, end: Option<End>) -> Option<Taken<u32>> {
    Some(Taken { frames: frames.iter().copied().collect(), bytes, end })
}

fn take(room: &mut Room<u32, u32>, id: MemberId) -> Option<Taken<u32>> {
    room.take(id, ALL, |_, _| ())
}

#[test]
fn everybody_but_the_sender_hears_and_only_sleepers_are_woken() {
    let mut room = room();
    let [a, b, c] = enter(&mut room);
    let mut woken = Vec::new();
    room.say(a, &1, 5, ALL.bytes, |waker, wake| woken.push((*waker, wake)));
    room.say(b, &2, 7, ALL.bytes, |waker, wake| woken.push((*waker, wake)));
    let expected = [11, 12, 10].map(|waker| (waker, Wake::Write));
    assert_eq!(woken, expected, "the third member was awake already");
    assert_eq!(take(&mut room, a), taken(&[2], 7, None));
    assert_eq!(take(&mut room, b), taken(&[1], 5, None));
    assert_eq!(take(&mut room, c), taken(&[1, 2], 12, None));
    assert_eq!(take(&mut room, c), taken(&[], 0, None));
}

#[test]
fn what_is_being_written_counts_until_it_was() {
    let mut room = room();
    let [a, b] = enter(&mut room);
    for frame in 0..4 {
        assert_eq!(room.say(a, &frame, 1, ALL.bytes, |_, _| ()).too_slow, 0);
    }
    assert_eq!(take(&mut room, b), taken(&[0, 1, 2, 3], 4, None));
    assert_eq!(room.say(a, &4, 1, ALL.bytes, |_, _| ()), Said { too_slow: 1, pause: Duration::ZERO });
    assert_eq!(take(&mut room, b), taken(&[], 0, Some(End::SlowReader)));
}

#[test]
fn bytes_count_as_well_as_frames() {
    let mut room = room();
    let [a, b, c] = enter(&mut room);
    assert_eq!(room.say(a, &0, 50, ALL.bytes, |_, _| ()), Said { too_slow: 0, pause: Duration::ZERO });
    let said = room.say(a, &1, 50, ALL.bytes, |_, _| ());
    assert!(said.too_slow == 0 && said.pause.is_zero(), "who takes nothing is not waited for: {said:?}");
    take(&mut room, c);
    take(&mut room, c);
    assert_eq!(room.say(a, &2, 1, ALL.bytes, |_, _| ()), Said { too_slow: 1, pause: Duration::ZERO });
    assert_eq!(take(&mut room, b), taken(&[], 0, Some(End::SlowReader)));
    assert_eq!(take(&mut room, c), taken(&[2], 1, None), "the others are not touched");
}

#[test]
fn a_part_is_taken_and_the_end_comes_with_the_last() {
    let mut room = room();
    let [a, b] = enter(&mut room);
    for (frame, bytes) in [(1, 60), (2, 10), (3, 10)] {
        room.say(a, &frame, bytes, ALL.bytes, |_, _| ());
    }
    room.end_all(End::Moved, |_, _| ());
    let part = |frames, bytes| QueueLimits { frames, bytes };
    assert_eq!(room.take(b, part(8, 20), |_, _| ()), taken(&[1], 60, None), "one frame in any case");
    assert_eq!(room.take(b, part(1, 20), |_, _| ()), taken(&[2], 10, None));
    assert_eq!(room.take(b, part(1, 20), |_, _| ()), taken(&[3], 10, Some(End::Moved)));
}

#[test]
fn an_ended_room_gives_out_what_waits_and_then_is_silent() {
    let mut room = room();
    let [a, b] = enter(&mut room);
    room.say(a, &1, 1, ALL.bytes, |_, _| ());
    room.end_all(End::SessionClosed, |_, _| ());
    room.end_all(End::Draining, |_, _| ());
    room.say(a, &2, 1, ALL.bytes, |_, _| ());
    assert_eq!(room.tell(a, b, &2, 1, ALL.bytes, |_, _| ()), Told::Mute);
    assert_eq!(take(&mut room, b), taken(&[1], 1, Some(End::SessionClosed)));
    assert!(room.leave(b, |_, _| ()) && !room.leave(b, |_, _| ()));
    assert_eq!(take(&mut room, b), None);
    assert_eq!(room.len(), 1);
}

#[test]
fn a_full_queue_stops_its_sender_and_nobody_else() {
    let mut room = room();
    let [a, b, c] = enter(&mut room);
    let mut woken = Vec::new();
    assert_eq!(room.tell(a, b, &1, 90, ALL.bytes, |_, _| ()), Told::Queued);
    assert_eq!(room.tell(a, b, &2, 20, ALL.bytes, |_, _| ()), Told::Full);
    assert_eq!(room.tell(c, b, &3, 10, ALL.bytes, |_, _| ()), Told::Queued, "a smaller one still fits");
    assert_eq!(room.tell(c, a, &4, 20, ALL.bytes, |_, _| ()), Told::Queued);
    assert_eq!(room.tell(c, 99, &5, 1, ALL.bytes, |_, _| ()), Told::Absent);
    assert_eq!(room.take(b, ALL, |waker, wake| woken.push((*waker, wake))), taken(&[1, 3], 100, None));
    assert_eq!(woken, [], "nothing is written yet");
    assert_eq!(room.tell(a, b, &2, 20, ALL.bytes, |_, _| ()), Told::Full);
    assert_eq!(room.take(b, ALL, |waker, wake| woken.push((*waker, wake))), taken(&[], 0, None));
    assert_eq!(woken, [(10, Wake::Speak)]);
    assert_eq!(room.tell(a, b, &2, 1000, ALL.bytes, |_, _| ()), Told::Queued, "one frame fits into an empty queue");
}

#[test]
fn who_waits_is_woken_when_the_other_leaves_or_is_ended() {
    for end in [0, 1, 2] {
        let mut room = room();
        let [a, b] = enter(&mut room);
        let mut woken = Vec::new();
        room.tell(a, b, &1, 90, ALL.bytes, |_, _| ());
        assert_eq!(room.tell(a, b, &2, 20, ALL.bytes, |_, _| ()), Told::Full);
        let wake = |waker: &u32, wake| woken.push((*waker, wake));
        match end {
            0 => _ = room.leave(b, wake),
            1 => room.end_slow(b, wake),
            _ => room.end_all(End::Moved, wake),
        }
        assert!(woken.contains(&(10, Wake::Speak)), "{woken:?}");
        let then = if end == 2 { Told::Mute } else { Told::Absent };
        assert_eq!(room.tell(a, b, &2, 20, ALL.bytes, |_, _| ()), then);
    }
}

#[test]
fn notices_pass_a_full_queue_up_to_a_bound() {
    let mut room = room();
    let [a, b] = enter(&mut room);
    for frame in 0..4 {
        room.tell(a, b, &frame, 25, ALL.bytes, |_, _| ());
    }
    for frame in 0..NOTICES {
        room.notify_others(a, &u32::try_from(frame).expect("small"), 10, |_, _| ());
        assert_eq!(room.end_of(b), None);
    }
    room.notify_others(a, &0, 10, |_, _| ());
    assert_eq!(room.end_of(b), Some(End::SlowReader));
    assert_eq!(room.end_of(a), None);
}

#[test]
fn a_reader_that_is_late_is_waited_for_and_one_that_stands_still_is_not() {
    for takes in [true, false] {
        let mut room = Room::new(Mode::Broadcast, QueueLimits { frames: 64, bytes: 1 << 20 });
        let [a, b] = enter(&mut room);
        let mut pauses = Duration::ZERO;
        for frame in 0..60 {
            if takes {
                // What was taken is still being written, so the queue becomes fuller all the same.
                room.take(b, QueueLimits { frames: 1, bytes: 1 }, |_, _| ());
                room.say(a, &frame, 1, ALL.bytes, |_, _| ());
            }
            pauses += room.say(a, &frame, 1, ALL.bytes, |_, _| ()).pause;
        }
        assert_eq!(pauses > Duration::ZERO, takes);
    }
}

#[test]
fn with_little_left_who_stands_still_leaves_and_who_reads_late_is_waited_for() {
    let mut room = Room::new(Mode::Broadcast, QueueLimits { frames: 100, bytes: 4 << 20 });
    let [a, still, late] = enter(&mut room);
    assert_eq!(room.say(a, &0, 200_000, 0, |_, _| ()).too_slow, 0, "one frame fits into an empty queue");
    let said = room.say(a, &1, 65_536, 0, |_, _| ());
    assert_eq!(said.too_slow, 0, "nobody has been looked at");
    assert!(said.pause > Duration::from_millis(100), "{:?}", said.pause);
    for _ in 0..2 {
        room.look(false, |_, _| ());
        room.take(late, QueueLimits { frames: 1, bytes: 1 }, |_, _| ());
    }
    let said = room.say(a, &2, 65_536, 0, |_, _| ());
    assert_eq!((said.too_slow, room.end_of(still), room.end_of(late)), (1, Some(End::SlowReader), None));
    assert!(said.pause > Duration::from_millis(100), "{:?}", said.pause);
}

#[test]
fn with_little_left_a_frame_for_one_member_waits_unless_its_queue_is_empty() {
    let mut room = Room::new(Mode::Addressed, QueueLimits { frames: 10, bytes: 1 << 20 });
    let [a, b] = enter(&mut room);
    assert_eq!(room.tell(a, b, &0, 200_000, 0, |_, _| ()), Told::Queued);
    assert_eq!(room.tell(a, b, &1, 200_000, 0, |_, _| ()), Told::Full);
    assert_eq!(room.tell(a, b, &1, 200_000, 1 << 30, |_, _| ()), Told::Queued);
}

#[test]
fn who_takes_nothing_between_two_looks_is_ended_when_little_is_left_and_nobody_else() {
    let mut room = room();
    let [a, still, slow, idle] = enter(&mut room);
    let mut woken = Vec::new();
    for frame in 0..3 {
        room.tell(a, still, &frame, 1, ALL.bytes, |_, _| ());
        room.tell(a, slow, &frame, 1, ALL.bytes, |_, _| ());
    }
    room.look(true, |_, _| ());
    room.take(slow, QueueLimits { frames: 1, bytes: 1 }, |_, _| ());
    room.look(false, |waker, wake| woken.push((*waker, wake)));
    assert_eq!(woken, []);
    room.take(slow, QueueLimits { frames: 1, bytes: 1 }, |_, _| ());
    room.look(true, |waker, wake| woken.push((*waker, wake)));
    let ends = [a, still, slow, idle].map(|id| room.end_of(id));
    assert_eq!(ends, [None, Some(End::SlowReader), None, None]);
    assert_eq!(woken, [(11, Wake::Write)]);
}

#[test]
fn numbers_are_given_once() {
    let mut room = room();
    room.next = MemberId::MAX - 1;
    assert_eq!(room.enter(0), Some(MemberId::MAX - 1));
    assert_eq!(room.enter(0), None);
    assert_eq!(room.len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Enter,
    Leave(usize),
    Say(usize, usize),
    Tell(usize, usize, usize),
    Take(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Enter),
        1 => (0_usize..8).prop_map(Step::Leave),
        4 => (0_usize..8, 0_usize..60).prop_map(|(from, bytes)| Step::Say(from, bytes)),
        4 => (0_usize..8, 0_usize..8, 0_usize..60).prop_map(|(from, to, bytes)| Step::Tell(from, to, bytes)),
        5 => (0_usize..8, 1_usize..6).prop_map(|(who, frames)| Step::Take(who, frames)),
    ]
}

/// What each member must hear, what it got, and who was ended.
#[derive(Default)]
struct World {
    ids: Vec<MemberId>,
    heard: BTreeMap<MemberId, (Vec<u32>, Vec<u32>)>,
    ended: Vec<MemberId>,
}

impl World {
    fn must_hear(&mut self, frame: u32, who: impl Fn(MemberId) -> bool) {
        for (id, (must, _)) in &mut self.heard {
            if who(*id) && !self.ended.contains(id) {
                must.push(frame);
            }
        }
    }

    fn step(&mut self, room: &mut Room<u32, u32>, number: u32, step: &Step) -> Result<(), TestCaseError> {
        let id = |at: usize| self.ids.get(at).copied();
        match *step {
            Step::Enter => {
                let id = room.enter(0).expect("a number is left");
                self.ids.push(id);
                self.heard.insert(id, (Vec::new(), Vec::new()));
            }
            Step::Leave(at) if at < self.ids.len() => {
                let id = self.ids.remove(at);
                room.leave(id, |_, _| ());
                self.heard.remove(&id);
            }
            Step::Say(at, bytes) => {
                let Some(from) = id(at) else { return Ok(()) };
                let speaks = !self.ended.contains(&from);
                room.say(from, &number, bytes, ALL.bytes, |_, _| ());
                let fresh = room.members.iter().filter(|member| member.end.is_some()).map(|member| member.id);
                self.ended = fresh.collect();
                self.must_hear(number, |id| speaks && id != from);
            }
            Step::Tell(at, to, bytes) => {
                let (Some(from), Some(to)) = (id(at), id(to)) else { return Ok(()) };
                match room.tell(from, to, &number, bytes, ALL.bytes, |_, _| ()) {
                    Told::Queued => self.must_hear(number, |id| id == to),
                    Told::Full => {
                        let member = room.member(to).expect("a member");
                        prop_assert!(member.waiting.contains(&from));
                        let (frames, filled) = member.filled();
                        prop_assert!(frames == LIMITS.frames || filled + bytes > LIMITS.bytes);
                    }
                    Told::Absent => prop_assert!(self.ended.contains(&to)),
                    Told::Mute => prop_assert!(self.ended.contains(&from)),
                }
            }
            Step::Take(at, frames) => {
                let Some(id) = id(at) else { return Ok(()) };
                let mut woken = 0;
                let waiting = room.member(id).map_or(0, |member| member.waiting.len());
                let taken = room.take(id, QueueLimits { frames, bytes: 80 }, |_, _| woken += 1).expect("a member");
                prop_assert!(woken == 0 || woken <= waiting);
                self.heard.get_mut(&id).expect("a member").1.extend(taken.frames);
            }
            Step::Leave(_) => {}
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn frames_are_conserved_and_nobody_waits_for_an_empty_queue(steps in prop::collection::vec(step(), 1..200)) {
        let mut room = room();
        let mut world = World::default();
        for (number, step) in (0_u32..).zip(steps) {
            world.step(&mut room, number, &step)?;
            for member in &room.members {
                let (frames, bytes) = member.filled();
                prop_assert!(frames <= LIMITS.frames);
                prop_assert!(bytes <= LIMITS.bytes);
                prop_assert!(member.waiting.is_empty() || frames > 0, "a lost wake-up");
            }
        }
        for (id, (must, mut got)) in world.heard {
            got.extend(take(&mut room, id).expect("a member").frames);
            if world.ended.contains(&id) {
                prop_assert!(must.starts_with(&got), "an ended member got a part, in order");
            } else {
                prop_assert_eq!(must, got);
            }
        }
    }
}

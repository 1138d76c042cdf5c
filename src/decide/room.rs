//! A room: who gets which frame, and who is too slow. Holds each member's bounded queue; sends nothing itself.
//!
//! Every member but the sender gets each frame once, in the order in which the room took them, or is ended.

use std::collections::VecDeque;

/// A member of a room; never used twice in it.
pub type MemberId = u64;

/// What may wait for one member, including what was taken and is still being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Frames.
    pub frames: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

/// Why a member is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its queue was full.
    SlowReader,
    /// The session was closed.
    SessionClosed,
    /// The relay leaves.
    Draining,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Members that were ended because they had no room for it.
    pub too_slow: u32,
    /// Some queue is more than half full: the sender should pause a moment before its next frame.
    pub congested: bool,
}

/// What a member has to write now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken<F> {
    /// Frames, in order.
    pub frames: VecDeque<F>,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// End the member after these frames.
    pub end: Option<End>,
}

/// The members of one session on this relay. `F` is a frame, cheap to clone; `W` wakes a member's writer.
#[derive(Clone, Debug)]
pub struct Room<F, W> {
    limits: QueueLimits,
    next: MemberId,
    /// In ascending order of their ids.
    members: Vec<Member<F, W>>,
}

#[derive(Clone, Debug)]
struct Member<F, W> {
    id: MemberId,
    waker: W,
    queue: VecDeque<F>,
    queued_bytes: usize,
    /// What the last `take` gave out: counts until the next one shows that it was written.
    writing_frames: usize,
    writing_bytes: usize,
    end: Option<End>,
}

impl<F: Clone, W> Room<F, W> {
    /// An empty room.
    pub fn new(limits: QueueLimits) -> Self {
        Self { limits, next: 0, members: Vec::new() }
    }

    /// Lets a member in; it gets the frames that are said from now on.
    pub fn enter(&mut self, waker: W) -> MemberId {
        let id = self.next;
        self.next += 1;
        self.members.push(Member {
            id,
            waker,
            queue: VecDeque::new(),
            queued_bytes: 0,
            writing_frames: 0,
            writing_bytes: 0,
            end: None,
        });
        id
    }

    /// Lets a member out, with all that waits for it.
    pub fn leave(&mut self, id: MemberId) {
        if let Ok(at) = self.position(id) {
            self.members.remove(at);
        }
    }

    /// Queues a frame of `bytes` for everybody but its sender. `wake` is called for each member whose writer may sleep.
    /// A member that is being ended neither speaks nor hears.
    pub fn say(&mut self, from: MemberId, frame: &F, bytes: usize, mut wake: impl FnMut(&W)) -> Said {
        let mut said = Said::default();
        if self.position(from).map_or(true, |at| self.members.get(at).is_none_or(|member| member.end.is_some())) {
            return said;
        }
        for member in self.members.iter_mut().filter(|member| member.id != from && member.end.is_none()) {
            let frames = member.queue.len() + member.writing_frames + 1;
            let filled = member.queued_bytes + member.writing_bytes + bytes;
            if frames > self.limits.frames || filled > self.limits.bytes {
                member.queue.clear();
                member.queued_bytes = 0;
                member.end = Some(End::SlowReader);
                said.too_slow += 1;
                wake(&member.waker);
                continue;
            }
            said.congested |= 2 * frames > self.limits.frames || 2 * filled > self.limits.bytes;
            member.queue.push_back(frame.clone());
            member.queued_bytes += bytes;
            if member.queue.len() == 1 {
                wake(&member.waker);
            }
        }
        said
    }

    /// What a member has to write now; what the last call gave counts as written.
    /// Nothing for a stranger.
    pub fn take(&mut self, id: MemberId) -> Option<Taken<F>> {
        let at = self.position(id).ok()?;
        let member = self.members.get_mut(at)?;
        let frames = std::mem::take(&mut member.queue);
        let bytes = std::mem::take(&mut member.queued_bytes);
        member.writing_frames = frames.len();
        member.writing_bytes = bytes;
        Some(Taken { frames, bytes, end: member.end })
    }

    /// Ends everybody after what waits for them. The first reason to end a member stays.
    pub fn end_all(&mut self, end: End, mut wake: impl FnMut(&W)) {
        for member in &mut self.members {
            member.end.get_or_insert(end);
            wake(&member.waker);
        }
    }

    /// Why a member is to be ended, if it is; without taking anything.
    pub fn end_of(&self, id: MemberId) -> Option<End> {
        self.position(id).ok().and_then(|at| self.members.get(at)).and_then(|member| member.end)
    }

    /// How many members there are, ended ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn position(&self, id: MemberId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |member| member.id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: QueueLimits = QueueLimits { frames: 4, bytes: 100 };

    fn room() -> Room<u32, u32> {
        Room::new(LIMITS)
    }

    fn taken(frames: &[u32], bytes: usize, end: Option<End>) -> Taken<u32> {
        Taken { frames: frames.iter().copied().collect(), bytes, end }
    }

    #[test]
    fn everybody_but_the_sender_hears_and_only_sleepers_are_woken() {
        let mut room = room();
        let (a, b, c) = (room.enter(10), room.enter(11), room.enter(12));
        let mut woken = Vec::new();
        room.say(a, &1, 5, |waker| woken.push(*waker));
        room.say(b, &2, 7, |waker| woken.push(*waker));
        assert_eq!(woken, [11, 12, 10], "the third member was awake already");
        assert_eq!(room.take(a), Some(taken(&[2], 7, None)));
        assert_eq!(room.take(b), Some(taken(&[1], 5, None)));
        assert_eq!(room.take(c), Some(taken(&[1, 2], 12, None)));
        assert_eq!(room.take(c), Some(taken(&[], 0, None)));
    }

    #[test]
    fn what_is_being_written_counts_until_it_was() {
        let mut room = room();
        let (a, b) = (room.enter(0), room.enter(1));
        for frame in 0..4 {
            assert_eq!(room.say(a, &frame, 1, |_| ()).too_slow, 0);
        }
        assert_eq!(room.take(b), Some(taken(&[0, 1, 2, 3], 4, None)));
        assert_eq!(room.say(a, &4, 1, |_| ()), Said { too_slow: 1, congested: false });
        assert_eq!(room.take(b), Some(taken(&[], 0, Some(End::SlowReader))));
    }

    #[test]
    fn bytes_count_as_well_as_frames_and_half_full_is_congested() {
        let mut room = room();
        let (a, b, c) = (room.enter(0), room.enter(1), room.enter(2));
        assert_eq!(room.say(a, &0, 50, |_| ()), Said { too_slow: 0, congested: false });
        assert_eq!(room.say(a, &1, 50, |_| ()), Said { too_slow: 0, congested: true });
        room.take(c);
        room.take(c);
        assert_eq!(room.say(a, &2, 1, |_| ()), Said { too_slow: 1, congested: false });
        assert_eq!(room.take(b), Some(taken(&[], 0, Some(End::SlowReader))));
        assert_eq!(room.take(c), Some(taken(&[2], 1, None)), "the others are not touched");
    }

    #[test]
    fn an_ended_room_gives_out_what_waits_and_then_is_silent() {
        let mut room = room();
        let (a, b) = (room.enter(0), room.enter(1));
        room.say(a, &1, 1, |_| ());
        room.end_all(End::SessionClosed, |_| ());
        room.end_all(End::Draining, |_| ());
        room.say(a, &2, 1, |_| ());
        assert_eq!(room.take(b), Some(taken(&[1], 1, Some(End::SessionClosed))));
        room.leave(b);
        assert_eq!(room.take(b), None);
        assert_eq!(room.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter,
        Leave(usize),
        Say(usize, usize),
        Take(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => Just(Step::Enter),
            1 => (0_usize..8).prop_map(Step::Leave),
            6 => (0_usize..8, 0_usize..60).prop_map(|(from, bytes)| Step::Say(from, bytes)),
            5 => (0_usize..8).prop_map(Step::Take),
        ]
    }

    proptest! {
        #[test]
        fn frames_are_conserved(steps in prop::collection::vec(step(), 1..200)) {
            let mut room = room();
            let mut ids: Vec<MemberId> = Vec::new();
            // By member: what it must hear, what it got.
            let mut heard: BTreeMap<MemberId, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
            let mut ended: Vec<MemberId> = Vec::new();
            for (number, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Enter => {
                        let id = room.enter(0);
                        ids.push(id);
                        heard.insert(id, (Vec::new(), Vec::new()));
                    }
                    Step::Leave(at) if at < ids.len() => {
                        let id = ids.remove(at);
                        room.leave(id);
                        heard.remove(&id);
                    }
                    Step::Say(at, bytes) if at < ids.len() => {
                        let from = ids[at];
                        let speaks = !ended.contains(&from);
                        room.say(from, &number, bytes, |_| ());
                        for member in &room.members {
                            let frames = member.queue.len() + member.writing_frames;
                            prop_assert!(frames <= LIMITS.frames);
                            prop_assert!(member.queued_bytes + member.writing_bytes <= LIMITS.bytes);
                            if member.end.is_some() && !ended.contains(&member.id) {
                                ended.push(member.id);
                            }
                        }
                        for (id, (must, _)) in &mut heard {
                            if speaks && *id != from && !ended.contains(id) {
                                must.push(number);
                            }
                        }
                    }
                    Step::Take(at) if at < ids.len() => {
                        let taken = room.take(ids[at]).expect("a member");
                        heard.get_mut(&ids[at]).expect("a member").1.extend(taken.frames);
                    }
                    Step::Leave(_) | Step::Say(..) | Step::Take(_) => {}
                }
            }
            for (id, (must, mut got)) in heard {
                let taken = room.take(id).expect("a member");
                got.extend(taken.frames);
                if ended.contains(&id) {
                    prop_assert!(must.starts_with(&got), "an ended member got a part, in order");
                } else {
                    prop_assert_eq!(must, got);
                }
            }
        }
    }
}

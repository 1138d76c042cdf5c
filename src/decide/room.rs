//! A room: who gets which frame, who must wait, and who is too slow. Holds each member's bounded queue; sends nothing
//! itself.
//!
//! Broadcast: every member but the sender gets each frame once, in the order in which the room took them, or is ended.
//! Addressed: the one member that is meant gets it, or the frame is not taken and its sender waits for room.

use std::collections::VecDeque;
use std::time::Duration;

mod limits;

pub use limits::QueueLimits;

/// A member of a room; never used twice in it.
pub type MemberId = u32;

/// Frames of the relay's own that may wait for a member beyond the queue's limit: a member whose queue other members
/// keep full still hears who comes and leaves.
const NOTICES: usize = 256;

/// To whom a frame goes. All members of a room use the same mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To everybody else.
    Broadcast,
    /// To one member.
    Addressed,
}

/// Why a member is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its queue was full.
    SlowReader,
    /// The session was closed.
    SessionClosed,
    /// The session lives elsewhere.
    Moved,
    /// The relay leaves.
    Draining,
}

/// What became of a frame for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Members that were ended because they had no room for it.
    pub too_slow: u32,
    /// Some queue is more than half full: the sender should pause so long before its next frame.
    pub pause: Duration,
}

/// What became of a frame for one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is queued.
    Queued,
    /// There is no room for it: the sender is woken once there is, and tells it again.
    Full,
    /// The member is not there.
    Absent,
    /// The sender is being ended and speaks no more.
    Mute,
}

/// What a woken member has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There is something to write.
    Write,
    /// There may be room for what it could not say.
    Speak,
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

/// The members of one session on this relay. `F` is a frame, cheap to clone; `W` wakes a member.
#[derive(Clone, Debug)]
pub struct Room<F, W> {
    mode: Mode,
    limits: QueueLimits,
    next: MemberId,
    /// In ascending order of their ids.
    members: Vec<Member<F, W>>,
}

#[derive(Clone, Debug)]
struct Member<F, W> {
    id: MemberId,
    waker: W,
    /// Frames and the bytes of each.
    queue: VecDeque<(F, usize)>,
    queued_bytes: usize,
    /// What the last `take` gave out: counts until the next one shows that it was written.
    writing_frames: usize,
    writing_bytes: usize,
    end: Option<End>,
    /// Who could not say something to this member.
    waiting: Vec<MemberId>,
    /// How often [`Room::look`] found something for it since it last took something.
    looks: u8,
    /// Frames and bytes that were added since it last took something.
    unmoved: (usize, usize),
}

impl<F, W> Member<F, W> {
    fn filled(&self) -> (usize, usize) {
        (self.queue.len() + self.writing_frames, self.queued_bytes + self.writing_bytes)
    }

    /// Returns whether the writer may sleep.
    fn push(&mut self, frame: F, bytes: usize) -> bool {
        self.queue.push_back((frame, bytes));
        self.queued_bytes += bytes;
        self.unmoved = (self.unmoved.0 + 1, self.unmoved.1 + bytes);
        self.queue.len() == 1
    }

    /// Whether it has taken nothing for a whole interval between two looks.
    fn stands_still(&self) -> bool {
        self.looks >= 2
    }

    /// Returns who waited for it.
    fn end_slow(&mut self) -> Vec<MemberId> {
        self.queue = VecDeque::new();
        self.queued_bytes = 0;
        self.end = Some(End::SlowReader);
        std::mem::take(&mut self.waiting)
    }
}

impl<F: Clone, W> Room<F, W> {
    /// An empty room.
    pub fn new(mode: Mode, limits: QueueLimits) -> Self {
        Self { mode, limits, next: 0, members: Vec::new() }
    }

    /// What all its members use.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Lets a member in; it gets the frames that are said from now on. Nobody comes in once all numbers were given.
    pub fn enter(&mut self, waker: W) -> Option<MemberId> {
        let id = self.next;
        self.next = id.checked_add(1)?;
        self.members.push(Member {
            id,
            waker,
            queue: VecDeque::new(),
            queued_bytes: 0,
            writing_frames: 0,
            writing_bytes: 0,
            end: None,
            waiting: Vec::new(),
            looks: 0,
            unmoved: (0, 0),
        });
        Some(id)
    }

    /// Lets a member out, with all that waits for it. Whoever waited for room in its queue is woken.
    /// Returns whether it was there.
    pub fn leave(&mut self, id: MemberId, wake: impl FnMut(&W, Wake)) -> bool {
        let Ok(at) = self.position(id) else { return false };
        let left = self.members.remove(at);
        self.let_speak(&left.waiting, wake);
        true
    }

    /// Queues a frame of `bytes` for everybody but its sender, while the relay has `left` bytes left for all queues. Who
    /// has too much waiting by its own limits is ended; by what is left for all, only if it stands still. `wake` is
    /// called for each member whose writer may sleep. A member that is being ended neither speaks nor hears.
    pub fn say(
        &mut self,
        from: MemberId,
        frame: &F,
        bytes: usize,
        left: usize,
        mut wake: impl FnMut(&W, Wake),
    ) -> Said {
        let mut said = Said::default();
        if !self.speaks(from) {
            return said;
        }
        let (limits, for_now) = (self.limits, self.limits.within(left));
        let mut waiting = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.id != from && member.end.is_none()) {
            let (before, filled) = member.filled();
            let (frames, filled) = (before + 1, filled + bytes);
            let most = if member.stands_still() { for_now } else { limits };
            if before > 0 && most.exceeded(frames, filled) {
                waiting.append(&mut member.end_slow());
                said.too_slow += 1;
                wake(&member.waker, Wake::Write);
                continue;
            }
            let (unmoved, unmoved_bytes) = member.unmoved;
            if !member.stands_still() && !limits.quarter().exceeded(unmoved, unmoved_bytes) {
                said.pause = said.pause.max(for_now.pause(frames, filled, bytes));
            }
            if member.push(frame.clone(), bytes) {
                wake(&member.waker, Wake::Write);
            }
        }
        self.let_speak(&waiting, wake);
        said
    }

    /// Queues a frame of `bytes` for one member, while the relay has `left` bytes left for all queues. One frame always
    /// fits into an empty queue.
    pub fn tell(
        &mut self,
        from: MemberId,
        to: MemberId,
        frame: &F,
        bytes: usize,
        left: usize,
        mut wake: impl FnMut(&W, Wake),
    ) -> Told {
        if !self.speaks(from) {
            return Told::Mute;
        }
        let limits = self.limits.within(left);
        let Some(member) = self.member(to).filter(|member| member.end.is_none()) else { return Told::Absent };
        let (frames, filled) = member.filled();
        if frames > 0 && limits.exceeded(frames + 1, filled + bytes) {
            if !member.waiting.contains(&from) {
                member.waiting.push(from);
            }
            return Told::Full;
        }
        if member.push(frame.clone(), bytes) {
            wake(&member.waker, Wake::Write);
        }
        Told::Queued
    }

    /// Queues a frame of the relay's own for one member, or ends it if far too many wait for it.
    pub fn notify(&mut self, to: MemberId, frame: F, bytes: usize, mut wake: impl FnMut(&W, Wake)) {
        let most = self.limits.frames.saturating_add(NOTICES);
        let Some(member) = self.member(to).filter(|member| member.end.is_none()) else { return };
        if member.filled().0 >= most {
            self.end_slow(to, wake);
        } else if member.push(frame, bytes) {
            wake(&member.waker, Wake::Write);
        }
    }

    /// Queues a frame of the relay's own for everybody but one.
    pub fn notify_others(&mut self, but: MemberId, frame: &F, bytes: usize, mut wake: impl FnMut(&W, Wake)) {
        let others: Vec<MemberId> = self.ids().filter(|id| *id != but).collect();
        for id in others {
            self.notify(id, frame.clone(), bytes, &mut wake);
        }
    }

    /// Ends a member that takes nothing, with all that waits for it.
    pub fn end_slow(&mut self, id: MemberId, mut wake: impl FnMut(&W, Wake)) {
        let Some(member) = self.member(id).filter(|member| member.end.is_none()) else { return };
        let waiting = member.end_slow();
        wake(&member.waker, Wake::Write);
        self.let_speak(&waiting, wake);
    }

    /// Notes who has something to take, at a steady pace while much waits in the relay. Who has taken nothing between two
    /// calls stands still, and is ended if there is too little left for all (`short`).
    pub fn look(&mut self, short: bool, mut wake: impl FnMut(&W, Wake)) {
        let mut still = Vec::new();
        for member in self.members.iter_mut().filter(|member| member.end.is_none()) {
            if member.filled().0 > 0 {
                member.looks = member.looks.saturating_add(1);
            }
            if short && member.stands_still() {
                still.push(member.id);
            }
        }
        for id in still {
            self.end_slow(id, &mut wake);
        }
    }

    /// What a member has to write now, at most so many frames and bytes, but one frame in any case; what the last call
    /// gave counts as written. Whoever waited for room is woken. Nothing for a stranger.
    pub fn take(&mut self, id: MemberId, most: QueueLimits, wake: impl FnMut(&W, Wake)) -> Option<Taken<F>> {
        let member = self.member(id)?;
        member.looks = 0;
        member.unmoved = (0, 0);
        let mut taken =
            Taken { frames: VecDeque::with_capacity(member.queue.len().min(most.frames)), bytes: 0, end: None };
        while let Some((frame, bytes)) = member.queue.pop_front() {
            if !taken.frames.is_empty() && (taken.frames.len() >= most.frames || taken.bytes + bytes > most.bytes) {
                member.queue.push_front((frame, bytes));
                break;
            }
            taken.frames.push_back(frame);
            taken.bytes += bytes;
        }
        if member.queue.is_empty() {
            // Nothing is kept for who hears nothing.
            member.queue = VecDeque::new();
            taken.end = member.end;
        }
        member.queued_bytes -= taken.bytes;
        let written = member.writing_frames > 0;
        member.writing_frames = taken.frames.len();
        member.writing_bytes = taken.bytes;
        if written && !member.waiting.is_empty() {
            let waiting = std::mem::take(&mut member.waiting);
            self.let_speak(&waiting, wake);
        }
        Some(taken)
    }

    /// Ends everybody after what waits for them. The first reason to end a member stays.
    pub fn end_all(&mut self, end: End, mut wake: impl FnMut(&W, Wake)) {
        for member in &mut self.members {
            member.end.get_or_insert(end);
            member.waiting = Vec::new();
            wake(&member.waker, Wake::Write);
            wake(&member.waker, Wake::Speak);
        }
    }

    /// Why a member is to be ended, if it is; without taking anything.
    pub fn end_of(&self, id: MemberId) -> Option<End> {
        self.position(id).ok().and_then(|at| self.members.get(at)).and_then(|member| member.end)
    }

    /// Who is there, ended ones included, in the order in which they came.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().map(|member| member.id)
    }

    /// Who is there and how to wake it, ended ones included, in the order in which they came.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, &W)> {
        self.members.iter().map(|member| (member.id, &member.waker))
    }

    /// How many members there are, ended ones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn let_speak(&self, waiting: &[MemberId], mut wake: impl FnMut(&W, Wake)) {
        for id in waiting {
            if let Some(member) = self.position(*id).ok().and_then(|at| self.members.get(at)) {
                wake(&member.waker, Wake::Speak);
            }
        }
    }

    fn speaks(&self, id: MemberId) -> bool {
        self.position(id).ok().and_then(|at| self.members.get(at)).is_some_and(|member| member.end.is_none())
    }

    fn member(&mut self, id: MemberId) -> Option<&mut Member<F, W>> {
        self.position(id).ok().and_then(|at| self.members.get_mut(at))
    }

    fn position(&self, id: MemberId) -> Result<usize, usize> {
        self.members.binary_search_by_key(&id, |member| member.id)
    }
}

#[cfg(test)]
mod tests;

//! Who leaves, who stays, and which relays are made: numbers and generations, no clocks of drains.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use super::decision::Stall;
use super::observed::{Health, Occupancy, Pool, Relay, Wish};
use super::record::{Cause, later};

/// What is to become of a pool's relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Relays that are to leave, by UID. All others stay.
    pub(super) leaving: BTreeMap<String, Cause>,
    /// Ordinals at which relays are to be made.
    pub(super) create: BTreeSet<u32>,
    /// What is in the way.
    pub(super) stalls: BTreeSet<Stall>,
}

/// A relay that counts: nothing but us wants it to leave, and it serves or will.
struct Member<'a> {
    relay: &'a Relay,
    /// Of the present generation.
    fresh: bool,
    /// It serves; otherwise it starts, or has been sick for a moment only.
    ready: bool,
    /// It takes new sessions.
    open: bool,
    /// We chose it to leave earlier, or do so now.
    leaves: Option<Cause>,
}

/// Chooses.
pub(super) fn choose(pool: &Pool, now: Timestamp) -> Choice {
    let mut choice = Choice::default();
    let mut members = Vec::new();
    let serving = serving(pool, now);
    for relay in pool.relays.iter().filter(|relay| is_there(relay)) {
        if let Some(cause) = forced(pool, relay, serving, now) {
            choice.leaving.insert(relay.uid.clone(), cause);
        } else if is_member(pool, relay, now) {
            members.push(member(pool, relay));
        }
    }
    if pool.deletion.is_some() {
        return choice;
    }
    let mut crew = Crew { pool, now, members, busy: !choice.leaving.is_empty() };
    crew.fill(&mut choice);
    crew.release(&mut choice);
    let leaving = crew.members.iter().filter_map(|member| Some((member.relay.uid.clone(), member.leaves?)));
    choice.leaving.extend(leaving);
    choice
}

/// Whether it has not gone yet, as far as that can be told.
pub(super) fn is_there(relay: &Relay) -> bool {
    !relay.terminating && !matches!(relay.health, Health::Over(_))
}

/// Whether it is sick for so long that another takes its place.
pub(super) fn is_sick(pool: &Pool, relay: &Relay, now: Timestamp) -> bool {
    matches!(relay.health, Health::Sick { since, .. } if later(since, pool.policy.sick_after) <= now)
}

/// Whether it alone is not heard. Where none is, the fault is more likely with who listens.
pub(super) fn is_silent(pool: &Pool, relay: &Relay, now: Timestamp) -> bool {
    let Occupancy::Unknown { since, .. } = relay.occupancy else { return false };
    let others_are_heard = pool.relays.iter().any(|other| is_there(other) && other.report().is_some());
    relay.health == Health::Serving && others_are_heard && later(since, pool.policy.silent_after) <= now
}

/// What makes a relay leave that we did not choose; the strongest cause.
fn forced(pool: &Pool, relay: &Relay, serving: usize, now: Timestamp) -> Option<Cause> {
    let drained_as_failed = relay.note.drain.is_some_and(|drain| drain.cause == Cause::Failed);
    let replaced = serving >= count(pool.desired) || free_ordinals(pool).next().is_none() || drained_as_failed;
    if pool.deletion.is_some() {
        Some(Cause::Deletion)
    } else if relay.asked.person == Some(Wish::Leave) {
        Some(Cause::Person)
    } else if is_sick(pool, relay, now) && replaced {
        Some(Cause::Failed)
    } else if relay.asked.node {
        Some(Cause::Node)
    } else if relay.asked.person == Some(Wish::Stay) {
        None
    } else if relay.asked.lobby {
        Some(Cause::Lobby)
    } else {
        // It does not count, so it is not among those of which we choose. It begins to leave, and waits to be heard.
        let silent_and_old = is_silent(pool, relay, now) && relay.generation != pool.generation;
        (silent_and_old && replaced && !pool.paused).then_some(Cause::Rollout)
    }
}

/// How many relays serve that nothing wants to leave.
fn serving(pool: &Pool, now: Timestamp) -> usize {
    let stays = |relay: &&Relay| {
        is_there(relay)
            && relay.health == Health::Serving
            && !is_silent(pool, relay, now)
            && relay.note.drain.is_none()
            && relay.asked.person != Some(Wish::Leave)
            && !(relay.asked.node || relay.asked.lobby)
    };
    pool.relays.iter().filter(stays).count()
}

fn is_member(pool: &Pool, relay: &Relay, now: Timestamp) -> bool {
    let lost = is_silent(pool, relay, now) && chosen(relay).is_none();
    // One that a person keeps although its lobby wants it to leave takes no new sessions: it stays, and does not count.
    !lost && !relay.asked.lobby && !is_sick(pool, relay, now)
}

fn member<'a>(pool: &Pool, relay: &'a Relay) -> Member<'a> {
    Member {
        relay,
        fresh: relay.generation == pool.generation,
        ready: relay.health == Health::Serving,
        open: relay.health == Health::Serving && relay.report().is_none_or(|report| report.cordon.is_none()),
        leaves: leaves(relay),
    }
}

/// Why it leaves, where it was us who chose it and nobody wants it to stay.
pub(super) fn leaves(relay: &Relay) -> Option<Cause> {
    chosen(relay).filter(|_| relay.asked.person != Some(Wish::Stay))
}

fn chosen(relay: &Relay) -> Option<Cause> {
    relay.note.drain.map(|drain| drain.cause).filter(|cause| cause.is_chosen())
}

/// Ordinals that no Pod has.
fn free_ordinals(pool: &Pool) -> impl Iterator<Item = u32> {
    let used: BTreeSet<u32> = pool.relays.iter().map(|relay| relay.ordinal).collect();
    (0..pool.ordinals).filter(move |ordinal| !used.contains(ordinal))
}

/// The relays among which we choose.
struct Crew<'a> {
    pool: &'a Pool,
    now: Timestamp,
    members: Vec<Member<'a>>,
    /// Relays are leaving for other causes: their addresses come back.
    busy: bool,
}

impl Crew<'_> {
    /// Keeps leaving relays, or makes new ones, until there are enough.
    fn fill(&mut self, choice: &mut Choice) {
        let mut free = free_ordinals(self.pool);
        while self.lacks(choice.create.len()) {
            if let Some(kept) = self.to_keep() {
                self.members[kept].leaves = None;
            } else if self.may_create() <= choice.create.len() {
                choice.stalls.insert(Stall::NotReady);
                break;
            } else if let Some(ordinal) = free.next() {
                choice.create.insert(ordinal);
            } else {
                if !self.addresses_return() {
                    choice.stalls.insert(Stall::NoAddress);
                }
                break;
            }
        }
    }

    /// Lets relays leave that are too many or of an earlier generation.
    fn release(&mut self, choice: &mut Choice) {
        let desired = count(self.pool.desired);
        if self.is_rolling() && !self.pool.paused {
            let cause = Cause::Rollout;
            self.let_go(
                cause,
                |crew| crew.staying(|member| !member.fresh && !member.ready) > 0,
                |member| !member.fresh && !member.ready,
            );
            self.let_go(cause, |crew| crew.staying(|member| member.open) > desired, |member| !member.fresh);
            self.make_way(choice);
            self.tell_of_rollout(choice);
        }
        let allowed = desired + self.surplus();
        let all_fresh = !self.is_rolling() || self.pool.paused;
        self.let_go(Cause::ScaleDown, |crew| all_fresh && crew.staying(|_| true) > allowed, |_| true);
        self.let_go(Cause::ScaleDown, |crew| crew.staying(|member| member.fresh) > desired, |member| member.fresh);
        self.tell_of_scaling(choice, allowed);
    }

    /// Without an address for a new relay, or a surge, an old one leaves first: one at a time, while nothing else moves.
    fn make_way(&mut self, choice: &mut Choice) {
        let wanted = self.staying(|member| member.fresh) < count(self.pool.desired);
        let starting = self.staying(|member| member.fresh && !member.ready) > 0;
        let bound = self.pool.surge == 0 || free_ordinals(self.pool).next().is_none();
        let stuck = choice.stalls.contains(&Stall::NotReady);
        if !wanted || !bound || starting || stuck || self.addresses_return() || !choice.create.is_empty() {
            return;
        }
        if let Some(index) = self.next_to_leave(Cause::Rollout, |member| !member.fresh) {
            self.members[index].leaves = Some(Cause::Rollout);
            choice.stalls.remove(&Stall::NoAddress);
        }
    }

    /// Whether relays leave, after which their addresses are free.
    fn addresses_return(&self) -> bool {
        self.busy
            || self.members.iter().any(|member| member.leaves.is_some())
            || self.pool.relays.iter().any(|relay| !is_there(relay))
    }

    /// Lets relays go while there are more than there should be. One that serves goes only where enough others take new
    /// sessions: of those that stay, some may still start.
    fn let_go(&mut self, cause: Cause, more: impl Fn(&Self) -> bool, who: impl Fn(&Member<'_>) -> bool + Copy) {
        while more(self) {
            let enough = self.staying(|member| member.open) > count(self.pool.desired);
            let Some(index) = self.next_to_leave(cause, |member| who(member) && (enough || !member.ready)) else {
                return;
            };
            self.members[index].leaves = Some(cause);
        }
    }

    /// Fewest sessions first, whichever ordinal; before those, what does not serve yet. Of what cannot be counted, none
    /// leaves for being too many.
    fn next_to_leave(&self, cause: Cause, who: impl Fn(&Member<'_>) -> bool) -> Option<usize> {
        let may = |member: &Member<'_>| {
            let starts = matches!(member.relay.health, Health::Starting { .. });
            let counted = member.relay.load().is_some() || starts || cause == Cause::Rollout;
            member.leaves.is_none() && member.relay.asked.person != Some(Wish::Stay) && counted && who(member)
        };
        let rank = |member: &Member<'_>| {
            let load = member.relay.load().unwrap_or(u32::MAX);
            let cordoned = member.relay.report().is_some_and(|report| report.cordon.is_some());
            (member.ready, load, !cordoned, u32::MAX - member.relay.ordinal)
        };
        let candidates = self.members.iter().enumerate().filter(|(_, member)| may(member));
        candidates.min_by_key(|(_, member)| rank(member)).map(|(index, _)| index)
    }

    /// The leaving relay that is best kept: the fullest, since it would take the longest.
    fn to_keep(&self) -> Option<usize> {
        let candidates = self.members.iter().enumerate().filter(|(_, member)| member.leaves.is_some() && member.fresh);
        let rank = |member: &Member<'_>| (member.relay.occupied, member.relay.load(), u32::MAX - member.relay.ordinal);
        candidates.max_by_key(|(_, member)| rank(member)).map(|(index, _)| index)
    }

    /// Whether relays are missing, `created` on their way.
    fn lacks(&self, created: usize) -> bool {
        let desired = count(self.pool.desired);
        let staying = self.staying(|_| true) + created;
        let fresh = self.staying(|member| member.fresh) + created;
        let surge = if self.is_rolling() && !self.pool.paused { count(self.pool.surge) } else { 0 };
        staying < desired || (fresh < desired && staying < desired + surge)
    }

    /// How many relays may be made: where none of the present generation serves, it may be that none ever will, and only as
    /// many are tried as a surge is; where some do, as many as there are to be may stand in for those that are sick or silent.
    fn may_create(&self) -> usize {
        let desired = count(self.pool.desired);
        let absent = self.pool.relays.iter().filter(|relay| {
            let fresh = is_there(relay) && relay.generation == self.pool.generation;
            fresh && (is_sick(self.pool, relay, self.now) || is_silent(self.pool, relay, self.now))
        });
        let there = absent.count() + self.staying(|_| true);
        let proven = self.members.iter().any(|member| member.fresh && member.ready);
        let most = if proven { 2 * desired } else { desired };
        (most + count(self.pool.surge.max(1))).saturating_sub(there)
    }

    /// Beyond the desired number, what a paused rollout had made already.
    fn surplus(&self) -> usize {
        if self.is_rolling() { count(self.pool.surge).min(self.staying(|member| member.fresh)) } else { 0 }
    }

    fn is_rolling(&self) -> bool {
        self.staying(|member| !member.fresh) > 0
    }

    fn staying(&self, who: impl Fn(&Member<'_>) -> bool) -> usize {
        self.members.iter().filter(|member| member.leaves.is_none() && who(member)).count()
    }

    fn tell_of_rollout(&self, choice: &mut Choice) {
        let old = |member: &&Member<'_>| member.leaves.is_none() && !member.fresh;
        if self.members.iter().filter(old).any(|member| member.relay.asked.person == Some(Wish::Stay)) {
            choice.stalls.insert(Stall::KeptByPerson);
        }
        let late = |member: &Member<'_>| match member.relay.health {
            Health::Starting { since } => later(since, self.pool.policy.start) <= self.now,
            Health::Serving | Health::Sick { .. } | Health::Over(_) => false,
        };
        if self.members.iter().any(|member| member.fresh && late(member)) {
            choice.stalls.insert(Stall::NotReady);
        }
    }

    fn tell_of_scaling(&self, choice: &mut Choice, allowed: usize) {
        if self.pool.paused && self.is_rolling() {
            choice.stalls.insert(Stall::Paused);
        }
        if self.staying(|_| true) + choice.create.len() <= allowed || self.is_rolling() {
            return;
        }
        if self.staying(|member| member.relay.asked.person == Some(Wish::Stay)) > 0 {
            choice.stalls.insert(Stall::KeptByPerson);
        } else if self.staying(|member| member.ready && member.relay.load().is_none()) > 0 {
            choice.stalls.insert(Stall::OccupancyUnknown);
        }
    }
}

fn count(relays: u32) -> usize {
    usize::try_from(relays).unwrap_or(usize::MAX)
}

//! Visits every state that a world can reach by what may happen in it, each so often, and from each lets it settle.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::*;
use super::soundness::broken_rule;
use super::world::{Late, World, at};

/// How often each thing may happen on one way. What has no number here (a relay that was not heard is heard again, a Pod
/// becomes ready or is gone, a late action arrives, a pass) may happen at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    /// The lobby sends a session to a relay that takes it.
    pub(super) place: u8,
    /// The lobby has a seat kept, which is claimed or not.
    pub(super) lease: u8,
    /// A session ends.
    pub(super) end: u8,
    pub(super) tick: u8,
    /// The operator crashes: with all it remembers, within a pass or between two.
    pub(super) crash: u8,
    /// One action of a pass is late, and maybe never comes.
    pub(super) late: u8,
    /// A pass sees the cluster as it was at the pass before.
    pub(super) stale: u8,
    /// A pass has not heard yet what one relay said last.
    pub(super) deaf: u8,
    pub(super) silence: u8,
    /// Other numbers of relays, in this order.
    pub(super) desire: Vec<u32>,
    /// Other generations, in this order.
    pub(super) roll: Vec<u8>,
    /// The rollout is paused or resumed.
    pub(super) pause: u8,
    pub(super) delete: Option<Deletion>,
    /// A person asks relay 0 to leave, to stay, or takes it back.
    pub(super) wish: u8,
    /// The node of relay 0 is cordoned, or not any more.
    pub(super) node: u8,
    pub(super) sicken: u8,
    pub(super) die: u8,
    pub(super) restart: u8,
    pub(super) evict: u8,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Place(u32),
    Lease(u32),
    Claim(u32),
    End(u32),
    EndLease(u32),
    Tick,
    Report(u32),
    Silence(u32),
    Pass,
    /// The operator crashes once it has sent so many actions; the next is late.
    PassAndCrash(usize),
    /// This action of the pass is late.
    PassButLate(usize),
    PassOnOld,
    /// What this relay said last has not been heard.
    PassDeafTo(u32),
    Crash,
    Arrive(usize),
    Desire,
    Roll,
    Pause,
    Delete,
    Wish(Option<Wish>),
    Node,
    BecomeReady(u32),
    Sicken(u32),
    Die(u32),
    Restart(u32),
    Vanish(u32),
    Evict(u32),
}

#[derive(Clone)]
struct Node {
    world: World,
    left: Budget,
    /// How it came to this.
    way: Vec<Event>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) states: usize,
    pub(super) steps: usize,
}

/// Visits every state once. An error is the first way to a state that must not be.
pub(super) fn explore(world: World, budget: Budget) -> Result<Found, String> {
    let mut seen = HashSet::new();
    let mut settled = HashSet::new();
    let mut next = vec![Node { world, left: budget, way: Vec::new() }];
    let mut steps = 0;
    seen.insert(next[0].key());
    while let Some(node) = next.pop() {
        settle(node.world.clone(), &mut settled).map_err(|fault| format!("{fault}, after {:?}", node.way))?;
        for event in node.events() {
            let mut after = node.clone();
            after.take(event)?;
            steps += 1;
            if seen.insert(after.key()) {
                next.push(after);
            }
        }
    }
    Ok(Found { states: seen.len(), steps })
}

impl Node {
    fn events(&self) -> Vec<Event> {
        use Event as E;
        let (world, left) = (&self.world, &self.left);
        let mut events = Vec::new();
        let mut may = |when: bool, event: Event| events.extend(when.then_some(event));
        for (&ordinal, pod) in &world.pods {
            let life = &world.lives[&pod.uid];
            let serving = pod.health == Health::Serving && !pod.terminating;
            may(left.place > 0 && world.takes_new(ordinal), E::Place(ordinal));
            may(left.lease > 0 && world.takes_new(ordinal), E::Lease(ordinal));
            may(life.leases > 0, E::Claim(ordinal));
            may(life.leases > 0, E::EndLease(ordinal));
            may(left.end > 0 && life.sessions > 0 && !pod.terminating, E::End(ordinal));
            may(!pod.terminating && world.is_unheard(ordinal), E::Report(ordinal));
            may(left.deaf > 0 && serving, E::PassDeafTo(ordinal));
            may(left.silence > 0 && serving, E::Silence(ordinal));
            may(matches!(pod.health, Health::Starting { .. }) && !pod.terminating, E::BecomeReady(ordinal));
            may(matches!(pod.health, Health::Sick { .. }) && !pod.terminating, E::BecomeReady(ordinal));
            may(left.sicken > 0 && serving, E::Sicken(ordinal));
            may(left.die > 0 && serving, E::Die(ordinal));
            may(left.restart > 0 && serving, E::Restart(ordinal));
            may(pod.terminating, E::Vanish(ordinal));
            may(left.evict > 0 && !pod.occupied && !pod.terminating, E::Evict(ordinal));
        }
        may(left.tick > 0, E::Tick);
        for late in 0..world.late.len() {
            may(true, E::Arrive(late));
        }
        may(!left.desire.is_empty(), E::Desire);
        may(!left.roll.is_empty(), E::Roll);
        may(left.pause > 0, E::Pause);
        may(left.delete.is_some(), E::Delete);
        if let Some(pod) = world.pods.get(&0).filter(|pod| !pod.terminating) {
            for wish in [None, Some(Wish::Leave), Some(Wish::Stay)] {
                may(left.wish > 0 && pod.asked.person != wish, E::Wish(wish));
            }
            may(left.node > 0, E::Node);
        }
        self.passes(&mut events);
        events
    }

    fn passes(&self, events: &mut Vec<Event>) {
        let (world, left) = (&self.world, &self.left);
        if world.finished {
            return;
        }
        let mut listening = world.clone();
        listening.listen(None);
        let actions = listening.decide().actions.len();
        events.push(Event::Pass);
        if left.crash > 0 {
            events.push(Event::Crash);
            events.extend((0..=actions).filter(|_| actions > 0).map(Event::PassAndCrash));
        }
        if left.late > 0 {
            events.extend((0..actions).map(Event::PassButLate));
        }
        if left.stale > 0 && world.seen.as_deref().is_some_and(|seen| *seen != world.cluster()) {
            events.push(Event::PassOnOld);
        }
    }

    /// Takes a step; an error where something is as it must not be after it.
    fn take(&mut self, event: Event) -> Result<(), String> {
        self.way.push(event);
        self.happen(event);
        let pool = self.world.observe(&self.world.cluster());
        let rule = broken_rule(&pool, &decide(&pool, at(self.world.now)), at(self.world.now)).map(str::to_owned);
        match self.world.fault.take().or(rule) {
            Some(fault) => Err(format!("{fault}, after {:?}", self.way)),
            None => Ok(()),
        }
    }

    fn happen(&mut self, event: Event) {
        let (world, left) = (&mut self.world, &mut self.left);
        match event {
            Event::Place(ordinal) => {
                left.place -= 1;
                if let Some(life) = world.life(ordinal) {
                    life.sessions += 1;
                }
            }
            Event::Lease(ordinal) => {
                left.lease -= 1;
                if let Some(life) = world.life(ordinal) {
                    life.leases += 1;
                }
            }
            Event::Claim(ordinal) => {
                if let Some(life) = world.life(ordinal) {
                    (life.leases, life.sessions) = (life.leases - 1, life.sessions + 1);
                }
            }
            Event::EndLease(ordinal) => {
                let now = world.now;
                if let Some(life) = world.life(ordinal) {
                    (life.leases, life.empty_since) = (life.leases - 1, now);
                }
            }
            Event::End(ordinal) => {
                left.end -= 1;
                let now = world.now;
                if let Some(life) = world.life(ordinal) {
                    (life.sessions, life.empty_since) = (life.sessions - 1, now);
                }
            }
            Event::Tick => {
                left.tick -= 1;
                world.tick();
            }
            Event::Report(ordinal) => world.report(ordinal),
            Event::Silence(ordinal) => {
                left.silence -= 1;
                world.silence(ordinal);
            }
            Event::BecomeReady(ordinal) => world.become_ready(ordinal),
            Event::Vanish(ordinal) => world.vanish(ordinal),
            Event::Pass
            | Event::PassAndCrash(_)
            | Event::PassButLate(_)
            | Event::PassOnOld
            | Event::PassDeafTo(_)
            | Event::Crash => self.operate(event),
            Event::Arrive(late) => {
                let Late(action, decided) = world.late.remove(late);
                world.carry_out(&action, decided);
            }
            Event::Desire | Event::Roll | Event::Pause | Event::Delete | Event::Wish(_) => self.want(event),
            Event::Node | Event::Sicken(_) | Event::Die(_) | Event::Restart(_) | Event::Evict(_) => self.befall(event),
        }
        self.world.forget_void();
        if self.left.stale == 0 {
            self.world.seen = None;
        }
    }

    /// The operator does something.
    fn operate(&mut self, event: Event) {
        let (world, left) = (&mut self.world, &mut self.left);
        let sent = |world: &mut World, actions: &[Action]| {
            for action in actions {
                world.carry_out(action, world.now);
            }
        };
        match event {
            Event::PassAndCrash(count) => {
                left.crash -= 1;
                world.listen(None);
                let decision = world.decide();
                sent(world, &decision.actions[..count]);
                world.late.extend(decision.actions.get(count).map(|action| Late(action.clone(), world.now)));
                world.crash();
            }
            Event::PassButLate(late) => {
                left.late -= 1;
                world.listen(None);
                let mut actions = world.decide().actions;
                world.seen = Some(Box::new(world.cluster()));
                let action = actions.remove(late);
                sent(world, &actions);
                world.late.push(Late(action, world.now));
            }
            Event::PassOnOld => {
                left.stale -= 1;
                let old = world.seen.as_deref().expect("something was seen").clone();
                let decision = decide(&world.observe(&old), at(world.now));
                sent(world, &decision.actions);
            }
            Event::PassDeafTo(ordinal) => {
                left.deaf -= 1;
                world.listen(Some(ordinal));
                let decision = world.decide();
                world.seen = Some(Box::new(world.cluster()));
                sent(world, &decision.actions);
            }
            Event::Crash => {
                left.crash -= 1;
                world.crash();
            }
            _ => {
                world.pass();
            }
        }
    }

    /// A person wants something else.
    fn want(&mut self, event: Event) {
        let (world, left) = (&mut self.world, &mut self.left);
        match event {
            Event::Desire => world.spec.desired = left.desire.remove(0),
            Event::Roll => world.spec.generation = left.roll.remove(0),
            Event::Pause => {
                left.pause -= 1;
                world.spec.paused = !world.spec.paused;
            }
            Event::Delete => world.spec.deletion = left.delete.take(),
            Event::Wish(wish) => {
                left.wish -= 1;
                world.change(0, |pod| pod.asked.person = wish);
            }
            _ => {}
        }
    }

    /// A relay or its node suffers something.
    fn befall(&mut self, event: Event) {
        let (world, left) = (&mut self.world, &mut self.left);
        match event {
            Event::Node => {
                left.node -= 1;
                // The Node is another object: the Pod's version stays.
                if let Some(pod) = world.pods.get_mut(&0) {
                    pod.asked.node = !pod.asked.node;
                }
            }
            Event::Sicken(ordinal) => {
                left.sicken -= 1;
                world.sicken(ordinal);
            }
            Event::Die(ordinal) => {
                left.die -= 1;
                world.die(ordinal);
            }
            Event::Restart(ordinal) => {
                left.restart -= 1;
                world.restart(ordinal);
            }
            Event::Evict(ordinal) => {
                left.evict -= 1;
                world.evict(ordinal);
            }
            _ => {}
        }
    }

    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.left.hash(&mut hasher);
        self.world.hash_into(&mut hasher);
        hasher.finish()
    }
}

/// One way through a world, by chance.
pub(super) struct Walk(Node);

impl Walk {
    pub(super) fn new(world: World, left: Budget) -> Self {
        Self(Node { world, left, way: Vec::new() })
    }

    /// Takes the step of this number, of those that there are.
    pub(super) fn step(&mut self, choice: usize) -> Result<(), String> {
        let events = self.0.events();
        events.get(choice % events.len().max(1)).map_or(Ok(()), |event| self.0.take(*event))
    }

    pub(super) fn world(&self) -> World {
        self.0.world.clone()
    }
}

/// How many steps of time a world may take to be quiet.
const ROUNDS: usize = 60;

/// Nothing more happens but time, and what was late never comes: the pool comes to what is wanted of it, and is quiet.
/// Sessions do not end by themselves meanwhile. A pass comes when something has changed, or when the last one asked for it.
pub(super) fn settle(mut world: World, settled: &mut HashSet<u64>) -> Result<(), String> {
    let mut path = Vec::new();
    let (mut awake, mut look_again) = (true, None);
    world.late.clear();
    world.spec.paused = false;
    for _ in 0..ROUNDS {
        if awake || look_again.is_some_and(|time| time <= at(world.now)) {
            let mut hasher = DefaultHasher::new();
            world.hash_into(&mut hasher);
            if settled.contains(&hasher.finish()) {
                settled.extend(path);
                return Ok(());
            }
            path.push(hasher.finish());
            let decision = world.pass();
            world.seen = None;
            if let Some(fault) = &world.fault {
                return Err(fault.clone());
            }
            let moved = recover(&mut world);
            awake = moved || !decision.actions.is_empty();
            look_again = decision.look_again;
            if !awake && unfulfilled(&world, &decision).is_none() {
                settled.extend(path);
                return Ok(());
            }
        }
        world.tick();
    }
    let decision = world.decide();
    Err(format!("no way on: {:?}; {decision:?}; {world:?}", unfulfilled(&world, &decision)))
}

/// Whatever is away comes back. Whether anything did.
fn recover(world: &mut World) -> bool {
    let ordinals: Vec<u32> = world.pods.keys().copied().collect();
    let mut moved = false;
    for ordinal in ordinals {
        let pod = &world.pods[&ordinal];
        if pod.terminating {
            world.vanish(ordinal);
            moved = true;
            continue;
        }
        if matches!(pod.health, Health::Starting { .. } | Health::Sick { .. }) {
            world.become_ready(ordinal);
            moved = true;
        }
        if world.pods[&ordinal].asked.person == Some(Wish::Stay) {
            world.change(ordinal, |pod| pod.asked.person = None);
            moved = true;
        }
        if world.is_unheard(ordinal) {
            world.report(ordinal);
            moved = true;
        }
    }
    moved
}

/// What is not yet as it was wanted.
fn unfulfilled(world: &World, decision: &Decision) -> Option<&'static str> {
    if world.spec.deletion.is_some() {
        return (!world.finished).then_some("the pool is not gone");
    }
    let pods = || world.pods.values();
    let wanted = usize::try_from(world.spec.desired).expect("few");
    [
        (world.pods.len() == wanted, "another number of relays"),
        (pods().all(|pod| pod.generation == world.spec.generation), "an earlier generation"),
        (pods().all(|pod| pod.health == Health::Serving), "a relay does not serve"),
        (pods().all(|pod| pod.note.drain.is_none()), "a relay drains"),
        (pods().all(|pod| world.lives[&pod.uid].orders.cordon.is_none()), "a relay takes no new sessions"),
        (pods().all(|pod| pod.occupied || world.hands_over), "a relay may be evicted"),
        (decision.rollout.is_none() && decision.stalls.is_empty(), "status says that something goes on"),
    ]
    .into_iter()
    .find_map(|(holds, what)| (!holds).then_some(what))
}

//! A small world around the machine: an API server with Pods, relay processes with sessions, a lobby that sends sessions
//! where they are let in, an operator that forgets all when it crashes. Whatever the operator sends may be late.
//!
//! The world keeps its own account of when a relay's sessions may be cut ([`Life::due`]), apart from what the machine writes.

mod likeness;
mod operator;

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::*;
use crate::decide::seats::Orders;
use crate::wire::orders::Order;

/// One step of time.
pub(super) const STEP: i64 = 30;

pub(super) fn at(steps: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + steps * STEP).expect("a time")
}

pub(super) fn steps(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count * STEP)
}

pub(super) const POLICY: Policy = Policy {
    scale_down: SignedDuration::from_secs(2 * STEP),
    rollout: SignedDuration::from_secs(2 * STEP),
    node: SignedDuration::from_secs(STEP),
    person: SignedDuration::from_secs(STEP),
    lobby: SignedDuration::from_secs(STEP),
    failed: SignedDuration::from_secs(STEP),
    deletion: SignedDuration::from_secs(STEP),
    empty_grace: SignedDuration::from_secs(STEP),
    sick_after: SignedDuration::from_secs(STEP),
    silent_after: SignedDuration::from_secs(2 * STEP),
    start: SignedDuration::from_secs(2 * STEP),
};

/// What people want of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub(super) desired: u32,
    pub(super) generation: u8,
    pub(super) paused: bool,
    pub(super) deletion: Option<Deletion>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) uid: u32,
    pub(super) version: u32,
    pub(super) generation: u8,
    pub(super) terminating: bool,
    pub(super) health: Health,
    pub(super) asked: Asked,
    pub(super) note: Note,
    pub(super) occupied: bool,
}

/// A relay's process and what happens to its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub(super) orders: Orders,
    pub(super) sessions: u32,
    pub(super) leases: u32,
    pub(super) empty_since: i64,
    /// Since when it can be heard.
    up_since: i64,
    /// The process started anew in its Pod: only the lobby's table keeps new sessions away.
    pub(super) restarted: bool,
    /// From when on its sessions may be cut.
    pub(super) due: Option<i64>,
}

/// What the operator remembers of a relay's reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    from: i64,
    until: i64,
    fresh: bool,
    sessions: u32,
    leases: u32,
    empty_since: i64,
    cordon: Option<u32>,
    highest: u32,
}

/// What the world keeps to. Each is turned off once, to see that its absence is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    /// The API server checks the resourceVersion.
    pub(super) preconditions: bool,
    /// Relays check the number of an order.
    pub(super) numbers: bool,
    /// The lobby's table keeps sessions away from what drains.
    pub(super) table: bool,
}

pub(super) const RULES: Rules = Rules { preconditions: true, numbers: true, table: true };

/// An action that is on its way, and when it was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Late(pub(super) Action, pub(super) i64);

/// What lists and watches show: Pods by ordinal, and the spec.
pub(super) type Cluster = (BTreeMap<u32, Pod>, Spec);

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) now: i64,
    pub(super) pods: BTreeMap<u32, Pod>,
    pub(super) spec: Spec,
    pub(super) lives: BTreeMap<u32, Life>,
    pub(super) heard: BTreeMap<u32, Heard>,
    /// Since when the present operator listens.
    pub(super) listening: i64,
    pub(super) late: Vec<Late>,
    /// What the operator saw in its last pass.
    pub(super) seen: Option<Box<Cluster>>,
    pub(super) surge: u32,
    pub(super) ordinals: u32,
    pub(super) hands_over: bool,
    pub(super) refuses: bool,
    pub(super) finished: bool,
    pub(super) rules: Rules,
    /// What went wrong.
    pub(super) fault: Option<String>,
    next_uid: u32,
}

impl World {
    /// A settled pool whose relays hold so many sessions each.
    pub(super) fn new(sessions: &[u32]) -> Self {
        let desired = u32::try_from(sessions.len()).expect("few");
        let mut world = Self {
            now: 0,
            pods: BTreeMap::new(),
            spec: Spec { desired, generation: 1, paused: false, deletion: None },
            lives: BTreeMap::new(),
            heard: BTreeMap::new(),
            listening: 0,
            late: Vec::new(),
            seen: None,
            surge: 1,
            ordinals: 64,
            hands_over: false,
            refuses: true,
            finished: false,
            rules: RULES,
            fault: None,
            next_uid: 0,
        };
        for (ordinal, sessions) in (0..).zip(sessions) {
            world.create(ordinal, 1);
            world.become_ready(ordinal);
            if let Some(life) = world.life(ordinal) {
                life.sessions = *sessions;
            }
            world.report(ordinal);
        }
        world
    }

    /// The pool as the operator sees it.
    pub(super) fn observe(&self, (pods, spec): &Cluster) -> Pool {
        Pool {
            relays: pods.iter().map(|(ordinal, pod)| self.relay(*ordinal, pod)).collect(),
            desired: spec.desired,
            generation: format!("g{}", spec.generation),
            surge: self.surge,
            paused: spec.paused,
            deletion: spec.deletion,
            hands_over: self.hands_over,
            refuses: self.refuses,
            ordinals: self.ordinals,
            policy: POLICY,
        }
    }

    fn relay(&self, ordinal: u32, pod: &Pod) -> Relay {
        Relay {
            ordinal,
            uid: pod.uid.to_string(),
            resource_version: pod.version.to_string(),
            generation: format!("g{}", pod.generation),
            terminating: pod.terminating,
            health: pod.health,
            asked: pod.asked,
            occupied: pod.occupied,
            note: pod.note,
            occupancy: self.occupancy(pod.uid),
        }
    }

    fn occupancy(&self, uid: u32) -> Occupancy {
        let Some(heard) = self.heard.get(&uid) else {
            let since = self.lives.get(&uid).map_or(0, |life| life.up_since).max(self.listening);
            return Occupancy::Unknown { since: at(since), heard: None };
        };
        if !heard.fresh {
            let span = Span { from: at(heard.from), until: at(heard.until) };
            return Occupancy::Unknown { since: at(heard.until), heard: Some(span) };
        }
        Occupancy::Known(Report {
            since: at(heard.from),
            until: at(heard.until),
            sessions: heard.sessions,
            leases: heard.leases,
            empty_since: (heard.sessions + heard.leases == 0).then(|| at(heard.empty_since)),
            cordon: heard.cordon,
            highest: heard.highest,
        })
    }

    pub(super) fn cluster(&self) -> Cluster {
        (self.pods.clone(), self.spec.clone())
    }

    pub(super) fn decide(&self) -> Decision {
        decide(&self.observe(&self.cluster()), at(self.now))
    }

    pub(super) fn life(&mut self, ordinal: u32) -> Option<&mut Life> {
        self.lives.get_mut(&self.pods.get(&ordinal)?.uid)
    }

    // What happens in the cluster.

    fn create(&mut self, ordinal: u32, generation: u8) {
        if self.pods.contains_key(&ordinal) || self.finished {
            return;
        }
        self.next_uid += 1;
        let uid = self.next_uid;
        let pod = Pod {
            uid,
            version: 1,
            generation,
            terminating: false,
            health: Health::Starting { since: at(self.now) },
            asked: Asked::default(),
            note: Note::default(),
            occupied: true,
        };
        self.pods.insert(ordinal, pod);
        self.lives.insert(uid, Life { empty_since: self.now, ..Life::default() });
    }

    pub(super) fn change(&mut self, ordinal: u32, change: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.get_mut(&ordinal) {
            let before = pod.clone();
            change(pod);
            pod.version += u32::from(*pod != before);
        }
    }

    pub(super) fn become_ready(&mut self, ordinal: u32) {
        self.change(ordinal, |pod| pod.health = Health::Serving);
        let now = self.now;
        if let Some(life) = self.life(ordinal) {
            life.up_since = now;
        }
    }

    pub(super) fn sicken(&mut self, ordinal: u32) {
        let health = Health::Sick { since: at(self.now), why: Sickness::NodeNotReady };
        self.change(ordinal, |pod| pod.health = health);
    }

    /// The process ends for good; its sessions are placed anew by the lobby.
    pub(super) fn die(&mut self, ordinal: u32) {
        self.change(ordinal, |pod| pod.health = Health::Over(Sickness::PodFailed));
        self.forget_sessions(ordinal);
        self.silence(ordinal);
    }

    /// The process starts anew in its Pod. The operator has not heard of it yet.
    pub(super) fn restart(&mut self, ordinal: u32) {
        let now = self.now;
        if let Some(life) = self.life(ordinal) {
            *life = Life { restarted: true, empty_since: now, due: life.due, ..Life::default() };
        }
    }

    fn forget_sessions(&mut self, ordinal: u32) {
        if let Some(life) = self.life(ordinal) {
            (life.sessions, life.leases) = (0, 0);
        }
    }

    pub(super) fn vanish(&mut self, ordinal: u32) {
        if let Some(pod) = self.pods.remove(&ordinal) {
            self.lives.remove(&pod.uid);
            self.heard.remove(&pod.uid);
        }
    }

    /// Whether the lobby sends sessions here and the relay takes them.
    pub(super) fn takes_new(&self, ordinal: u32) -> bool {
        let Some(pod) = self.pods.get(&ordinal) else { return false };
        let by_table = !self.lives[&pod.uid].restarted || pod.note.drain.is_none() || !self.rules.table;
        pod.health == Health::Serving && !pod.terminating && self.lives[&pod.uid].orders.cordon.is_none() && by_table
    }

    pub(super) fn evict(&mut self, ordinal: u32) {
        if let Some(pod) = self.pods.get(&ordinal).filter(|pod| !pod.occupied && !pod.terminating) {
            // What stays on a server that hands over moves on in the time that the relay has to leave.
            let moves = self.hands_over && pod.note.drain.is_none();
            if moves {
                self.forget_sessions(ordinal);
            }
            self.terminate(ordinal, "evicted");
        }
    }

    fn terminate(&mut self, ordinal: u32, how: &str) {
        let Some(pod) = self.pods.get(&ordinal) else { return };
        let life = &self.lives[&pod.uid];
        let may = self.spec.deletion == Some(Deletion::Now) || life.due.is_some_and(|due| due <= self.now);
        if life.sessions + life.leases > 0 && !may {
            let Life { sessions, leases, due, .. } = life;
            self.fault = Some(format!(
                "relay {ordinal} was {how} at {} with {sessions} sessions and {leases} leases that may be cut from {due:?}",
                self.now
            ));
        }
        self.change(ordinal, |pod| pod.terminating = true);
    }

    // What the operator hears.

    pub(super) fn report(&mut self, ordinal: u32) {
        let Some(uid) = self.pods.get(&ordinal).map(|pod| pod.uid) else { return };
        let Life { orders: Orders { cordon, highest, .. }, sessions, leases, empty_since, .. } =
            self.lives[&uid].clone();
        let from = self.heard.get(&uid).filter(|heard| heard.fresh).map_or(self.now, |heard| heard.from);
        let heard = Heard { from, until: self.now, fresh: true, sessions, leases, empty_since, cordon, highest };
        self.heard.insert(uid, heard);
    }

    /// Whether the operator does not listen to a relay that could be heard.
    pub(super) fn is_unheard(&self, ordinal: u32) -> bool {
        let Some(pod) = self.pods.get(&ordinal) else { return false };
        if matches!(pod.health, Health::Starting { .. } | Health::Over(_)) {
            return false;
        }
        self.heard.get(&pod.uid).is_none_or(|heard| !heard.fresh)
    }

    /// All relays to which the operator listens tell what they hold, but for one.
    pub(super) fn listen(&mut self, deaf_to: Option<u32>) {
        for ordinal in self.pods.keys().copied().collect::<Vec<_>>() {
            let fresh = self.heard.get(&self.pods[&ordinal].uid).is_some_and(|heard| heard.fresh);
            if fresh && deaf_to != Some(ordinal) {
                self.report(ordinal);
            }
        }
    }

    pub(super) fn silence(&mut self, ordinal: u32) {
        let Some(pod) = self.pods.get(&ordinal) else { return };
        if let Some(heard) = self.heard.get_mut(&pod.uid) {
            heard.fresh = false;
        }
    }

    pub(super) fn crash(&mut self) {
        self.heard.clear();
        self.listening = self.now;
        self.seen = None;
    }

    pub(super) fn tick(&mut self) {
        for pod in self.pods.values() {
            let fresh = self.heard.get(&pod.uid).is_some_and(|heard| heard.fresh);
            let Some(drain) = pod.note.drain else { continue };
            // A pause counts from when it was seen.
            let seen = matches!(drain.clock, Clock::Stands { why: Standstill::Paused, .. });
            let stands = drain.cause.is_chosen() && !fresh || self.spec.paused && seen;
            let due = self.lives.get_mut(&pod.uid).and_then(|life| life.due.as_mut());
            if let Some(due) = due.filter(|_| stands) {
                *due += 1;
            }
        }
        self.now += 1;
        for heard in self.heard.values_mut().filter(|heard| heard.fresh) {
            heard.until = self.now;
        }
    }
}

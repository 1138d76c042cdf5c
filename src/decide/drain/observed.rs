//! What is known of a pool when it is decided: values only. Whatever could not be read is said to be unknown.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::record::{Cause, Note};

/// A pool, its relays and what is wanted of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Every Pod of the pool, those that are being deleted included.
    pub relays: Vec<Relay>,
    /// How many relays are to serve, by the scaling decision or `spec.replicas`.
    pub desired: u32,
    /// The generation from which relays are made now.
    pub generation: String,
    /// How many relays there may be beyond `desired` while a rollout replaces them. 0: one leaves before its successor is made.
    pub surge: u32,
    /// A person has paused the rollout: nothing new begins for it, and none of its deadlines passes.
    pub paused: bool,
    /// The pool is being deleted.
    pub deletion: Option<Deletion>,
    /// Whether the relays' server can hand its sessions over to other relays.
    pub hands_over: bool,
    /// Whether the relays' server can be told to take no new sessions. One that cannot counts as cordoned from its drain on,
    /// and is believed to be empty only after it was so for as long as `empty_grace`.
    pub refuses: bool,
    /// Relays may have the ordinals 0 to this, exclusive: as many as there are addresses.
    pub ordinals: u32,
    /// How long things may take.
    pub policy: Policy,
}

/// How a pool is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deletion {
    /// Its relays drain first.
    Drain,
    /// Its relays go at once, with the sessions that they have.
    Now,
}

/// One relay as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// The number in its name, which its address keeps.
    pub ordinal: u32,
    /// UID of its Pod.
    pub uid: String,
    /// resourceVersion of its Pod: whatever is written to the Pod is written to this version of it.
    pub resource_version: String,
    /// The generation that it was made from.
    pub generation: String,
    /// The Pod is being deleted: that cannot be undone.
    pub terminating: bool,
    /// What the cluster says of the Pod.
    pub health: Health,
    /// Who wants it to leave, or to stay.
    pub asked: Asked,
    /// The Pod carries `convene.dev/occupied`, by which evictions are refused.
    pub occupied: bool,
    /// What stands on the Pod about its drains.
    pub note: Note,
    /// What it says itself.
    pub occupancy: Occupancy,
}

/// Who but the pool itself wants something of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// What a person has asked for.
    pub person: Option<Wish>,
    /// Its node takes no new Pods: it is to be empty.
    pub node: bool,
    /// The lobby has ordered it to leave.
    pub lobby: bool,
}

/// What a person asks of a relay (`kubectl convene drain`, `kubectl convene keep`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wish {
    /// It is to leave.
    Leave,
    /// It is to stay, whatever scaling, a rollout or the lobby would have. Nodes and deletion are stronger.
    Stay,
}

/// What the cluster says of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It has not been ready yet, and so no lobby sends anybody to it.
    Starting {
        /// When the Pod was created.
        since: Timestamp,
    },
    /// Ready, with an address that answers.
    Serving,
    /// It was ready once. It may come back, and sessions may live on it.
    Sick {
        /// Since when.
        since: Timestamp,
        /// What is wrong with it.
        why: Sickness,
    },
    /// Its process is over for good: the Pod failed, or its node exists no more.
    Over(Sickness),
}

/// Why a relay does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sickness {
    /// Its readiness fails, for no reason that the cluster knows.
    NotReady,
    /// Its process ends again and again.
    CrashLoop,
    /// Nothing is heard from its node.
    NodeNotReady,
    /// The Pod has failed.
    PodFailed,
    /// Its node exists no more.
    NodeGone,
}

/// What a relay says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Occupancy {
    /// Its reports come.
    Known(Report),
    /// Nothing is heard, or nothing that could be true.
    Unknown {
        /// Since when: its last report; where this process never heard it, when it began to listen to it.
        since: Timestamp,
        /// During which time this process heard it last, without a gap; nothing if it never did.
        heard: Option<Span>,
    },
}

/// A time during which reports came without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first.
    pub from: Timestamp,
    /// The last.
    pub until: Timestamp,
}

/// A relay's last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// Since when this process has heard reports without a gap.
    pub since: Timestamp,
    /// When it came.
    pub until: Timestamp,
    /// Sessions with participants, or within their idle time.
    pub sessions: u32,
    /// Seats held by leases that nobody has claimed.
    pub leases: u32,
    /// Since when there was neither; nothing while there is.
    pub empty_since: Option<Timestamp>,
    /// The number of the cordon that it obeys; nothing while it takes new sessions.
    pub cordon: Option<u32>,
    /// The highest number of an order that its process has heard; orders below it are not obeyed.
    pub highest: u32,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// How long a relay that is one too many waits for its sessions.
    pub scale_down: SignedDuration,
    /// How long a relay of an earlier generation does.
    pub rollout: SignedDuration,
    /// How long a relay on a cordoned node does.
    pub node: SignedDuration,
    /// How long a relay does that a person asked to leave.
    pub person: SignedDuration,
    /// How long a relay does that its lobby ordered to leave.
    pub lobby: SignedDuration,
    /// How long a sick relay does once others serve in its place.
    pub failed: SignedDuration,
    /// How long a relay of a deleted pool does.
    pub deletion: SignedDuration,
    /// How long a relay that stays and can hand over is empty before it may be evicted; and one that leaves and cannot be told
    /// to take no new sessions, before it goes.
    pub empty_grace: SignedDuration,
    /// How long a relay is sick before another takes its place.
    pub sick_after: SignedDuration,
    /// How long a relay is not heard, while others of its pool are, before another takes its place.
    pub silent_after: SignedDuration,
    /// How long a relay starts before a rollout that waits for it is said to be stuck.
    pub start: SignedDuration,
}

impl Policy {
    /// How long a relay that leaves for this cause waits for its sessions.
    pub fn timeout(&self, cause: Cause) -> SignedDuration {
        match cause {
            Cause::ScaleDown => self.scale_down,
            Cause::Rollout => self.rollout,
            Cause::Lobby => self.lobby,
            Cause::Node => self.node,
            Cause::Failed => self.failed,
            Cause::Person => self.person,
            Cause::Deletion => self.deletion,
        }
    }
}

impl Relay {
    /// Its last report.
    pub(super) fn report(&self) -> Option<&Report> {
        match &self.occupancy {
            Occupancy::Known(report) => Some(report),
            Occupancy::Unknown { .. } => None,
        }
    }

    /// Seats in use; nothing where that is not known.
    pub(super) fn load(&self) -> Option<u32> {
        self.report().map(|report| report.sessions.saturating_add(report.leases))
    }

    /// Whether it obeys the cordon of its present drain.
    pub(super) fn is_cordoned(&self) -> bool {
        self.note.drain.is_some() && self.report().is_some_and(|report| report.cordon == Some(self.note.number))
    }
}

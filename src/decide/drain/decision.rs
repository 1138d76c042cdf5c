//! What is decided: writes and orders, what status says, and when to look again.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::observed::Sickness;
use super::record::{Cause, Note};
use crate::api::relay_pool::RelayPhase;

/// What follows from what was observed. A settled pool has no actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What to do now, in this order. Each may fail, be lost or come late: the next decision is made from what is observed
    /// then. At most one write and one order for a relay.
    pub actions: Vec<Action>,
    /// Each relay as status shows it, by ordinal.
    pub relays: Vec<View>,
    /// How far the rollout is; nothing where no relay is of an earlier generation.
    pub rollout: Option<Rollout>,
    /// What is in the way; empty while all that is under way goes on by itself.
    pub stalls: Vec<Stall>,
    /// The pool is being deleted and has no relay any more: its finalizer may go.
    pub finished: bool,
    /// When to decide again if nothing is heard before.
    pub look_again: Option<Timestamp>,
}

/// One Pod, and no later one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The number in the relay's name.
    pub ordinal: u32,
    /// UID of its Pod.
    pub uid: String,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Make the relay of this ordinal.
    Create {
        /// The number in its name.
        ordinal: u32,
        /// What it is made from: the present generation.
        generation: String,
    },
    /// Write what stands on a Pod about its drains, and whether it is occupied: both in one patch, which names the
    /// resourceVersion.
    Write {
        /// Whose Pod.
        relay: Target,
        /// The version that it must have.
        resource_version: String,
        /// Value of `convene.dev/drain`.
        note: Note,
        /// Whether it carries `convene.dev/occupied`.
        occupied: bool,
    },
    /// Order a relay to take no new sessions. A relay that has heard a higher number ignores it.
    Cordon {
        /// Which.
        relay: Target,
        /// Number of its drain. The relay reports it once it obeys.
        number: u32,
    },
    /// Order a relay to take new sessions again, if it still obeys the cordon of this number.
    Uncordon {
        /// Which.
        relay: Target,
        /// The number that it reports.
        number: u32,
    },
    /// Have the lobby move a relay's sessions to other relays, as far as those have room.
    HandOver {
        /// Which.
        relay: Target,
        /// Number of its drain, whose cordon the relay obeys.
        number: u32,
    },
    /// Delete a Pod, with its UID and this resourceVersion as preconditions.
    Delete {
        /// Which.
        relay: Target,
        /// The version that it must have.
        resource_version: String,
        /// Why it may go.
        end: End,
    },
}

/// Why a relay may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// It acknowledged its cordon, and then reported no session and no lease.
    Empty,
    /// It has waited for as long as this cause lets it; sessions that it holds are cut.
    Deadline(Cause),
    /// It never was ready, so nobody was sent to it.
    NeverServed,
    /// Its process is over.
    Over(Sickness),
    /// The pool is deleted without waiting.
    Now,
}

/// A relay as status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The number in its name.
    pub ordinal: u32,
    /// UID of its Pod.
    pub uid: String,
    /// What it is doing. `Draining` also says that it takes no new sessions: the lobby's table cordons it.
    pub phase: RelayPhase,
    /// Sessions; nothing where that is not known.
    pub sessions: Option<u32>,
    /// Unclaimed leases; nothing where that is not known.
    pub leases: Option<u32>,
    /// Its drain, while it leaves.
    pub drain: Option<DrainView>,
    /// What is wrong with it.
    pub sickness: Option<Sickness>,
}

/// A drain as status shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainView {
    /// Why the relay leaves.
    pub cause: Cause,
    /// Since when.
    pub since: Timestamp,
    /// Then it goes whatever it holds; nothing while its clock does not run.
    pub deadline: Option<Timestamp>,
    /// What its clock has left where it stands still.
    pub left: Option<SignedDuration>,
    /// When it will be empty if sessions go on ending as they did; nothing where that cannot be told. It moves with the
    /// time: not worth a write of its own.
    pub estimate: Option<Timestamp>,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// Relays of the present generation that stay.
    pub updated: u32,
    /// Those of them that serve.
    pub ready: u32,
    /// Relays of earlier generations that drain or are being deleted.
    pub draining: u32,
    /// Relays of earlier generations that still take sessions.
    pub waiting: u32,
    /// How many relays there are to be.
    pub total: u32,
}

/// What is in the way of what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stall {
    /// A relay is to leave, and nobody knows whether sessions are on it: its clock stands still.
    OccupancyUnknown,
    /// A person has paused the rollout.
    Paused,
    /// Relays of the present generation do not become ready; none of an earlier one leaves for them.
    NotReady,
    /// All addresses are in use by relays that are leaving or do not serve.
    NoAddress,
    /// A person has asked relays to stay that would leave.
    KeptByPerson,
}

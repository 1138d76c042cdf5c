//! Condition types and reasons: every word that a status can say, in one place.
//!
//! `docs/conditions.md` explains each to users; `tests/architecture.rs` holds the two together.

/// The spec is valid and what it refers to resolves.
pub const ACCEPTED: &str = "Accepted";
/// It serves now.
pub const AVAILABLE: &str = "Available";
/// The cluster is being brought to what the spec says.
pub const PROGRESSING: &str = "Progressing";
/// Relays leave, and wait for their sessions.
pub const DRAINING: &str = "Draining";
/// The number of relays does not follow the sessions at once: a bound, a window, a step, or something unknown holds it.
pub const SCALING_LIMITED: &str = "ScalingLimited";
/// The lobby runs in its evaluation set-up: sessions are kept in memory, or anyone may create them.
pub const EVALUATION: &str = "Evaluation";
/// The lobby's processes reach the store that keeps its sessions.
pub const STORE_AVAILABLE: &str = "StoreAvailable";
/// The DNSEndpoint for external-dns holds the names of the lobby's regions.
pub const NAMES_PUBLISHED: &str = "NamesPublished";
/// Summary for tools that read one condition.
pub const READY: &str = "Ready";
/// kstatus: work is going on.
pub const RECONCILING: &str = "Reconciling";
/// kstatus: work cannot go on without a person.
pub const STALLED: &str = "Stalled";

/// Why a spec was not accepted, or what a pass is doing. Also the reason of events and the label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// All is as it should be.
    AsPlanned,
    /// The same-namespace Lobby does not exist.
    LobbyNotFound,
    /// No Lobby of that name in that namespace admits this pool. Says nothing about whether it exists.
    RefNotPermitted,
    /// The Lobby exists but is itself not accepted, or has no keys yet.
    LobbyNotReady,
    /// The region is not in the catalogue and no location was given.
    UnknownRegion,
    /// Host names would be in the zone that the lobby's routers answer for.
    NameInZone,
    /// The scaling policy cannot be followed.
    ScalingInvalid,
    /// The signing-key Secret lacks a key or holds a broken one.
    SecretInvalid,
    /// The Secret that `spec.tls` names is not there.
    SecretNotFound,
    /// An object that this one needs exists already and belongs to somebody else.
    NameConflict,
    /// The operator holds no RoleBinding in this namespace.
    NamespaceNotGranted,
    /// The API server refused an object that was planned.
    Refused,
    /// The API server could not be reached or answered with an error.
    ApiError,
    /// The pass did not end in its time.
    DeadlineExceeded,
    /// Pods or addresses are not there yet.
    WaitingForPods,
    /// Some, not all, relays serve.
    PartlyAvailable,
    /// Relays of the present generation take the place of earlier ones.
    RollingOut,
    /// A person has paused the rollout.
    Paused,
    /// Relays leave.
    RelaysLeave,
    /// Nobody knows whether sessions are on a relay that is to leave; its clock stands still.
    OccupancyUnknown,
    /// Relays of the present generation do not become ready.
    NotReady,
    /// All addresses are in use by relays that leave or do not serve.
    NoAddress,
    /// A person has asked relays to stay that would leave.
    KeptByPerson,
    /// `maxReplicas` bounds the number of relays.
    Maximum,
    /// More relays have not been needed for long enough.
    UpWindow,
    /// As many relays were added as may be in that time.
    UpStep,
    /// Fewer relays have not been enough for long enough.
    DownWindow,
    /// As many relays were taken away as may be in that time.
    DownStep,
    /// Pools are attached to a lobby that is being deleted.
    PoolsAttached,
    /// The pool asks for no relays.
    ScaledToZero,
    /// No process of the lobby reaches the store.
    StoreAway,
    /// The cluster has no kind DNSEndpoint, or the operator may not look at it.
    KindNotFound,
    /// Sessions are kept in memory and anyone may create them.
    MemoryStoreAndOpenAccess,
    /// Anyone may create sessions.
    OpenAccess,
    /// Not yet observed.
    Pending,
}

impl Reason {
    /// The CamelCase word that stands in conditions, events and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsPlanned => "AsPlanned",
            Self::LobbyNotFound => "LobbyNotFound",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::LobbyNotReady => "LobbyNotReady",
            Self::UnknownRegion => "UnknownRegion",
            Self::NameInZone => "NameInZone",
            Self::ScalingInvalid => "ScalingInvalid",
            Self::SecretInvalid => "SecretInvalid",
            Self::SecretNotFound => "SecretNotFound",
            Self::NameConflict => "NameConflict",
            Self::NamespaceNotGranted => "NamespaceNotGranted",
            Self::Refused => "Refused",
            Self::ApiError => "ApiError",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::WaitingForPods => "WaitingForPods",
            Self::PartlyAvailable => "PartlyAvailable",
            Self::RollingOut => "RollingOut",
            Self::Paused => "Paused",
            Self::RelaysLeave => "RelaysLeave",
            Self::OccupancyUnknown => "OccupancyUnknown",
            Self::NotReady => "NotReady",
            Self::NoAddress => "NoAddress",
            Self::KeptByPerson => "KeptByPerson",
            Self::Maximum => "Maximum",
            Self::UpWindow => "UpWindow",
            Self::UpStep => "UpStep",
            Self::DownWindow => "DownWindow",
            Self::DownStep => "DownStep",
            Self::PoolsAttached => "PoolsAttached",
            Self::ScaledToZero => "ScaledToZero",
            Self::StoreAway => "StoreAway",
            Self::KindNotFound => "KindNotFound",
            Self::MemoryStoreAndOpenAccess => "MemoryStoreAndOpenAccess",
            Self::OpenAccess => "OpenAccess",
            Self::Pending => "Pending",
        }
    }
}

//! Condition types and reasons: every word that a status can say, in one place.
//!
//! `docs/conditions.md` explains each to users; `tests/architecture.rs` holds the two together.

/// The spec is valid and what it refers to resolves.
pub const ACCEPTED: &str = "Accepted";
/// It serves now.
pub const AVAILABLE: &str = "Available";
/// The cluster is being brought to what the spec says.
pub const PROGRESSING: &str = "Progressing";
/// The lobby runs in its evaluation set-up: sessions are kept in memory, or anyone may create them.
pub const EVALUATION: &str = "Evaluation";
/// The lobby's processes reach the store that keeps its sessions.
pub const STORE_AVAILABLE: &str = "StoreAvailable";
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
    /// Relays of an earlier generation are still serving; they are replaced once they go.
    EarlierGeneration,
    /// The pool asks for no relays.
    ScaledToZero,
    /// No process of the lobby reaches the store.
    StoreAway,
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
            Self::SecretInvalid => "SecretInvalid",
            Self::SecretNotFound => "SecretNotFound",
            Self::NameConflict => "NameConflict",
            Self::NamespaceNotGranted => "NamespaceNotGranted",
            Self::Refused => "Refused",
            Self::ApiError => "ApiError",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::WaitingForPods => "WaitingForPods",
            Self::PartlyAvailable => "PartlyAvailable",
            Self::EarlierGeneration => "EarlierGeneration",
            Self::ScaledToZero => "ScaledToZero",
            Self::StoreAway => "StoreAway",
            Self::MemoryStoreAndOpenAccess => "MemoryStoreAndOpenAccess",
            Self::OpenAccess => "OpenAccess",
            Self::Pending => "Pending",
        }
    }
}

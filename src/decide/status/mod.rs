//! From what stands in the cluster to what status says. Every condition is set on every pass.

mod conditions;
pub mod lobby;
pub mod pool;
mod relays;

use crate::api::condition::Reason;

/// The API server's limit for the text of an event, in bytes.
const MAX_EVENT: usize = 1024;

/// A text as an event can carry it.
pub fn event_text(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_EVENT));
    text
}

/// A reason that passes by itself: others are at work, or objects arrive in another order. Anything else needs a person.
pub fn waits(reason: Reason) -> bool {
    match reason {
        Reason::Pending
        | Reason::LobbyNotFound
        | Reason::RefNotPermitted
        | Reason::LobbyNotReady
        | Reason::SecretNotFound
        | Reason::KindNotFound
        | Reason::WaitingForPods
        | Reason::PartlyAvailable
        | Reason::StoreAway
        | Reason::RollingOut
        | Reason::RelaysLeave
        | Reason::OccupancyUnknown
        | Reason::UpWindow
        | Reason::UpStep
        | Reason::DownWindow
        | Reason::DownStep
        | Reason::PoolsAttached
        | Reason::ApiError
        | Reason::DeadlineExceeded => true,
        Reason::AsPlanned
        | Reason::UnknownRegion
        | Reason::NameInZone
        | Reason::ScalingInvalid
        | Reason::SecretInvalid
        | Reason::NameConflict
        | Reason::NamespaceNotGranted
        | Reason::Refused
        | Reason::Paused
        | Reason::NotReady
        | Reason::NoAddress
        | Reason::KeptByPerson
        | Reason::Maximum
        | Reason::ScaledToZero
        | Reason::MemoryStoreAndOpenAccess
        | Reason::OpenAccess => false,
    }
}

#[cfg(test)]
mod tests;

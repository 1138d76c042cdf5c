//! From what stands in the cluster to what status says. Every condition is set on every pass.

mod conditions;
pub mod lobby;
pub mod pool;

use crate::api::condition::Reason;

/// A reason that passes by itself: others are at work, or objects arrive in another order. Anything else needs a person.
pub fn waits(reason: Reason) -> bool {
    match reason {
        Reason::Pending
        | Reason::LobbyNotFound
        | Reason::RefNotPermitted
        | Reason::LobbyNotReady
        | Reason::SecretNotFound
        | Reason::WaitingForPods
        | Reason::PartlyAvailable
        | Reason::StoreAway
        | Reason::ApiError
        | Reason::DeadlineExceeded => true,
        Reason::AsPlanned
        | Reason::UnknownRegion
        | Reason::SecretInvalid
        | Reason::NameConflict
        | Reason::NamespaceNotGranted
        | Reason::Refused
        | Reason::EarlierGeneration
        | Reason::ScaledToZero
        | Reason::MemoryStoreAndOpenAccess
        | Reason::OpenAccess => false,
    }
}

#[cfg(test)]
mod tests;

//! What was heard of the processes of a lobby, and what that says of all of them together.

use crate::wire::stats::StoreState;

/// What one process last said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard<T> {
    /// Nothing yet: it is followed since a moment ago.
    #[default]
    NotYet,
    /// This.
    Told(T),
    /// Nothing for so long that what it said before no longer counts.
    Silent,
}

/// Whether the processes of a lobby reach their store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// So many of those that have told.
    Some {
        /// That reach it.
        reach: usize,
        /// That have told.
        of: usize,
    },
    /// Not known yet; what was known before may still hold.
    NotYet,
    /// Nobody says.
    Unknown,
}

/// What all say together.
pub fn reached(heard: &[Heard<StoreState>]) -> Reached {
    let told: Vec<bool> = heard
        .iter()
        .filter_map(|heard| if let Heard::Told(state) = heard { Some(state.available) } else { None })
        .collect();
    if !told.is_empty() {
        return Reached::Some { reach: told.iter().filter(|available| **available).count(), of: told.len() };
    }
    if heard.contains(&Heard::NotYet) { Reached::NotYet } else { Reached::Unknown }
}

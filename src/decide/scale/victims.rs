//! Which relays leave when there are to be fewer: those whose going disturbs least, whichever ordinal they have.

use std::cmp::Reverse;

use super::sample::{Occupancy, Phase, Relay};

/// A relay that is to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its name.
    pub name: String,
    /// Nobody is there as far as is known: it can go as soon as it has acknowledged its cordon.
    pub empty: bool,
}

/// The `surplus` relays to drain, the first first; fewer, where the others' occupancy is unknown. Those that already
/// leave, and those that failed, are no candidates: the first are on their way, the second are not counted.
pub fn victims(relays: &[Relay], surplus: usize) -> Vec<Victim> {
    let mut candidates: Vec<(u32, &Relay)> = relays.iter().filter_map(|relay| Some((held(relay)?, relay))).collect();
    // Of two that are alike the one that does not serve yet goes, then the higher ordinal.
    candidates.sort_by_key(|(held, relay)| (*held, relay.phase != Phase::Starting, Reverse(relay.ordinal)));
    let chosen = candidates.into_iter().take(surplus);
    chosen.map(|(held, relay)| Victim { name: relay.name.clone(), empty: held == 0 }).collect()
}

/// Seats in use on a relay that may be chosen; none, if it may not.
fn held(relay: &Relay) -> Option<u32> {
    match (relay.phase, relay.occupancy) {
        (Phase::Starting, _) => Some(0),
        (Phase::Serving, Occupancy::Known { sessions, leases }) => Some(sessions.saturating_add(leases)),
        (Phase::Serving, Occupancy::Unknown { .. }) | (Phase::Leaving | Phase::Failed, _) => None,
    }
}

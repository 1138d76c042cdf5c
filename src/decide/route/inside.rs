//! Which relay of a pool a session goes to. What it must not do: choose the pool.
//!
//! *Pack* fills one relay after another, so that the others can empty and leave. *Spread* takes the emptier of two relays
//! that chance names (the power of two choices: Mitzenmacher, *The power of two choices in randomized load balancing*,
//! 2001), not the emptiest of all: lobby processes whose views are a moment old would all send their sessions to the same
//! one.

use std::cmp::Reverse;

use super::{Pool, Relay};
use crate::wire::routing::Inside;

impl Pool<'_> {
    /// The relay that the next session goes to, if one has room. `draw` = a number that chance gave.
    pub(super) fn pick(&self, inside: Inside, draw: u64) -> Option<usize> {
        match inside {
            Inside::Pack => self.pack(),
            Inside::Spread => self.spread(draw),
        }
    }

    fn open(&self) -> impl Iterator<Item = (usize, &Relay<'_>)> {
        self.relays.iter().enumerate().filter(|(_, relay)| relay.free_seats() > 0)
    }

    /// The fullest; of equally full ones the first by name.
    fn pack(&self) -> Option<usize> {
        self.open().min_by_key(|(_, relay)| (Reverse(relay.used), relay.name)).map(|(index, _)| index)
    }

    /// Of two, the one of which a smaller part is taken.
    fn spread(&self, draw: u64) -> Option<usize> {
        let count = u64::try_from(self.open().count()).unwrap_or(u64::MAX);
        if count < 2 {
            return self.open().next().map(|(index, _)| index);
        }
        let (one, other) = (draw % count, (draw >> 32) % (count - 1));
        // Another than the first.
        let other = if other >= one { other + 1 } else { other };
        let at = |index: u64| self.open().nth(usize::try_from(index).unwrap_or(usize::MAX));
        let ((one, a), (other, b)) = (at(one)?, at(other)?);
        let part = |relay: &Relay<'_>, of: &Relay<'_>| u64::from(relay.used) * u64::from(of.capacity);
        Some(if part(b, a) < part(a, b) { other } else { one })
    }
}

/// A number for [`Inside::Spread`] from what is random already: a session's id, and which try this is to place it.
pub fn draw(id: &str, attempt: u64) -> u64 {
    // FNV-1a, and the last step of SplitMix64, since FNV's high bits follow short texts badly.
    let hash = id
        .bytes()
        .chain(attempt.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

//! Which relay of a pool a session goes to. What it must not do: choose the pool.
//!
//! *Pack* fills one relay after another, so that the others can empty and leave. *Spread* takes the emptier of two relays
//! that chance names (the power of two choices: Mitzenmacher, *The power of two choices in randomized load balancing*,
//! 2001), not the emptiest of all: lobby processes whose views are a moment old would all send their sessions to the same
//! one.

use std::cmp::Reverse;

use super::{InFlight, Pool, Relay};
use crate::wire::routing::Inside;

impl Pool {
    /// The relay that the next session goes to, if one has room. `draw` = a number that chance gave, `asked` = what was asked
    /// for in this pool beside what its relays show.
    pub(super) fn pick(&self, inside: Inside, draw: u64, asked: &[InFlight]) -> Option<usize> {
        match inside {
            Inside::Pack => self.pack(asked),
            Inside::Spread => self.spread(draw, asked),
        }
    }

    /// Relays with room, each with what is taken of it.
    fn open<'a>(&'a self, asked: &'a [InFlight]) -> impl Iterator<Item = (usize, &'a Relay, u32)> {
        let mut asked = asked.iter().peekable();
        self.relays.iter().enumerate().filter_map(move |(index, relay)| {
            while asked.next_if(|asked| asked.relay < index).is_some() {}
            let more = asked.peek().filter(|asked| asked.relay == index).map_or(0, |asked| asked.seats);
            (relay.free_seats() > more).then(|| (index, relay, relay.used.saturating_add(more)))
        })
    }

    /// The fullest; of equally full ones the first by name.
    fn pack(&self, asked: &[InFlight]) -> Option<usize> {
        let fullest = self.open(asked).min_by_key(|(_, relay, used)| (Reverse(*used), &relay.name));
        fullest.map(|(index, ..)| index)
    }

    /// Of two, the one of which a smaller part is taken.
    fn spread(&self, draw: u64, asked: &[InFlight]) -> Option<usize> {
        let count = u64::try_from(self.open(asked).count()).unwrap_or(u64::MAX);
        if count < 2 {
            return self.open(asked).next().map(|(index, ..)| index);
        }
        let (one, other) = (draw % count, (draw >> 32) % (count - 1));
        // Another than the first.
        let other = if other >= one { other + 1 } else { other };
        let at = |index: u64| self.open(asked).nth(usize::try_from(index).unwrap_or(usize::MAX));
        let ((one, a, of_a), (other, b, of_b)) = (at(one)?, at(other)?);
        let part = |used: u32, of: &Relay| u64::from(used) * u64::from(of.capacity);
        Some(if part(of_b, a) < part(of_a, b) { other } else { one })
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

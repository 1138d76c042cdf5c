//! Which relay of a pool a session goes to. What it must not do: choose the pool.

use std::cmp::Reverse;

use super::Pool;

impl Pool<'_> {
    /// The relay that the next session goes to: the fullest that has room, so that others can empty and leave; of equally
    /// full ones the first by name.
    pub(super) fn pack(&self) -> Option<usize> {
        let open = self.relays.iter().enumerate().filter(|(_, relay)| relay.free_seats() > 0);
        open.min_by_key(|(_, relay)| (Reverse(relay.used), relay.name)).map(|(index, _)| index)
    }
}

//! All that choices need at one moment, made once: the lobby's choices look at nothing else, and never wait for whoever
//! makes the next one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Choice, Home, NoSeat, View};
use crate::decide::route::{self, Ask, InFlight, Placement, Pools};
use crate::wire::table::{PoolEntry, RelayTable};

/// Seats that this lobby process has asked the store for and that its board may not show yet, by UID of the Pod.
pub type Asked = BTreeMap<Arc<str>, u32>;

/// A table and a view, and the pools as placement sees them.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The table.
    pub table: Arc<RelayTable>,
    /// The runs of its relays.
    pub view: Arc<View>,
    pools: Pools,
    /// Index of pool and relay by UID of the Pod.
    relays: HashMap<String, (usize, usize)>,
}

impl Board {
    /// What follows from the two.
    pub fn new(table: Arc<RelayTable>, view: Arc<View>) -> Self {
        let pools = view.pools(&table);
        let of_pool = |(pool, entry): (usize, &PoolEntry)| {
            let uids = entry.relays.iter().enumerate();
            uids.map(|(relay, entry)| (entry.pod_uid.clone(), (pool, relay))).collect::<Vec<_>>()
        };
        let relays = table.pools.iter().enumerate().flat_map(of_pool).collect();
        Self { table, view, pools, relays }
    }

    /// All pools in declared order.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Where a session goes, as far as is known.
    pub fn choose(&self, ask: &Ask<'_>, asked: &Asked) -> Result<Choice, NoSeat> {
        let asked = self.in_flight(asked);
        self.choose_among(&self.pools, &Ask { asked: &asked, ..ask.clone() })
    }

    /// The same, of its pools of which some relays are shown otherwise.
    pub(super) fn choose_among(&self, pools: &Pools, ask: &Ask<'_>) -> Result<Choice, NoSeat> {
        let (table, view) = (&self.table, &self.view);
        let (chosen, wanted) = route::choose(pools, ask, &table.routing);
        let asleep = wanted.and_then(|wanted| table.pools.get(wanted)).filter(|pool| pool.relays.is_empty());
        let found = chosen.and_then(|chosen| {
            let pool = table.pools.get(chosen.pool)?;
            let relay = pool.relays.get(chosen.relay)?;
            let run = view.runs.get(&relay.pod_uid)?;
            let wakes = asleep.map(|pool| (pool.namespace.clone(), pool.name.clone()));
            Some(Choice { chosen, wakes, home: Home::of(pool, relay, &run.boot_id), capacity: relay.capacity })
        });
        found.ok_or_else(|| if view.linked() > 0 { NoSeat::NoCapacity } else { NoSeat::NoRelay })
    }

    /// The same choice, with all pools in their order and a reason for each.
    pub fn explain(&self, ask: &Ask<'_>, asked: &Asked) -> Placement {
        let asked = self.in_flight(asked);
        route::place(&self.pools, &Ask { asked: &asked, ..ask.clone() }, &self.table.routing)
    }

    /// Where the relay of a Pod stands: in which pool, and which of its relays it is.
    pub fn relay_of(&self, pod_uid: &str) -> Option<(usize, usize)> {
        self.relays.get(pod_uid).copied()
    }

    pub(super) fn in_flight(&self, asked: &Asked) -> Vec<InFlight> {
        let of = |(pod_uid, seats): (&Arc<str>, &u32)| {
            let (pool, relay) = *self.relays.get(&**pod_uid)?;
            Some(InFlight { pool, relay, seats: *seats })
        };
        let mut all: Vec<InFlight> = asked.iter().filter_map(of).collect();
        all.sort_unstable_by_key(|asked| (asked.pool, asked.relay));
        all
    }
}

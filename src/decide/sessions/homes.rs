//! Where sessions can live: what placement is told of each relay, and whether a session's home still serves.

use std::time::Duration;

use super::{Book, Home, NoSeat, Run, Session};
use crate::decide::route::{self, Chosen, Placement, Pool, Relay, RelayState};
use crate::wire::session::{ClientPlace, GeoPoint};
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

impl Book {
    /// All pools of `table` as placement sees them.
    pub fn pools<'a>(&'a self, table: &'a RelayTable, now: Duration) -> Vec<Pool<'a>> {
        let relay = |entry: &'a RelayEntry| {
            let run = self.runs.get(&entry.pod_uid);
            Relay {
                name: &entry.name,
                state: self.state(entry, run, now),
                // Both the plan and the relay bind.
                capacity: run.map_or(entry.capacity, |run| run.stats.capacity.min(entry.capacity)),
                used: run.map_or(0, used),
            }
        };
        let pool = |entry: &'a PoolEntry| Pool {
            name: &entry.name,
            region: &entry.region,
            point: GeoPoint { latitude: entry.latitude, longitude: entry.longitude },
            relays: entry.relays.iter().map(relay).collect(),
        };
        table.pools.iter().map(pool).collect()
    }

    pub(super) fn find_home(
        &self,
        table: &RelayTable,
        place: &ClientPlace,
        now: Duration,
    ) -> Result<(Placement, Home), NoSeat> {
        let placement = route::place(&self.pools(table, now), place);
        let home = placement.chosen.and_then(|Chosen { pool, relay, rung: _ }| {
            let pool = table.pools.get(pool)?;
            let relay = pool.relays.get(relay)?;
            let run = self.runs.get(&relay.pod_uid)?;
            Some(Home::of(pool, relay, &run.boot_id))
        });
        match home {
            Some(home) => Ok((placement, home)),
            None if self.runs.values().any(|run| run.link.is_some()) => Err(NoSeat::NoCapacity),
            None => Err(NoSeat::NoRelay),
        }
    }

    fn state(&self, entry: &RelayEntry, run: Option<&Run>, now: Duration) -> RelayState {
        let Some(run) = run.filter(|run| run.link.is_some()) else { return RelayState::NotLinked };
        if entry.cordoned || run.stats.draining {
            RelayState::Cordoned
        } else if self.is_silent(run, now) {
            RelayState::Silent
        } else if entry.url.is_empty() {
            RelayState::NoAddress
        } else {
            RelayState::Serving
        }
    }

    fn is_silent(&self, run: &Run, now: Duration) -> bool {
        now.saturating_sub(run.heard) > self.limits.silent
    }

    /// Whether somebody can be sent to a session's home. A link may be away for as long as a relay may be silent.
    pub(super) fn serves(&self, session: &Session, now: Duration) -> bool {
        let run = self.runs.get(&session.home.pod_uid);
        !session.homeless && run.is_some_and(|run| run.boot_id == session.home.boot_id && !self.is_silent(run, now))
    }
}

/// Seats taken on a relay: what it reports and what was granted there since, whichever is more.
fn used(run: &Run) -> u32 {
    let held = u32::try_from(run.held.len()).unwrap_or(u32::MAX);
    run.stats.sessions.saturating_add(run.stats.leases).max(held)
}

/// The relay of a Pod, and its pool.
pub fn find<'a>(table: &'a RelayTable, pod_uid: &str) -> Option<(&'a PoolEntry, &'a RelayEntry)> {
    table.pools.iter().find_map(|pool| {
        let relay = pool.relays.iter().find(|relay| relay.pod_uid == pod_uid)?;
        Some((pool, relay))
    })
}

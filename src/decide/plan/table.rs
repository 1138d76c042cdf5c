//! The relay table of a lobby, compiled from its admitted pools' statuses.

use kube::ResourceExt as _;

use crate::api::RelayPool;
use crate::api::relay_pool::{RelayPhase, RelayStatus};
use crate::decide::valid::{Tokens, ValidLobby};
use crate::wire::table::{ClusterIssuer, PoolEntry, RelayEntry, RelayTable};

/// Compiles the table. Pools whose place is not in status yet have no relays either, and are left out.
pub fn compile(lobby: &ValidLobby, url: Option<&str>, cluster: &ClusterIssuer) -> RelayTable {
    RelayTable {
        lobby_uid: lobby.owner.uid.clone(),
        url: url.unwrap_or_default().to_owned(),
        cluster: cluster.clone(),
        keys: match &lobby.tokens {
            Tokens::Own { published, .. } => Some(published.clone()),
            // The lobby alone knows them.
            Tokens::Given { .. } => None,
        },
        remote: lobby.remote.clone(),
        routing: lobby.routing.clone(),
        pools: lobby.pools.iter().filter_map(pool_entry).collect(),
    }
}

/// What stands of a pool in the table of its lobby.
pub fn pool_entry(pool: &RelayPool) -> Option<PoolEntry> {
    let status = pool.status.as_ref()?;
    let location = status.location?;
    let is_leaving = pool.metadata.deletion_timestamp.is_some();
    Some(PoolEntry {
        namespace: pool.namespace()?,
        name: pool.name_any(),
        region: status.region.clone()?,
        latitude: location.latitude,
        longitude: location.longitude,
        relays: status.relays.iter().filter_map(|relay| relay_entry(relay, is_leaving)).collect(),
    })
}

/// Every relay that has a Pod is in the table, so that it is admitted to the link while it starts. It takes sessions once
/// status says that it served: one of which that was never written may be deleted without a drain. One that leaves, or whose
/// pool does, takes no new ones, and those that it has are moved.
fn relay_entry(relay: &RelayStatus, pool_leaves: bool) -> Option<RelayEntry> {
    let leaving = pool_leaves || relay.phase == RelayPhase::Draining;
    let has_served = relay.url.is_some() && relay.served_since.is_some();
    Some(RelayEntry {
        name: relay.name.clone(),
        pod_uid: relay.pod_uid.clone(),
        url: relay.url.clone().unwrap_or_default(),
        capacity: u32::try_from(relay.capacity).ok()?,
        cordoned: leaving || relay.phase == RelayPhase::Failed || !has_served,
        leaving,
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

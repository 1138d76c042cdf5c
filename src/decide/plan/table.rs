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
        pools: lobby.pools.iter().filter_map(pool_entry).collect(),
    }
}

fn pool_entry(pool: &RelayPool) -> Option<PoolEntry> {
    let status = pool.status.as_ref()?;
    let location = status.location?;
    Some(PoolEntry {
        namespace: pool.namespace()?,
        name: pool.name_any(),
        region: status.region.clone()?,
        latitude: location.latitude,
        longitude: location.longitude,
        relays: status.relays.iter().filter_map(relay_entry).collect(),
    })
}

/// Every relay that has a Pod is in the table, so that it is admitted to the link while it starts; whether it takes
/// sessions is told by the link. One that leaves takes no new ones.
fn relay_entry(relay: &RelayStatus) -> Option<RelayEntry> {
    Some(RelayEntry {
        name: relay.name.clone(),
        pod_uid: relay.pod_uid.clone(),
        url: relay.url.clone().unwrap_or_default(),
        capacity: u32::try_from(relay.capacity).ok()?,
        cordoned: match relay.phase {
            RelayPhase::Pending | RelayPhase::Ready => relay.url.is_none(),
            RelayPhase::Draining | RelayPhase::Failed => true,
        },
        leaving: relay.phase == RelayPhase::Draining,
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;

//! Pools of other clusters, as a lobby lists them.

use super::{Invalid, Reason};
use crate::api::common::Location;
use crate::api::lobby;
use crate::decide::{regions, token};
use crate::wire::table::RemotePool;

/// The list as lobby processes are told it.
pub(super) fn pools(listed: &[lobby::RemotePool]) -> Result<Vec<RemotePool>, Invalid> {
    listed.iter().map(pool).collect()
}

fn pool(listed: &lobby::RemotePool) -> Result<RemotePool, Invalid> {
    let name = &listed.name;
    let region = listed.region.clone().unwrap_or_else(|| name.clone());
    let known =
        || regions::lookup(&region).map(|known| Location { latitude: known.latitude, longitude: known.longitude });
    let Some(Location { latitude, longitude }) = listed.location.or_else(known) else {
        let message = format!(
            "spec.relayPools.remote: {name}: region {region} is not one that carries coordinates: set its location as well"
        );
        return Err(Invalid::new(Reason::UnknownRegion, message));
    };
    // The API server takes nothing else than keys; one that is no point on the curve could prove nothing.
    let keys = listed.public_keys.iter().filter_map(|text| token::public_key(text).ok()).collect();
    Ok(RemotePool { name: name.clone(), region, latitude, longitude, keys })
}

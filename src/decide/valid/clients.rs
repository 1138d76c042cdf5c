//! What a lobby is told of its clients' addresses, taken from wherever it stands in the spec.

use crate::api::LobbySpec;
use crate::api::places::{ClientLocation, GeoIp, Proxies};

/// What a lobby is told of its clients' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// The proxies before it.
    pub proxies: Option<Proxies>,
    /// Whether what clients say of their place counts.
    pub location: ClientLocation,
    /// The database of places.
    pub geoip: Option<GeoIp>,
    /// Name of the PersistentVolumeClaim that should hold it and is not there.
    pub missing_claim: Option<String>,
}

/// Name of the PersistentVolumeClaim that a lobby's database should be on.
pub fn geoip_claim(spec: &LobbySpec) -> Option<&str> {
    Some(spec.routing.as_ref()?.geoip.as_ref()?.volume_claim_ref.as_ref()?.name.as_str())
}

impl Clients {
    /// What stands in the spec; and whether the claim is there that it names, if it does.
    pub(super) fn new(spec: &LobbySpec, claim_there: bool) -> Self {
        let routing = spec.routing.as_ref();
        Self {
            proxies: spec.proxies.clone(),
            location: routing.map(|routing| routing.client_location).unwrap_or_default(),
            geoip: routing.and_then(|routing| routing.geoip.clone()),
            missing_claim: geoip_claim(spec).filter(|_| !claim_there).map(str::to_owned),
        }
    }
}

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
}

impl From<&LobbySpec> for Clients {
    fn from(spec: &LobbySpec) -> Self {
        let routing = spec.routing.as_ref();
        Self {
            proxies: spec.proxies.clone(),
            location: routing.map(|routing| routing.client_location).unwrap_or_default(),
            geoip: routing.and_then(|routing| routing.geoip.clone()),
        }
    }
}

//! Who asks, and where they are: the client's address, behind proxies that are trusted, and what is known beside the
//! client's own words. Nothing here is ever a reason to refuse somebody.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::rejection::ExtensionRejection;
use axum::extract::{ConnectInfo, FromRequestParts};
use http::HeaderMap;
use http::request::Parts;
use prometheus::{IntCounterVec, IntGaugeVec};

use super::Shared;
use crate::decide::address::{Caller, Proxies};
use crate::decide::geo::on_earth;
use crate::decide::networks::{Garbled, Kept, Networks, Told, Unkept};
use crate::decide::sessions::kept;
use crate::process::geoip::{self, GeoIp, Located};
use crate::process::metrics::Catalogue;
use crate::process::{callers, clock};
use crate::wire::explain::{AddressKnown, AddressView};
use crate::wire::session::{Beside, ClientPlace, GeoPoint};
use crate::wire::table::RelayTable;

/// Who is believed about addresses and places.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "origins")]
pub struct Args {
    /// About their own.
    #[command(flatten)]
    pub callers: callers::Args,
    /// Databases of places.
    #[command(flatten)]
    pub geoip: geoip::Args,
}

/// What is known of clients' addresses.
#[derive(Debug)]
pub(super) struct Origins {
    proxies: Proxies,
    distrust_location: bool,
    pub(super) geoip: GeoIp,
    /// What clients have measured.
    networks: Mutex<Networks>,
    metrics: Metrics,
}

impl Origins {
    pub(super) fn new(args: &Args, metrics: Metrics) -> anyhow::Result<Self> {
        Ok(Self {
            proxies: Proxies::read(&args.callers.trusted_proxies, args.callers.forwarded_header.name())?,
            distrust_location: args.callers.distrust_location,
            geoip: GeoIp::new(&args.geoip, metrics.geoip.clone()),
            networks: Mutex::default(),
            metrics,
        })
    }

    /// Whether this is the address of a proxy, behind which there are many.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.trusts(address)
    }

    /// Whose request it is that came from `peer` with these headers.
    pub(super) fn whose(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let lines = |name: &str| headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        self.proxies.caller(peer, lines)
    }

    /// The same, and counts what came of the headers.
    fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> Caller {
        let caller = self.whose(peer, headers);
        if let Some(outcome) = caller.heard.metric() {
            self.metrics.forwarded.with_label_values(&[outcome]).inc();
        }
        caller
    }

    /// What of a client's own words counts.
    pub(super) fn believed(&self, told: &ClientPlace) -> ClientPlace {
        let mut told = told.clone();
        if self.distrust_location {
            (told.location, told.region) = (None, None);
        }
        told
    }

    /// What a client says, with what others know of its place, as it is kept with a session. What it has measured helps
    /// others of its network.
    pub(super) fn with_beside(&self, caller: Caller, told: ClientPlace, table: &RelayTable) -> ClientPlace {
        let (geoip, network) = (self.locate(caller), self.share(caller, &told, table));
        kept(ClientPlace { beside: Beside { network, geoip }, ..told }, table)
    }

    /// What others of a client's network have measured; they are told what it has.
    fn share(&self, caller: Caller, told: &ClientPlace, table: &RelayTable) -> BTreeMap<String, f64> {
        let Some(address) = caller.place() else { return BTreeMap::new() };
        let (system, now) = (self.geoip.system(address), unix_time());
        let regions = table.pools.iter().map(|pool| pool.region.as_str());
        let measured = regions.filter_map(|region| Some((region, *told.latencies.get(region)?)));
        let known = self.recall(address, system, told, now).latencies;
        let mut networks = self.networks();
        networks.learn(address, system, measured, now);
        self.metrics.known(&networks);
        known
    }

    /// What a client at this address is told. What takes longer is worked out while others go on.
    fn recall(&self, address: IpAddr, system: Option<u32>, told: &ClientPlace, now: Duration) -> Told {
        let (known, question) = self.networks().recall(address, system, told.says_where(), now);
        let Some(answer) = question.map(|question| question.answer(now)) else { return known };
        self.networks().note(&answer);
        known.with(&answer)
    }

    fn locate(&self, caller: Caller) -> Option<GeoPoint> {
        let (known, point) = self.located(caller);
        if known != AddressKnown::NotAsked {
            self.metrics.lookups.with_label_values(&[known.metric()]).inc();
        }
        point
    }

    fn located(&self, caller: Caller) -> (AddressKnown, Option<GeoPoint>) {
        match caller.place().map(|address| self.geoip.locate(address)) {
            Some(Located::Off) => (AddressKnown::NotAsked, None),
            None => (AddressKnown::NoPublicAddress, None),
            Some(Located::NoDatabase) => (AddressKnown::NoDatabase, None),
            Some(Located::Unknown) => (AddressKnown::Unknown, None),
            Some(Located::At(point)) if !on_earth(point) => (AddressKnown::NotOnEarth, None),
            Some(Located::At(point)) => (AddressKnown::Found, Some(point)),
        }
    }

    /// What a client at this address would be placed by that says this, and what its address adds. Nothing is learnt of it.
    pub(super) fn explained(&self, caller: Caller, told: ClientPlace) -> (ClientPlace, AddressView) {
        let (known, location) = self.located(caller);
        let mut view = AddressView { address: None, known, location, network: None, system: None };
        let Some(address) = caller.place() else { return (told, view) };
        view.address = Some(address.to_string());
        let system = self.geoip.system(address);
        let Told { latencies, network, system } = self.recall(address, system, &told, unix_time());
        (view.network, view.system) = (network.map(|network| network.to_string()), system);
        (ClientPlace { beside: Beside { network: latencies, geoip: location }, ..told }, view)
    }
}

/// What clients have measured, as it is shared with other processes.
impl Origins {
    fn networks(&self) -> MutexGuard<'_, Networks> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unkept(&self, limit: usize) -> Vec<Unkept> {
        self.networks().unkept(limit)
    }

    pub(super) fn has_kept(&self, wrote: &Unkept, number: u64) {
        self.networks().has_kept(wrote, number);
    }

    pub(super) fn take_in(&self, kept: &Kept) -> Result<(), Garbled> {
        let (system, now) = (self.geoip.system(kept.network.addr()), unix_time());
        let read = kept.read(now);
        let mut networks = self.networks();
        let taken = networks.take_in(kept, read, system, now);
        self.metrics.known(&networks);
        taken
    }

    /// Looks up anew of which systems the networks are that are known.
    pub(super) fn look_up_systems(&self) {
        let all = self.networks().all();
        let systems: Vec<_> = all.into_iter().map(|network| (network, self.geoip.system(network.addr()))).collect();
        self.networks().are_of(systems);
    }

    /// The store has lost all of it.
    pub(super) fn forgotten(&self) {
        self.networks().is_unkept();
    }

    pub(super) fn shared(&self, outcome: &str) {
        self.metrics.shared.with_label_values(&[outcome]).inc();
    }
}

/// Time since 1970, in which what was measured is dated: other processes can tell how old it is.
fn unix_time() -> Duration {
    Duration::from_millis(u64::try_from(clock::now().as_millisecond()).unwrap_or(0))
}

/// Whose request it is.
impl FromRequestParts<Shared> for Caller {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, ExtensionRejection> {
        let ConnectInfo(peer) = ConnectInfo::<SocketAddr>::from_request_parts(parts, shared).await?;
        Ok(shared.lobby.origins.caller(peer.ip(), &parts.headers))
    }
}

/// Metrics of what is known of clients' addresses.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    forwarded: IntCounterVec,
    lookups: IntCounterVec,
    networks: IntGaugeVec,
    shared: IntCounterVec,
    geoip: geoip::Metrics,
}

impl Metrics {
    pub(super) fn new(catalogue: &mut Catalogue) -> Self {
        Self {
            forwarded: catalogue.counters(
                "convene_lobby_forwarded_total",
                "Requests with a header of proxies, by what came of it: believed, ignored (it came from nobody who is trusted: see --trusted-proxies), or unreadable (a trusted proxy's; all such clients share one address).",
                &["outcome"],
            ),
            lookups: catalogue.counters(
                "convene_lobby_geoip_lookups_total",
                "Clients' addresses that were looked up in the databases of places, by outcome: found, unknown, not_on_earth (the database is wrong), no_public_address (of a private network or a proxy: not looked up), or no_database (missing, broken or too old).",
                &["outcome"],
            ),
            networks: catalogue.gauges(
                "convene_lobby_networks",
                "Networks of clients of which this process knows measured round trips; at 4096 the one that was quiet for longest is forgotten for a new one.",
                &[],
            ),
            shared: catalogue.counters(
                "convene_lobby_networks_shared_total",
                "Networks of clients whose measured round trips went to or came from the store, by outcome: written, read, garbled (what the store has cannot be read, and is written over); and rounds in which the store was away: what is to be written then waits in memory.",
                &["outcome"],
            ),
            geoip: geoip::Metrics::new(catalogue),
        }
    }

    fn known(&self, networks: &Networks) {
        self.networks.with_label_values::<&str>(&[]).set(i64::try_from(networks.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::address::Heard;
    use crate::wire::table::PoolEntry;

    #[test]
    fn no_more_is_kept_of_a_place_than_its_lobby_has_regions() {
        let origins = Origins::new(&Args::default(), Metrics::new(&mut Catalogue::default())).expect("no database");
        let pool = PoolEntry {
            namespace: String::new(),
            name: String::new(),
            region: "eu".to_owned(),
            latitude: 0.0,
            longitude: 0.0,
            relays: Vec::new(),
        };
        let table = RelayTable { pools: vec![pool], ..RelayTable::default() };
        let mut latencies: BTreeMap<String, f64> = (0..1000).map(|n| (format!("r{n}"), 1.0)).collect();
        latencies.insert("eu".to_owned(), 12.34);
        let told = ClientPlace { latencies, residency: Some("eu".to_owned()), ..ClientPlace::default() };
        for heard in [Heard::Connection, Heard::Ignored] {
            let caller = Caller { address: [203, 0, 113, 7].into(), heard };
            let place = origins.with_beside(caller, told.clone(), &table);
            assert_eq!(place.latencies, BTreeMap::from([("eu".to_owned(), 12.3)]));
            assert_eq!(place.residency.as_deref(), Some("eu"));
        }
    }
}

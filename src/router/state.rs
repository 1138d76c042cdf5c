//! What one router process holds: the zone, the last good table, what the lobby said of its regions, and their ages. Reads
//! a question, lets [`crate::decide::dns`] answer it, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::limiter::Limiter;
use super::message::{self, Question};
use super::metrics::Metrics;
use crate::decide::address::{Proxies, is_public};
use crate::decide::dns::{
    self, Addresses, Answer, Asker, Atlas, Code, Due, Kind, Name, Regions, Views, Zone, coarse, is_label,
};
use crate::decide::geo::on_earth;
use crate::process::clock;
use crate::process::geoip::{GeoIp, Located};
use crate::process::health::Readiness;
use crate::process::table::{Standing, Taker};
use crate::wire::explain::AddressKnown;
use crate::wire::session::GeoPoint;
use crate::wire::table::RelayTable;

/// For how long what the lobby said of its regions counts. After that the table alone does.
const REGIONS_LIFE: Duration = Duration::from_secs(60);

/// How a router is set.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) zone: Zone,
    /// Answers a second by UDP for one network; 0 = any number.
    pub(super) rate: u32,
    pub(super) proxies: Proxies,
    pub(super) distrust_location: bool,
    /// The lobby is asked for its regions.
    pub(super) asks_lobby: bool,
}

/// One router process.
#[derive(Debug)]
pub(super) struct State {
    pub(super) zone: Zone,
    pub(super) limiter: Limiter,
    pub(super) geoip: GeoIp,
    pub(super) proxies: Proxies,
    /// What clients say of their place does not count.
    pub(super) distrust_location: bool,
    pub(super) metrics: Metrics,
    /// The lobby is asked for its regions.
    asks_lobby: bool,
    readiness: Readiness,
    board: ArcSwap<Board>,
    /// Addresses that were found for names.
    found: Mutex<Addresses>,
    /// Another table has come: its names are to be looked up.
    pub(super) renamed: Notify,
    standing: Standing,
    /// The first table's names were looked up.
    looked_up: AtomicBool,
}

/// What answers are made of: swapped as a whole when something new is heard.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Nothing until there is a table.
    pub(super) atlas: Option<Arc<Atlas>>,
    /// What the lobby said of its regions, the pools with that, and when.
    heard: Option<(Regions, Views, Duration)>,
}

impl Board {
    /// The pools with what the lobby says of its regions, if it did lately.
    pub(super) fn known(&self) -> Option<&Views> {
        let (_, pools, heard) = self.heard.as_ref()?;
        (clock::monotonic().saturating_sub(*heard) <= REGIONS_LIFE).then_some(pools)
    }
}

impl State {
    pub(super) fn new(settings: Settings, geoip: GeoIp, metrics: Metrics, readiness: Readiness) -> Self {
        let Settings { zone, rate, proxies, distrust_location, asks_lobby } = settings;
        readiness.set(Err("there is no relay table yet".to_owned()));
        let standing = Standing::new(metrics.table.clone());
        Self {
            zone,
            limiter: Limiter::new(rate),
            geoip,
            proxies,
            distrust_location,
            metrics,
            asks_lobby,
            readiness,
            board: ArcSwap::default(),
            found: Mutex::default(),
            renamed: Notify::new(),
            standing,
            looked_up: AtomicBool::new(false),
        }
    }

    pub(super) fn board(&self) -> Arc<Board> {
        self.board.load_full()
    }

    pub(super) fn heard_regions(&self, regions: &Regions) {
        let now = clock::monotonic();
        self.board.rcu(|board| {
            let atlas = board.atlas.clone();
            let pools = atlas.as_ref().map(|atlas| atlas.known(regions)).unwrap_or_default();
            Board { atlas, heard: Some((regions.clone(), pools, now)) }
        });
    }

    /// Another table, or other addresses of its relays.
    fn redraw(&self, atlas: &Arc<Atlas>) {
        self.board.rcu(|board| {
            let heard = board.heard.as_ref().map(|(regions, _, heard)| (regions.clone(), atlas.known(regions), *heard));
            Board { atlas: Some(Arc::clone(atlas)), heard }
        });
    }

    /// Addresses that were found for names; those of names for which none was found now stay for a while.
    pub(super) fn found(&self, names: &BTreeSet<Name>, new: BTreeMap<Name, Vec<IpAddr>>) {
        let now = clock::monotonic();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(atlas) = self.board().atlas.clone() else { return };
        let before = found.by_name();
        for (name, addresses) in new {
            found.hear(name, addresses, now);
        }
        found.forget(atlas.table(), now);
        let missing = names.iter().filter(|name| !found.has(name)).count();
        self.metrics
            .names_without_address
            .with_label_values::<&str>(&[])
            .set(i64::try_from(missing).unwrap_or(i64::MAX));
        let after = found.by_name();
        if after != before {
            self.redraw(&Arc::new(Atlas::new(atlas.table().clone(), &after)));
        }
    }

    /// The names of the table's relays were looked up, or that takes longer than anybody is to wait for.
    pub(super) fn looked_up(&self) {
        if !self.looked_up.swap(true, Ordering::Relaxed) {
            self.show_ages();
        }
    }

    /// The answer to bytes that came by UDP or TCP; `None` = nothing is said.
    pub(super) fn respond(&self, bytes: &[u8], peer: IpAddr, udp: bool) -> Option<Vec<u8>> {
        // At a socket for both families, IPv4 comes in IPv6 form.
        let peer = peer.to_canonical();
        let due = if udp { self.limiter.due(peer) } else { Due::Answer };
        let reject = |reason: &str| self.metrics.rejected.with_label_values(&[reason]).inc();
        if due == Due::Nothing {
            reject("rate");
            return None;
        }
        let question = match message::read(bytes) {
            Ok(question) => question,
            Err(fault) => {
                reject(fault.reason());
                return fault.answer().filter(|_| due == Due::Answer);
            }
        };
        if due == Due::Truncated {
            self.count(&question, udp, "slipped");
            return question.truncated(&self.zone);
        }
        let (answer, scope) = self.answer(&question, peer);
        let outcome = match answer.code {
            Code::NoError if answer.records.is_empty() => "empty",
            Code::NoError => "answered",
            Code::NxDomain => "nxdomain",
            Code::Refused => "refused",
            Code::NotYet => "not_yet",
        };
        self.count(&question, udp, outcome);
        let bytes = question.answer(&self.zone, &answer, scope, udp);
        bytes.or_else(|| {
            reject("unwritable");
            question.failed()
        })
    }

    /// The answer, and for which part of the question's network it holds.
    fn answer(&self, question: &Question, peer: IpAddr) -> (Answer, u8) {
        let network = question.subnet.map_or_else(|| coarse(IpNet::from(peer)), |subnet| subnet.scope());
        let (by, place) = match question.subnet {
            Some(subnet) => ("subnet", subnet.place()),
            None => ("resolver", Some(peer)),
        };
        let point = self.locate(place);
        // Behind a resolver that tells no network, all its users are: in time they come to all relays.
        let is_anybody = question.subnet.is_none_or(|subnet| subnet.is_of_anybody());
        let turn = if is_anybody { turn(clock::unix_seconds(), self.zone.ttl) } else { 0 };
        let asker = Asker { point, network, turn };
        let board = self.board();
        let what = (&question.name, question.kind);
        let answer = dns::answer(&self.zone, board.atlas.as_deref(), board.known(), &asker, what);
        if answer.near {
            self.metrics.located.with_label_values(&[if point.is_some() { by } else { "nobody" }]).inc();
        }
        let scope = answer.scope(network);
        (answer, scope)
    }

    /// Where an address is, as far as anybody can know; counted as the lobby counts it.
    pub(super) fn locate(&self, address: Option<IpAddr>) -> Option<GeoPoint> {
        let (known, point) =
            match address.filter(|address| is_public(*address)).map(|address| self.geoip.locate(address)) {
                Some(Located::Off) => return None,
                None => (AddressKnown::NoPublicAddress, None),
                Some(Located::NoDatabase) => (AddressKnown::NoDatabase, None),
                Some(Located::Unknown) => (AddressKnown::Unknown, None),
                Some(Located::At(point)) if !on_earth(point) => (AddressKnown::NotOnEarth, None),
                Some(Located::At(point)) => (AddressKnown::Found, Some(point)),
            };
        self.metrics.lookups.with_label_values(&[known.metric()]).inc();
        point
    }

    fn count(&self, question: &Question, udp: bool, outcome: &str) {
        let kind = match question.kind {
            Kind::A => "a",
            Kind::Aaaa => "aaaa",
            Kind::Srv => "srv",
            Kind::Https => "https",
            Kind::Soa => "soa",
            Kind::Ns => "ns",
            Kind::Any => "any",
            Kind::Transfer => "transfer",
            Kind::Other => "other",
        };
        let transport = if udp { "udp" } else { "tcp" };
        self.metrics.queries.with_label_values(&[kind, transport, outcome]).inc();
    }

    /// Shows the ages, in metrics and in `/readyz`.
    pub(super) fn show_ages(&self) {
        let now = clock::monotonic();
        let board = self.board();
        let regions = board.heard.as_ref().map(|(_, _, heard)| now.saturating_sub(*heard).as_secs());
        let gauge = regions.map_or(-1, |age| i64::try_from(age).unwrap_or(i64::MAX));
        self.metrics.regions_age_seconds.with_label_values::<&str>(&[]).set(gauge);
        let Some(age) = self.standing.show_age().map(|age| age.as_secs()) else { return };
        if !self.looked_up.load(Ordering::Relaxed) {
            return self.readiness.set(Err("the host names of relays are being looked up".to_owned()));
        }
        let of_regions = match regions {
            _ if !self.asks_lobby => String::new(),
            None => ", the lobby has said nothing of its regions yet".to_owned(),
            Some(age) => format!(", what the lobby says of its regions {age} s"),
        };
        self.readiness.set_with(Ok(format!("the relay table is {age} s old{of_regions}")));
    }
}

/// The turn of time in which an answer is given: for as long as it may be kept. It is the same for all routers.
fn turn(unix_seconds: i64, ttl: u32) -> u64 {
    u64::try_from(unix_seconds).unwrap_or_default() / u64::from(ttl.max(1))
}

/// Reads a table and checks what the router relies on.
fn parse(text: &str) -> Result<RelayTable, String> {
    let mut table: RelayTable = serde_json::from_str(text).map_err(|error| error.to_string())?;
    for pool in &mut table.pools {
        if !on_earth(GeoPoint { latitude: pool.latitude, longitude: pool.longitude }) {
            return Err(format!("pool {}/{}: latitude and longitude are not on earth", pool.namespace, pool.name));
        }
        let (namespace, name) = (&pool.namespace, &pool.name);
        pool.relays.retain(|relay| {
            let has_name = is_label(&relay.name) && is_label(namespace);
            if !has_name {
                let what = "a relay is left out: it and its namespace have no names that can stand in the DNS";
                tracing::warn!(pool = format!("{namespace}/{name}"), relay = relay.name, "{what}");
            }
            has_name
        });
    }
    Ok(table)
}

impl Taker for State {
    fn standing(&self) -> &Standing {
        &self.standing
    }

    fn take_table(&self, source: &str, text: &str) -> Result<(), String> {
        let table = parse(text)?;
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let atlas = Arc::new(Atlas::new(table, &found.by_name()));
        self.redraw(&atlas);
        drop(found);
        self.standing.applies(source, atlas.table());
        self.renamed.notify_one();
        self.show_ages();
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::decide::dns::Nameserver;
    use crate::process::geoip;
    use crate::process::metrics::Catalogue;

    /// A router that has heard nothing, and whether it is ready.
    pub(in crate::router) fn state() -> (State, Readiness) {
        let name = Name::parse("relays.example.com").expect("a name");
        let nameservers = vec![Nameserver { name: Name::parse("ns.example.net").expect("a name"), addresses: vec![] }];
        let settings = Settings {
            zone: Zone { name, ttl: 20, nameservers },
            rate: 0,
            proxies: Proxies::default(),
            distrust_location: false,
            asks_lobby: false,
        };
        let (metrics, readiness) = (Metrics::new(&mut Catalogue::default()), Readiness::default());
        let geoip = GeoIp::new(&geoip::Args::default(), metrics.geoip.clone());
        (State::new(settings, geoip, metrics, readiness.clone()), readiness)
    }

    #[test]
    fn relays_whose_names_cannot_stand_in_the_dns_are_left_out_and_others_not() {
        let relay = |name: &str| serde_json::json!({"name": name, "podUid": name, "url": "ws://192.0.2.1", "capacity": 1, "cordoned": false});
        let pool = |namespace: &str, names: &[&str]| {
            let relays: Vec<_> = names.iter().copied().map(relay).collect();
            serde_json::json!({"namespace": namespace, "name": "p", "region": "r", "latitude": 1, "longitude": 2, "relays": relays})
        };
        let pools = [pool("live", &["P-0", "", "a.b", "a b", "ä", &"x".repeat(64)]), pool("no.label", &["p-1"])];
        let table =
            serde_json::json!({"lobbyUid": "u", "url": "", "cluster": {"issuer": "", "jwks": null}, "pools": pools});
        let (state, _) = state();
        state.take_table("test", &table.to_string()).expect("a table");
        let board = state.board();
        let targets = board.atlas.iter().flat_map(|atlas| atlas.targets());
        assert_eq!(targets.map(|target| target.relay.as_str()).collect::<Vec<_>>(), ["P-0"]);
    }

    #[test]
    fn a_turn_lasts_as_long_as_an_answer_may_be_kept() {
        assert_eq!([0, 19, 20, 39, 40].map(|seconds| turn(seconds, 20)), [0, 0, 1, 1, 2]);
        assert_eq!((turn(-5, 20), turn(7, 0)), (0, 7), "whatever the clock says");
    }

    #[test]
    fn before_there_is_a_table_nothing_is_answered_with_authority() {
        let (state, readiness) = state();
        assert!(readiness.get().is_err());
        // `relays.example.com A`.
        let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend(b"\x06relays\x07example\x03com\x00\x00\x01\x00\x01");
        let answer = state.respond(&question, IpAddr::from([192, 0, 2, 1]), true).expect("an answer");
        let (flags, code) = (answer[2], answer[3] & 0xf);
        assert_eq!((flags & 0x04, code), (0, 2), "SERVFAIL, and no authority");
    }
}

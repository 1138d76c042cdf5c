//! What one router process holds: the zone, the last good table, what the lobby said of its regions, and their ages. Reads
//! a question, lets [`crate::decide::dns`] answer it, and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::limiter::Limiter;
use super::message::{self, Question};
use super::metrics::Metrics;
use crate::decide::address::{Proxies, is_public};
use crate::decide::dns::{self, Answer, Asker, Atlas, Code, Due, Kind, Name, Regions, Zone, coarse};
use crate::decide::geo::on_earth;
use crate::decide::route::Pools;
use crate::process::clock;
use crate::process::geoip::{GeoIp, Located};
use crate::process::health::Readiness;
use crate::process::table::Taker;
use crate::wire::session::GeoPoint;
use crate::wire::table::RelayTable;

/// For how long what the lobby said of its regions counts. After that the table alone does.
const REGIONS_LIFE: Duration = Duration::from_secs(60);

/// One router process.
#[derive(Debug)]
pub(super) struct State {
    pub(super) zone: Zone,
    pub(super) limiter: Limiter,
    pub(super) geoip: GeoIp,
    pub(super) proxies: Proxies,
    pub(super) metrics: Metrics,
    /// The lobby is asked for its regions.
    asks_lobby: bool,
    readiness: Readiness,
    board: ArcSwap<Board>,
    /// Addresses that were found for names.
    found: Mutex<BTreeMap<Name, Vec<IpAddr>>>,
    /// Another table has come: its names are to be looked up.
    pub(super) renamed: Notify,
    table: RwLock<Option<Heard>>,
}

/// What answers are made of: swapped as a whole when something new is heard.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) atlas: Arc<Atlas>,
    /// What the lobby said of its regions, the pools with that, and when.
    heard: Option<(Regions, Pools, Duration)>,
}

impl Board {
    /// The pools with what the lobby says of its regions, if it did lately.
    pub(super) fn known(&self) -> Option<&Pools> {
        let (_, pools, heard) = self.heard.as_ref()?;
        (clock::monotonic().saturating_sub(*heard) <= REGIONS_LIFE).then_some(pools)
    }
}

/// How old the table is.
#[derive(Clone, Copy, Debug)]
struct Heard {
    confirmed: Duration,
    /// Its source was last heard to be well.
    fresh: bool,
}

impl State {
    pub(super) fn new(
        zone: Zone,
        rate: u32,
        geoip: GeoIp,
        proxies: Proxies,
        metrics: Metrics,
        readiness: Readiness,
        asks_lobby: bool,
    ) -> Self {
        readiness.set(Err("there is no relay table yet".to_owned()));
        Self {
            zone,
            limiter: Limiter::new(rate),
            geoip,
            proxies,
            metrics,
            asks_lobby,
            readiness,
            board: ArcSwap::default(),
            found: Mutex::default(),
            renamed: Notify::new(),
            table: RwLock::default(),
        }
    }

    pub(super) fn board(&self) -> Arc<Board> {
        self.board.load_full()
    }

    pub(super) fn heard_regions(&self, regions: &Regions) {
        let now = clock::monotonic();
        self.board.rcu(|board| {
            let atlas = Arc::clone(&board.atlas);
            let pools = atlas.known(regions);
            Board { atlas, heard: Some((regions.clone(), pools, now)) }
        });
    }

    /// Another table, or other addresses of its relays.
    fn redraw(&self, atlas: Atlas) {
        let atlas = Arc::new(atlas);
        self.board.rcu(|board| {
            let heard = board.heard.as_ref().map(|(regions, _, heard)| (regions.clone(), atlas.known(regions), *heard));
            Board { atlas: Arc::clone(&atlas), heard }
        });
    }

    /// Addresses that were found for names; those of names for which none was found now stay.
    pub(super) fn found(&self, names: &BTreeSet<Name>, new: BTreeMap<Name, Vec<IpAddr>>) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let before = found.clone();
        found.retain(|name, _| names.contains(name));
        found.extend(new);
        let missing = names.iter().filter(|name| !found.contains_key(*name)).count();
        self.metrics
            .names_without_address
            .with_label_values::<&str>(&[])
            .set(i64::try_from(missing).unwrap_or(i64::MAX));
        if *found != before {
            self.redraw(Atlas::new(self.board().atlas.table().clone(), &found));
        }
    }

    /// The answer to bytes that came by UDP or TCP; `None` = nothing is said.
    pub(super) fn respond(&self, bytes: &[u8], peer: IpAddr, udp: bool) -> Option<Vec<u8>> {
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
            return question.truncated();
        }
        let (answer, scope) = self.answer(&question, peer);
        let outcome = match answer.code {
            Code::NoError if answer.records.is_empty() => "empty",
            Code::NoError => "answered",
            Code::NxDomain => "nxdomain",
            Code::Refused => "refused",
        };
        self.count(&question, udp, outcome);
        let bytes = question.answer(&self.zone, &answer, scope, udp);
        if bytes.is_none() {
            reject("unwritable");
        }
        bytes
    }

    /// The answer, and for which part of the question's network it holds.
    fn answer(&self, question: &Question, peer: IpAddr) -> (Answer, u8) {
        let network = question.subnet.map_or_else(|| coarse(IpNet::from(peer.to_canonical())), |subnet| subnet.scope());
        let (by, place) = match question.subnet {
            Some(subnet) => ("subnet", subnet.place()),
            None => ("resolver", Some(peer)),
        };
        let point = place.and_then(|place| self.locate(place));
        self.metrics.located.with_label_values(&[if point.is_some() { by } else { "nobody" }]).inc();
        let asker = Asker { point, network };
        let board = self.board();
        let what = (&question.name, question.kind);
        let answer = dns::answer(&self.zone, &board.atlas, board.known(), &asker, what);
        let scope = if answer.near { network.prefix_len() } else { 0 };
        (answer, scope)
    }

    /// Where an address is, as far as anybody can know.
    pub(super) fn locate(&self, address: IpAddr) -> Option<GeoPoint> {
        if !is_public(address) {
            return None;
        }
        match self.geoip.locate(address) {
            Located::At(point) if on_earth(point) => Some(point),
            Located::At(_) | Located::Off | Located::NoDatabase | Located::Unknown => None,
        }
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
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(heard) = table.as_mut() else { return };
        if heard.fresh {
            heard.confirmed = now;
        }
        let age = now.saturating_sub(heard.confirmed).as_secs();
        self.metrics.table_age_seconds.with_label_values::<&str>(&[]).set(i64::try_from(age).unwrap_or(i64::MAX));
        let of_regions = match regions {
            _ if !self.asks_lobby => String::new(),
            None => ", the lobby has said nothing of its regions yet".to_owned(),
            Some(age) => format!(", what the lobby says of its regions {age} s"),
        };
        self.readiness.set_with(Ok(format!("the relay table is {age} s old{of_regions}")));
    }

    fn hear_table(&self, fresh: bool) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let confirmed = match &*table {
            Some(heard) if !fresh => Some(heard.confirmed),
            None if !fresh => None,
            _ => Some(clock::monotonic()),
        };
        *table = confirmed.map(|confirmed| Heard { confirmed, fresh });
    }
}

/// Reads a table and checks what the router relies on.
fn parse(text: &str) -> Result<RelayTable, String> {
    let table: RelayTable = serde_json::from_str(text).map_err(|error| error.to_string())?;
    for pool in &table.pools {
        if !on_earth(GeoPoint { latitude: pool.latitude, longitude: pool.longitude }) {
            return Err(format!("pool {}/{}: latitude and longitude are not on earth", pool.namespace, pool.name));
        }
    }
    Ok(table)
}

impl Taker for State {
    fn offer_table(&self, source: &str, text: &str) {
        let table = match parse(text) {
            Ok(table) => table,
            Err(why) => return self.broken_table(source, &why),
        };
        let relays: usize = table.pools.iter().map(|pool| pool.relays.len()).sum();
        tracing::info!(source, pools = table.pools.len(), relays, "the relay table applies");
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        self.redraw(Atlas::new(table, &found));
        drop(found);
        self.hear_table(true);
        self.metrics.table_reads.with_label_values(&[source, "applied"]).inc();
        self.renamed.notify_one();
        self.show_ages();
    }

    fn confirm_table(&self) {
        // A file that is as it was, after it could not be read; what was never good stays so.
        if self.table.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.hear_table(true);
        }
    }

    fn doubt_table(&self) {
        self.hear_table(false);
    }

    fn broken_table(&self, source: &str, why: &str) {
        self.doubt_table();
        self.metrics.table_reads.with_label_values(&[source, "broken"]).inc();
        tracing::error!(source, why, "the relay table is broken; the last good one keeps serving");
    }

    fn missing_table(&self, name: &str) {
        self.doubt_table();
        self.metrics.table_reads.with_label_values(&["configMap", "gone"]).inc();
        tracing::warn!(name, "the relay table's ConfigMap is not there; the last table keeps serving");
    }
}

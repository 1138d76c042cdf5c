//! What a question gets: records, or why there are none. What it must not do: look at who may ask how often
//! ([`super::limit`]), or at bytes.
//!
//! | name | what stands there |
//! | --- | --- |
//! | the zone | SOA, NS; A and AAAA of the nearest pool's relays; HTTPS of those that speak TLS |
//! | `<region>` or `<pool>` below it | the same of that region's or pool's relays |
//! | `_wss._tcp`, `_ws._tcp`, `_convene._tcp` before any of these | SRV: relays by TLS, without it, and both |
//! | `<relay>.<namespace>` below it | A, AAAA and HTTPS of one relay, which SRV and HTTPS point to |
//! | nameservers below it | their A and AAAA |
//!
//! A and AAAA are of one pool only: resolvers and clients shuffle such records, so that a farther pool's address beside them
//! would be used as often as the nearest's. SRV and HTTPS have an order, and hold the next pool as well.
//!
//! What is asked for is looked for before what is near: services and IPv4 of the nearest pools that have them. Not so IPv6:
//! who has both takes that first, so it is given of no other pool than the one that is nearest.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::atlas::{Atlas, Need, Target, Views, client};
use super::endpoint::Host;
use super::name::{Name, is_label};
use crate::wire::session::{Beside, ClientPlace, GeoPoint};

/// Most records of an answer.
pub(super) const MOST_RECORDS: usize = 4;
/// Pools of which SRV and HTTPS name relays, and relays of each.
const POOLS: usize = 2;
/// Seconds for which the zone's own records may be kept.
const ZONE_TTL: u32 = 300;
/// Most seconds for which it may be kept that there is nothing near: resolvers keep that for everybody (RFC 7871 §7.4), and others
/// may get something.
const NOTHING_NEAR_TTL: u32 = 5;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Services.
    Srv,
    /// How to reach an HTTPS service (RFC 9460).
    Https,
    /// The zone's beginning.
    Soa,
    /// Nameservers.
    Ns,
    /// All there is (RFC 8482).
    Any,
    /// The whole zone, which nobody gets.
    Transfer,
    /// What there is none of here.
    Other,
}

/// A nameserver of the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nameserver {
    /// Its name.
    pub name: Name,
    /// Its addresses; needed where its name is in the zone.
    pub addresses: Vec<IpAddr>,
}

/// What is answered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: Name,
    /// Seconds for which answers may be kept, and for which it may be kept that there is none.
    pub ttl: u32,
    /// Its nameservers, of which there is at least one; the first is the primary one.
    pub nameservers: Vec<Nameserver>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asker {
    /// Where they are, if an address says so.
    pub point: Option<GeoPoint>,
    /// The network for which the answer is; all there is where they want no address looked at.
    pub network: IpNet,
    /// Which of a pool's relays are theirs changes with this number: a turn of time, where the network says nothing of who is
    /// behind it, and always the same where it does.
    pub turn: u64,
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// With records, or none of this kind.
    NoError,
    /// There is no such name.
    NxDomain,
    /// Not for us to answer.
    Refused,
    /// Ours, but there is no table yet to answer from.
    NotYet,
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is; none = the name that was asked for.
    pub owner: Option<Name>,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of RFC 1035, 2782 and 9460")]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ns(Name),
    Soa {
        primary: Name,
        minimum: u32,
    },
    Srv {
        priority: u16,
        port: u16,
        target: Name,
    },
    Https {
        priority: u16,
        port: u16,
        target: Name,
        v4: Vec<Ipv4Addr>,
        v6: Vec<Ipv6Addr>,
    },
    /// "There is more, ask for what you need."
    NotAll,
}

/// What a question gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub code: Code,
    /// Records that were asked for.
    pub records: Vec<Record>,
    /// The zone's SOA, where there are none: for how long that may be kept.
    pub soa: Option<Record>,
    /// It depends on who asks.
    pub near: bool,
}

impl Answer {
    /// For which part of the asker's `network` it holds, in bits. That there is none is kept for everybody, whatever is said.
    pub fn scope(&self, network: IpNet) -> u8 {
        if self.near && !self.records.is_empty() { network.prefix_len() } else { 0 }
    }
}

/// What a name in the zone is.
enum Named<'a> {
    /// The zone itself, a region or a pool.
    Place(Option<BTreeSet<usize>>),
    /// A service before one of these.
    Service(Option<BTreeSet<usize>>, Need),
    Relay(&'a Target),
    Nameserver(&'a Nameserver),
    /// There are names below it.
    Empty,
    Nothing,
}

/// Answers a question for `kind` at `name`. `atlas` = nothing until there is a table: what is not known yet is not said not to
/// be. `known` = the pools with what the lobby says of them, if it did lately.
pub fn answer(
    zone: &Zone,
    atlas: Option<&Atlas>,
    known: Option<&Views>,
    asker: &Asker,
    (name, kind): (&Name, Kind),
) -> Answer {
    let none = |code| Answer { code, records: Vec::new(), soa: None, near: false };
    let Some(labels) = name.below(&zone.name).filter(|_| kind != Kind::Transfer) else { return none(Code::Refused) };
    let Some(atlas) = atlas else { return none(Code::NotYet) };
    let named = named(zone, atlas, labels);
    if matches!(named, Named::Nothing) {
        return Answer { soa: Some(soa(zone, zone.ttl)), ..none(Code::NxDomain) };
    }
    if kind == Kind::Any {
        return Answer { records: vec![record(zone.ttl, Data::NotAll)], ..none(Code::NoError) };
    }
    let (data, near) = match named {
        Named::Place(among) => {
            let need = match kind {
                Kind::A => Some(Need::V4),
                Kind::Aaaa => Some(Need::Any),
                Kind::Https => Some(Need::Tls),
                Kind::Srv | Kind::Soa | Kind::Ns | Kind::Any | Kind::Transfer | Kind::Other => None,
            };
            need.map(|need| near(zone, atlas, known, asker, among.as_ref(), kind, need)).unwrap_or_default()
        }
        Named::Service(among, need) if kind == Kind::Srv => near(zone, atlas, known, asker, among.as_ref(), kind, need),
        // Services have names of their own: one that points at its own name leads nowhere.
        Named::Relay(target) if kind != Kind::Srv => (of_relays(zone, &[vec![target]], kind), false),
        Named::Nameserver(nameserver) => (addresses(nameserver, kind), false),
        Named::Service(..) | Named::Relay(_) | Named::Empty | Named::Nothing => (Vec::new(), false),
    };
    let mut records: Vec<Record> = data.into_iter().map(|data| record(zone.ttl, data)).collect();
    if labels.is_empty() {
        match kind {
            Kind::Soa => records.push(Record { owner: None, ..soa(zone, zone.ttl) }),
            Kind::Ns => records.extend(zone.nameservers.iter().map(|ns| record(ZONE_TTL, Data::Ns(ns.name.clone())))),
            Kind::A | Kind::Aaaa | Kind::Srv | Kind::Https | Kind::Any | Kind::Transfer | Kind::Other => {}
        }
    }
    let none_for = if near { zone.ttl.min(NOTHING_NEAR_TTL) } else { zone.ttl };
    let soa = records.is_empty().then(|| soa(zone, none_for));
    Answer { code: Code::NoError, records, soa, near }
}

fn record(ttl: u32, data: Data) -> Record {
    Record { owner: None, ttl, data }
}

/// `none_for` = seconds for which it may be kept that there is none.
fn soa(zone: &Zone, none_for: u32) -> Record {
    let primary = zone.nameservers.first().map_or_else(|| zone.name.clone(), |first| first.name.clone());
    // It says for how long "there is none" may be kept, which is the smaller of both (RFC 2308).
    Record { owner: Some(zone.name.clone()), ttl: none_for, data: Data::Soa { primary, minimum: none_for } }
}

/// What the labels before the zone name.
fn named<'a>(zone: &'a Zone, atlas: &'a Atlas, labels: &[String]) -> Named<'a> {
    if let Some(found) = zone.nameservers.iter().find(|ns| ns.name.below(&zone.name) == Some(labels)) {
        return Named::Nameserver(found);
    }
    let place = |label: &str| Some(atlas.named(label)).filter(|pools| is_label(label) && !pools.is_empty());
    match labels {
        [] => Named::Place(None),
        [service, tcp, rest @ ..] if tcp == "_tcp" => {
            let need = match service.as_str() {
                "_wss" => Need::Tls,
                "_ws" => Need::Plain,
                "_convene" => Need::Any,
                _ => return Named::Nothing,
            };
            match rest {
                [] => Named::Service(None, need),
                [label] => place(label).map_or(Named::Nothing, |among| Named::Service(Some(among), need)),
                _ => Named::Nothing,
            }
        }
        [tcp] if tcp == "_tcp" => Named::Empty,
        [tcp, label] if tcp == "_tcp" && place(label).is_some() => Named::Empty,
        [label] => match place(label) {
            Some(pools) => Named::Place(Some(pools)),
            None if atlas.targets().any(|target| target.namespace.eq_ignore_ascii_case(label))
                || above(zone, labels) =>
            {
                Named::Empty
            }
            None => Named::Nothing,
        },
        [relay, namespace] => {
            let mut targets = atlas.targets().filter(|target| target.relay.eq_ignore_ascii_case(relay));
            let found = targets.find(|target| target.namespace.eq_ignore_ascii_case(namespace));
            found.map_or_else(|| if above(zone, labels) { Named::Empty } else { Named::Nothing }, Named::Relay)
        }
        _ if above(zone, labels) => Named::Empty,
        _ => Named::Nothing,
    }
}

/// Whether a nameserver's name is below these labels.
fn above(zone: &Zone, labels: &[String]) -> bool {
    let mut below = zone.nameservers.iter().filter_map(|ns| ns.name.below(&zone.name));
    below.any(|ns| ns.ends_with(labels))
}

fn addresses(nameserver: &Nameserver, kind: Kind) -> Vec<Data> {
    let data = nameserver.addresses.iter().filter_map(|address| match (address, kind) {
        (IpAddr::V4(v4), Kind::A) => Some(Data::A(*v4)),
        (IpAddr::V6(v6), Kind::Aaaa) => Some(Data::Aaaa(*v6)),
        _ => None,
    });
    data.take(MOST_RECORDS).collect()
}

/// The nearest relays of the pools in `among`, or of all, and whether others may get others: not where nobody gets any.
fn near(
    zone: &Zone,
    atlas: &Atlas,
    known: Option<&Views>,
    asker: &Asker,
    among: Option<&BTreeSet<usize>>,
    kind: Kind,
    need: Need,
) -> (Vec<Data>, bool) {
    let fits = |target: &Target| need.is_met_by(target) && (kind != Kind::Aaaa || !target.v6.is_empty());
    if !atlas.open(among).any(fits) {
        return (Vec::new(), false);
    }
    let place = ClientPlace { beside: Beside { geoip: asker.point, ..Beside::default() }, ..ClientPlace::default() };
    let pools = if matches!(kind, Kind::A | Kind::Aaaa) { 1 } else { POOLS };
    let client = client(asker.network, asker.turn);
    let of_pool = |pool| atlas.relays_of(pool, known, fits, client).into_iter().take(MOST_RECORDS / pools).collect();
    let found: Vec<Vec<&Target>> = atlas.nearest(&place, known, among, need, pools).into_iter().map(of_pool).collect();
    (of_relays(zone, &found, kind), true)
}

/// Records of relays, pool by pool, best first.
fn of_relays(zone: &Zone, pools: &[Vec<&Target>], kind: Kind) -> Vec<Data> {
    let ranked = (1_u16..).zip(pools).flat_map(|(rank, relays)| relays.iter().map(move |relay| (rank, *relay)));
    let name_of = |target: &Target| match &target.endpoint.host {
        Host::Named(name) => name.clone(),
        Host::Address(_) => zone.name.child(&[&target.relay, &target.namespace]),
    };
    let of_one = |(rank, target): (u16, &Target)| -> Vec<Data> {
        let port = target.endpoint.port;
        match kind {
            Kind::A => target.v4.iter().copied().map(Data::A).collect(),
            Kind::Aaaa => target.v6.iter().copied().map(Data::Aaaa).collect(),
            Kind::Srv => vec![Data::Srv { priority: rank * 10, port, target: name_of(target) }],
            Kind::Https if target.endpoint.tls => {
                let (v4, v6) = (target.v4.iter().take(1).copied(), target.v6.iter().take(1).copied());
                vec![Data::Https { priority: rank, port, target: name_of(target), v4: v4.collect(), v6: v6.collect() }]
            }
            Kind::Https | Kind::Soa | Kind::Ns | Kind::Any | Kind::Transfer | Kind::Other => Vec::new(),
        }
    };
    let mut found: Vec<Data> = Vec::new();
    for data in ranked.flat_map(of_one) {
        if !found.contains(&data) && found.len() < MOST_RECORDS {
            found.push(data);
        }
    }
    found
}

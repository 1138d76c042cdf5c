//! Which pools and relays there are, where they lead, and which pool is nearest: the relay table, the addresses that were
//! found for its names, and what the lobby says of each region and of relays that it does not hear. What it must not do: know
//! of questions and records.
//!
//! **What is known of load.** The table says which relays there are, have an address, and take new sessions. Whether they
//! are linked, and how many seats are free, the lobby says by region (`GET /v1/regions`). A region of which it says nothing,
//! or nothing lately, is of unknown load: it counts as taken up to [`KNEE`], from where load would begin to count against it.
//! So it has room, and is neither preferred to a region that is known to be emptier nor put behind it. Relays that the lobby
//! does not hear are passed over while there are others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::endpoint::{Endpoint, Host};
use super::name::Name;
use crate::decide::route::{Ask, InFlight, KNEE, Pool, Pools, Relay, RelayState, Terms, choose, draw};
use crate::wire::routing::{Overflow, Routing};
use crate::wire::session::{ClientPlace, GeoPoint};
use crate::wire::table::{PoolEntry, RelayEntry, RelayTable};

/// What a lobby says of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Relays that serve there now.
    pub relays: u32,
    /// Free seats there now.
    pub free_seats: u32,
    /// UIDs of the Pods of relays that it does not hear; it may not hear others too.
    pub not_heard: BTreeSet<String>,
}

/// What a lobby says of its regions, by their names.
pub type Regions = BTreeMap<String, Load>;

/// A relay that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub relay: String,
    /// Its pool's namespace.
    pub namespace: String,
    /// Where its URL leads.
    pub endpoint: Endpoint,
    /// Its IPv4 addresses, in order.
    pub v4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses, in order.
    pub v6: Vec<Ipv6Addr>,
    /// Its URL by HTTP, without a path.
    pub http_url: String,
    /// Takes new sessions, as far as the table knows.
    pub is_open: bool,
}

/// What of a relay somebody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// An address.
    Any,
    /// One of IPv4.
    V4,
    /// That it speaks TLS.
    Tls,
    /// That it speaks without TLS.
    Plain,
}

impl Need {
    pub(super) fn is_met_by(self, target: &Target) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => !target.v4.is_empty(),
            Self::Tls => target.endpoint.tls,
            Self::Plain => !target.endpoint.tls,
        }
    }
}

/// All pools as placement sees them, for each need: a relay that does not meet it is one without an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Views {
    any: Pools,
    v4: Pools,
    tls: Pools,
    plain: Pools,
}

impl Views {
    fn of(&self, need: Need) -> &Pools {
        match need {
            Need::Any => &self.any,
            Need::V4 => &self.v4,
            Need::Tls => &self.tls,
            Need::Plain => &self.plain,
        }
    }
}

/// The relay table with the addresses of its relays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Atlas {
    table: RelayTable,
    /// Of the table's pools and their relays, in its order.
    targets: Vec<Vec<Option<Target>>>,
    /// The pools where nothing is known but the table.
    alone: Views,
}

impl Atlas {
    /// The table, where its relays' names have been `found` to lead to these addresses.
    pub fn new(table: RelayTable, found: &BTreeMap<Name, Vec<IpAddr>>) -> Self {
        let of_pool = |pool: &PoolEntry| pool.relays.iter().map(|relay| target(pool, relay, found)).collect();
        let targets = table.pools.iter().map(of_pool).collect();
        let atlas = Self { table, targets, alone: Views::default() };
        let alone = atlas.known(&Regions::new());
        Self { alone, ..atlas }
    }

    /// The names whose addresses are to be found.
    pub fn names(table: &RelayTable) -> BTreeSet<Name> {
        let endpoints =
            table.pools.iter().flat_map(|pool| &pool.relays).filter_map(|relay| Endpoint::parse(&relay.url));
        let named = |endpoint: Endpoint| match endpoint.host {
            Host::Named(name) => Some(name),
            Host::Address(_) => None,
        };
        endpoints.filter_map(named).collect()
    }

    /// The table.
    pub fn table(&self) -> &RelayTable {
        &self.table
    }

    /// All relays that have an address.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().flatten().flatten()
    }

    /// Those that take new sessions, of the pools in `among` or of all.
    pub fn open(&self, among: Option<&BTreeSet<usize>>) -> impl Iterator<Item = &Target> {
        let is_among = move |pool: &usize| among.is_none_or(|among| among.contains(pool));
        let pools = self.targets.iter().enumerate().filter(move |(pool, _)| is_among(pool));
        pools.flat_map(|(_, targets)| targets.iter().flatten()).filter(|target| target.is_open)
    }

    /// The relays of one of the table's pools that take new sessions and fit: for each `client` in an order of its own, which
    /// stays the same while relays come and go (rendezvous hashing). By what is `known`, those that do not serve are passed
    /// over while others do.
    pub fn relays_of(
        &self,
        pool: usize,
        known: Option<&Views>,
        fits: impl Fn(&Target) -> bool,
        client: u64,
    ) -> Vec<&Target> {
        let all = self.targets.get(pool).into_iter().flatten().enumerate();
        let open =
            all.filter_map(|(at, target)| Some((at, target.as_ref().filter(|target| target.is_open && fits(target))?)));
        let relays = known.and_then(|known| known.any.get(pool)).map(Pool::relays);
        let serves = |at: usize| relays.is_none_or(|all| all.get(at).is_some_and(|of| of.state == RelayState::Serving));
        let (serving, others): (Vec<_>, Vec<_>) = open.partition(|(at, _)| serves(*at));
        let of_them = if serving.is_empty() { others } else { serving };
        let mut found: Vec<&Target> = of_them.into_iter().map(|(_, target)| target).collect();
        found.sort_by_cached_key(|target| (draw(&target.relay, client), target.relay.clone()));
        found
    }

    /// The relay of one of the table's pools to which somebody of this network is sent.
    pub fn relay_for(&self, pool: usize, known: Option<&Views>, network: IpNet) -> Option<&Target> {
        self.relays_of(pool, known, |_| true, client(network, 0)).into_iter().next()
    }

    /// Which pools are of this region, or, if none is, have this name.
    pub fn named(&self, name: &str) -> BTreeSet<usize> {
        let pools = || self.table.pools.iter().enumerate();
        let of_region: BTreeSet<usize> =
            pools().filter(|(_, pool)| pool.region.eq_ignore_ascii_case(name)).map(|(index, _)| index).collect();
        if of_region.is_empty() {
            pools().filter(|(_, pool)| pool.name.eq_ignore_ascii_case(name)).map(|(index, _)| index).collect()
        } else {
            of_region
        }
    }

    /// The best pools for somebody at `place`, best first, of those in `among` and with relays of which `need` is met. `known` =
    /// the pools with what the lobby says of them ([`Self::known`]), if it did lately. Where none has room by that, what the
    /// table alone says counts: a full pool's address is better than none.
    pub fn nearest(
        &self,
        place: &ClientPlace,
        known: Option<&Views>,
        among: Option<&BTreeSet<usize>>,
        need: Need,
        most: usize,
    ) -> Vec<usize> {
        let by = |views: &Views| self.rank(place, views.of(need), among, most);
        let best = by(known.unwrap_or(&self.alone));
        if best.is_empty() && known.is_some() { by(&self.alone) } else { best }
    }

    fn rank(&self, place: &ClientPlace, pools: &Pools, among: Option<&BTreeSet<usize>>, most: usize) -> Vec<usize> {
        // Whoever names a region wants no other: how far one may overflow is no question then.
        let routing = among.map(|_| Routing { overflow: Overflow::Nearest, ..self.table.routing.clone() });
        let routing = routing.as_ref().unwrap_or(&self.table.routing);
        let mut best: Vec<usize> = Vec::new();
        while best.len() < most {
            let is_closed = |pool: &usize| best.contains(pool) || among.is_some_and(|among| !among.contains(pool));
            let closed = (0..pools.len()).filter(is_closed).filter_map(|pool| Some((pool, pools.get(pool)?)));
            let full = |(pool, of): (usize, &Pool)| {
                let relays = of.relays().len();
                (0..relays).map(move |relay| InFlight { pool, relay, seats: u32::MAX })
            };
            let asked: Vec<InFlight> = closed.flat_map(full).collect();
            let (Some(chosen), _) = choose(pools, &Ask { asked: &asked, ..Ask::of(place) }, routing) else { break };
            best.push(chosen.pool);
        }
        best
    }

    /// The pools as placement sees them, with what the lobby says of their regions.
    pub fn known(&self, regions: &Regions) -> Views {
        let [any, v4, tls, plain] = [Need::Any, Need::V4, Need::Tls, Need::Plain].map(|need| self.view(regions, need));
        Views { any, v4, tls, plain }
    }

    fn view(&self, regions: &Regions, need: Need) -> Pools {
        let one = |(entry, targets): (&PoolEntry, &Vec<Option<Target>>)| {
            let load = regions.get(&entry.region);
            let seats = self.seats_of(&entry.region, load);
            let relay = |(entry, target): (&RelayEntry, &Option<Target>)| Relay {
                name: entry.name.clone(),
                state: state(entry, target.as_ref().filter(|target| need.is_met_by(target)), load),
                capacity: entry.capacity,
                used: used(entry.capacity, seats, load),
            };
            let point = GeoPoint { latitude: entry.latitude, longitude: entry.longitude };
            let terms = Terms::of(&self.table.routing, &entry.region);
            Pool::new(&entry.name, &entry.region, point, terms, entry.relays.iter().zip(targets).map(relay).collect())
        };
        self.table.pools.iter().zip(&self.targets).map(one).collect()
    }

    /// Seats of all relays of a region that serve, as far as is known.
    fn seats_of(&self, region: &str, load: Option<&Load>) -> u64 {
        let pools = self.table.pools.iter().zip(&self.targets).filter(|(pool, _)| pool.region == region);
        let relays = pools.flat_map(|(pool, targets)| pool.relays.iter().zip(targets));
        let serving = relays.filter(|(relay, target)| state(relay, target.as_ref(), load) == RelayState::Serving);
        serving.map(|(relay, _)| u64::from(relay.capacity)).sum()
    }
}

/// A number for a network in a turn of time, by which its order of relays differs from others'.
pub(super) fn client(network: IpNet, turn: u64) -> u64 {
    let bits = match network.addr() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
    let folded = (bits >> 64) as u64 ^ bits as u64;
    folded ^ u64::from(network.prefix_len()).rotate_right(8) ^ turn.rotate_left(32)
}

fn state(entry: &RelayEntry, target: Option<&Target>, load: Option<&Load>) -> RelayState {
    let is_away = |load: &Load| load.relays == 0 || load.not_heard.contains(&entry.pod_uid);
    match target {
        None => RelayState::NoAddress,
        Some(target) if !target.is_open => RelayState::Cordoned,
        Some(_) if load.is_some_and(is_away) => RelayState::NotLinked,
        Some(_) => RelayState::Serving,
    }
}

/// A relay's part of the seats that are taken in its region, of which `seats` are in all.
fn used(capacity: u32, seats: u64, load: Option<&Load>) -> u32 {
    let taken = if let Some(Load { free_seats, .. }) = load {
        let taken = seats.saturating_sub(u64::from(*free_seats));
        // Rounded down: while the region has a free seat, each of its relays may be the one that has it.
        u64::from(capacity).saturating_mul(taken).checked_div(seats).unwrap_or_default()
    } else {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a number of seats")]
        let knee = (f64::from(capacity) * KNEE) as u64;
        knee
    };
    u32::try_from(taken).unwrap_or(capacity)
}

fn target(pool: &PoolEntry, relay: &RelayEntry, found: &BTreeMap<Name, Vec<IpAddr>>) -> Option<Target> {
    let endpoint = Endpoint::parse(&relay.url)?;
    let addresses = match &endpoint.host {
        Host::Address(address) => vec![*address],
        Host::Named(name) => found.get(name).cloned().unwrap_or_default(),
    };
    if addresses.is_empty() {
        return None;
    }
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address.to_canonical() {
            IpAddr::V4(address) => v4.push(address),
            IpAddr::V6(address) => v6.push(address),
        }
    }
    v4.sort();
    v6.sort();
    Some(Target {
        relay: relay.name.clone(),
        namespace: pool.namespace.clone(),
        http_url: Endpoint::http_url(&relay.url)?,
        endpoint,
        v4,
        v6,
        is_open: !relay.cordoned && !relay.leaving,
    })
}

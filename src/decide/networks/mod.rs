//! What clients of a network have measured, for others of the same network that have not. A network is an IPv4 /24 or an
//! IPv6 /48; of a client whose network has said too little, what the others of its autonomous system say counts
//! ([`systems`]). Knows no clock, and holds a bounded number of reports.
//!
//! **Whom to believe.** Anybody can report anything, so a report reaches no further than the reporter's own network, and
//! one liar not far there: of each address its last three reports count, by their median; all of the network are told
//! the median over addresses, once at least three addresses have spoken, and in it no address has more than a third of
//! all weight. A newer word weighs more: half as much for each day of age. An address of IPv6 is a /56, since providers give
//! that much to one customer.
//!
//! Where too few have spoken, whoever shares an address (a company behind one) is told what that address has measured, unless
//! it says itself where it is: strangers may be behind the same address, as with a carrier's.
//!
//! Several processes can know the same through a store that they share: [`kept`].

mod kept;
mod names;
mod systems;
mod weigh;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, btree_map};
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use kept::{Garbled, Kept, Read, Unkept};
use names::Names;
pub use systems::{Answer, Question};
use systems::{System, Words};
use weigh::{Weighed, halved};

/// Networks that are remembered; the one that was quiet for longest is forgotten for a new one.
pub const MAX_NETWORKS: usize = 4096;
/// Networks of one IPv6 /32, above which they are forgotten before any others: anybody can have so many of them. An IPv4 /16 has no
/// more than these.
const CROWD: usize = 256;
/// Reports of one network.
const MAX_REPORTS: usize = 12;
/// Reports of one address.
const PER_ADDRESS: usize = 3;
/// Regions of one report: the nearest, since the others are not chosen.
const MAX_REGIONS: usize = 16;
/// Addresses of a network that must have measured a region before all of the network are told of it.
const QUORUM: usize = 3;
/// After which a report is forgotten.
pub const LIFE: Duration = Duration::from_hours(7 * 24);

/// What is known of networks.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    known: HashMap<IpNet, Known>,
    /// Which of them are of which autonomous system, where that is known.
    systems: HashMap<u32, System>,
    /// How many of them stand side by side.
    blocks: HashMap<IpNet, usize>,
    /// Of the regions in reports.
    names: Names,
}

#[derive(Clone, Debug, Default)]
struct Known {
    heard: Duration,
    system: Option<u32>,
    /// Number under which the store has it; 0 = it has not, as far as is known.
    number: u64,
    /// Oldest first.
    reports: Vec<Report>,
}

/// What one client measured.
#[derive(Clone, Debug)]
struct Report {
    from: IpAddr,
    at: Duration,
    /// Shared with whoever looks at it while nobody waits.
    latencies: Arc<[(Arc<str>, f64)]>,
    /// The store has it.
    kept: bool,
}

/// What somebody can be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Milliseconds by region name.
    pub latencies: BTreeMap<String, f64>,
    /// The network that has measured some of it.
    pub network: Option<IpNet>,
    /// The number of the autonomous system that has measured the others.
    pub system: Option<u32>,
}

impl Told {
    /// With what its system agrees on, where its network says nothing.
    #[must_use]
    pub fn with(self, answer: &Answer) -> Self {
        self.with_system(answer.system, &answer.told)
    }

    fn with_system(mut self, system: u32, told: &BTreeMap<String, f64>) -> Self {
        for (region, ms) in told {
            if let btree_map::Entry::Vacant(unknown) = self.latencies.entry(region.clone()) {
                unknown.insert(*ms);
                self.system = Some(system);
            }
        }
        self
    }
}

impl Networks {
    /// A client at `from`, of the autonomous system `system`, has measured these round trips, in milliseconds by region name;
    /// both were checked, so the names are those of a lobby's regions. `now` is time since 1970, so that other processes
    /// can tell how old the word is.
    pub fn learn<'a>(
        &mut self,
        from: IpAddr,
        system: Option<u32>,
        latencies: impl IntoIterator<Item = (&'a str, f64)>,
        now: Duration,
    ) {
        let mut nearest: Vec<(&str, f64)> = latencies.into_iter().filter(|(_, ms)| ms.is_finite()).collect();
        if nearest.is_empty() {
            return;
        }
        nearest.sort_by(|(a, of_a), (b, of_b)| of_a.total_cmp(of_b).then(a.cmp(b)));
        nearest.truncate(MAX_REGIONS);
        let latencies = nearest.into_iter().map(|(region, ms)| (self.names.of(region), ms)).collect();
        let (network, from) = places(from);
        let known = self.known_or_new(network, system, now);
        known.heard = now;
        known.reports.retain(|report| is_fresh(report, now));
        // As it is kept: a report is known by its address and its time.
        let at = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        known.push(Report { from, at, latencies, kept: false });
    }

    /// What a client at `from` can be told, of the autonomous system `system`; and what is to be worked out for it, if that was
    /// not done a moment ago. `says_where` = it says itself where it is, and need not be told what nobody but its own address
    /// has said.
    pub fn recall(
        &self,
        from: IpAddr,
        system: Option<u32>,
        says_where: bool,
        now: Duration,
    ) -> (Told, Option<Question>) {
        let (network, from) = places(from);
        let mut told = Told::default();
        if let Some(known) = self.known.get(&network) {
            let regions = known.said(now);
            let of = |(region, by): (&str, BTreeMap<IpAddr, Said>)| {
                Some((region.to_owned(), estimate(&by, from, says_where)?))
            };
            told.latencies = regions.into_iter().filter_map(of).collect();
            told.network = (!told.latencies.is_empty()).then_some(network);
        }
        let Some((number, of)) = system.and_then(|number| Some((number, self.systems.get(&number)?))) else {
            return (told, None);
        };
        match of.told(now) {
            Some(known) => (told.with_system(number, known), None),
            None => (told, Some(self.ask(number, of))),
        }
    }

    fn ask(&self, system: u32, of: &System) -> Question {
        // In an order that nobody outside can know or bring about: who speaks often is not heard before the others.
        let order = self.known.hasher();
        let mut networks: Vec<IpNet> = of.networks.iter().copied().collect();
        networks.sort_by_cached_key(|network| order.hash_one(network));
        let mut voices = HashSet::new();
        networks.retain(|network| voices.insert(voice(*network)));
        let heard = networks.iter().filter_map(|network| self.known.get(network)).take(systems::MAX_HEARD).cloned();
        Question { system, of: of.counted(), heard: heard.collect() }
    }

    /// This was worked out for a system: it holds for a moment.
    pub fn note(&mut self, answer: &Answer) {
        if let Some(system) = self.systems.get_mut(&answer.system) {
            system.note(answer);
        }
    }

    /// How many networks are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn known_or_new(&mut self, network: IpNet, system: Option<u32>, now: Duration) -> &mut Known {
        self.make_room(network, now);
        if !self.known.contains_key(&network) {
            *self.blocks.entry(block(network)).or_default() += 1;
        }
        self.known.entry(network).or_default();
        self.is_of(network, system);
        self.known.entry(network).or_default()
    }

    /// A database says of which system a network is, if it is known. One that is away for a while does not take from what was
    /// known.
    fn is_of(&mut self, network: IpNet, system: Option<u32>) {
        let (Some(system), Some(known)) = (system, self.known.get_mut(&network)) else { return };
        let before = known.system.replace(system);
        if before != Some(system) {
            self.leave(network, before);
            self.systems.entry(system).or_default().networks.insert(network);
        }
    }

    /// The networks that are known, for [`Self::are_of`].
    pub fn all(&self) -> Vec<IpNet> {
        self.known.keys().copied().collect()
    }

    /// There are other databases than when these networks were learnt: this is what they say.
    pub fn are_of(&mut self, systems: impl IntoIterator<Item = (IpNet, Option<u32>)>) {
        for (network, system) in systems {
            self.is_of(network, system);
        }
    }

    fn leave(&mut self, network: IpNet, system: Option<u32>) {
        let Some(number) = system else { return };
        let Some(system) = self.systems.get_mut(&number) else { return };
        system.networks.remove(&network);
        if system.networks.is_empty() {
            self.systems.remove(&number);
        }
    }

    fn forget(&mut self, network: IpNet) {
        let Some(known) = self.known.remove(&network) else { return };
        self.leave(network, known.system);
        if let Entry::Occupied(mut block) = self.blocks.entry(block(network)) {
            *block.get_mut() -= 1;
            if *block.get() == 0 {
                block.remove();
            }
        }
    }

    fn make_room(&mut self, network: IpNet, now: Duration) {
        if self.known.len() < MAX_NETWORKS || self.known.contains_key(&network) {
            return;
        }
        let over = |known: &Known| now.saturating_sub(known.heard) >= LIFE;
        let gone: Vec<IpNet> = self.known.iter().filter(|(_, known)| over(known)).map(|(gone, _)| *gone).collect();
        for gone in gone {
            self.forget(gone);
        }
        if self.known.len() < MAX_NETWORKS {
            return;
        }
        let crowd =
            self.blocks.iter().filter(|(_, count)| **count > CROWD).max_by_key(|(block, count)| (**count, **block));
        let crowd = crowd.map(|(block, _)| *block);
        let may_go = |network: &IpNet| crowd.is_none_or(|crowd| block(*network) == crowd);
        let of = self.known.iter().filter(|(network, _)| may_go(network));
        let quietest = of.min_by_key(|(network, known)| (known.heard, **network));
        if let Some(quietest) = quietest.map(|(network, _)| *network) {
            self.forget(quietest);
        }
    }
}

impl Known {
    /// Takes a report, for which it may forget another.
    fn push(&mut self, report: Report) {
        self.drop_one(report.from);
        self.reports.push(report);
    }

    /// Forgets a report for one of `from`, if there are as many as there may be: its own oldest, or the oldest of the
    /// address that has said most.
    fn drop_one(&mut self, from: IpAddr) {
        let of = |address: IpAddr| self.reports.iter().filter(|report| report.from == address).count();
        let whose = if of(from) >= PER_ADDRESS {
            from
        } else if self.reports.len() >= MAX_REPORTS {
            // The first among equals, which is the oldest.
            let most = self.reports.iter().rev().max_by_key(|report| of(report.from)).map(|report| report.from);
            most.unwrap_or(from)
        } else {
            return;
        };
        if let Some(oldest) = self.reports.iter().position(|report| report.from == whose) {
            self.reports.remove(oldest);
        }
    }

    /// What each address has said of each region.
    fn said(&self, now: Duration) -> BTreeMap<&str, BTreeMap<IpAddr, Said>> {
        let mut regions: BTreeMap<&str, BTreeMap<IpAddr, Said>> = BTreeMap::new();
        for report in self.reports.iter().filter(|report| is_fresh(report, now)) {
            for (region, ms) in report.latencies.iter() {
                let said = regions.entry(region).or_default().entry(report.from).or_default();
                said.all.push(*ms);
                said.weight = halved(now.saturating_sub(report.at));
            }
        }
        regions
    }

    /// What the network as a whole says: the median over its addresses, with the weight of the newest word.
    fn words(&self, now: Duration) -> Words {
        let word = |(region, by): (&str, BTreeMap<IpAddr, Said>)| {
            let ms = Weighed::alike(by.values().filter_map(Said::median)).median()?;
            Some((Arc::from(region), ms, by.values().map(|said| said.weight).fold(0.0, f64::max)))
        };
        self.said(now).into_iter().filter_map(word).collect()
    }
}

/// What one address has said of one region.
#[derive(Default)]
struct Said {
    all: Vec<f64>,
    /// Of its newest word.
    weight: f64,
}

impl Said {
    fn median(&self) -> Option<f64> {
        Weighed::alike(self.all.iter().copied()).median()
    }
}

/// What `from` is told of a region of which these addresses have spoken: what enough of them say, or else what its own has
/// said, where nothing better is known.
fn estimate(by: &BTreeMap<IpAddr, Said>, from: IpAddr, says_where: bool) -> Option<f64> {
    if by.len() < QUORUM {
        return by.get(&from).filter(|_| !says_where)?.median();
    }
    let words: Vec<(f64, f64)> = by.values().filter_map(|said| Some((said.median()?, said.weight))).collect();
    Weighed::of(&words).median()
}

fn is_fresh(report: &Report, now: Duration) -> bool {
    now.saturating_sub(report.at) < LIFE
}

/// The network of an address, and what counts as one address in it: of IPv6 a /56, of which one customer can take any.
fn places(address: IpAddr) -> (IpNet, IpAddr) {
    let address = address.to_canonical();
    (within(address, 24, 48), within(address, 32, 56).addr())
}

/// Networks that stand side by side.
fn block(network: IpNet) -> IpNet {
    within(network.addr(), 16, 32)
}

/// What speaks once for its system: an IPv4 network, or of IPv6 a /40, since a /48 is what anybody gets who asks.
fn voice(network: IpNet) -> IpNet {
    within(network.addr(), 24, 40)
}

fn within(address: IpAddr, of_v4: u8, of_v6: u8) -> IpNet {
    IpNet::new_assert(address, if address.is_ipv4() { of_v4 } else { of_v6 }).trunc()
}

#[cfg(test)]
mod tests;

//! What clients of a network have measured, for others of the same network that have not. A network is an IPv4 /24 or an
//! IPv6 /48. Knows no clock, and holds a bounded number of reports.
//!
//! **Whom to believe.** Anybody can report anything, so a report reaches no further than the reporter's own network, and
//! one liar not far there: of each address its last three reports count, by their median; others of the network are told
//! the median over addresses, once at least three addresses agree to be asked, and in it no address has more than a third of
//! all weight. A newer word weighs more: half as much for each day of age. Whoever shares an address (a company behind one)
//! is told what that address has measured.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

/// Networks that are remembered; the one that was quiet for longest is forgotten for a new one.
const MAX_NETWORKS: usize = 4096;
/// Reports of one network.
const MAX_REPORTS: usize = 12;
/// Reports of one address.
const PER_ADDRESS: usize = 3;
/// Regions of one report: the nearest, since the others are not chosen.
const MAX_REGIONS: usize = 16;
/// Addresses of a network that must have measured a region before another address is told of it.
const QUORUM: usize = 3;
/// In which a report loses half of its weight.
const HALF_LIFE: Duration = Duration::from_hours(24);
/// After which a report is forgotten.
const LIFE: Duration = Duration::from_hours(7 * 24);

/// What is known of networks.
#[derive(Clone, Debug, Default)]
pub struct Networks {
    known: HashMap<IpNet, Known>,
    /// Each name once, however many reports it stands in.
    regions: BTreeSet<Arc<str>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    heard: Duration,
    /// Oldest first.
    reports: Vec<Report>,
}

/// What one client measured.
#[derive(Clone, Debug)]
struct Report {
    from: IpAddr,
    at: Duration,
    latencies: Vec<(Arc<str>, f64)>,
}

impl Networks {
    /// A client at `from` has measured these round trips, in milliseconds by region name; both were checked, so the names
    /// are those of a lobby's regions.
    pub fn learn<'a>(&mut self, from: IpAddr, latencies: impl IntoIterator<Item = (&'a str, f64)>, now: Duration) {
        let mut nearest: Vec<(&str, f64)> = latencies.into_iter().filter(|(_, ms)| ms.is_finite()).collect();
        if nearest.is_empty() {
            return;
        }
        nearest.sort_by(|(a, of_a), (b, of_b)| of_a.total_cmp(of_b).then(a.cmp(b)));
        nearest.truncate(MAX_REGIONS);
        let latencies = nearest.into_iter().map(|(region, ms)| (self.name(region), ms)).collect();
        let (network, from) = places(from);
        self.make_room(network, now);
        let known = self.known.entry(network).or_default();
        known.heard = now;
        known.reports.retain(|report| is_fresh(report, now));
        known.drop_one(from);
        known.reports.push(Report { from, at: now, latencies });
    }

    /// What a client at `from` can be told, in milliseconds by region name.
    pub fn recall(&self, from: IpAddr, now: Duration) -> BTreeMap<String, f64> {
        let (network, from) = places(from);
        let Some(known) = self.known.get(&network) else { return BTreeMap::new() };
        let mut regions: BTreeMap<&str, BTreeMap<IpAddr, Said>> = BTreeMap::new();
        for report in known.reports.iter().filter(|report| is_fresh(report, now)) {
            for (region, ms) in &report.latencies {
                let said = regions.entry(region).or_default().entry(report.from).or_default();
                said.all.push(*ms);
                said.weight = halved(now.saturating_sub(report.at));
            }
        }
        let told = regions.into_iter().filter_map(|(region, by)| Some((region.to_owned(), estimate(&by, from)?)));
        told.collect()
    }

    /// How many networks are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn name(&mut self, region: &str) -> Arc<str> {
        if let Some(known) = self.regions.get(region) {
            return Arc::clone(known);
        }
        let name: Arc<str> = region.into();
        self.regions.insert(Arc::clone(&name));
        name
    }

    fn make_room(&mut self, network: IpNet, now: Duration) {
        if self.known.len() < MAX_NETWORKS || self.known.contains_key(&network) {
            return;
        }
        self.known.retain(|_, known| now.saturating_sub(known.heard) < LIFE);
        if self.known.len() < MAX_NETWORKS {
            return;
        }
        let quietest = self.known.iter().min_by_key(|(network, known)| (known.heard, **network));
        if let Some(quietest) = quietest.map(|(network, _)| *network) {
            self.known.remove(&quietest);
        }
    }
}

impl Known {
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
}

/// What one address has said of one region.
#[derive(Default)]
struct Said {
    all: Vec<f64>,
    /// Of its newest word.
    weight: f64,
}

/// What `from` is told of a region of which these addresses have spoken.
fn estimate(by: &BTreeMap<IpAddr, Said>, from: IpAddr) -> Option<f64> {
    if let Some(own) = by.get(&from) {
        return median(own.all.iter().map(|ms| (*ms, 1.0)).collect());
    }
    if by.len() < QUORUM {
        return None;
    }
    let most = largest_share(by.values().map(|said| said.weight).collect());
    let words = by.values().filter_map(|said| {
        let ms = median(said.all.iter().map(|ms| (*ms, 1.0)).collect())?;
        Some((ms, said.weight.min(most)))
    });
    median(words.collect())
}

/// The weight above which weights are cut, so that none is then more than a third of all that is left. Where the two largest
/// are each more than all others together, both must be cut; otherwise the largest alone.
fn largest_share(mut weights: Vec<f64>) -> f64 {
    weights.sort_by(|a, b| b.total_cmp(a));
    let second = weights.get(1).copied().unwrap_or_default();
    let others: f64 = weights.iter().skip(2).sum();
    if second <= others { f64::midpoint(second, others) } else { others }
}

/// The value on both sides of which lies at most half of the weight: the lower one of two.
fn median(mut weighted: Vec<(f64, f64)>) -> Option<f64> {
    weighted.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let half = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let reaches = |(_, weight): &&(f64, f64)| {
        below += weight;
        // What rounding leaves out is no weight.
        below >= half * (1.0 - 1e-9)
    };
    weighted.iter().find(reaches).map(|(value, _)| *value)
}

fn is_fresh(report: &Report, now: Duration) -> bool {
    now.saturating_sub(report.at) < LIFE
}

fn halved(age: Duration) -> f64 {
    (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}

/// The network of which an address is.
pub fn network_of(address: IpAddr) -> IpNet {
    places(address).0
}

/// The network of an address, and what counts as one address in it: of IPv6 a /64, in which a host can take any.
fn places(address: IpAddr) -> (IpNet, IpAddr) {
    let address = address.to_canonical();
    let (of_network, of_address) = if address.is_ipv4() { (24, 32) } else { (48, 64) };
    let cut = |bits| IpNet::new_assert(address, bits).trunc();
    (cut(of_network), cut(of_address).addr())
}

#[cfg(test)]
#[path = "networks_tests.rs"]
mod tests;

//! The fit: from measured round trips to the numbers of the network.
//!
//! Each measured pair is a sum: access, the legs at both ends, and the links of the shortest way. Which way is shortest
//! depends on the numbers, so both are found in turns: take the ways of the present numbers, solve for better numbers,
//! go half of the way there, and again. Solved is a ridge regression, that is the likeliest numbers under these beliefs:
//!
//! - a measurement is off by 2 ms and 8 %; one that is off by more counts with less weight (Huber), since there are peerings
//!   that no map shows;
//! - a link takes what its kind says (a hop, and its length times light in fibre times an inflation), give or take 15 %;
//! - what the kinds say lies around [`BELIEFS`].
//!
//! A link over which nobody measured keeps what its kind says; that is how the fit says something of places without data.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use convene::decide::geo::hubs::HUBS;
use convene::decide::geo::{Fitted, Link, Network, Spot, Way, distance_km};

use crate::data::Measured;
use crate::links::{Kind, LINKS};

/// Round trip over a kilometre at the speed of light in fibre.
const LIGHT_MS_PER_KM: f64 = 0.01;
/// No link and no leg is believed to be faster than light by less than this.
const FASTEST: f64 = 1.02 * LIGHT_MS_PER_KM;
/// How far a link may be from what its kind says: one standard deviation.
const LINK_SPREAD: f64 = 0.15;
/// A pair that is off by more than so many of its own errors counts with less weight.
const HUBER: f64 = 1.5;
/// How often ways and numbers are found in turns. They need not settle, since a link can be on the shortest way or beside
/// it by turns; the likeliest numbers of all rounds count, and later rounds bring none that are likelier.
const ROUNDS: usize = 20;

/// What all links share, as indices into a solution; the links' own deviations follow.
const LAND: usize = 0;
const SEA: usize = 1;
const HOP: usize = 2;
const ACCESS: usize = 3;
const LEG: usize = 4;
const SELDOM: usize = 5;
const SHARED: usize = 6;

/// What is believed of the shared numbers before anything is measured: mean and standard deviation.
const BELIEFS: [(f64, f64); SHARED] = [
    (1.45 * LIGHT_MS_PER_KM, 0.40 * LIGHT_MS_PER_KM), // a kilometre over land
    (1.18 * LIGHT_MS_PER_KM, 0.30 * LIGHT_MS_PER_KM), // a kilometre under the sea
    (0.8, 0.4),                                       // a hop, ms
    (1.0, 0.5),                                       // access, ms
    (1.60 * LIGHT_MS_PER_KM, 0.40 * LIGHT_MS_PER_KM), // a kilometre to a hub, or without one
    (60.0, 20.0),                                     // a way that is seldom used, ms
];

/// A link whose number is sought.
struct Sought {
    kind: Kind,
    ends: [usize; 2],
    km: f64,
}

/// A measured pair as a sum: how often each unknown is in it.
struct Row {
    terms: Vec<(usize, f64)>,
    ms: f64,
}

struct Fit {
    links: Vec<Sought>,
    /// The link between two hubs, by smaller and larger index.
    index: BTreeMap<(usize, usize), usize>,
    shared: [f64; SHARED],
    /// Round trip of each link.
    ms: Vec<f64>,
}

/// The numbers that these measurements make likeliest.
pub(crate) fn fit(measured: &Measured) -> anyhow::Result<Fitted> {
    let mut fit = Fit::new()?;
    let mut likeliest = (f64::INFINITY, fit.fitted());
    for _ in 0..ROUNDS {
        let rows = fit.rows(&Network::new(&fit.fitted())?, measured);
        let cost = fit.cost(&rows);
        if cost < likeliest.0 {
            likeliest = (cost, fit.fitted());
        }
        fit.improve(&rows)?;
    }
    Ok(likeliest.1)
}

impl Fit {
    fn new() -> anyhow::Result<Self> {
        let codes: BTreeMap<&str, usize> = HUBS.iter().enumerate().map(|(index, hub)| (hub.code, index)).collect();
        let (mut links, mut index) = (Vec::new(), BTreeMap::new());
        for (kind, text) in LINKS {
            for name in text.split_whitespace() {
                let ends = name.split_once('-').and_then(|(from, to)| Some((*codes.get(from)?, *codes.get(to)?)));
                let (from, to) = ends.with_context(|| format!("links.rs: {name}: no two hubs of hubs.rs"))?;
                let known = index.insert((from.min(to), from.max(to)), links.len());
                anyhow::ensure!(known.is_none(), "links.rs: {name} stands there twice");
                links.push(Sought { kind, ends: [from, to], km: distance_km(HUBS[from].point, HUBS[to].point) });
            }
        }
        let shared = BELIEFS.map(|(mean, _)| mean);
        let ms = links.iter().map(|link| link.expected_ms(&shared)).collect();
        Ok(Self { links, index, shared, ms })
    }

    fn fitted(&self) -> Fitted {
        let links = self.links.iter().zip(&self.ms).map(|(link, ms)| Link {
            ends: link.ends.map(|hub| HUBS[hub].code),
            ms: *ms,
            seldom: link.kind == Kind::Seldom,
        });
        Fitted { access_ms: self.shared[ACCESS], leg_ms_per_km: self.shared[LEG], links: links.collect() }
    }

    /// Each measured pair over the shortest way of the present numbers.
    fn rows(&self, network: &Network, measured: &Measured) -> Vec<Row> {
        let neighbours = self.neighbours();
        let spots: Vec<Spot> = measured.places.iter().map(|place| network.spot(place.point)).collect();
        let row = |((from, to), ms): ((usize, usize), f64)| {
            let (a, b) = (measured.places[from].point, measured.places[to].point);
            let mut terms = vec![(ACCESS, 1.0)];
            match network.way(&spots[from], &spots[to]) {
                Way::Direct => terms.push((LEG, distance_km(a, b))),
                Way::Hubs { first, last } => {
                    let legs = distance_km(a, HUBS[first].point) + distance_km(b, HUBS[last].point);
                    terms.push((LEG, legs));
                    for link in self.links_between(network, &neighbours, first, last) {
                        terms.extend(self.links[link].shared_terms());
                        terms.push((SHARED + link, 1.0));
                    }
                }
            }
            Row { terms, ms }
        };
        measured.pairs().map(row).collect()
    }

    /// The links of the shortest way from one hub to another.
    fn links_between(&self, network: &Network, neighbours: &[Vec<usize>], from: usize, to: usize) -> Vec<usize> {
        let (mut here, mut links) = (from, Vec::new());
        while here != to {
            let over = |link: &usize| self.ms[*link] + network.between_ms(self.links[*link].other_end(here), to);
            let next = neighbours[here].iter().copied().min_by(|a, b| over(a).total_cmp(&over(b)));
            let Some(link) = next else { break };
            links.push(link);
            here = self.links[link].other_end(here);
        }
        links
    }

    /// The links at each hub.
    fn neighbours(&self) -> Vec<Vec<usize>> {
        let mut neighbours = vec![Vec::new(); HUBS.len()];
        for ((from, to), link) in &self.index {
            neighbours[*from].push(*link);
            neighbours[*to].push(*link);
        }
        neighbours
    }

    /// The present numbers in the order of unknowns: what is shared, and by how much each link deviates from its kind.
    fn present(&self) -> Vec<f64> {
        let own = self.links.iter().zip(&self.ms).map(|(link, ms)| ms - link.expected_ms(&self.shared));
        self.shared.into_iter().chain(own).collect()
    }

    /// What is believed of an unknown: mean and standard deviation.
    fn belief(&self, unknown: usize) -> (f64, f64) {
        match unknown.checked_sub(SHARED) {
            Some(link) => (0.0, LINK_SPREAD * self.links[link].expected_ms(&self.shared).max(2.0)),
            None => BELIEFS[unknown],
        }
    }

    /// How unlikely the present numbers are: the logarithm, without what is the same for all.
    fn cost(&self, rows: &[Row]) -> f64 {
        let present = self.present();
        let belief = |(unknown, value): (usize, &f64)| {
            let (mean, spread) = self.belief(unknown);
            ((value - mean) / spread).powi(2) / 2.0
        };
        let row = |row: &Row| {
            let off = row.off(&present);
            if off > HUBER { HUBER * (off - HUBER / 2.0) } else { off.powi(2) / 2.0 }
        };
        present.iter().enumerate().map(belief).sum::<f64>() + rows.iter().map(row).sum::<f64>()
    }

    /// Half of the way to the numbers that fit these rows best.
    fn improve(&mut self, rows: &[Row]) -> anyhow::Result<()> {
        let present = self.present();
        // A link that is in no row stays as it is beside its kind, and need not be solved for.
        let used: BTreeSet<usize> = rows.iter().flat_map(|row| row.terms.iter().map(|(unknown, _)| *unknown)).collect();
        let place: BTreeMap<usize, usize> =
            (0..SHARED).chain(used).collect::<BTreeSet<_>>().into_iter().zip(0..).collect();
        let mut system = System::new(place.len());
        for (unknown, place) in &place {
            let (mean, spread) = self.belief(*unknown);
            system.add(&[(*place, 1.0)], mean, spread.powi(-2));
        }
        for row in rows {
            let off = row.off(&present);
            let trust = if off > HUBER { HUBER / off } else { 1.0 };
            let terms: Vec<(usize, f64)> = row.terms.iter().map(|(unknown, times)| (place[unknown], *times)).collect();
            system.add(&terms, row.ms, trust / row.error_ms().powi(2));
        }
        let solution = system.solve().context("the system has no solution")?;
        let least = [FASTEST, FASTEST, 0.0, 0.0, FASTEST, 0.0];
        for (unknown, least) in least.into_iter().enumerate() {
            self.shared[unknown] = f64::midpoint(self.shared[unknown], solution[unknown].max(least));
        }
        for (index, link) in self.links.iter().enumerate() {
            let own = place.get(&(SHARED + index)).map_or(present[SHARED + index], |place| solution[*place]);
            let better = link.expected_ms(&self.shared) + own;
            self.ms[index] = f64::midpoint(self.ms[index], better).max(link.km * FASTEST);
        }
        Ok(())
    }
}

impl Row {
    /// By how much a measurement is believed to be off.
    fn error_ms(&self) -> f64 {
        2.0 + 0.08 * self.ms
    }

    /// By how many of its own errors these numbers miss it.
    fn off(&self, numbers: &[f64]) -> f64 {
        let said: f64 = self.terms.iter().map(|(unknown, times)| times * numbers[*unknown]).sum();
        (said - self.ms).abs() / self.error_ms()
    }
}

impl Sought {
    fn other_end(&self, hub: usize) -> usize {
        if self.ends[0] == hub { self.ends[1] } else { self.ends[0] }
    }

    /// How often each shared number is in this link.
    fn shared_terms(&self) -> impl Iterator<Item = (usize, f64)> {
        let over = if self.kind == Kind::Land { LAND } else { SEA };
        let seldom = (self.kind == Kind::Seldom).then_some((SELDOM, 1.0));
        [(HOP, 1.0), (over, self.km)].into_iter().chain(seldom)
    }

    /// What its kind says.
    fn expected_ms(&self, shared: &[f64; SHARED]) -> f64 {
        self.shared_terms().map(|(unknown, times)| times * shared[unknown]).sum()
    }
}

/// Weighted least squares: the normal equations, solved by Cholesky's decomposition.
struct System {
    size: usize,
    /// The lower triangle, row after row, in a whole square.
    matrix: Vec<f64>,
    right: Vec<f64>,
}

impl System {
    fn new(size: usize) -> Self {
        Self { size, matrix: vec![0.0; size * size], right: vec![0.0; size] }
    }

    /// One equation: these terms sum up to `value`, with this weight.
    fn add(&mut self, terms: &[(usize, f64)], value: f64, weight: f64) {
        for &(row, times) in terms {
            self.right[row] += weight * times * value;
            for &(column, other) in terms.iter().filter(|(column, _)| *column <= row) {
                self.matrix[row * self.size + column] += weight * times * other;
            }
        }
    }

    /// `None` when the equations leave something undetermined.
    fn solve(mut self) -> Option<Vec<f64>> {
        for row in 0..self.size {
            for column in 0..=row {
                let (above, here) = self.matrix.split_at(row * self.size);
                let earlier = if column == row { &here[..column] } else { &above[column * self.size..][..column] };
                let sum: f64 = here[..column].iter().zip(earlier).map(|(a, b)| a * b).sum();
                let value = here[column] - sum;
                let diagonal = if column == row { value.sqrt() } else { above[column * self.size + column] };
                if !diagonal.is_finite() || diagonal <= 0.0 {
                    return None;
                }
                self.matrix[row * self.size + column] = if column == row { diagonal } else { value / diagonal };
            }
        }
        let mut solution = self.right;
        for row in 0..self.size {
            let known: f64 = (0..row).map(|column| self.matrix[row * self.size + column] * solution[column]).sum();
            solution[row] = (solution[row] - known) / self.matrix[row * self.size + row];
        }
        for row in (0..self.size).rev() {
            let known: f64 =
                (row + 1..self.size).map(|lower| self.matrix[lower * self.size + row] * solution[lower]).sum();
            solution[row] = (solution[row] - known) / self.matrix[row * self.size + row];
        }
        Some(solution)
    }
}

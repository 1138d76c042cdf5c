//! Measured round trips between places: read from `data/`, gathered to one number for each pair of places.

use std::collections::BTreeMap;

use anyhow::Context as _;
use convene::decide::geo::distance_km;
use convene::wire::session::GeoPoint;

/// Data centres that are nearer to each other than this are one place.
pub(crate) const ONE_PLACE_KM: f64 = 60.0;

/// A set of measurements that is compiled in: locations and round trips, both as CSV.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    locations: &'static str,
    round_trips: &'static str,
}

/// Amazon, Azure and Google, April 2022.
pub(crate) const CLOUD_2022: Source = Source {
    name: "cloud2022",
    locations: include_str!("data/cloud2022_locations.csv"),
    round_trips: include_str!("data/cloud2022_rtt.csv"),
};

/// Amazon, the year until July 2025.
pub(crate) const AWS_2025: Source = Source {
    name: "aws2025",
    locations: include_str!("data/aws2025_locations.csv"),
    round_trips: include_str!("data/aws2025_rtt.csv"),
};

/// Where something was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// The data centres there, as `provider:region`.
    pub(crate) regions: Vec<String>,
    pub(crate) point: GeoPoint,
    /// Continent, as two letters.
    pub(crate) continent: String,
}

/// Places, and the round trip between each two of them that was measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) places: Vec<Place>,
    /// Milliseconds, by the smaller and the larger index.
    pairs: BTreeMap<(usize, usize), f64>,
}

/// One region and its location.
struct Region {
    name: String,
    point: GeoPoint,
    continent: String,
}

impl Measured {
    /// What the sources say of the regions that `wanted` takes, which it is asked by `provider:region`. The two
    /// directions of a pair are averaged; of several pairs of data centres between two places the median counts.
    pub(crate) fn of(sources: &[Source], wanted: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let mut places: Vec<Place> = Vec::new();
        let mut between: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
        for source in sources {
            let regions = source.regions()?;
            let mut index = BTreeMap::new();
            for region in regions.iter().filter(|region| wanted(&region.name)) {
                index.insert(region.name.as_str(), settle(&mut places, region));
            }
            let mut directions: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
            for (from, to, ms) in source.round_trips()? {
                directions.entry((from.min(to), from.max(to))).or_default().push(ms);
            }
            for ((from, to), each) in directions {
                let (Some(&from), Some(&to)) = (index.get(from), index.get(to)) else { continue };
                if from != to {
                    let mean = each.iter().sum::<f64>() / each.len() as f64;
                    between.entry((from.min(to), from.max(to))).or_default().push(mean);
                }
            }
        }
        let pairs = between.into_iter().map(|(pair, mut each)| (pair, median(&mut each))).collect();
        Ok(Self { places, pairs })
    }

    /// The measured round trip, if there is one. Within a place it is nothing.
    pub(crate) fn ms(&self, from: usize, to: usize) -> Option<f64> {
        if from == to { Some(0.0) } else { self.pairs.get(&(from.min(to), from.max(to))).copied() }
    }

    /// Each pair of places that was measured, once.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = ((usize, usize), f64)> {
        self.pairs.iter().map(|(pair, ms)| (*pair, *ms))
    }

    /// The same without what was measured from or to any place that is nearer to this point.
    pub(crate) fn beyond(&self, km: f64, point: GeoPoint) -> Self {
        let near = |place: usize| distance_km(self.places[place].point, point) < km;
        let pairs = self.pairs().filter(|((from, to), _)| !near(*from) && !near(*to)).collect();
        Self { places: self.places.clone(), pairs }
    }
}

/// The place that a region is at: one that is known, or a new one.
fn settle(places: &mut Vec<Place>, region: &Region) -> usize {
    let known = places.iter().position(|place| distance_km(place.point, region.point) < ONE_PLACE_KM);
    let index = known.unwrap_or_else(|| {
        places.push(Place { regions: Vec::new(), point: region.point, continent: region.continent.clone() });
        places.len() - 1
    });
    places[index].regions.push(region.name.clone());
    index
}

impl Source {
    fn regions(&self) -> anyhow::Result<Vec<Region>> {
        let lines = self.locations.lines().enumerate().skip(1);
        let region = |(index, line): (usize, &str)| {
            let fields: Vec<&str> = line.split(',').collect();
            let [name, latitude, longitude, _country, continent, ..] = fields[..] else {
                anyhow::bail!("{}_locations.csv:{}: has too few fields", self.name, index + 1);
            };
            let degrees =
                |text: &str| text.parse().with_context(|| format!("{}_locations.csv:{}", self.name, index + 1));
            let point = GeoPoint { latitude: degrees(latitude)?, longitude: degrees(longitude)? };
            Ok(Region { name: name.to_owned(), point, continent: continent.to_owned() })
        };
        lines.map(region).collect()
    }

    fn round_trips(&self) -> anyhow::Result<Vec<(&'static str, &'static str, f64)>> {
        let line = |(index, line): (usize, &'static str)| {
            let fields: Vec<&str> = line.split(',').collect();
            let [from, to, ms] = fields[..] else {
                anyhow::bail!("{}_rtt.csv:{}: must have three fields", self.name, index + 1);
            };
            let ms: f64 = ms.parse().with_context(|| format!("{}_rtt.csv:{}", self.name, index + 1))?;
            Ok((from, to, ms))
        };
        self.round_trips.lines().enumerate().skip(1).map(line).collect()
    }
}

/// The median; of an even number the mean of the middle two, of none zero.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => 0.0,
        (Some(upper), 0) => f64::midpoint(values[middle - 1], *upper),
        (Some(value), _) => *value,
    }
}

//! A synthetic world: clients in large cities, pools at measured places, and what each way of choosing loses.
//!
//! The truth is measured between data centres. A client takes the truth of the nearest measured place, at most
//! [`COVERED_KM`] away, and its own way there on top; so cities that are farther from every measured place are left out and
//! counted, and so is mainland China, where none was measured and the networks around it say nothing. No client's
//! estimates come from a model that has seen its place.

use convene::decide::geo::{Network, distance_km};
use convene::decide::regions;
use convene::wire::session::GeoPoint;

use crate::chance::Chance;
use crate::cities::{CITIES, City};
use crate::data::{AWS_2025, CLOUD_2022, Measured, ONE_PLACE_KM};
use crate::fit::fit;
use crate::regret::{Regrets, least};

/// How far from a measured place its round trips still count for a city.
const COVERED_KM: f64 = 500.0;
/// A city's own way to the place whose truth it takes: two and a bit times light in fibre, as around any hub.
const HAUL_MS_PER_KM: f64 = 0.022;
/// What a home or an office adds.
const LAST_MILE_MS: f64 = 8.0;
/// A client probes each pool so often and keeps the least; each probe waits in queues for this long in the mean.
const PROBES: usize = 3;
const QUEUES_MS: f64 = 5.0;
/// How many sessions there are for each number of parties.
const SESSIONS: usize = 10_000;

/// The regions of the demo.
const DEMO: [&str; 6] =
    ["asia-northeast1", "asia-south1", "eu-west-1", "europe-north1", "southamerica-east1", "us-east1"];

/// Which pools there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pools {
    /// The demo's six regions.
    Demo,
    /// Six measured places, drawn anew for each session.
    Drawn,
}

/// How the pool of a session is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Measured,
    Coordinates,
    Region,
    DeclaredOrder,
    NearestByDistance,
    RoundRobin,
    NearestToHost,
}

pub(crate) const CHOICES: [Choice; 7] = [
    Choice::Measured,
    Choice::Coordinates,
    Choice::Region,
    Choice::DeclaredOrder,
    Choice::NearestByDistance,
    Choice::RoundRobin,
    Choice::NearestToHost,
];

impl Choice {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured by each party",
            Self::Coordinates => "coordinates of each party",
            Self::Region => "each party names a cloud region near it",
            Self::DeclaredOrder => "nothing known: declared order",
            Self::NearestByDistance => "*beside:* nearest by distance",
            Self::RoundRobin => "*beside:* DNS round robin",
            Self::NearestToHost => "*beside:* truly best for the host alone",
        }
    }
}

/// A city that a measured place stands for, with a row of numbers for all places.
struct Client {
    city: &'static City,
    truth: Vec<Option<f64>>,
    by_coordinates: Vec<f64>,
    by_region: Vec<f64>,
    km: Vec<f64>,
}

/// What came out of one number of parties with one kind of pools.
pub(crate) struct Outcome {
    pub(crate) pools: Pools,
    /// For each of [`CHOICES`]: regret, and the round trip of the worst party.
    pub(crate) rows: Vec<(Choice, Regrets, Regrets)>,
    /// The round trip of the worst party at the best pool.
    pub(crate) best: Regrets,
}

pub(crate) struct World {
    set: Measured,
    clients: Vec<Client>,
}

impl World {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let set = Measured::of(&[CLOUD_2022], |_| true)?;
        let everything = Measured::of(&[CLOUD_2022, AWS_2025], |_| true)?;
        let mut clients = Vec::new();
        for (place, measured) in set.places.iter().enumerate() {
            let cities: Vec<&City> = CITIES.iter().filter(|city| stands_for(&set, city) == Some(place)).collect();
            if cities.is_empty() {
                continue;
            }
            let network = Network::new(&fit(&everything.beyond(ONE_PLACE_KM, measured.point))?)?;
            clients.extend(cities.into_iter().map(|city| Client::new(&set, &network, city, place)));
        }
        Ok(Self { set, clients })
    }

    /// Share of the people of the listed cities that are covered: on each continent, and in all.
    pub(crate) fn coverage(&self) -> Vec<(&'static str, f64, Vec<&'static str>)> {
        let continents = [
            ("Africa", "AF"),
            ("Asia without mainland China", "AS"),
            ("Europe", "EU"),
            ("North America", "NA"),
            ("South America", "SA"),
            ("Oceania", "OC"),
            ("mainland China", "CN"),
        ];
        let of = |(name, code): (&'static str, &str)| {
            let cities = || CITIES.iter().filter(move |city| city.continent == code);
            let (inside, outside): (Vec<&City>, Vec<&City>) =
                cities().partition(|city| self.clients.iter().any(|client| client.city.name == city.name));
            let millions = |cities: &[&City]| cities.iter().map(|city| city.millions).fold(0.0, |sum, of| sum + of);
            let share = millions(&inside) / (millions(&inside) + millions(&outside));
            (name, share, outside.into_iter().map(|city| city.name).collect())
        };
        continents.into_iter().map(of).collect()
    }

    /// Ten thousand sessions of so many parties. Each guest lives, with even chances, on the host's continent or anywhere.
    pub(crate) fn run(&self, pools: Pools, parties: usize) -> Outcome {
        let mut chance = Chance::new(parties as u64);
        let mut rows: Vec<_> =
            CHOICES.into_iter().map(|choice| (choice, Regrets::default(), Regrets::default())).collect();
        let mut best = Regrets::default();
        for session in 0..SESSIONS {
            let members = self.members(parties, &mut chance);
            let places = self.pools(pools, &mut chance);
            let worst = |place: usize| over(&members, |client| client.truth[place].unwrap_or(f64::INFINITY));
            let truth: Vec<f64> = places.iter().map(|place| worst(*place)).collect();
            let least_ms = least(truth.iter().copied()).map_or(0.0, |index| truth[index]);
            best.add(least_ms);
            for (choice, regrets, round_trips) in &mut rows {
                let chosen = choose(*choice, session, &members, &places, &mut chance);
                regrets.add(truth[chosen] - least_ms);
                round_trips.add(truth[chosen]);
            }
        }
        Outcome { pools, rows, best }
    }

    fn members(&self, parties: usize, chance: &mut Chance) -> Vec<&Client> {
        let all: Vec<f64> = self.clients.iter().map(|client| client.city.millions).collect();
        let host = &self.clients[chance.weighted(&all)];
        let near =
            |client: &Client| if client.city.continent == host.city.continent { client.city.millions } else { 0.0 };
        let nearby: Vec<f64> = self.clients.iter().map(near).collect();
        let guest = |chance: &mut Chance| {
            let weights = if chance.share() < 0.5 { &nearby } else { &all };
            &self.clients[chance.weighted(weights)]
        };
        let mut members = vec![host];
        members.extend((1..parties).map(|_| guest(chance)));
        members
    }

    fn pools(&self, pools: Pools, chance: &mut Chance) -> Vec<usize> {
        let place_of = |region: &&str| {
            let is_it = |name: &String| name.split_once(':').is_some_and(|(_, name)| name == *region);
            self.set.places.iter().position(|place| place.regions.iter().any(is_it))
        };
        match pools {
            Pools::Demo => DEMO.iter().filter_map(place_of).collect(),
            Pools::Drawn => chance.some(6, self.set.places.len()),
        }
    }
}

impl Client {
    fn new(set: &Measured, network: &Network, city: &'static City, place: usize) -> Self {
        let haul = distance_km(city.point, set.places[place].point) * HAUL_MS_PER_KM + LAST_MILE_MS;
        let all = || set.places.iter().map(|place| place.point);
        let from = |point: GeoPoint| {
            let spot = network.spot(point);
            all().map(|to| network.round_trip_ms(&spot, &network.spot(to))).collect()
        };
        let near =
            regions::all().iter().map(|region| GeoPoint { latitude: region.latitude, longitude: region.longitude });
        let near: Vec<GeoPoint> = near.collect();
        let region = least(near.iter().map(|region| distance_km(*region, city.point))).map_or(city.point, |i| near[i]);
        Self {
            city,
            truth: (0..set.places.len()).map(|pool| Some(set.ms(place, pool)? + haul)).collect(),
            by_coordinates: from(city.point),
            by_region: from(region),
            km: all().map(|to| distance_km(city.point, to)).collect(),
        }
    }
}

/// The measured place whose truth a city takes.
fn stands_for(set: &Measured, city: &City) -> Option<usize> {
    let km = |place: usize| distance_km(set.places[place].point, city.point);
    let nearest = least((0..set.places.len()).map(km))?;
    (km(nearest) <= COVERED_KM && city.continent != "CN").then_some(nearest)
}

/// The worst of all members.
fn over(members: &[&Client], ms: impl FnMut(&&Client) -> f64) -> f64 {
    members.iter().map(ms).fold(0.0, f64::max)
}

/// Which of the places is chosen, as an index into them.
fn choose(choice: Choice, session: usize, members: &[&Client], places: &[usize], chance: &mut Chance) -> usize {
    let mut probe = |truth: Option<f64>| {
        let ms = truth.unwrap_or(f64::INFINITY);
        (0..PROBES).map(|_| ms + chance.exponential(QUEUES_MS)).fold(f64::INFINITY, f64::min)
    };
    let worst = |place: usize| match choice {
        Choice::Measured => over(members, |client| probe(client.truth[place])),
        Choice::Coordinates => over(members, |client| client.by_coordinates[place]),
        Choice::Region => over(members, |client| client.by_region[place]),
        Choice::NearestByDistance => over(members, |client| client.km[place]),
        Choice::NearestToHost => over(&members[..1], |client| client.truth[place].unwrap_or(f64::INFINITY)),
        Choice::DeclaredOrder | Choice::RoundRobin => 0.0,
    };
    match choice {
        Choice::RoundRobin => session % places.len(),
        // All are equal in declared order, and the first of equals is chosen.
        _ => least(places.iter().copied().map(worst)).unwrap_or(0),
    }
}

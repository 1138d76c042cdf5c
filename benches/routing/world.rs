//! A synthetic world: clients in large cities, pools at measured places, and what each way of choosing loses.
//!
//! The truth is measured between data centres. A client takes the truth of the nearest measured place, at most
//! [`COVERED_KM`] away, and its own way there on top; so cities that are farther from every measured place are left out and
//! counted, and so is mainland China, where none was measured and the networks around it say nothing. No client's
//! estimates come from a model that has seen its place. What is known of each party then goes through the lobby's own choice
//! (`decide::route`): as if it were measured, so that the model that has not seen the place is the one that is judged.

use std::rc::Rc;

use convene::decide::geo::{Network, distance_km};
use convene::decide::regions;
use convene::decide::route::{self, Ask, Pool, Relay, RelayState, Terms};
use convene::wire::routing::Routing;
use convene::wire::session::{ClientPlace, GeoPoint};

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
/// Others of a network whose measurements are known, each behind an access of its own.
const OTHERS: usize = 3;
/// How far from a client a database of addresses has it: half of all farther than the first, one in twenty than the second.
/// Nobody who publishes such figures publishes their measurements: this is a guess, and stands in the page as one.
const OFF_KM: [f64; 2] = [40.0, 1000.0];
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
    Network,
    Coordinates,
    Region,
    GeoIp,
    DeclaredOrder,
    NearestByDistance,
    RoundRobin,
    NearestToHost,
}

pub(crate) const CHOICES: [Choice; 9] = [
    Choice::Measured,
    Choice::Network,
    Choice::Coordinates,
    Choice::Region,
    Choice::GeoIp,
    Choice::DeclaredOrder,
    Choice::NearestByDistance,
    Choice::RoundRobin,
    Choice::NearestToHost,
];

impl Choice {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured by each party",
            Self::Network => "measured by three others of each party's network",
            Self::Coordinates => "coordinates of each party",
            Self::Region => "each party names a cloud region near it",
            Self::GeoIp => "where each party's address is thought to be",
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
    /// What its estimates come from: it has not seen the client's place.
    network: Rc<Network>,
    points: Rc<Vec<GeoPoint>>,
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
        let points = Rc::new(set.places.iter().map(|place| place.point).collect());
        let mut clients = Vec::new();
        for (place, measured) in set.places.iter().enumerate() {
            let cities: Vec<&City> = CITIES.iter().filter(|city| stands_for(&set, city) == Some(place)).collect();
            if cities.is_empty() {
                continue;
            }
            let network = Rc::new(Network::new(&fit(&everything.beyond(ONE_PLACE_KM, measured.point))?)?);
            clients.extend(cities.into_iter().map(|city| Client::new(&set, &network, &points, city, place)));
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
    fn new(
        set: &Measured,
        network: &Rc<Network>,
        points: &Rc<Vec<GeoPoint>>,
        city: &'static City,
        place: usize,
    ) -> Self {
        let haul = distance_km(city.point, set.places[place].point) * HAUL_MS_PER_KM + LAST_MILE_MS;
        let from = |point: GeoPoint| points.iter().map(|to| estimate(network, point, *to)).collect();
        let near =
            regions::all().iter().map(|region| GeoPoint { latitude: region.latitude, longitude: region.longitude });
        let near: Vec<GeoPoint> = near.collect();
        let region = least(near.iter().map(|region| distance_km(*region, city.point))).map_or(city.point, |i| near[i]);
        Self {
            city,
            truth: (0..set.places.len()).map(|pool| Some(set.ms(place, pool)? + haul)).collect(),
            by_coordinates: from(city.point),
            by_region: from(region),
            km: points.iter().map(|to| distance_km(city.point, *to)).collect(),
            network: Rc::clone(network),
            points: Rc::clone(points),
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

fn estimate(network: &Network, from: GeoPoint, to: GeoPoint) -> f64 {
    network.round_trip_ms(&network.spot(from), &network.spot(to))
}

/// Which of the places is chosen, as an index into them.
fn choose(choice: Choice, session: usize, members: &[&Client], places: &[usize], chance: &mut Chance) -> usize {
    let km = |place: &usize| over(members, |client| client.km[*place]);
    let of_host = |place: &usize| members.first().and_then(|host| host.truth[*place]).unwrap_or(f64::INFINITY);
    match choice {
        Choice::RoundRobin => session % places.len(),
        Choice::NearestByDistance => least(places.iter().map(km)).unwrap_or(0),
        Choice::NearestToHost => least(places.iter().map(of_host)).unwrap_or(0),
        Choice::Measured
        | Choice::Network
        | Choice::Coordinates
        | Choice::Region
        | Choice::GeoIp
        | Choice::DeclaredOrder => as_a_lobby_does(choice, members, places, chance),
    }
}

/// By the lobby's own choice, with what is known of each party.
fn as_a_lobby_does(choice: Choice, members: &[&Client], places: &[usize], chance: &mut Chance) -> usize {
    let name = |place: usize| format!("place {place}");
    let known = |client: &&Client| {
        let known = known(choice, client, places, chance);
        let latencies = places.iter().zip(known).filter_map(|(place, ms)| Some((name(*place), ms?))).collect();
        ClientPlace { latencies, ..ClientPlace::default() }
    };
    let parties: Vec<ClientPlace> = members.iter().map(known).collect();
    let pool = |place: &usize| {
        let relay = Relay { name: String::new(), state: RelayState::Serving, capacity: 1, used: 0 };
        let point = GeoPoint { latitude: 0.0, longitude: 0.0 };
        Pool::new(&name(*place), &name(*place), point, Terms::default(), vec![relay])
    };
    let ask = Ask { parties: parties.iter().collect(), waited: None, draw: 0, asked: &[] };
    let (chosen, _) = route::choose(&places.iter().map(pool).collect(), &ask, &Routing::default());
    chosen.map_or(0, |chosen| chosen.pool)
}

/// What is known of the way of a client to each of the places, in milliseconds.
fn known(choice: Choice, client: &Client, places: &[usize], chance: &mut Chance) -> Vec<Option<f64>> {
    match choice {
        Choice::Measured => probes(client, places, 0.0, chance),
        Choice::Network => {
            let others: Vec<Vec<Option<f64>>> = (0..OTHERS)
                .map(|_| {
                    let access = chance.exponential(LAST_MILE_MS);
                    probes(client, places, access, chance)
                })
                .collect();
            let median = |index: usize| {
                let mut all = others.iter().map(|other| other[index]).collect::<Option<Vec<f64>>>()?;
                all.sort_by(f64::total_cmp);
                all.get(OTHERS / 2).copied()
            };
            (0..places.len()).map(median).collect()
        }
        Choice::Coordinates => places.iter().map(|place| Some(client.by_coordinates[*place])).collect(),
        Choice::Region => places.iter().map(|place| Some(client.by_region[*place])).collect(),
        Choice::GeoIp => {
            let from = displaced(client.city.point, chance);
            places.iter().map(|place| Some(estimate(&client.network, from, client.points[*place]))).collect()
        }
        _ => vec![None; places.len()],
    }
}

/// What somebody measures who is so many milliseconds farther away than the client: of some probes to each place, the least.
fn probes(client: &Client, places: &[usize], farther: f64, chance: &mut Chance) -> Vec<Option<f64>> {
    let mut probe =
        |ms: f64| (0..PROBES).map(|_| ms + farther + chance.exponential(QUEUES_MS)).fold(f64::INFINITY, f64::min);
    places.iter().map(|place| client.truth[*place].map(&mut probe)).collect()
}

/// Where a database has a client: somewhere around it, by a log-normal distance.
fn displaced(from: GeoPoint, chance: &mut Chance) -> GeoPoint {
    let [median, twentieth] = OFF_KM;
    // 1.645: what a normal variable exceeds in one of twenty cases.
    let km = (median.ln() + (twentieth / median).ln() / 1.645 * chance.normal()).exp().min(5000.0);
    let (bearing, angle) = (chance.share() * std::f64::consts::TAU, km / 6371.0);
    let latitude = from.latitude.to_radians();
    let to = (latitude.sin() * angle.cos() + latitude.cos() * angle.sin() * bearing.cos()).asin();
    let east = (bearing.sin() * angle.sin() * latitude.cos()).atan2(angle.cos() - latitude.sin() * to.sin());
    let longitude = (from.longitude + east.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
    GeoPoint { latitude: to.to_degrees(), longitude }
}

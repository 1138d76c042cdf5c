//! Properties of a choice over drawn worlds: what is always respected, and what never makes a pool lose or win.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::wire::routing::{Cap, Inside, Overflow, RegionRule, Strategy as For};
use crate::wire::session::{Beside, ClientPlace, RankedPool};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Regions, and where their pools are: apart, so that what one measured of a region says something of another.
const REGIONS: [(&str, f64); 4] = [("r", 0.0), ("s", 15.0), ("t", 60.0), ("u", -75.0)];

/// A pool: an index into [`REGIONS`], and its relays with their seats and how many are taken.
#[derive(Clone, Debug)]
struct Site {
    region: usize,
    relays: Vec<(RelayState, u32, u32)>,
}

/// A world of up to six pools in up to four regions, and a lobby's settings.
#[derive(Clone, Debug)]
struct World {
    routing: Routing,
    sites: Vec<Site>,
    host: ClientPlace,
    guests: Vec<ClientPlace>,
    draw: u64,
    waited: Option<Duration>,
}

impl World {
    fn pools(&self) -> Pools {
        let relay = |(&(state, capacity, used), name): (&(RelayState, u32, u32), &str)| Relay {
            name: name.to_owned(),
            state,
            capacity,
            used,
        };
        let pool = |(site, name): (&Site, &str)| {
            let (region, longitude) = REGIONS[site.region];
            let relays = site.relays.iter().zip(NAMES).map(relay).collect();
            Pool::new(name, region, GeoPoint { latitude: 0.0, longitude }, Terms::of(&self.routing, region), relays)
        };
        self.sites.iter().zip(NAMES).map(pool).collect()
    }

    fn ask(&self) -> Ask<'_> {
        let parties = std::iter::once(&self.host).chain(&self.guests).collect();
        Ask { parties, waited: self.waited, draw: self.draw, asked: &[] }
    }

    fn placed(&self) -> Placement {
        place(&self.pools(), &self.ask(), &self.routing)
    }

    fn chosen(&self) -> Option<usize> {
        choose(&self.pools(), &self.ask(), &self.routing).0.map(|chosen| chosen.pool)
    }

    /// Each party is so far from each pool by something that is known: nothing follows from what it knows of another.
    fn is_known_everywhere(&self) -> bool {
        let pools = self.pools();
        let known = |place: &&ClientPlace| estimates(&pools, place).iter().all(|estimate| estimate.ms.is_some());
        self.guests.is_empty() || self.ask().parties.iter().all(known)
    }

    fn rule(&self, pool: usize) -> &RegionRule {
        &self.routing.regions[self.sites[pool].region]
    }

    fn has_room(&self, pool: usize) -> bool {
        self.sites[pool].relays.iter().any(|(state, capacity, used)| *state == RelayState::Serving && used < capacity)
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let same_region = self.sites[from].region == self.sites[to].region;
        let residency = |pool: usize| self.rule(pool).residency.as_deref();
        match self.routing.overflow {
            Overflow::Nearest => true,
            Overflow::SameResidency => same_region || residency(from).is_some() && residency(from) == residency(to),
            Overflow::Never => same_region,
        }
    }

    fn resides(&self, pool: usize) -> bool {
        self.host.residency.is_none() || self.rule(pool).residency == self.host.residency
    }

    /// How far a pool may be after the wait; `None` = any distance.
    fn farthest(&self) -> Option<u32> {
        let mut ends = self.routing.caps.iter().scan(0, |end, cap| {
            *end += u64::from(cap.for_seconds);
            Some(*end)
        });
        let waited = self.waited?;
        let step = ends.position(|end| waited < Duration::from_secs(end))?;
        self.routing.caps[..=step].iter().map(|cap| cap.at_most_ms).max()
    }

    /// The pools that may be the best as if all were empty, by what the answer tells: its milliseconds are told to a tenth, so
    /// that those which differ by less may each be it.
    fn best(&self, told: &[&RankedPool]) -> Vec<usize> {
        let here = || (0..told.len()).filter(|pool| self.resides(*pool));
        let class = |pool: usize| (self.rule(pool).priority, told[pool].rung);
        let Some(first) = here().map(class).min() else { return Vec::new() };
        let of_class = || here().filter(|pool| class(*pool) == first);
        let base = |pool: usize, off: f64| {
            told[pool].estimate_ms.map(|ms| (ms + off) * f64::from(self.rule(pool).distance_percent) / 100.0)
        };
        let Some(least) = of_class().filter_map(|pool| base(pool, 0.051)).min_by(f64::total_cmp) else {
            return of_class().take(1).collect();
        };
        of_class().filter(|pool| base(*pool, -0.051).is_some_and(|base| base <= least)).collect()
    }
}

fn places() -> impl Strategy<Value = ClientPlace> {
    let latencies = |weight| prop::collection::vec(prop::option::weighted(weight, 1.0..300.0_f64), 4);
    let named = |all: Vec<Option<f64>>| {
        REGIONS.into_iter().zip(all).filter_map(|((name, _), ms)| Some((name.to_owned(), ms?))).collect()
    };
    let point = |weight| {
        let of = |(latitude, longitude)| GeoPoint { latitude, longitude };
        prop::option::weighted(weight, (-60.0..60.0_f64, -180.0..180.0_f64).prop_map(of))
    };
    let own = prop_oneof![3 => latencies(0.8), 1 => Just(vec![None; 4])];
    let network = prop_oneof![1 => latencies(0.7), 2 => Just(vec![None; 4])];
    let region = prop::option::weighted(0.2, 0..5_usize);
    let residency = prop::option::weighted(0.3, 0..3_usize);
    (own, point(0.3), region, network, point(0.3), residency).prop_map(
        move |(own, location, region, network, geoip, residency)| ClientPlace {
            latencies: named(own),
            location,
            region: region.map(|of| ["r", "s", "t", "u", "nobody-knows-it"][of].to_owned()),
            residency: residency.map(|of| ["x", "y", "z"][of].to_owned()),
            beside: Beside { network: named(network), geoip },
        },
    )
}

fn settings() -> impl Strategy<Value = Routing> {
    let region = (prop::option::of(0..2_usize), 0..2_u32, 10..1000_u32);
    let caps = prop::collection::vec((1..300_u32, 1..20_u32), 0..3);
    (0..3_usize, 0..3_usize, any::<bool>(), prop::collection::vec(region, 4), caps).prop_map(
        |(strategy, overflow, spread, regions, caps)| Routing {
            strategy: [For::Worst, For::Average, For::Host][strategy],
            overflow: [Overflow::Nearest, Overflow::SameResidency, Overflow::Never][overflow],
            inside: if spread { Inside::Spread } else { Inside::Pack },
            caps: caps.into_iter().map(|(at_most_ms, for_seconds)| Cap { at_most_ms, for_seconds }).collect(),
            regions: REGIONS
                .into_iter()
                .zip(regions)
                .map(|((name, _), (residency, priority, distance_percent))| RegionRule {
                    name: name.to_owned(),
                    residency: residency.map(|of| ["x", "y"][of].to_owned()),
                    priority,
                    distance_percent,
                })
                .collect(),
        },
    )
}

/// A cordoned relay is one that drains, too: both are told as that.
fn relays() -> impl Strategy<Value = (RelayState, u32, u32)> {
    let state = prop_oneof![
        4 => Just(RelayState::Serving),
        1 => Just(RelayState::Cordoned),
        1 => Just(RelayState::Silent),
        1 => Just(RelayState::NotLinked),
        1 => Just(RelayState::NoAddress),
    ];
    (state, 0..9_u32, 0..10_u32)
}

fn worlds() -> impl Strategy<Value = World> {
    let site = (0..4_usize, prop::collection::vec(relays(), 0..4)).prop_map(|(region, relays)| Site { region, relays });
    let waited = prop::option::of((0..40_u64).prop_map(Duration::from_secs));
    let sites = prop::collection::vec(site, 1..6);
    (settings(), sites, places(), prop::collection::vec(places(), 0..3), any::<u64>(), waited)
        .prop_map(|(routing, sites, host, guests, draw, waited)| World { routing, sites, host, guests, draw, waited })
}

proptest! {
    /// By what was drawn alone, and by what the answer tells of distances: where a session may go, and that it goes to the
    /// first of those that has room. Where it goes nowhere, no such pool has any.
    #[test]
    fn states_residency_capacity_overflow_and_caps_are_always_respected(world in worlds()) {
        let placement = world.placed();
        prop_assert_eq!(&placement, &world.placed());
        prop_assert_eq!(placement.ranking.len(), world.sites.len());
        let of_name = |name: &str| NAMES.iter().position(|known| *known == name).expect("a pool");
        let mut told: Vec<&RankedPool> = placement.ranking.iter().collect();
        told.sort_by_key(|ranked| of_name(&ranked.pool));
        let (best, farthest) = (world.best(&told), world.farthest());
        // Milliseconds are told to a tenth: within that, both is right.
        let is_near = |pool: usize, off: f64| {
            farthest.zip(told[pool].estimate_ms).is_none_or(|(most, ms)| ms + off <= f64::from(most))
        };
        let could = |pool: usize| {
            world.resides(pool) && best.iter().any(|best| world.reaches(*best, pool)) && is_near(pool, -0.051)
        };
        let must = |pool: usize| {
            world.resides(pool) && best.iter().all(|best| world.reaches(*best, pool)) && is_near(pool, 0.051)
        };
        let order = placement.ranking.iter().map(|ranked| of_name(&ranked.pool));
        match placement.chosen {
            None => prop_assert_eq!(order.into_iter().find(|pool| must(*pool) && world.has_room(*pool)), None),
            Some(chosen) => {
                prop_assert!(could(chosen.pool));
                let (state, capacity, used) = world.sites[chosen.pool].relays[chosen.relay];
                prop_assert!(state == RelayState::Serving && used < capacity, "{:?} {} of {}", state, used, capacity);
                let passed_over = order.take_while(|pool| *pool != chosen.pool).find(|pool| must(*pool) && world.has_room(*pool));
                prop_assert_eq!(passed_over, None);
                let reason = &told[chosen.pool].reason;
                prop_assert!(reason.ends_with("chosen"), "{}", reason);
            }
        }
        // What is wanted is the best, or is woken: it has no relay.
        let others = placement.wanted.filter(|wanted| !best.contains(wanted));
        prop_assert!(others.is_none_or(|wanted| world.sites[wanted].relays.is_empty() && world.resides(wanted)));
        prop_assert_eq!(placement.wanted.is_none(), best.is_empty());
    }

    #[test]
    fn seats_that_were_asked_for_count_as_taken_ones_do(
        world in worlds(), asked in prop::collection::btree_map((0..6_usize, 0..4_usize), 1..9_u32, 0..6),
    ) {
        let mut taken = world.clone();
        for ((pool, relay), seats) in &asked {
            if let Some((_, _, used)) = taken.sites.get_mut(*pool).and_then(|site| site.relays.get_mut(*relay)) {
                *used += seats;
            }
        }
        let asked: Vec<InFlight> =
            asked.into_iter().map(|((pool, relay), seats)| InFlight { pool, relay, seats }).collect();
        let placed = |world: &World, asked| place(&world.pools(), &Ask { asked, ..world.ask() }, &world.routing);
        prop_assert_eq!(placed(&world, &asked), placed(&taken, &[]));
    }

    #[test]
    fn more_load_never_attracts(world in worlds(), pool in 0..6_usize, relay in 0..4_usize, more in 1..9_u32) {
        let before = world.chosen();
        let mut loaded = world.clone();
        let pool = pool % world.sites.len();
        let relays = &mut loaded.sites[pool].relays;
        let Some(at) = relay.checked_rem(relays.len()) else { return Ok(()) };
        relays[at].2 += more;
        if before != Some(pool) {
            prop_assert_ne!(loaded.chosen(), Some(pool));
        }
    }

    /// To whoever measured it, or has heard of it from its network, the chosen region is nearer: the session goes there again.
    /// Which of its pools is the nearest by a hair is for load to say.
    #[test]
    fn a_lower_estimate_never_loses(world in worlds(), less in 0.1..1.0_f64) {
        // Who is nearer to one pool than was thought is farther from others that it has not measured (`with_floors`). That is more
        // than a lower estimate: the best region may then be a third one, from which the chosen is not overflowed to.
        if world.routing.overflow != Overflow::Nearest && !world.is_known_everywhere() {
            return Ok(());
        }
        let Some(chosen) = world.chosen() else { return Ok(()) };
        let region = world.sites[chosen].region;
        let mut nearer = world.clone();
        for place in std::iter::once(&mut nearer.host).chain(&mut nearer.guests) {
            for told in [&mut place.latencies, &mut place.beside.network] {
                if let Some(ms) = told.get_mut(REGIONS[region].0) {
                    *ms *= less;
                }
            }
        }
        prop_assert_eq!(nearer.chosen().map(|pool| world.sites[pool].region), Some(region));
    }

    #[test]
    fn who_waits_longer_may_go_at_least_as_far(world in worlds(), from in 0..40_u64, longer in 0..40_u64) {
        let after = |seconds| World { waited: Some(Duration::from_secs(seconds)), ..world.clone() };
        let (before, later) = (after(from), after(from + longer));
        if let Some(chosen) = before.chosen() {
            // Pools come in, none goes out: it is the same one, or a better one of another priority or score.
            prop_assert!(later.chosen().is_some());
            let placement = later.placed();
            let reason = &placement.ranking.iter().find(|ranked| ranked.pool == NAMES[chosen]).expect("ranked").reason;
            prop_assert!(!reason.contains("routing.caps"), "{}", reason);
        }
    }
}

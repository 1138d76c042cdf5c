//! How a client learns how far each region is: which relays it is told to probe, which regions it probes and in which order,
//! how often, and what it keeps of that. As Tailscale's clients do (`netcheck`): all regions at first and then every five
//! minutes, the best few in between; the least of some samples counts.
//!
//! A region that did not answer is not known: it is neither near nor far, and stands on a lower rung of knowledge
//! ([`super::route`]). What this must not do: choose a region. When another is so much better that a session moves there
//! is decided where sessions are placed ([`super::route::is_clearly_better`]), from these values.

use std::collections::BTreeMap;
use std::time::Duration;

use super::route::{Estimate, MAX_LATENCY_MS, Pool, Pools, Terms, estimates, is_region_name};
use crate::wire::regions::RegionView;
use crate::wire::session::{ClientPlace, GeoPoint};

/// Relays of one region that a client is told to probe: one, and another should that not answer.
pub const PROBES: usize = 2;
/// Regions that are probed in one round, the nearest by what is known otherwise.
pub const AT_ONCE: usize = 32;
/// Regions that are probed between two rounds over all, and for which one sample is not enough.
pub const BEST: usize = 3;
/// Samples of each of the best regions in one round; whatever else delays an answer only adds to it, so the least counts.
pub const SAMPLES: u32 = 3;
/// Between two rounds over all regions, and how long what was measured is kept.
pub const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// A client that stays measures again after so long: all regions, then the best, and so on.
pub const AGAIN_AFTER: Duration = Duration::from_secs(240);
/// A region's second relay is asked as well when the first has said nothing for so long.
pub const SECOND_AFTER: Duration = Duration::from_millis(300);
/// A round ends after this, where anything is known by then and no region is on its way.
pub const SOON: Duration = Duration::from_secs(1);
/// A region that has let us hear of it is waited for so many times as long as that took: opening a connection and a sample are
/// two to four round trips, of which the first are done by then. Who was quick and says no more is not far but silent.
const PATIENCE: u32 = 4;
/// A round ends after this, whatever is known.
pub const LATE: Duration = Duration::from_secs(3);

/// The relays of a region that clients may probe, the best first: those that serve, else those that take no new sessions,
/// since a relay is as far when it is full or is to leave. `draw` = a number that chance gave, so that clients share them.
pub fn to_probe<'a, T>(serving: &'a [T], cordoned: &'a [T], draw: u64) -> impl Iterator<Item = &'a T> {
    let from_draw = move |relays: &'a [T]| {
        let count = u64::try_from(relays.len()).unwrap_or(u64::MAX).max(1);
        let (last, first) = relays.split_at(usize::try_from(draw % count).unwrap_or_default());
        first.iter().chain(last)
    };
    from_draw(serving).chain(from_draw(cordoned))
}

/// Whether there is anything to choose from: whoever has one region to go to need not wait.
pub fn is_choice(regions: &[RegionView]) -> bool {
    regions.iter().filter(|region| can_be_measured(region)).count() > 1
}

fn can_be_measured(region: &RegionView) -> bool {
    // A name that the lobby would not take back.
    !region.probes.is_empty() && is_region_name(&region.region)
}

/// What a client has measured, and when it looked at all regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    known: BTreeMap<String, Known>,
    swept_at: Option<Duration>,
    round: u64,
    /// Regions that were heard of in this round and have given no sample yet, and how long the round had taken by then.
    coming: BTreeMap<String, Duration>,
}

/// What is known of one region.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    /// The least of the samples of its last round, in milliseconds.
    ms: f64,
    samples: u32,
    round: u64,
    at: Duration,
}

/// What was measured of a region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Round trip in milliseconds: the least of the samples.
    pub ms: f64,
    /// How many there were.
    pub samples: u32,
}

impl Survey {
    /// Begins a round at `now` (since any fixed moment): the regions to probe now, nearest first by what is known.
    /// `place` = what else the client knows of where it is.
    pub fn begin<'a>(&mut self, regions: &'a [RegionView], place: &ClientPlace, now: Duration) -> Vec<&'a RegionView> {
        self.round += 1;
        self.coming.clear();
        self.known.retain(|name, known| {
            now.saturating_sub(known.at) < SWEEP_EVERY && regions.iter().any(|region| region.region == *name)
        });
        let mut regions: Vec<&RegionView> = regions.iter().filter(|region| can_be_measured(region)).collect();
        self.sort(&mut regions, place);
        let is_due = self.swept_at.is_none_or(|at| now.saturating_sub(at) >= SWEEP_EVERY);
        if is_due || self.known.is_empty() {
            self.swept_at = Some(now);
            regions.truncate(AT_ONCE);
        } else {
            regions.truncate(BEST);
        }
        regions
    }

    /// Notes that a region was heard of when the round had taken `so_far`: a connection stands, or its first request was
    /// answered. That is no measurement, but a reason to wait for one.
    pub fn hear_of(&mut self, region: &str, so_far: Duration) {
        if !self.has_heard(region) {
            self.coming.insert(region.to_owned(), so_far);
        }
    }

    /// Notes how long an answer took, as long as that can be believed.
    pub fn note(&mut self, region: &str, took: Duration, now: Duration) {
        self.coming.remove(region);
        let ms = (took.as_secs_f64() * 10_000.0).round() / 10.0;
        if ms > MAX_LATENCY_MS {
            return;
        }
        let round = self.round;
        match self.known.get_mut(region).filter(|known| known.round == round) {
            Some(known) => *known = Known { ms: known.ms.min(ms), samples: known.samples + 1, round, at: now },
            None => {
                self.known.insert(region.to_owned(), Known { ms, samples: 1, round, at: now });
            }
        }
    }

    /// Whether one more sample of a region is wanted in this round: it is among the best, and there are few yet.
    pub fn wants_more(&self, region: &str) -> bool {
        let Some(known) = self.known.get(region).filter(|known| known.round == self.round) else { return true };
        let better = self.known.values().filter(|other| other.ms < known.ms).count();
        known.samples < SAMPLES && better < BEST
    }

    /// Whether a region has answered in this round.
    pub fn has_heard(&self, region: &str) -> bool {
        self.known.get(region).is_some_and(|known| known.round == self.round)
    }

    /// After how much longer a round that has taken `so_far` is to be looked at again; none = it is over. Who knows no
    /// region yet waits longer, and so does who has heard of one that is far.
    pub fn look_again(&self, so_far: Duration) -> Option<Duration> {
        let knows = self.known.values().any(|known| known.round == self.round);
        let until = if so_far < SOON {
            SOON
        } else if knows {
            let far = self.coming.values().map(|took| took.saturating_mul(PATIENCE)).max();
            far.unwrap_or(SOON).min(LATE)
        } else {
            LATE
        };
        until.checked_sub(so_far).filter(|left| !left.is_zero())
    }

    /// What is known, by region.
    pub fn measured(&self) -> BTreeMap<String, Measured> {
        let of = |known: &Known| Measured { ms: known.ms, samples: known.samples };
        self.known.iter().map(|(region, known)| (region.clone(), of(known))).collect()
    }

    /// What a lobby is told after a round: round trips in milliseconds by region.
    pub fn latencies(&self) -> BTreeMap<String, f64> {
        self.known.iter().map(|(region, known)| (region.clone(), known.ms)).collect()
    }

    /// What a lobby is told later, at `now`: what is not old by then.
    pub fn latencies_at(&self, now: Duration) -> BTreeMap<String, f64> {
        let fresh = self.known.iter().filter(|(_, known)| now.saturating_sub(known.at) < SWEEP_EVERY);
        fresh.map(|(region, known)| (region.clone(), known.ms)).collect()
    }

    /// Nearest first: what was measured, then what the client's place says, then declared order.
    fn sort(&self, regions: &mut Vec<&RegionView>, place: &ClientPlace) {
        let pools: Pools = regions.iter().map(|region| as_pool(region)).collect();
        let place = ClientPlace { latencies: self.latencies(), ..place.clone() };
        let mut estimated: Vec<_> = estimates(&pools, &place).into_iter().zip(regions.iter().copied()).collect();
        let ms = |of: &Estimate| of.ms.unwrap_or(f64::INFINITY);
        estimated.sort_by(|(a, _), (b, _)| a.rung.cmp(&b.rung).then(ms(a).total_cmp(&ms(b))));
        *regions = estimated.into_iter().map(|(_, region)| region).collect();
    }
}

fn as_pool(region: &RegionView) -> Pool {
    let point = GeoPoint { latitude: region.latitude, longitude: region.longitude };
    Pool::new(&region.region, &region.region, point, Terms::default(), Vec::new())
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;

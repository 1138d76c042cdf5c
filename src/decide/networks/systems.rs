//! What all networks of one autonomous system (AS) have measured, for those of its clients of whose own network too little
//! is known.
//!
//! **When a system says something.** It is one place for nobody but itself: one office's provider, or a carrier of a
//! continent. So it is told only where its networks agree, and otherwise not at all, since to know the round trip to some
//! regions and not to nearer ones is worse than to know nothing. At least [`QUORUM`] networks; three quarters of them must have
//! measured a region for it to be told, and three quarters must have their nearest region among those told; and of each region
//! told, the middle half of the networks must be so near to one another that no session would move for the difference
//! ([`is_clearly_better`]: 10 ms and a third). Of IPv6 a /40 counts as one network here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Known;
use super::weigh::Weighed;
use crate::decide::route::is_clearly_better;

/// Networks of a system that must have measured before anybody else of it is told.
pub(super) const QUORUM: usize = 8;
/// As many of these count, drawn once by each process: what a look takes is bounded.
pub(super) const MAX_HEARD: usize = 64;
/// For how long an answer is kept: it stands on many networks, and one word moves it little.
const KEPT: Duration = Duration::from_secs(10);

/// The networks of a system.
#[derive(Clone, Debug, Default)]
pub(super) struct System {
    pub(super) networks: BTreeSet<IpNet>,
    told: Option<Answer>,
}

/// What a system is to be told, to be worked out: that takes a while, and nobody else need wait for it.
#[derive(Clone, Debug)]
pub struct Question {
    pub(super) system: u32,
    /// How many of its networks count.
    pub(super) of: usize,
    /// Those that were drawn.
    pub(super) heard: Vec<Known>,
}

/// What was worked out.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) system: u32,
    at: Duration,
    /// From so many networks: each further one counts at once, as long as they are few.
    of: usize,
    pub(super) told: BTreeMap<String, f64>,
}

impl Question {
    /// What the networks agree on.
    pub fn answer(&self, now: Duration) -> Answer {
        let words = self.heard.iter().map(|known| known.words(now)).filter(|words| !words.is_empty());
        let words: Vec<Words> = words.collect();
        Answer { system: self.system, at: now, of: self.of, told: agreed(&words) }
    }
}

/// What one network has measured: milliseconds by region, and what that weighs by its age.
pub(super) type Words = Vec<(Arc<str>, f64, f64)>;

impl System {
    /// What this system is told, if it was worked out a moment ago.
    pub(super) fn told(&self, now: Duration) -> Option<&BTreeMap<String, f64>> {
        let Answer { system: _, at, of, told } = self.told.as_ref()?;
        (now.saturating_sub(*at) < KEPT && *at <= now && *of == self.counted()).then_some(told)
    }

    pub(super) fn counted(&self) -> usize {
        self.networks.len().min(MAX_HEARD)
    }

    /// This was worked out for it.
    pub(super) fn note(&mut self, answer: &Answer) {
        self.told = Some(answer.clone());
    }
}

/// What these networks agree on.
fn agreed(networks: &[Words]) -> BTreeMap<String, f64> {
    let most = (networks.len() * 3).div_ceil(4);
    let mut regions: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (region, ms, weight) in networks.iter().flatten() {
        regions.entry(region).or_default().push((*ms, *weight));
    }
    regions.retain(|_, words| words.len() >= most);
    let nearest = |words: &Words| words.iter().min_by(|(_, a, _), (_, b, _)| a.total_cmp(b)).map(|(at, ..)| at.clone());
    let near = networks.iter().filter_map(nearest).filter(|region| regions.contains_key(&**region)).count();
    if networks.len() < QUORUM || near < most {
        return BTreeMap::new();
    }
    let told = regions.into_iter().map(|(region, words)| Some((region.to_owned(), tight(&words)?)));
    told.collect::<Option<_>>().unwrap_or_default()
}

/// The median, where the middle half is in one place.
fn tight(words: &[(f64, f64)]) -> Option<f64> {
    let weighed = Weighed::of(words);
    let (low, high) = weighed.quantile(0.25).zip(weighed.quantile(0.75))?;
    weighed.median().filter(|_| !is_clearly_better(low, high))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Networks that have all measured these regions, alike but for some milliseconds.
    fn networks(count: usize, regions: &[(&str, f64)]) -> Vec<Words> {
        let words = |n: u32| regions.iter().map(move |(region, ms)| ((*region).into(), ms + f64::from(n), 1.0));
        (0..u32::try_from(count).expect("few")).map(|n| words(n).collect()).collect()
    }

    fn told(networks: &[Words]) -> Vec<String> {
        agreed(networks).into_keys().collect()
    }

    #[test]
    fn a_system_in_one_place_is_told_once_enough_of_its_networks_have_measured() {
        let regions = [("eu", 20.0), ("us", 95.0)];
        assert_eq!(told(&networks(QUORUM - 1, &regions)), [""; 0]);
        assert_eq!(told(&networks(QUORUM, &regions)), ["eu", "us"]);
        assert_eq!(agreed(&networks(QUORUM + 1, &regions)).get("eu"), Some(&24.0));
    }

    #[test]
    fn a_system_that_spans_a_continent_is_told_nothing() {
        let (east, west) =
            ([("east", 10.0), ("west", 70.0), ("tokyo", 160.0)], [("east", 70.0), ("west", 10.0), ("tokyo", 110.0)]);
        let both = [networks(8, &east), networks(8, &west)].concat();
        assert_eq!(told(&both), [""; 0], "and not the one far region on which all nearly agree");
        // Each coast has measured its own region, so on each there is but one opinion.
        let own = [networks(8, &[("east", 10.0)]), networks(8, &[("west", 10.0)])].concat();
        assert_eq!(told(&own), [""; 0]);
        let own = [networks(8, &[("east", 10.0), ("eu", 85.0)]), networks(8, &[("west", 10.0), ("eu", 95.0)])].concat();
        assert_eq!(told(&own), [""; 0], "all know Europe, and none is near it");
        let mostly = [networks(13, &east), networks(3, &west)].concat();
        assert_eq!(told(&mostly), ["east", "tokyo", "west"], "a few elsewhere do not take it from the others");
    }

    #[test]
    fn a_region_that_few_have_measured_is_left_out_and_takes_nothing_from_the_others() {
        let some = [networks(9, &[("eu", 20.0)]), networks(3, &[("eu", 20.0), ("new", 80.0)])].concat();
        assert_eq!(told(&some), ["eu"]);
    }

    proptest! {
        #[test]
        fn one_lying_network_moves_nothing_beyond_what_the_others_say(
            honest in prop::collection::vec((1.0..200.0_f64, 0.01..=1.0_f64), 7..40),
            lie in (0.0..60_000.0_f64, 0.01..=1.0_f64),
        ) {
            let word = |(ms, weight): (f64, f64)| vec![("a".into(), ms, weight)];
            let all: Vec<Words> = honest.iter().copied().chain([lie]).map(word).collect();
            if let Some(ms) = agreed(&all).get("a") {
                let of = honest.iter().map(|(ms, _)| *ms);
                let (least, most) = of.fold((f64::MAX, f64::MIN), |(least, most), ms| (least.min(ms), most.max(ms)));
                prop_assert!((least..=most).contains(ms), "{} is not in {}..{}", ms, least, most);
            }
        }
    }
}

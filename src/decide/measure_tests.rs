//! Which relays and regions are probed, in which order and how often, and what is kept of it.

use proptest::prelude::*;

use super::*;
use crate::wire::regions::Probe;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}

fn region(name: &str, latitude: f64, longitude: f64) -> RegionView {
    let probes = vec![Probe { url: format!("https://{name}/probe"), expires_at: 0 }];
    RegionView { region: name.to_owned(), latitude, longitude, relays: 1, free_seats: 1, probes }
}

/// Dublin, Virginia, Mumbai, Sydney, Tokyo.
fn world() -> Vec<RegionView> {
    vec![
        region("dublin", 53.3, -6.3),
        region("virginia", 38.9, -77.4),
        region("mumbai", 19.1, 72.9),
        region("sydney", -33.9, 151.2),
        region("tokyo", 35.7, 139.7),
    ]
}

fn names<'a>(regions: &[&'a RegionView]) -> Vec<&'a str> {
    regions.iter().map(|region| region.region.as_str()).collect()
}

const DECLARED: [&str; 5] = ["dublin", "virginia", "mumbai", "sydney", "tokyo"];

#[test]
fn relays_that_serve_come_first_and_are_shared_by_chance() {
    let probed = |draw| to_probe(&["a", "b", "c"], &["d", "e"], draw).copied().collect::<String>();
    assert_eq!([0, 1, 2, 3].map(probed), ["abcde", "bcaed", "cabde", "abced"]);
    assert_eq!(probed(1), probed(7), "the same draw, the same relays");
    assert_eq!(to_probe(&[], &["d"], u64::MAX).count(), 1);
    assert_eq!(to_probe::<()>(&[], &[], 7).count(), 0);
}

#[test]
fn all_regions_at_first_and_again_after_five_minutes_the_best_between() {
    let (regions, nowhere) = (world(), ClientPlace::default());
    let mut survey = Survey::default();
    assert_eq!(names(&survey.begin(&regions, &nowhere, at(0))), DECLARED);
    for (name, took) in [("dublin", 90.0), ("virginia", 200.0), ("mumbai", 20.0), ("sydney", 150.0), ("tokyo", 130.0)] {
        survey.note(name, ms(took), at(1));
    }
    assert_eq!(names(&survey.begin(&regions, &nowhere, at(60))), ["mumbai", "dublin", "tokyo"]);
    assert_eq!(names(&survey.begin(&regions, &nowhere, at(299))), ["mumbai", "dublin", "tokyo"]);
    let all = survey.begin(&regions, &nowhere, at(300));
    assert_eq!(names(&all), ["mumbai", "dublin", "tokyo", "sydney", "virginia"]);
    assert_eq!(survey.latencies().len(), 5);
    assert_eq!(survey.latencies_at(at(300)).len(), 5);
    assert!(survey.latencies_at(at(301)).is_empty(), "nobody has looked again, and it is old");
    survey.begin(&regions, &nowhere, at(301));
    assert!(survey.latencies().is_empty(), "what was measured five minutes ago");
}

#[test]
fn whoever_knows_where_it_is_begins_with_what_is_near() {
    let tokyo = ClientPlace { location: Some(GeoPoint { latitude: 35.0, longitude: 135.0 }), ..ClientPlace::default() };
    let regions = world();
    let order = names(&Survey::default().begin(&regions, &tokyo, at(0)));
    assert_eq!((order[0], order.len()), ("tokyo", 5));
    let many: Vec<_> = (0..40).map(|n| region(&format!("r{n}"), f64::from(n), 0.0)).collect();
    assert_eq!(Survey::default().begin(&many, &tokyo, at(0)).len(), AT_ONCE);
}

#[test]
fn the_least_sample_of_the_last_round_counts_and_only_the_best_get_more() {
    let (regions, nowhere) = (world(), ClientPlace::default());
    let mut survey = Survey::default();
    survey.begin(&regions, &nowhere, at(0));
    assert!(DECLARED.iter().all(|name| survey.wants_more(name)), "nothing is known yet");
    for (took, name) in [10.0, 20.0, 30.0, 40.0].into_iter().zip(DECLARED) {
        survey.note(name, ms(took), at(0));
    }
    let wanted: Vec<bool> = DECLARED.iter().map(|name| survey.wants_more(name)).collect();
    assert_eq!(wanted, [true, true, true, false, true]);
    for took in [12.0, 8.04] {
        survey.note("dublin", ms(took), at(0));
    }
    assert!(!survey.wants_more("dublin"), "three samples are enough");
    assert_eq!(survey.measured()["dublin"], Measured { ms: 8.0, samples: 3 });
    // The way may have become longer, as from another network.
    survey.begin(&regions, &nowhere, at(10));
    assert!(survey.wants_more("dublin"));
    survey.note("dublin", ms(80.0), at(10));
    assert_eq!(survey.measured()["dublin"], Measured { ms: 80.0, samples: 1 });
    let kept = survey.measured()["virginia"];
    assert_eq!(kept, Measured { ms: 20.0, samples: 1 }, "what was not heard again is kept for a while");
}

#[test]
fn what_did_not_answer_is_not_known_and_absurd_times_are_not_believed() {
    let regions = world();
    let mut survey = Survey::default();
    survey.begin(&regions, &ClientPlace::default(), at(0));
    let look_again = |survey: &Survey, so_far| survey.look_again(ms(so_far)).map(|left| left.as_millis());
    assert_eq!(look_again(&survey, 0.0), Some(1000));
    assert_eq!(look_again(&survey, 1000.0), Some(2000), "nothing is known: patience");
    assert_eq!(look_again(&survey, 3000.0), None);
    survey.note("dublin", ms(60_000.1), at(0));
    survey.note("tokyo", Duration::MAX, at(0));
    assert!(survey.latencies().is_empty());
    survey.note("mumbai", Duration::ZERO, at(0));
    assert_eq!(
        [0.0, 999.0, 1000.0, 1200.0].map(|so_far| look_again(&survey, so_far)),
        [Some(1000), Some(1), None, None]
    );
    assert!(survey.has_heard("mumbai") && !survey.has_heard("dublin"));
    assert_eq!(survey.latencies(), BTreeMap::from([("mumbai".to_owned(), 0.0)]));
}

#[test]
fn whoever_is_far_is_waited_for_and_whoever_is_silent_is_not() {
    let regions = world();
    let mut survey = Survey::default();
    survey.begin(&regions, &ClientPlace::default(), at(0));
    let look_again = |survey: &Survey, so_far| survey.look_again(ms(so_far)).map(|left| left.as_millis());
    survey.note("dublin", ms(10.0), at(0));
    survey.hear_of("dublin", ms(50.0));
    survey.hear_of("virginia", ms(100.0));
    assert_eq!(look_again(&survey, 1000.0), None, "what answers so quickly and says no more is not far");
    survey.hear_of("sydney", ms(600.0));
    survey.hear_of("tokyo", ms(700.0));
    assert_eq!(look_again(&survey, 900.0), Some(100));
    assert_eq!(look_again(&survey, 1000.0), Some(1800));
    survey.note("tokyo", ms(350.0), at(1));
    assert_eq!(look_again(&survey, 1400.0), Some(1000), "sydney is on its way");
    survey.hear_of("sydney", ms(900.0));
    assert_eq!(look_again(&survey, 1400.0), Some(1600), "three seconds at the most");
    survey.note("sydney", ms(300.0), at(1));
    assert_eq!(look_again(&survey, 1400.0), None);
    survey.hear_of("mumbai", ms(999.0));
    survey.begin(&regions, &ClientPlace::default(), at(2));
    survey.note("dublin", ms(10.0), at(2));
    assert_eq!(look_again(&survey, 1000.0), None, "another round");
}

#[test]
fn what_cannot_be_measured_is_not_asked_and_one_region_is_no_choice() {
    let mute = RegionView { probes: Vec::new(), ..region("mute", 0.0, 0.0) };
    let odd = region("no name\n", 0.0, 0.0);
    let regions = [region("dublin", 53.3, -6.3), mute, odd, region("tokyo", 35.7, 139.7)];
    let nowhere = ClientPlace::default();
    assert_eq!(names(&Survey::default().begin(&regions, &nowhere, at(0))), ["dublin", "tokyo"]);
    assert!(is_choice(&regions) && !is_choice(&regions[..3]) && !is_choice(&[]));
}

#[test]
fn a_region_that_is_gone_is_forgotten() {
    let (regions, nowhere) = (world(), ClientPlace::default());
    let mut survey = Survey::default();
    survey.begin(&regions, &nowhere, at(0));
    survey.note("dublin", ms(1.0), at(0));
    survey.note("tokyo", ms(2.0), at(0));
    survey.begin(&regions[1..], &nowhere, at(1));
    assert_eq!(survey.latencies(), BTreeMap::from([("tokyo".to_owned(), 2.0)]));
}

proptest! {
    /// Whatever answers when: what is told is what the lobby takes, of regions that there are, never less than the least
    /// that was measured; and no region is asked for ever.
    #[test]
    fn what_is_told_was_measured(answers in prop::collection::vec((0..5_usize, 0.0..100_000.0_f64, 0..400_u64), 0..100)) {
        let (regions, nowhere) = (world(), ClientPlace::default());
        let (mut survey, mut now) = (Survey::default(), 0);
        let mut least: BTreeMap<&str, f64> = BTreeMap::new();
        survey.begin(&regions, &nowhere, at(now));
        for (index, took, pause) in answers {
            let name = DECLARED[index];
            if pause > 350 {
                now += pause;
                survey.begin(&regions, &nowhere, at(now));
            }
            survey.note(name, ms(took), at(now));
            let known = least.entry(name).or_insert(f64::INFINITY);
            *known = known.min(took);
            let place = ClientPlace { latencies: survey.latencies(), ..ClientPlace::default() };
            prop_assert!(crate::decide::route::check(&place).is_ok());
            for (region, told) in &place.latencies {
                prop_assert!(*told >= least[region.as_str()] - 0.051, "{region}: {told}");
            }
            let enough = survey.measured().values().all(|known| known.samples < SAMPLES)
                || DECLARED.iter().any(|name| !survey.wants_more(name));
            prop_assert!(enough);
        }
    }
}

//! The latency model against measurements that it was not fitted to. The whole of it, with a world of clients, is
//! `make bench-routing`; here stands what no change may break.

#![allow(dead_code, reason = "the benchmark's own; some of it only prints")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of thousands, and shares of them"
)]

#[path = "../benches/routing/chance.rs"]
mod chance;
#[path = "../benches/routing/data.rs"]
mod data;
#[path = "../benches/routing/fit.rs"]
mod fit;
#[path = "../benches/routing/links.rs"]
mod links;
#[path = "../benches/routing/regret.rs"]
mod regret;
#[path = "../benches/routing/shipped.rs"]
mod shipped;
#[path = "../benches/routing/splits.rs"]
mod splits;

use data::{AWS_2025, CLOUD_2022, Measured};

/// Mean regret that an operator may expect from coordinates alone, in milliseconds.
const AIM_MS: f64 = 2.0;

#[test]
fn fitted_on_2022_it_chooses_well_among_the_regions_of_2025() {
    let of_2022 = splits::network(&Measured::of(&[CLOUD_2022], |_| true).unwrap()).unwrap();
    let later = Measured::of(&[AWS_2025], |_| true).unwrap();
    let judged = splits::judge("2022", "2025", &later, &|_| true, &|_| Ok(of_2022.clone())).unwrap();
    assert_eq!(judged.places, 33);
    assert!(judged.model.mean() < AIM_MS, "mean regret {} ms", judged.model.mean());
    assert!(judged.nearest.mean() > 2.0 * AIM_MS, "by distance {} ms: the draws are too easy", judged.nearest.mean());
}

#[test]
fn fitted_on_two_providers_it_chooses_well_among_the_regions_of_the_third() {
    let judged = splits::by_provider().unwrap();
    assert_eq!(judged.len(), 3);
    for split in judged {
        let (model, nearest) = (split.model.mean(), split.nearest.mean());
        assert!(split.places > 20, "{}: {} places", split.on, split.places);
        assert!(model < AIM_MS, "{}: mean regret {model} ms", split.on);
        assert!(nearest > 2.0 * AIM_MS, "{}: by distance {nearest} ms: the draws are too easy", split.on);
    }
}

#[test]
fn the_shipped_numbers_are_the_fit() {
    shipped::check().unwrap();
}

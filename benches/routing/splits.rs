//! How well the model does where it has not seen: fitted on some measurements, judged on others.
//!
//! Judged is by draws of pools: 3, 6 or 12 measured places are pools, each other place is a client that knows only its own
//! coordinates. A client is never at a place that has a pool, since there every rule is right.

use convene::decide::geo::{Network, distance_km};

use crate::chance::Chance;
use crate::data::{AWS_2025, CLOUD_2022, Measured, ONE_PLACE_KM};
use crate::fit::fit;
use crate::regret::{Regrets, least};

/// How many pools there are, and how often pools are drawn for each number.
const POOLS: [usize; 3] = [3, 6, 12];
const DRAWS: usize = 200;

/// A split, judged.
pub(crate) struct Judged {
    pub(crate) fitted_on: &'static str,
    pub(crate) on: &'static str,
    pub(crate) places: usize,
    pub(crate) nearest: Regrets,
    pub(crate) model: Regrets,
    /// Measured and estimated milliseconds of each pair of which at least one end is a client.
    pub(crate) pairs: Vec<Pair>,
}

/// A pair of places.
pub(crate) struct Pair {
    pub(crate) km: f64,
    pub(crate) measured_ms: f64,
    pub(crate) estimated_ms: f64,
}

/// All splits.
pub(crate) fn all() -> anyhow::Result<Vec<Judged>> {
    let everything = Measured::of(&[CLOUD_2022, AWS_2025], |_| true)?;
    let cloud = Measured::of(&[CLOUD_2022], |_| true)?;
    let aws = Measured::of(&[AWS_2025], |_| true)?;
    let unseen =
        |place: usize| cloud.places.iter().all(|known| distance_km(known.point, aws.places[place].point) > 300.0);
    let of_cloud = network(&cloud)?;
    let mut judged = vec![
        judge("all of 2022", "Amazon 2025", &aws, &|_| true, &|_| Ok(of_cloud.clone()))?,
        judge("all of 2022", "… its places that 2022 has not, nor any within 300 km", &aws, &unseen, &|_| {
            Ok(of_cloud.clone())
        })?,
    ];
    judged.extend(by_provider()?);
    for (fitted_on, km) in
        [("both, without the client's place", ONE_PLACE_KM), ("both, without all within 1,500 km", 1_500.0)]
    {
        for (on, set) in [("each place of 2022 in turn", &cloud), ("each place of Amazon 2025 in turn", &aws)] {
            let left_out = |place: usize| network(&everything.beyond(km, set.places[place].point));
            judged.push(judge(fitted_on, on, set, &|_| true, &left_out)?);
        }
    }
    Ok(judged)
}

/// Each provider of 2022, by what the others have measured.
pub(crate) fn by_provider() -> anyhow::Result<Vec<Judged>> {
    let splits = [
        ("aws", "Azure and Google 2022", "Amazon 2022"),
        ("azure", "Amazon and Google 2022", "Azure 2022"),
        ("gcp", "Amazon and Azure 2022", "Google 2022"),
    ];
    let judged = splits.into_iter().map(|(provider, fitted_on, on)| {
        let others = Measured::of(&[CLOUD_2022], |name| !name.starts_with(provider))?;
        let own = Measured::of(&[CLOUD_2022], |name| name.starts_with(provider))?;
        let of_others = network(&others)?;
        judge(fitted_on, on, &own, &|_| true, &|_| Ok(of_others.clone()))
    });
    judged.collect()
}

/// The network that these measurements make likeliest.
pub(crate) fn network(measured: &Measured) -> anyhow::Result<Network> {
    Ok(Network::new(&fit(measured)?)?)
}

/// Judges the networks that clients have on a set of measurements.
pub(crate) fn judge(
    fitted_on: &'static str,
    on: &'static str,
    set: &Measured,
    is_client: &dyn Fn(usize) -> bool,
    network_of: &dyn Fn(usize) -> anyhow::Result<Network>,
) -> anyhow::Result<Judged> {
    let clients: Vec<usize> = (0..set.places.len()).filter(|place| is_client(*place)).collect();
    let (mut nearest, mut model, mut pairs) = (Regrets::default(), Regrets::default(), Vec::new());
    for &client in &clients {
        let network = network_of(client)?;
        let from = network.spot(set.places[client].point);
        let estimate = |place: usize| network.round_trip_ms(&from, &network.spot(set.places[place].point));
        let estimates: Vec<f64> = (0..set.places.len()).map(estimate).collect();
        let km = |place: usize| distance_km(set.places[client].point, set.places[place].point);
        for place in (0..set.places.len()).filter(|place| *place != client) {
            if let Some(measured_ms) = set.ms(client, place) {
                pairs.push(Pair { km: km(place), measured_ms, estimated_ms: estimates[place] });
            }
        }
        // The same draws for every client.
        let mut chance = Chance::new(6);
        for pools in POOLS.into_iter().flat_map(|count| std::iter::repeat_n(count, DRAWS)) {
            let drawn = chance.some(pools, set.places.len());
            let measured: Vec<(usize, f64)> =
                drawn.into_iter().filter_map(|pool| Some((pool, set.ms(client, pool)?))).collect();
            let Some(best) = least(measured.iter().map(|(_, ms)| *ms)) else { continue };
            if measured.iter().any(|(pool, _)| *pool == client) {
                continue;
            }
            let regret = |chosen: Option<usize>| chosen.map_or(0.0, |chosen| measured[chosen].1 - measured[best].1);
            nearest.add(regret(least(measured.iter().map(|(pool, _)| km(*pool)))));
            model.add(regret(least(measured.iter().map(|(pool, _)| estimates[*pool]))));
        }
    }
    Ok(Judged { fitted_on, on, places: clients.len(), nearest, model, pairs })
}

//! `GET /v1/regions` at the port of the relay link: what routers ask. Of the relays that the table has, how many serve in each
//! region, with how many free seats, and which are not heard.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Shared;
use super::api::answer;
use super::extract::NoQuery;
use super::limits::Admitted;
use super::problem::Refusal;
use crate::decide::route::{Pools, RelayState};
use crate::wire::regions::{MAX_NOT_HEARD, RegionLoad};
use crate::wire::table::RelayTable;

/// The regions, in declared order. Nothing is said before all relays have had the time to link up: the first of them would
/// draw everybody.
pub(super) async fn list(State(shared): State<Shared>, _: Admitted, _: NoQuery) -> Result<Response, Refusal> {
    let board = shared.lobby.board();
    if !board.view.is_whole(&board.table) {
        return Err(Refusal::rebuilding());
    }
    Ok(answer(StatusCode::OK, &loads(board.pools(), &board.table)))
}

fn loads(pools: &Pools, table: &RelayTable) -> Vec<RegionLoad> {
    let (mut regions, mut told): (Vec<RegionLoad>, usize) = (Vec::new(), 0);
    // Pools of other clusters have no namespace here.
    for (pool, entry) in pools.iter().zip(&table.pools).filter(|(_, entry)| !entry.namespace.is_empty()) {
        let at = regions.iter().position(|region| region.region == entry.region).unwrap_or_else(|| {
            let region = entry.region.clone();
            regions.push(RegionLoad { region, relays: 0, free_seats: 0, not_heard: Vec::new() });
            regions.len() - 1
        });
        let Some(region) = regions.get_mut(at) else { continue };
        region.free_seats = region.free_seats.saturating_add(pool.free_seats());
        for (relay, entry) in pool.relays().iter().zip(&entry.relays) {
            match relay.state {
                RelayState::Serving => region.relays += 1,
                RelayState::NotLinked | RelayState::Silent if told < MAX_NOT_HEARD => {
                    told += 1;
                    region.not_heard.push(entry.pod_uid.clone());
                }
                RelayState::NotLinked | RelayState::Silent | RelayState::Cordoned | RelayState::NoAddress => {}
            }
        }
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::route::{Pool, Relay, Terms};
    use crate::wire::session::GeoPoint;
    use crate::wire::table::{PoolEntry, RelayEntry};

    /// Pools of a namespace and a region, with relays in these states, of ten seats.
    fn told(pools: &[(&str, &str, &[RelayState])]) -> Vec<RegionLoad> {
        let point = GeoPoint { latitude: 0.0, longitude: 0.0 };
        let uid = |pool: usize, relay: usize| format!("{pool}-{relay}");
        let placed = pools.iter().map(|(_, region, states)| {
            let relay = |state: &RelayState| Relay { name: String::new(), state: *state, capacity: 10, used: 3 };
            Pool::new("", region, point, Terms::default(), states.iter().map(relay).collect())
        });
        let entries = pools.iter().enumerate().map(|(pool, (namespace, region, states))| {
            let relay = |relay| RelayEntry {
                name: String::new(),
                pod_uid: uid(pool, relay),
                url: String::new(),
                capacity: 10,
                cordoned: false,
                leaving: false,
            };
            PoolEntry {
                namespace: (*namespace).to_owned(),
                name: String::new(),
                region: (*region).to_owned(),
                latitude: 0.0,
                longitude: 0.0,
                relays: (0..states.len()).map(relay).collect(),
            }
        });
        loads(&placed.collect(), &RelayTable { pools: entries.collect(), ..RelayTable::default() })
    }

    #[test]
    fn a_region_is_what_its_relays_of_this_cluster_are() {
        use RelayState::{Cordoned, NoAddress, NotLinked, Serving, Silent};
        let of = |region: &str, relays, free_seats, not_heard: &[&str]| RegionLoad {
            region: region.to_owned(),
            relays,
            free_seats,
            not_heard: not_heard.iter().map(ToString::to_string).collect(),
        };
        let regions = told(&[
            ("live", "eu", &[Serving, NotLinked, Silent]),
            ("live", "us", &[NotLinked, NoAddress]),
            ("more", "eu", &[Serving, Cordoned]),
            ("", "us", &[Serving, Serving]),
            ("", "asia", &[Serving]),
        ]);
        assert_eq!(regions, [of("eu", 2, 14, &["0-1", "0-2"]), of("us", 0, 0, &["1-0"])]);
    }

    #[test]
    fn not_more_are_listed_than_anybody_reads() {
        let many = vec![RelayState::Silent; MAX_NOT_HEARD];
        let regions = told(&[("live", "eu", &many), ("live", "us", &many)]);
        assert_eq!(regions.iter().map(|region| region.not_heard.len()).collect::<Vec<_>>(), [MAX_NOT_HEARD, 0]);
    }
}

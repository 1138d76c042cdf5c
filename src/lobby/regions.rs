//! `GET /v1/regions`: where sessions can go, and where clients measure how far that is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Shared;
use super::api::answer;
use super::extract::NoQuery;
use super::limits::Admitted;
use crate::decide::keyring::Keyring;
use crate::decide::measure::{PROBES, to_probe};
use crate::decide::route::{self, Pool, Relay, RelayState};
use crate::decide::sessions::Board;
use crate::process::{clock, secret};
use crate::wire::claims::{PROBE_LIFE_SECONDS, ProbeClaims, audience};
use crate::wire::regions::{Probe, RegionView};
use crate::wire::relay::PROBE_PATH;
use crate::wire::table::{PoolEntry, RelayEntry};

/// A token that would expire sooner is not given to anybody any more: who measures needs some time for it.
const LEFT_AT_LEAST: i64 = PROBE_LIFE_SECONDS / 2;

/// The places where sessions can go, their free seats, and where to measure the round trip to each.
#[utoipa::path(
    get, path = "/v1/regions", tag = "placement",
    responses((status = 200, description = "The regions, in declared order", body = Vec<RegionView>))
)]
pub(super) async fn list(State(shared): State<Shared>, _: Admitted, _: NoQuery) -> Response {
    let now = shared.lobby.boards.now();
    let listed = shared.listing.of(&now.board);
    let (ring, draw) = (shared.lobby.keys.ring(), route::draw(&secret::random_id(), 0));
    let mut views: Vec<RegionView> = listed.regions.iter().map(|region| region.view.clone()).collect();
    for (view, region) in views.iter_mut().zip(&listed.regions) {
        let relays = to_probe(&region.serving, &region.cordoned, draw);
        let probes = relays.filter_map(|relay| shared.probes.of(&now.board.table.lobby_uid, &ring, relay));
        view.probes = probes.take(PROBES).collect();
    }
    // What was asked for may have been granted: nobody is told of more seats than are left after their own.
    for (pod_uid, seats) in &now.asked {
        let Some((pool, relay)) = now.board.relay_of(pod_uid) else { continue };
        let free = now.board.pools().get(pool).and_then(|pool| pool.relays().get(relay)).map_or(0, Relay::free_seats);
        if let Some(view) = listed.of_pool.get(pool).and_then(|region| views.get_mut(*region)) {
            view.free_seats = view.free_seats.saturating_sub(free.min(*seats));
        }
    }
    answer(StatusCode::OK, &views)
}

/// What the regions of a board are told to be. Anybody may ask for them, and with many relays it is work: it is done once for
/// each board that somebody asks for.
#[derive(Debug, Default)]
pub(super) struct Listing(Mutex<Option<Arc<Listed>>>);

/// The regions of one board.
#[derive(Debug)]
struct Listed {
    board: Arc<Board>,
    /// In declared order.
    regions: Vec<Region>,
    /// The region of each pool.
    of_pool: Vec<usize>,
}

#[derive(Debug)]
struct Region {
    /// Without where to measure.
    view: RegionView,
    serving: Vec<Probed>,
    cordoned: Vec<Probed>,
}

/// A relay that has linked up and has an address.
#[derive(Debug)]
struct Probed {
    audience: String,
    /// Ids of the lobby's keys that it has.
    keys: Vec<String>,
    /// Where clients measure, without the token.
    url: String,
}

impl Listing {
    fn of(&self, board: &Arc<Board>) -> Arc<Listed> {
        let mut listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*listed {
            Some(listed) if Arc::ptr_eq(&listed.board, board) => Arc::clone(listed),
            Some(_) | None => Arc::clone(listed.insert(Arc::new(Listed::new(board)))),
        }
    }
}

impl Listed {
    fn new(board: &Arc<Board>) -> Self {
        let mut new = Self { board: Arc::clone(board), regions: Vec::new(), of_pool: Vec::new() };
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (pool, entry) in board.pools().iter().zip(&board.table.pools) {
            let at = *known.entry(&entry.region).or_insert(new.regions.len());
            new.of_pool.push(at);
            if at == new.regions.len() {
                new.regions.push(Region::new(entry));
            }
            if let Some(region) = new.regions.get_mut(at) {
                region.add(board, pool, entry);
            }
        }
        new
    }
}

impl Region {
    fn new(pool: &PoolEntry) -> Self {
        let &PoolEntry { ref region, latitude, longitude, .. } = pool;
        let view =
            RegionView { region: region.clone(), latitude, longitude, relays: 0, free_seats: 0, probes: Vec::new() };
        Self { view, serving: Vec::new(), cordoned: Vec::new() }
    }

    fn add(&mut self, board: &Board, pool: &Pool, entry: &PoolEntry) {
        self.view.free_seats = self.view.free_seats.saturating_add(pool.free_seats());
        for (relay, entry) in pool.relays().iter().zip(&entry.relays) {
            let list = match relay.state {
                RelayState::Serving => {
                    self.view.relays += 1;
                    &mut self.serving
                }
                RelayState::Cordoned => &mut self.cordoned,
                RelayState::NotLinked | RelayState::NoAddress | RelayState::Silent => continue,
            };
            list.extend(Probed::of(board, entry));
        }
    }
}

impl Probed {
    fn of(board: &Board, relay: &RelayEntry) -> Option<Self> {
        let run = board.view.runs.get(&relay.pod_uid)?;
        // Both kinds of URL differ from those of WebSockets by their scheme alone.
        let base = relay.url.strip_prefix("ws")?.trim_end_matches('/');
        let audience = audience(&relay.pod_uid, &run.boot_id);
        Some(Self { audience, keys: run.keys.clone(), url: format!("http{base}{PROBE_PATH}") })
    }
}

/// Probe tokens, each given to all clients for a while: signing one for each answer would cost more than all the rest of it,
/// and relays would have to verify each.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<HashMap<String, Signed>>);

#[derive(Clone, Debug)]
struct Signed {
    kid: String,
    token: Arc<str>,
    expires_at: i64,
}

impl Probes {
    /// Where to measure how far a relay is; nowhere if it has none of our keys.
    fn of(&self, lobby_uid: &str, ring: &Keyring, relay: &Probed) -> Option<Probe> {
        let key = ring.signer(&relay.keys)?;
        let now = clock::unix_seconds();
        let fresh = |signed: &Signed| signed.expires_at - now >= LEFT_AT_LEAST;
        let mut signed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = signed.get(&relay.audience).filter(|known| fresh(known) && known.kid == key.kid()).cloned();
        let Signed { token, expires_at, .. } = known.unwrap_or_else(|| {
            // Of relays that are gone.
            signed.retain(|_, signed| fresh(signed));
            let (iss, aud) = (lobby_uid.to_owned(), relay.audience.clone());
            let claims = ProbeClaims { iss, aud, iat: now, exp: now + PROBE_LIFE_SECONDS };
            let token = key.sign_probe(&claims).into();
            let new = Signed { kid: key.kid().to_owned(), token, expires_at: claims.exp };
            signed.insert(claims.aud, new.clone());
            new
        });
        Some(Probe { url: format!("{}?token={token}", relay.url), expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_made_once_for_each_board() {
        let (listing, board) = (Listing::default(), Arc::new(Board::default()));
        let first = listing.of(&board);
        assert!(Arc::ptr_eq(&first, &listing.of(&board)));
        let next = Arc::new(Board::default());
        assert!(Arc::ptr_eq(&listing.of(&next).board, &next));
    }
}

//! `GET /v1/regions`: where sessions can go, and where clients measure how far that is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::Shared;
use super::api::answer;
use super::extract::NoQuery;
use crate::decide::keyring::Keyring;
use crate::decide::measure::{PROBES, to_probe};
use crate::decide::route::{self, RelayState};
use crate::decide::sessions::Board;
use crate::process::{clock, secret};
use crate::wire::claims::{PROBE_LIFE_SECONDS, ProbeClaims, audience};
use crate::wire::relay::PROBE_PATH;
use crate::wire::session::{Probe, RegionView};
use crate::wire::table::RelayEntry;

/// A token that would expire sooner is not given to anybody any more: who measures needs some time for it.
const LEFT_AT_LEAST: i64 = PROBE_LIFE_SECONDS / 2;

/// The places where sessions can go, their free seats, and where to measure the round trip to each.
#[utoipa::path(
    get, path = "/v1/regions", tag = "placement",
    responses((status = 200, description = "The regions, in declared order", body = Vec<RegionView>))
)]
pub(super) async fn list(State(shared): State<Shared>, _: NoQuery) -> Response {
    let board = shared.lobby.settled_board();
    let mut regions: Vec<RegionView> = Vec::new();
    let mut relays: HashMap<&str, Vec<(RelayState, &RelayEntry)>> = HashMap::new();
    for (pool, entry) in board.pools().iter().zip(&board.table.pools) {
        let serving = pool.relays().iter().filter(|relay| relay.state == RelayState::Serving).count();
        let serving = u32::try_from(serving).unwrap_or(u32::MAX);
        let states = pool.relays().iter().map(|relay| relay.state);
        relays.entry(&entry.region).or_default().extend(states.zip(&entry.relays));
        match regions.iter_mut().find(|region| region.region == entry.region) {
            Some(region) => {
                region.relays += serving;
                region.free_seats = region.free_seats.saturating_add(pool.free_seats());
            }
            None => regions.push(RegionView {
                region: entry.region.clone(),
                latitude: entry.latitude,
                longitude: entry.longitude,
                relays: serving,
                free_seats: pool.free_seats(),
                probes: Vec::new(),
            }),
        }
    }
    let (ring, draw) = (shared.lobby.keys.ring(), route::draw(&secret::random_id(), 0));
    for region in &mut regions {
        let relays = relays.get(region.region.as_str()).map_or(&[][..], Vec::as_slice);
        let probes = to_probe(relays, draw).into_iter().filter_map(|relay| shared.probes.of(&board, &ring, relay));
        region.probes = probes.take(PROBES).collect();
    }
    answer(StatusCode::OK, &regions)
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
    /// Where to measure how far a relay is; nowhere if it has none of our keys, or has not linked up.
    fn of(&self, board: &Board, ring: &Keyring, relay: &RelayEntry) -> Option<Probe> {
        let run = board.view.runs.get(&relay.pod_uid)?;
        let key = ring.signer(&run.keys)?;
        let (aud, now) = (audience(&relay.pod_uid, &run.boot_id), clock::unix_seconds());
        let fresh = |signed: &Signed| signed.expires_at - now >= LEFT_AT_LEAST;
        let mut signed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = signed.get(&aud).filter(|known| fresh(known) && known.kid == key.kid()).cloned();
        let Signed { token, expires_at, .. } = known.unwrap_or_else(|| {
            // Of relays that are gone.
            signed.retain(|_, signed| fresh(signed));
            let iss = board.table.lobby_uid.clone();
            let claims = ProbeClaims { iss, aud: aud.clone(), iat: now, exp: now + PROBE_LIFE_SECONDS };
            let token = key.sign_probe(&claims).into();
            let new = Signed { kid: key.kid().to_owned(), token, expires_at: claims.exp };
            signed.insert(aud, new.clone());
            new
        });
        // Both kinds of URL differ from those of WebSockets by their scheme alone.
        let base = relay.url.strip_prefix("ws")?.trim_end_matches('/');
        Some(Probe { url: format!("http{base}{PROBE_PATH}?token={token}"), expires_at })
    }
}

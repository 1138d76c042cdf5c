//! The HTTP port: sends whoever comes to the nearest relay, or to the lobby, by 307, with the path kept, and for the lobby its
//! query as it came. Where to is said by the table alone.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State as Extract};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use ipnet::IpNet;

use super::query::told;
use super::state::State;
use crate::decide::dns::{Need, coarse};
use crate::wire::session::{Beside, ClientPlace};

/// Longest path and query that are passed on, in bytes.
const MAX_PATH: usize = 4096;

pub(super) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(redirect).with_state(state)
}

async fn redirect(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let (outcome, answer) = match whither(&state, peer, &headers, &uri) {
        Ok((outcome, location)) => {
            let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            (outcome, (StatusCode::TEMPORARY_REDIRECT, headers).into_response())
        }
        Err((outcome, status, why)) => (outcome, (status, format!("{why}\n")).into_response()),
    };
    state.metrics.redirects.with_label_values(&[outcome]).inc();
    answer
}

type Refused = (&'static str, StatusCode, &'static str);

fn whither(
    state: &State,
    peer: SocketAddr,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(&'static str, HeaderValue), Refused> {
    const BAD: Refused = (
        "bad_request",
        StatusCode::BAD_REQUEST,
        "location must be latitude and longitude in decimal degrees, such as 35.68,139.69, and region a name; path and query 4096 bytes at most",
    );
    const NOWHERE: Refused = ("no_relay", StatusCode::SERVICE_UNAVAILABLE, "no relay takes new sessions; try again");
    let path = uri.path();
    if path.len() + uri.query().map_or(0, str::len) > MAX_PATH || !path.starts_with('/') {
        return Err(BAD);
    }
    let board = state.board();
    let atlas = board.atlas.as_deref().ok_or(NOWHERE)?;
    let (outcome, base, query) = if is_of_the_lobby(path) {
        // What its query means, the lobby alone knows.
        let base = Some(atlas.table().url.trim_end_matches('/').to_owned()).filter(|url| !url.is_empty());
        ("lobby", base, uri.query().map(|query| format!("?{query}")).unwrap_or_default())
    } else {
        let (told, query) = told(uri.query().unwrap_or_default()).ok_or(BAD)?;
        let lines = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let caller = state.proxies.caller(peer.ip(), lines);
        if let Some(outcome) = caller.heard.metric() {
            state.metrics.forwarded.with_label_values(&[outcome]).inc();
        }
        let geoip = state.locate(caller.place());
        let told = if state.distrust_location { ClientPlace::default() } else { told };
        let place = ClientPlace { beside: Beside { geoip, ..Beside::default() }, ..told };
        let pool = atlas.nearest(&place, board.known(), None, Need::Any, 1).into_iter().next();
        let network = coarse(IpNet::from(caller.address.to_canonical()));
        ("relay", pool.and_then(|pool| Some(atlas.relay_for(pool, board.known(), network)?.http_url.clone())), query)
    };
    let location = HeaderValue::try_from(format!("{}{path}{query}", base.ok_or(NOWHERE)?)).map_err(|_| BAD)?;
    Ok((outcome, location))
}

fn is_of_the_lobby(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/j/") || path == "/openapi.json" || path == "/.well-known/jwks.json"
}

//! The HTTP API: each handler checks who asks, lets the book decide, and answers. The OpenAPI document is made from these
//! handlers and the types of [`crate::wire::session`].

use std::net::SocketAddr;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::extract::{Json, bearer, idempotency_key, own_url};
use super::problem::Refusal;
use crate::decide::route::RelayState;
use crate::decide::sessions::Session;
use crate::process::clock;
use crate::wire::session::{
    CreateSession, JoinSession, Joined, Problem, RegionView, SessionCreated, SessionList, SessionView,
};

/// Sessions on one page of the list.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 500;

type SessionPath = Result<Path<String>, PathRejection>;

/// The session of a path. One that cannot be read is one that is not known.
fn id(path: SessionPath) -> String {
    path.map(|Path(id)| id).unwrap_or_default()
}

/// An answer of this status; none may be kept by caches, since most hold secrets.
fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Creates a session at the nearest pool that has room.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", request_body = CreateSession,
    params(("Idempotency-Key" = Option<String>, Header, description = "Random, 16 to 128 characters; a repeated request under the same key gets the same answer for a minute")),
    responses(
        (status = 201, description = "Created; the host's pass, the join link and all pools, best first", body = SessionCreated),
        (status = 400, description = "`invalid_body`, `invalid_place`, `invalid_header`", body = Problem),
        (status = 409, description = "`idempotency_answer_gone`", body = Problem),
        (status = 422, description = "`idempotency_mismatch`", body = Problem),
        (status = 429, description = "`rate_limited`", body = Problem),
        (status = 503, description = "`no_relay`, `no_capacity`, `too_many_sessions`, `overloaded`; Retry-After tells when to ask again", body = Problem),
    )
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Json<CreateSession>,
) -> Result<Response, Refusal> {
    shared.gate.admit(peer.ip())?;
    let key = idempotency_key(&headers)?;
    let created = shared.lobby.create(&body.value, &body.bytes, key, || own_url(&headers))?;
    Ok(answer(StatusCode::CREATED, &created))
}

/// Joins a session: a guest by the join key in the body, the host by its host token.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/join", tag = "sessions", request_body = JoinSession,
    params(("id" = String, Path, description = "The session")), security((), ("hostToken" = [])),
    responses(
        (status = 200, description = "The pass to the session's relay", body = Joined),
        (status = 400, description = "`invalid_body`", body = Problem),
        (status = 401, description = "`unauthorized`: the same for a wrong secret and an unknown session", body = Problem),
        (status = 429, description = "`rate_limited`", body = Problem),
        (status = 503, description = "`no_relay`, `no_capacity`, `rebuilding`, `overloaded`; Retry-After tells when to ask again", body = Problem),
    )
)]
pub(super) async fn join(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    path: SessionPath,
    headers: HeaderMap,
    body: Json<JoinSession>,
) -> Result<Response, Refusal> {
    shared.gate.admit(peer.ip())?;
    let joined = shared.lobby.join(&id(path), body.value.join_key.as_deref(), bearer(&headers))?;
    Ok(answer(StatusCode::OK, &joined))
}

/// Reads a session.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`rebuilding`", body = Problem),
    )
)]
pub(super) async fn get(
    State(shared): State<Shared>,
    path: SessionPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Ok(answer(StatusCode::OK, &shared.lobby.view(&id(path), bearer(&headers))?))
}

/// Closes a session and all its connections.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 204, description = "Closed, now or before"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`rebuilding`", body = Problem),
    )
)]
pub(super) async fn close(
    State(shared): State<Shared>,
    path: SessionPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    shared.lobby.close(&id(path), bearer(&headers))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Query of the list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Paging {
    limit: Option<usize>,
    after: Option<String>,
}

impl Paging {
    fn check(self) -> Result<(usize, Option<(i64, String)>), Refusal> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Refusal::invalid_query(format!("limit: must be 1 to {MAX_PAGE}")));
        }
        let after = self.after.map(|after| {
            let (created_at, id) = after.split_once('_')?;
            Some((created_at.parse().ok()?, id.to_owned()))
        });
        match after {
            Some(None) => Err(Refusal::invalid_query("after: must be the `next` of a page before".to_owned())),
            Some(Some(after)) => Ok((limit, Some(after))),
            None => Ok((limit, None)),
        }
    }
}

/// Lists sessions, oldest first.
#[utoipa::path(
    get, path = "/v1/sessions", tag = "sessions", security(("adminToken" = [])),
    params(
        ("limit" = Option<usize>, Query, description = "1 to 500; 100 unless given"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SessionList),
        (status = 400, description = "`invalid_query`", body = Problem),
        (status = 401, description = "`unauthorized`", body = Problem),
    )
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    headers: HeaderMap,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Response, Refusal> {
    shared.lobby.admin(bearer(&headers))?;
    let Query(paging) = paging.map_err(|error| Refusal::invalid_query(error.body_text()))?;
    let (limit, after) = paging.check()?;
    let state = shared.lobby.lock();
    // One more than asked for tells whether there is a next page.
    let mut page: Vec<SessionView> =
        state.book.page(after.as_ref(), limit + 1).into_iter().map(Session::view).collect();
    drop(state);
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|last| format!("{}_{}", last.created_at, last.id));
    Ok(answer(StatusCode::OK, &SessionList { sessions: page, next }))
}

/// The places where sessions can go, and their free seats.
#[utoipa::path(
    get, path = "/v1/regions", tag = "placement",
    responses((status = 200, description = "The regions, in declared order", body = Vec<RegionView>))
)]
pub(super) async fn regions(State(shared): State<Shared>) -> Response {
    let mut regions: Vec<RegionView> = Vec::new();
    if let Some(table) = shared.lobby.table() {
        let state = shared.lobby.lock();
        for pool in state.book.pools(&table.table, clock::monotonic()) {
            let serving = pool.relays.iter().filter(|relay| relay.state == RelayState::Serving).count();
            let relays = u32::try_from(serving).unwrap_or(u32::MAX);
            let free_seats = pool.free_seats();
            match regions.iter_mut().find(|region| region.region == pool.region) {
                Some(region) => {
                    region.relays += relays;
                    region.free_seats = region.free_seats.saturating_add(free_seats);
                }
                None => regions.push(RegionView {
                    region: pool.region.to_owned(),
                    latitude: pool.point.latitude,
                    longitude: pool.point.longitude,
                    relays,
                    free_seats,
                }),
            }
        }
    }
    answer(StatusCode::OK, &regions)
}

/// The lobby's public keys: a JSON Web Key Set.
#[utoipa::path(
    get, path = "/v1/jwks.json", tag = "keys",
    responses((status = 200, description = "JSON Web Key Set (RFC 7517)", body = serde_json::Value))
)]
pub(super) async fn jwks(State(shared): State<Shared>) -> Response {
    axum::Json(&shared.lobby.keys.jwks).into_response()
}

/// What a join link shows in a browser. The part behind `#` never comes here, and the id is not looked at: the page is
/// the same for every link, so that it tells nobody which sessions there are.
pub(super) async fn join_page() -> Response {
    let page = "You were invited to a Convene session.\n\n\
        This link is for a client, which joins by POST /v1/sessions/{id}/join with the part behind # as joinKey\n\
        and then connects to the WebSocket URL in the answer. See /openapi.json.\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], page).into_response()
}

//! The HTTP API: each handler checks who asks, lets the book decide, and answers. The OpenAPI document is made from these
//! handlers and the types of [`crate::wire::session`].

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::extract::{Json, NoQuery, Wait, WaitQuery, bearer, idempotency_key, own_url};
use super::guests::Entry;
use super::limits::Admitted;
use super::problem::Refusal;
use super::service::MAX_SECRET;
use crate::decide::sessions::Session;
use crate::wire::session::{
    CreateSession, GuestWaits, JoinSession, Joined, MoveSession, Problem, RenameSession, SessionCreated, SessionList,
    SessionView,
};

/// Sessions on one page of the list.
const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 500;

pub(super) type SessionPath = Result<Path<String>, PathRejection>;

/// The session of a path. One that cannot be read is one that is not known.
pub(super) fn id(path: SessionPath) -> String {
    path.map(|Path(id)| id).unwrap_or_default()
}

/// An answer of this status; none may be kept by caches, since most hold secrets.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Creates a session at the nearest pool that has room.
#[utoipa::path(
    post, path = "/v1/sessions", tag = "sessions", request_body = CreateSession,
    params(
        WaitQuery,
        ("Idempotency-Key" = Option<String>, Header, min_length = 16, max_length = 128, pattern = "^[!-~]+$", description = "Random, 16 to 128 characters; a repeated request under the same key gets the same answer for a minute"),
    ),
    responses(
        (status = 201, description = "Created; the host's pass, the join link and all pools, best first", body = SessionCreated, headers(("Location" = String, description = "Path of the session"))),
        (status = 400, description = "`invalid_body`, `invalid_place`, `invalid_header`", body = Problem),
        (status = 409, description = "`idempotency_answer_gone`, `no_such_residency`", body = Problem),
        (status = 422, description = "`idempotency_mismatch`", body = Problem),
        (status = 429, description = "`rate_limited`", body = Problem),
        (status = 503, description = "`no_relay`, `no_capacity`, `too_many_sessions`, `store_unavailable`, `overloaded`; Retry-After tells when to ask again", body = Problem),
    )
)]
pub(super) async fn create(
    State(shared): State<Shared>,
    Wait(wait): Wait,
    Admitted(caller): Admitted,
    headers: HeaderMap,
    body: Json<CreateSession>,
) -> Result<Response, Refusal> {
    let key = idempotency_key(&headers)?;
    let created =
        shared.lobby.create(&body.value, &body.bytes, caller, key, wait, || own_url(&headers, shared.is_tls)).await?;
    let mut response = answer(StatusCode::CREATED, &created);
    let location = HeaderValue::try_from(format!("/v1/sessions/{}", created.session.id));
    response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    Ok(response)
}

/// Joins a session: a guest by the join key in the body, the host by its host token. Where the host is to be asked, a guest
/// gets no pass before the host has approved it; with `wait` the answer waits for that too.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/join", tag = "sessions", request_body = JoinSession,
    params(("id" = String, Path, description = "The session"), WaitQuery), security((), ("hostToken" = [])),
    responses(
        (status = 200, description = "The pass to the session's relay; if the guest's `place` has made the session move, to the new one", body = Joined),
        (status = 202, description = "The host has been asked and has not decided yet: send the same request again, with `guestToken`", body = GuestWaits),
        (status = 400, description = "`invalid_body`, `invalid_place`", body = Problem),
        (status = 401, description = "`unauthorized`: the same for a wrong secret and an unknown session", body = Problem),
        (status = 403, description = "`guest_refused`", body = Problem),
        (status = 429, description = "`rate_limited`", body = Problem),
        (status = 503, description = "`no_relay`, `no_capacity`, `too_many_guests`, `rebuilding`, `store_unavailable`, `overloaded`; Retry-After tells when to ask again", body = Problem),
    )
)]
pub(super) async fn join(
    State(shared): State<Shared>,
    Wait(wait): Wait,
    Admitted(caller): Admitted,
    path: SessionPath,
    headers: HeaderMap,
    body: Json<JoinSession>,
) -> Result<Response, Refusal> {
    Ok(match shared.lobby.join(&id(path), &body.value, bearer(&headers), caller, wait).await? {
        Entry::Joined(joined) => answer(StatusCode::OK, &joined),
        Entry::Waits(waits) => answer(StatusCode::ACCEPTED, &waits),
    })
}

/// Reads a session.
#[utoipa::path(
    get, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The session", body = SessionView),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn get(
    State(shared): State<Shared>,
    _: NoQuery,
    path: SessionPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Ok(answer(StatusCode::OK, &shared.lobby.view(&id(path), bearer(&headers)).await?))
}

/// Gives a session another name.
#[utoipa::path(
    patch, path = "/v1/sessions/{id}", tag = "sessions", request_body = RenameSession,
    params(("id" = String, Path, description = "The session")), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The session with its new name", body = SessionView),
        (status = 400, description = "`invalid_body`", body = Problem),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn rename(
    State(shared): State<Shared>,
    _: NoQuery,
    path: SessionPath,
    headers: HeaderMap,
    body: Json<RenameSession>,
) -> Result<Response, Refusal> {
    Ok(answer(StatusCode::OK, &shared.lobby.rename(&id(path), bearer(&headers), body.value).await?))
}

/// Moves a session to a region, a pool, or where it is best by the places of its host and of guests that are known. It moves only where there is room; its
/// members are sent back to the lobby, which leads them to the new relay. A session that is there already stays.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/move", tag = "sessions", request_body = MoveSession,
    params(("id" = String, Path, description = "The session"), WaitQuery), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The session where it lives now; its epoch is higher if it moved", body = SessionView),
        (status = 400, description = "`invalid_body`", body = Problem),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 409, description = "`no_such_region`, `no_such_pool`, `other_residency`", body = Problem),
        (status = 503, description = "`no_relay`, `no_capacity`, `rebuilding`, `store_unavailable`; the session stays where it is", body = Problem),
    )
)]
pub(super) async fn relocate(
    State(shared): State<Shared>,
    Wait(wait): Wait,
    path: SessionPath,
    headers: HeaderMap,
    body: Json<MoveSession>,
) -> Result<Response, Refusal> {
    Ok(answer(StatusCode::OK, &shared.lobby.relocate(&id(path), bearer(&headers), body.value, wait).await?))
}

/// Closes a session and all its connections.
#[utoipa::path(
    delete, path = "/v1/sessions/{id}", tag = "sessions",
    params(("id" = String, Path, description = "The session")), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 204, description = "Closed, now or before"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn close(
    State(shared): State<Shared>,
    _: NoQuery,
    path: SessionPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    shared.lobby.close(&id(path), bearer(&headers)).await?;
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
            let is_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            // As many digits as surely fit.
            let seconds = (1..=18).contains(&created_at.len()) && created_at.bytes().all(|byte| byte.is_ascii_digit());
            let known = seconds && (1..=MAX_SECRET).contains(&id.len()) && id.bytes().all(is_id);
            known.then(|| Some((created_at.parse().ok()?, id.to_owned())))?
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
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 500, description = "1 to 500; 100 unless given"),
        ("after" = Option<String>, Query, pattern = "^[0-9]{1,18}_[A-Za-z0-9_-]{1,128}$", description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = SessionList),
        (status = 400, description = "`invalid_query`", body = Problem),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 503, description = "`store_unavailable`", body = Problem),
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
    // One more than asked for tells whether there is a next page.
    let sessions = shared.lobby.store.page(after, limit + 1).await?;
    let mut page: Vec<SessionView> = sessions.iter().map(Session::view).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|last| format!("{}_{}", last.created_at, last.id));
    Ok(answer(StatusCode::OK, &SessionList { sessions: page, next }))
}

/// The lobby's public keys: a JSON Web Key Set.
#[utoipa::path(
    get, path = "/v1/jwks.json", tag = "keys",
    responses((status = 200, description = "JSON Web Key Set (RFC 7517)", body = serde_json::Value))
)]
pub(super) async fn jwks(State(shared): State<Shared>) -> Response {
    axum::Json(shared.lobby.keys.ring().public()).into_response()
}

/// What a join link shows in a browser. The part behind `#` never comes here, and the id is not looked at: the page is
/// the same for every link, so that it tells nobody which sessions there are.
pub(super) async fn join_page() -> Response {
    let page = "You were invited to a Convene session.\n\n\
        This link is for a client, which joins by POST /v1/sessions/{id}/join with the part behind # as joinKey\n\
        and then connects to the WebSocket URL in the answer. See /openapi.json.\n";
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], page).into_response()
}

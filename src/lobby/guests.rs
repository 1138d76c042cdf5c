//! Guests of sessions whose host is to be asked: they ask with each join, and the host approves or refuses them.
//!
//! A guest is known by a secret of its own; its id is made of that secret's hash, so that nothing else need be kept of it.

use std::sync::OnceLock;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::api::{SessionPath, answer, id};
use super::extract::{NoQuery, bearer};
use super::origins::Origins;
use super::problem::Refusal;
use super::service::check_name;
use super::state::Lobby;
use crate::decide::address::Caller;
use crate::decide::route;
use crate::decide::sessions::{Known, NotAsked, Session};
use crate::process::{clock, secret};
use crate::wire::session::{ClientPlace, Guest, GuestList, GuestState, GuestWaits, JoinSession, Joined, Problem};
use crate::wire::table::RelayTable;

/// Characters of a guest's id: 128 bits.
const ID_LENGTH: usize = 22;

/// What a join comes to.
#[derive(Debug)]
pub(super) enum Entry {
    /// A pass.
    Joined(Box<Joined>),
    /// The host has not decided yet.
    Waits(GuestWaits),
}

/// A guest that asks.
#[derive(Debug)]
pub(super) struct Asking {
    id: String,
    token: String,
    name: Option<String>,
    /// What it says of its place, and where it calls from.
    told: ClientPlace,
    caller: Caller,
    /// What is made of that, once it is needed: others of its network learn by it, once a request.
    place: OnceLock<ClientPlace>,
}

impl Asking {
    /// The guest of a request; a new one if it brings no token.
    pub(super) fn of(request: &JoinSession, caller: Caller) -> Result<Self, Refusal> {
        check_name(request.name.as_deref())?;
        let told = request.place.clone().unwrap_or_default();
        route::check(&told)?;
        let token = match &request.guest_token {
            Some(token) if secret::is_hash(token) => token.clone(),
            Some(_) => {
                let what = "guestToken: must be 32 random bytes, base64url without padding: 43 characters";
                return Err(Refusal::invalid_body(what.to_owned()));
            }
            None => secret::random_secret(),
        };
        let id = secret::hash(&token).chars().take(ID_LENGTH).collect();
        Ok(Self { id, token, name: request.name.clone(), told, caller, place: OnceLock::new() })
    }

    /// Its id, which is the participant of its passes.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where it is, as far as that is known.
    pub(super) fn place(&self, origins: &Origins, table: &RelayTable) -> &ClientPlace {
        self.place.get_or_init(|| origins.with_beside(self.caller, origins.believed(&self.told), table))
    }
}

impl Lobby {
    /// Asks the host of a session for a guest. None = the session has ended.
    pub(super) async fn knock(&self, session: &Session, asking: &Asking) -> Result<Option<Knock>, Refusal> {
        let name = asking.name.as_deref();
        match self.store.ask(&session.id, &asking.id, name, clock::unix_seconds()).await? {
            Err(NotAsked::Unknown) => Ok(None),
            Err(NotAsked::TooMany) => Err(Refusal::too_many_guests()),
            Ok(guest) => match guest.state {
                GuestState::Approved => Ok(Some(Knock::Approved)),
                GuestState::Refused => Err(Refusal::guest_refused()),
                GuestState::Waiting => {
                    // Whoever follows the session here hears of it at once.
                    self.watch.look();
                    Ok(Some(Knock::Waits(GuestWaits { guest, guest_token: asking.token.clone() })))
                }
            },
        }
    }

    /// Waits until the host has decided on a guest or the session has ended; false = not by then.
    pub(super) async fn decided(&self, session: &str, guest: &str, until: Instant) -> bool {
        let mut following = self.watch.follow(session);
        let decided = following.wait_for(|seen| {
            seen.as_ref().is_some_and(|seen| {
                let of = seen.guests.iter().find(|known| known.id == guest);
                !matches!(seen.known, Known::Live(_)) || of.is_some_and(|known| known.state != GuestState::Waiting)
            })
        });
        matches!(timeout_at(until, decided).await, Ok(Ok(_)))
    }

    async fn guests(&self, id: &str, bearer: Option<&str>) -> Result<GuestList, Refusal> {
        self.controlled(id, bearer).await?;
        let seen = self.store.look(&[id.to_owned()]).await?;
        Ok(GuestList { guests: seen.into_iter().flat_map(|seen| seen.guests).collect() })
    }

    async fn admit(&self, id: &str, bearer: Option<&str>, guest: &str, approve: bool) -> Result<Guest, Refusal> {
        self.controlled(id, bearer).await?;
        let guest = self.store.admit(id, guest, approve).await?.ok_or(Refusal::no_such_guest())?;
        self.watch.look();
        Ok(guest)
    }
}

/// How a guest stands that has asked.
#[derive(Debug)]
pub(super) enum Knock {
    /// It may come in.
    Approved,
    /// The host has not decided yet.
    Waits(GuestWaits),
}

/// Lists the guests who have asked to be let into a session whose host is to be asked.
#[utoipa::path(
    get, path = "/v1/sessions/{id}/guests", tag = "guests",
    params(("id" = String, Path, description = "The session")), security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The guests; none where the host is not to be asked", body = GuestList),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`; only told to the admin", body = Problem),
        (status = 503, description = "`rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    _: NoQuery,
    path: SessionPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    Ok(answer(StatusCode::OK, &shared.lobby.guests(&id(path), bearer(&headers)).await?))
}

type GuestPath = Result<Path<(String, String)>, PathRejection>;

/// Lets a guest in: its join is answered with a pass. Also after it was refused.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/guests/{guest}/approve", tag = "guests",
    params(("id" = String, Path, description = "The session"), ("guest" = String, Path, description = "The guest's id")),
    security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The guest, approved now or before", body = Guest),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`no_such_guest`, or `not_found`, which only the admin is told", body = Problem),
        (status = 503, description = "`rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn approve(
    State(shared): State<Shared>,
    _: NoQuery,
    path: GuestPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    decide(&shared, path, &headers, true).await
}

/// Refuses a guest: its joins are answered with `guest_refused` for an hour. One that was approved before gets no further
/// pass; a connection that it has goes on.
#[utoipa::path(
    post, path = "/v1/sessions/{id}/guests/{guest}/refuse", tag = "guests",
    params(("id" = String, Path, description = "The session"), ("guest" = String, Path, description = "The guest's id")),
    security(("hostToken" = []), ("adminToken" = [])),
    responses(
        (status = 200, description = "The guest, refused now or before", body = Guest),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`no_such_guest`, or `not_found`, which only the admin is told", body = Problem),
        (status = 503, description = "`rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn refuse(
    State(shared): State<Shared>,
    _: NoQuery,
    path: GuestPath,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    decide(&shared, path, &headers, false).await
}

async fn decide(shared: &Shared, path: GuestPath, headers: &HeaderMap, approve: bool) -> Result<Response, Refusal> {
    let (session, guest) = path.map(|Path(both)| both).unwrap_or_default();
    Ok(answer(StatusCode::OK, &shared.lobby.admit(&session, bearer(headers), &guest, approve).await?))
}

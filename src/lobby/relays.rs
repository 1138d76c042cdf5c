//! What the administrator asks of relays: which there are, and that one leaves, or stays after all.
//!
//! Such an order is kept nowhere but by the relay itself, which says with its load that it is to leave, and tells its
//! operator. So it holds for as long as the relay's process, and works where there is no operator.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::Shared;
use super::api::answer;
use super::extract::{NoQuery, bearer};
use super::problem::Refusal;
use super::state::Lobby;
use crate::decide::sessions::{Named, NoSeat, NotOne};
use crate::wire::admin::{RelayList, RelayView};
use crate::wire::session::Problem;

/// Pool and name.
type RelayPath = Result<Path<(String, String)>, PathRejection>;

/// Query of an order.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Namespace of the pool, where pools of several namespaces have a relay of this name; empty for another cluster's
    namespace: Option<String>,
}

impl Lobby {
    /// Orders a relay to leave, or to stay after all; what was known of it just before.
    async fn leave(&self, bearer: Option<&str>, named: Named<'_>, leave: bool) -> Result<RelayView, Refusal> {
        self.admin(bearer)?;
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        let found = self.store.view().named(&table.table, named);
        let (pod_uid, known) = found.map_err(|why| match why {
            NotOne::Nobody => self.or_rebuilding(Some(&table), Refusal::no_such_relay()),
            NotOne::Several => Refusal::ambiguous_relay(),
        })?;
        if !self.store.leave(&pod_uid, leave).await? {
            return Err(Refusal::relay_not_linked());
        }
        tracing::info!(pool = known.pool, relay = known.relay, leave, "the administrator has ordered a relay");
        Ok(known)
    }
}

/// Lists all relays.
#[utoipa::path(
    get, path = "/v1/relays", tag = "relays", security(("adminToken" = [])),
    responses(
        (status = 200, description = "The relays, by their pools in declared order", body = RelayList),
        (status = 401, description = "`unauthorized`", body = Problem),
    )
)]
pub(super) async fn list(State(shared): State<Shared>, _: NoQuery, headers: HeaderMap) -> Result<Response, Refusal> {
    let lobby = &shared.lobby;
    lobby.admin(bearer(&headers))?;
    let relays = lobby.table().map(|table| lobby.store.view().relays(&table.table)).unwrap_or_default();
    Ok(answer(StatusCode::OK, &RelayList { relays }))
}

/// Orders a relay to leave: it takes no new sessions, those that it has move to other relays as far as those have room, and
/// its operator replaces it once it is empty, at the latest after the pool's `drain.timeoutSeconds`. The order ends with the
/// relay's process.
#[utoipa::path(
    post, path = "/v1/relays/{pool}/{relay}/drain", tag = "relays", security(("adminToken" = [])),
    params(("pool" = String, Path, description = "The relay's pool"), ("relay" = String, Path, description = "The relay's name"), Which),
    responses(
        (status = 202, description = "The order is on its way; the relay as it was known just before. `GET /v1/relays` shows it `leaving` once it obeys; until then the order may be given again", body = RelayView),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`no_such_relay`", body = Problem),
        (status = 409, description = "`ambiguous_relay`", body = Problem),
        (status = 503, description = "`relay_not_linked`, `no_relay`, `rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn drain(
    State(shared): State<Shared>,
    path: RelayPath,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    order(&shared, path, which, &headers, true).await
}

/// Takes back what `drain` has ordered: the relay takes new sessions again, and keeps those that have not moved, unless its
/// operator has it leave for another reason.
#[utoipa::path(
    post, path = "/v1/relays/{pool}/{relay}/uncordon", tag = "relays", security(("adminToken" = [])),
    params(("pool" = String, Path, description = "The relay's pool"), ("relay" = String, Path, description = "The relay's name"), Which),
    responses(
        (status = 202, description = "The order is on its way; the relay as it was known just before", body = RelayView),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`no_such_relay`", body = Problem),
        (status = 409, description = "`ambiguous_relay`", body = Problem),
        (status = 503, description = "`relay_not_linked`, `no_relay`, `rebuilding`, `store_unavailable`", body = Problem),
    )
)]
pub(super) async fn uncordon(
    State(shared): State<Shared>,
    path: RelayPath,
    which: Result<Query<Which>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    order(&shared, path, which, &headers, false).await
}

async fn order(
    shared: &Shared,
    path: RelayPath,
    which: Result<Query<Which>, QueryRejection>,
    headers: &HeaderMap,
    leave: bool,
) -> Result<Response, Refusal> {
    let Query(Which { namespace }) = which.map_err(|error| Refusal::invalid_query(error.body_text()))?;
    // A path that cannot be read names no relay.
    let (pool, relay) = path.map(|Path(both)| both).unwrap_or_default();
    let named = Named { namespace: namespace.as_deref(), pool: &pool, relay: &relay };
    Ok(answer(StatusCode::ACCEPTED, &shared.lobby.leave(bearer(headers), named, leave).await?))
}

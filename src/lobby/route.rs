//! `GET /v1/route`: where a session would go now, and why there. Nothing is created or kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Schema, SchemaFormat, Type};

use super::api::answer;
use super::extract::bearer;
use super::problem::Refusal;
use super::service::check_residency;
use super::state::Lobby;
use super::{Shared, query};
use crate::decide::address::{Caller, Heard};
use crate::decide::route::{self, Ask, Pool};
use crate::decide::sessions::NoSeat;
use crate::process::secret;
use crate::wire::explain::RouteView;
use crate::wire::session::{ClientPlace, Problem};

/// Where somebody is, as it stands in the URL.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whereabouts {
    /// Latitude and longitude in decimal degrees: `35.68,139.69`
    #[param(
        pattern = r"^-?([0-8]?[0-9](\.[0-9]{1,9})?|90(\.0{1,9})?),-?((1[0-7][0-9]|0?[0-9]{1,2})(\.[0-9]{1,9})?|180(\.0{1,9})?)$"
    )]
    location: Option<String>,
    /// Name of a region, of a public cloud or of a pool of this lobby
    #[param(min_length = 1, max_length = 63, pattern = "^[a-z0-9-]+$")]
    region: Option<String>,
    /// Round trips in milliseconds to regions, at most 64: `asia-northeast1=8.5,eu-west-1=240`
    #[param(
        pattern = r"^[a-z0-9-]{1,63}=([0-5]?[0-9]{1,4}(\.[0-9]{1,3})?|60000(\.0{1,3})?)(,[a-z0-9-]{1,63}=([0-5]?[0-9]{1,4}(\.[0-9]{1,3})?|60000(\.0{1,3})?)){0,63}$"
    )]
    latencies: Option<String>,
    /// Where the session must reside
    #[param(min_length = 1, max_length = 63, pattern = "^[a-z0-9-]+$")]
    residency: Option<String>,
    /// For the admin alone: another address than the one that asks. What the lobby knows of networks of others is not
    /// told to everybody.
    #[param(schema_with = address_schema)]
    ip: Option<String>,
}

fn address_schema() -> Schema {
    let of = |format: &str| {
        let format = SchemaFormat::Custom(format.to_owned());
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build()
    };
    AnyOfBuilder::new().item(of("ipv4")).item(of("ipv6")).build().into()
}

impl Whereabouts {
    /// The address that is asked for, if it is not the own one.
    fn address(&self) -> Result<Option<Caller>, Refusal> {
        let read = |text: &str| text.parse::<IpAddr>().map_err(|_| bad(IP_RULE));
        let address = self.ip.as_deref().map(read).transpose()?;
        Ok(address.map(|address| Caller { address: address.to_canonical(), heard: Heard::Connection }))
    }

    fn place(self) -> Result<ClientPlace, Refusal> {
        let Self { location, region, latencies, residency, ip: _ } = self;
        let location =
            location.as_deref().map(|text| query::point(text).ok_or_else(|| bad(LOCATION_RULE))).transpose()?;
        let latencies = latencies.as_deref().map_or_else(|| Some(BTreeMap::new()), query::latencies);
        let latencies = latencies.ok_or_else(|| bad(LATENCIES_RULE))?;
        for (name, given) in [("region", &region), ("residency", &residency)] {
            if given.as_deref().is_some_and(|given| !query::is_name(given)) {
                return Err(bad(&format!("{name}: must be 1 to 63 lower-case letters, digits and dashes")));
            }
        }
        Ok(ClientPlace { latencies, location, region, residency, ..ClientPlace::default() })
    }
}

const LOCATION_RULE: &str = "location: must be latitude and longitude in decimal degrees, such as 35.68,139.69";
const IP_RULE: &str = "ip: must be one address, such as 203.0.113.7 or 2001:db8::7";
const LATENCIES_RULE: &str =
    "latencies: must be up to 64 regions with milliseconds, 0 to 60000, such as asia-northeast1=8.5,eu-west-1=240";

fn bad(detail: &str) -> Refusal {
    Refusal::invalid_query(detail.to_owned())
}

/// Tells where a session of somebody would go now, and why: every pool with what is known of its distance, its load, its
/// score, or the reason why not. What is told is what a request to create a session would do that does not wait, from
/// this address, or for the admin from any (`ip`). The same rate limit holds, but not for the admin.
#[utoipa::path(
    get, path = "/v1/route", tag = "placement", params(Whereabouts), security((), ("adminToken" = [])),
    responses(
        (status = 200, description = "Where to, and all pools, best first", body = RouteView),
        (status = 400, description = "`invalid_query`", body = Problem),
        (status = 401, description = "`unauthorized`: only the admin may ask for another address", body = Problem),
        (status = 409, description = "`no_such_residency`", body = Problem),
        (status = 429, description = "`rate_limited`", body = Problem),
        (status = 503, description = "`no_relay`", body = Problem),
    )
)]
pub(super) async fn explain(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    query: Result<Query<Whereabouts>, QueryRejection>,
) -> Result<Response, Refusal> {
    let admin = shared.lobby.admin(bearer(&headers));
    if admin.is_err() {
        shared.gate.admit(caller.address)?;
    }
    let Query(query) = query.map_err(|error| Refusal::invalid_query(error.body_text()))?;
    if query.ip.is_some() {
        admin?;
    }
    let caller = query.address()?.unwrap_or(caller);
    Ok(answer(StatusCode::OK, &shared.lobby.explain(caller, &query.place()?)?))
}

impl Lobby {
    fn explain(&self, caller: Caller, told: &ClientPlace) -> Result<RouteView, Refusal> {
        let table = self.table().ok_or(NoSeat::NoRelay)?;
        route::check(told)?;
        check_residency(&table, told)?;
        let (place, address) = self.origins.explained(caller, self.origins.believed(told));
        let draw = route::draw(&secret::random_id(), 0);
        let ask = Ask { waited: Some(Duration::ZERO), draw, ..Ask::of(&place) };
        let now = self.boards.now();
        let placement = now.board.explain(&ask, &now.asked);
        let pools = now.board.pools();
        let name = |pool: &Pool| pool.name().to_owned();
        let chosen = placement.chosen.and_then(|chosen| Some((pools.get(chosen.pool)?, chosen.relay)));
        Ok(RouteView {
            pool: chosen.map(|(pool, _)| name(pool)),
            relay: chosen.and_then(|(pool, relay)| Some(pool.relays().get(relay)?.name.clone())),
            wanted: placement.wanted.and_then(|wanted| pools.get(wanted)).map(name),
            address: Some(address),
            ranking: placement.ranking,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_in_a_url_are_what_they_must_be() {
        let whereabouts = |region: &str| Whereabouts { region: Some(region.to_owned()), ..Whereabouts::default() };
        assert!(whereabouts("eu-west-1").place().is_ok());
        let ip = |ip: &str| Whereabouts { ip: Some(ip.to_owned()), ..Whereabouts::default() }.address();
        let address = |text: &str| ip(text).expect("an address").map(|caller| caller.address.to_string());
        assert_eq!(address("::ffff:203.0.113.7").as_deref(), Some("203.0.113.7"));
        for wrong in ["", "203.0.113.0/24", "203.0.113.7:80", "[::1]", "example.com", "0x7f000001", "127.1"] {
            assert!(ip(wrong).is_err(), "{wrong}");
        }
        assert!(whereabouts("EU").place().is_err() && whereabouts("").place().is_err());
    }
}

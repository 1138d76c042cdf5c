//! How a lobby chooses among its pools, as its processes are told it.

use crate::api::routing as api;
use crate::wire::routing::{Cap, Inside, Overflow, RegionRule, Routing, Strategy};

/// The settings; the defaults where there are none. The API server lets no number in that is below zero.
pub(super) fn routing(spec: Option<&api::Routing>) -> Routing {
    let Some(spec) = spec else { return Routing::default() };
    // The others are no matter of the choice.
    let api::Routing {
        strategy,
        overflow,
        inside,
        caps,
        regions,
        client_location: _,
        geoip: _,
        dns: _,
        external_dns: _,
    } = spec;
    let number = |number: i32| u32::try_from(number).unwrap_or_default();
    let cap = |cap: &api::Cap| {
        let api::Cap { at_most_milliseconds, for_seconds } = *cap;
        Cap { at_most_ms: number(at_most_milliseconds), for_seconds: number(for_seconds) }
    };
    let rule = |rule: &api::RegionRule| {
        let api::RegionRule { name, residency, priority, distance_percent } = rule;
        RegionRule {
            name: name.clone(),
            residency: residency.clone(),
            priority: number(*priority),
            distance_percent: number(*distance_percent),
        }
    };
    Routing {
        strategy: match strategy {
            api::Strategy::Worst => Strategy::Worst,
            api::Strategy::Average => Strategy::Average,
            api::Strategy::Host => Strategy::Host,
        },
        overflow: match overflow {
            api::Overflow::Nearest => Overflow::Nearest,
            api::Overflow::SameResidency => Overflow::SameResidency,
            api::Overflow::Never => Overflow::Never,
        },
        inside: match inside {
            api::Inside::Pack => Inside::Pack,
            api::Inside::Spread => Inside::Spread,
        },
        caps: caps.iter().map(cap).collect(),
        regions: regions.iter().map(rule).collect(),
    }
}

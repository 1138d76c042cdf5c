//! Metrics of the lobby.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use crate::process::metrics::Catalogue;

/// Metrics of the lobby.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Sessions by state.
    pub(super) sessions: IntGaugeVec,
    /// Sessions that were given a seat.
    pub(super) placements: IntCounterVec,
    /// Time to place one.
    pub(super) placement_seconds: HistogramVec,
    /// Requests that were refused.
    pub(super) refused: IntCounterVec,
    /// Leases that ran out.
    pub(super) leases_expired: IntCounterVec,
    /// Linked relays.
    pub(super) relays_linked: IntGaugeVec,
    /// Refused links.
    pub(super) links_refused: IntCounterVec,
    /// Records that relays returned.
    pub(super) records: IntCounterVec,
    /// Seats that new sessions could take.
    pub(super) free_seats: IntGaugeVec,
    /// Answered requests.
    pub(super) requests: IntCounterVec,
    /// Age of the table.
    pub(super) table_age_seconds: IntGaugeVec,
    /// Tables that were read.
    pub(super) table_reads: IntCounterVec,
}

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        Self {
            sessions: catalogue.gauges(
                "convene_lobby_sessions",
                "Sessions that the lobby knows: leased (a seat is kept, nobody has connected) or open.",
                &["state"],
            ),
            placements: catalogue.counters(
                "convene_lobby_placements_total",
                "Sessions that were given a relay, moved ones included, by its region and by the rung of knowledge that chose it: a growing share of declaredOrder means that clients do not tell where they are.",
                &["region", "rung"],
            ),
            placement_seconds: catalogue.seconds(
                "convene_lobby_placement_seconds",
                "Time to grant a seat: ranking, book, signatures and the order to the relay. Waiting for the book's lock counts.",
                &[],
            ),
            refused: catalogue.counters(
                "convene_lobby_refused_total",
                "Requests that were refused, by the stable code of the problem. no_capacity is a pool that is too small; unauthorized in numbers is somebody guessing.",
                &["code"],
            ),
            leases_expired: catalogue.counters(
                "convene_lobby_leases_expired_total",
                "Seats that returned because nobody connected in time.",
                &[],
            ),
            relays_linked: catalogue.gauges("convene_lobby_relays_linked", "Relays with a relay link now.", &[]),
            links_refused: catalogue.counters(
                "convene_lobby_links_refused_total",
                "Relay links that were refused or cut, by reason: identity, hello, rate, silent or replaced.",
                &["reason"],
            ),
            records: catalogue.counters(
                "convene_lobby_records_total",
                "Session records that relays returned on link-up, by outcome: valid or refused.",
                &["outcome"],
            ),
            free_seats: catalogue.gauges(
                "convene_lobby_free_seats",
                "Seats that new sessions could take now, by region.",
                &["region"],
            ),
            requests: catalogue.counters(
                "convene_lobby_requests_total",
                "Answered requests by route and status.",
                &["route", "status"],
            ),
            table_age_seconds: catalogue.gauges(
                "convene_lobby_table_age_seconds",
                "Seconds since the relay table was last confirmed by its source. It grows while the API server is away; the table keeps serving.",
                &[],
            ),
            table_reads: catalogue.counters(
                "convene_lobby_table_reads_total",
                "Relay tables that were read, by source (file, configMap) and outcome: applied, same, broken (the last good one stays) or gone.",
                &["source", "outcome"],
            ),
        }
    }
}

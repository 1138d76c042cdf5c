//! Metrics of the router.

use prometheus::{IntCounterVec, IntGaugeVec};

use crate::process::http::Door;
use crate::process::metrics::Catalogue;
use crate::process::{geoip, table, tls};

/// Metrics of the router.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Questions that could be read.
    pub(super) queries: IntCounterVec,
    /// Bytes that were no question, or had no answer.
    pub(super) rejected: IntCounterVec,
    /// TCP connections that were not taken.
    pub(super) tcp_refused: IntCounterVec,
    /// How askers were placed.
    pub(super) located: IntCounterVec,
    /// What came of looking up their addresses.
    pub(super) lookups: IntCounterVec,
    /// What came of the headers of proxies.
    pub(super) forwarded: IntCounterVec,
    /// The table's age, and those that were read.
    pub(super) table: table::Metrics,
    /// Age of what the lobby said of its regions.
    pub(super) regions_age_seconds: IntGaugeVec,
    /// How often it was asked.
    pub(super) region_reads: IntCounterVec,
    /// Names of relays without addresses.
    pub(super) names_without_address: IntGaugeVec,
    /// Redirects.
    pub(super) redirects: IntCounterVec,
    /// HTTP connections that ended before their first request.
    pub(super) connections_refused: IntCounterVec,
    /// Databases of places.
    pub(super) geoip: geoip::Metrics,
    /// The certificate of the HTTP port.
    pub(super) tls: tls::Metrics,
}

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        let table = table::Metrics::new(catalogue, "router");
        let (regions_age_seconds, region_reads) = of_regions(catalogue);
        let (lookups, forwarded) = of_addresses(catalogue);
        Self {
            queries: catalogue.counters(
                "convene_router_queries_total",
                "Questions by what was asked for, transport, and outcome: answered, empty (the name has none of that), nxdomain, refused (not our zone, or a transfer), not_yet (there is no relay table yet), or slipped (above the rate of its network: told to come by TCP).",
                &["kind", "transport", "outcome"],
            ),
            rejected: catalogue.counters(
                "convene_router_rejected_total",
                "Messages that got no answer, or one that says what is wrong with them, by reason: rate (above the rate of its network, not answered), short, response, opcode, counts, question, additional, trailing, edns, version, subnet (a client subnet that is not as RFC 7871 has it), class, or unwritable.",
                &["reason"],
            ),
            tcp_refused: catalogue.counters(
                "convene_router_tcp_refused_total",
                "TCP connections of the DNS port that ended early, by reason: connections (too many in all), network (too many of one /24, or of an IPv6 /56 or /48), timeout (no whole question in time, or 30 s old), or questions (as many as one connection may ask).",
                &["reason"],
            ),
            located: catalogue.counters(
                "convene_router_located_total",
                "Questions whose answer depends on who asks, by whose address said where they come from: subnet (that of the client, told by its resolver), resolver, or nobody (none is public or known to the database of places, or the client wants none looked at): those are answered in declared order.",
                &["by"],
            ),
            lookups,
            forwarded,
            table,
            regions_age_seconds,
            region_reads,
            names_without_address: catalogue.gauges(
                "convene_router_names_without_address",
                "Host names of relays for which no address was found yet, or none for an hour while others of their pools have some: these relays are left out of answers.",
                &[],
            ),
            redirects: catalogue.counters(
                "convene_router_redirects_total",
                "HTTP requests by outcome: relay, lobby, bad_request, or no_relay.",
                &["outcome"],
            ),
            connections_refused: Door::refused(catalogue),
            geoip: geoip::Metrics::new(catalogue),
            tls: tls::Metrics::new(catalogue),
        }
    }
}

fn of_addresses(catalogue: &mut Catalogue) -> (IntCounterVec, IntCounterVec) {
    let lookups = "Addresses of askers that were looked up in the databases of places, by outcome: found, unknown, not_on_earth (the database is wrong), no_public_address (none is told, or it is of a private network or a proxy: not looked up), or no_database (missing, broken or too old).";
    let forwarded = "HTTP requests that are sent to relays, with a header of proxies, by what came of it: believed, ignored (it came from nobody who is trusted: see --trusted-proxies), or unreadable (a trusted proxy's).";
    (
        catalogue.counters("convene_router_geoip_lookups_total", lookups, &["outcome"]),
        catalogue.counters("convene_router_forwarded_total", forwarded, &["outcome"]),
    )
}

fn of_regions(catalogue: &mut Catalogue) -> (IntGaugeVec, IntCounterVec) {
    let age = "Seconds since the lobby last said which of its regions serve and have room; -1 = it never did. After 60 the table alone counts.";
    let reads = "How often the lobby was asked for its regions, by outcome: heard, failed, or broken.";
    (
        catalogue.gauges("convene_router_regions_age_seconds", age, &[]),
        catalogue.counters("convene_router_region_reads_total", reads, &["outcome"]),
    )
}

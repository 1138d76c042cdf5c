//! Metrics of the lobby.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use super::origins;
use crate::decide::cuts::Cause;
use crate::process::http::Door;
use crate::process::metrics::Catalogue;
use crate::process::{table, tls};

/// Metrics of the lobby.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Sessions by state.
    pub(super) sessions: IntGaugeVec,
    /// Sessions that were given a seat.
    pub(super) placements: IntCounterVec,
    /// Sessions that moved.
    pub(super) moves: IntCounterVec,
    /// Guests that joined.
    pub(super) guest_places: IntCounterVec,
    /// Connected participants.
    pub(super) participants: IntGaugeVec,
    /// Participants that were cut.
    pub(super) cut: IntCounterVec,
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
    /// Private keys that this process signs with.
    pub(super) signing_keys: IntGaugeVec,
    /// Key files that were not taken.
    pub(super) keys_rejected: IntCounterVec,
    /// Seats that new sessions could take.
    pub(super) free_seats: IntGaugeVec,
    /// Requests that wait for a seat.
    pub(super) waiting: IntGaugeVec,
    /// Open event streams of sessions.
    pub(super) event_streams: IntGaugeVec,
    /// Answered requests.
    pub(super) requests: IntCounterVec,
    /// Whether the store can be asked.
    pub(super) store_up: IntGaugeVec,
    /// The relay table's age, and those that were read.
    pub(super) table: table::Metrics,
    /// Connections that ended before their first request.
    pub(super) connections_refused: IntCounterVec,
    /// Clients' addresses.
    pub(super) origins: origins::Metrics,
    /// The certificate of the public port.
    pub(super) tls: tls::Metrics,
}

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        let (waiting, event_streams) = held_open(catalogue);
        let (participants, cut) = participants(catalogue);
        let (moves, guest_places) = moves(catalogue);
        let table = table::Metrics::new(catalogue, "lobby");
        Self {
            sessions: catalogue.gauges(
                "convene_lobby_sessions",
                "Sessions that the store holds, the same from every process of a lobby: leased (a seat is kept, nobody has connected) or open.",
                &["state"],
            ),
            placements: catalogue.counters(
                "convene_lobby_placements_total",
                "Sessions that were given a relay, moved ones included, by its region and by the rung of knowledge that chose it: a growing share of declaredOrder means that clients do not tell where they are.",
                &["region", "rung"],
            ),
            moves,
            guest_places,
            participants,
            cut,
            placement_seconds: catalogue.seconds(
                "convene_lobby_placement_seconds",
                "Time to grant a seat: ranking, signatures and the store's step, and the same again for each relay that was full meanwhile.",
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
                "Relay links that were refused or cut, by reason: identity, hello, rate, silent, replaced, or store (it is away).",
                &["reason"],
            ),
            records: catalogue.counters(
                "convene_lobby_records_total",
                "Session records that relays returned, by outcome: valid or refused on link-up, or renewed (signed anew with a newer key).",
                &["outcome"],
            ),
            signing_keys: catalogue.gauges(
                "convene_lobby_signing_keys",
                "Private keys that this process has and that count. 0 means that it can sign no token.",
                &[],
            ),
            keys_rejected: catalogue.counters(
                "convene_lobby_keys_rejected_total",
                "Changed key files that could not be used; the old keys stay.",
                &[],
            ),
            free_seats: catalogue.gauges(
                "convene_lobby_free_seats",
                "Seats that new sessions could take now, by region.",
                &["region"],
            ),
            waiting,
            event_streams,
            requests: catalogue.counters(
                "convene_lobby_requests_total",
                "Answered requests by route and status.",
                &["route", "status"],
            ),
            store_up: catalogue.gauges(
                "convene_lobby_store_up",
                "1 while the store can be asked, else 0: then no session is created or moved, and those that run are not touched.",
                &[],
            ),
            table,
            connections_refused: Door::refused(catalogue),
            origins: origins::Metrics::new(catalogue),
            tls: tls::Metrics::new(catalogue),
        }
    }
}

/// What moved sessions, and whether it is known where guests are.
fn moves(catalogue: &mut Catalogue) -> (IntCounterVec, IntCounterVec) {
    let moves = "Sessions that were moved to another relay, by cause: asked (by their host or the admin), drain, relay_lost, or guests (another pool was clearly nearer to all when one joined).";
    let moves = catalogue.counters("convene_lobby_moves_total", moves, &["cause"]);
    let places = "Guests that joined sessions which could move for them, by whether anything is known of their place: a growing share of unknown means that clients do not tell where they are.";
    (moves, catalogue.counters("convene_lobby_guest_places_total", places, &["place"]))
}

/// Who is in sessions, and who was cut.
fn participants(catalogue: &mut Catalogue) -> (IntGaugeVec, IntCounterVec) {
    let present = "Connected participants of relays that are linked to this process, as those tell.";
    let present = catalogue.gauges("convene_lobby_participants", present, &[]);
    let cut = "Participants that did not leave and were not back within 10 seconds, by why they had to go: relay_lost, drain (their relay was to leave), or move. Connections that clients break or let fall silent are not among them. Each lobby process counts for the relays that are linked to it.";
    let cut = catalogue.counters("convene_sessions_cut_total", cut, &["cause"]);
    for cause in Cause::ALL {
        // Nobody yet, which is not the same as not knowing.
        cut.with_label_values(&[cause.as_str()]).reset();
    }
    (present, cut)
}

/// What clients hold open: requests that wait, and streams.
fn held_open(catalogue: &mut Catalogue) -> (IntGaugeVec, IntGaugeVec) {
    let waiting = catalogue.gauges(
        "convene_lobby_waiting",
        "Requests that wait for a seat now because no relay has room, by the region that would be best for them; and one for a pool without any relay, for a minute after a session that would have gone there went elsewhere.",
        &["region"],
    );
    let streams = "Open event streams of sessions. At 512 a process refuses further ones.";
    (waiting, catalogue.gauges("convene_lobby_event_streams", streams, &[]))
}

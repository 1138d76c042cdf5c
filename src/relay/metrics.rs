//! Metrics of the relay.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use crate::process::http::Door;
use crate::process::metrics::Catalogue;
use crate::process::tls;
use crate::wire::stats::RelayStats;

/// Metrics of the relay.
#[derive(Clone, Debug)]
pub struct Metrics {
    load: Load,
    pub(super) joined: IntCounter,
    pub(super) messages_in: IntCounter,
    pub(super) messages_out: IntCounter,
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    pub(super) probes: IntCounter,
    refused: IntCounterVec,
    closed: IntCounterVec,
    pub(super) throttled: IntCounter,
    pub(super) held_back: IntCounter,
    pub(super) full: IntCounter,
    pub(super) queued_bytes: IntGauge,
    pub(super) link_up: IntGauge,
    pub(super) link_dials: IntCounterVec,
    pub(super) keys: IntGauge,
    pub(super) keys_rejected: IntCounter,
    pub(super) drains: IntCounterVec,
    orders: IntCounterVec,
    pub(super) event_streams: IntGauge,
    pub(super) connections_refused: IntCounterVec,
    pub(super) tls: tls::Metrics,
}

/// The load, as others are told.
#[derive(Clone, Debug)]
struct Load {
    seats: IntGauge,
    sessions: IntGauge,
    leases: IntGauge,
    participants: IntGauge,
    cordoned: IntGauge,
    draining: IntGauge,
}

impl Load {
    fn new(catalogue: &mut Catalogue) -> Self {
        let mut gauge = |name: &str, help: &str| catalogue.gauges(name, help, &[]).with_label_values::<&str>(&[]);
        Self {
            seats: gauge("convene_relay_seats", "Sessions that this relay takes, free and taken."),
            sessions: gauge("convene_relay_sessions", "Sessions with participants, or within their idle time."),
            leases: gauge("convene_relay_leases", "Seats kept for sessions to which nobody has connected yet."),
            participants: gauge("convene_relay_participants", "Connected participants."),
            cordoned: gauge(
                "convene_relay_cordoned",
                "1 while the relay takes no new sessions because the operator has ordered it.",
            ),
            draining: gauge(
                "convene_relay_draining",
                "1 while the relay is to leave: it takes no new sessions, and those that it has are to move.",
            ),
        }
    }
}

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        let load = Load::new(catalogue);
        let mut gauge = |name: &str, help: &str| catalogue.gauges(name, help, &[]).with_label_values::<&str>(&[]);
        let link_up = gauge("convene_relay_link_up", "1 while the lobby has welcomed this relay and the link stands.");
        let keys = gauge("convene_relay_keys", "Public keys of the lobby that are in use.");
        let queued_bytes =
            gauge("convene_relay_queued_bytes", "Bytes of messages that wait, each once, or are still arriving.");
        let event_streams = gauge("convene_relay_event_streams", "Open event streams on the control port.");
        let mut counters = |name: &str, help: &str, labels: &[&str]| catalogue.counters(name, help, labels);
        let joined = counters("convene_relay_joined_total", "Participants that were let in.", &[]);
        let messages = counters(
            "convene_relay_messages_total",
            "Messages from participants (`in`) and to them (`out`, one for each that gets it).",
            &["direction"],
        );
        let bytes =
            counters("convene_relay_bytes_total", "Payload bytes of these messages, without framing.", &["direction"]);
        let refused = counters(
            "convene_relay_refused_total",
            "Connections and probes that were not let in. Clients with a bad token are told no reason; this label has it.",
            &["reason"],
        );
        let probes =
            counters("convene_relay_probes_total", "Probes that were answered, by which clients measure.", &[]);
        let closed = counters(
            "convene_relay_closed_total",
            "Connections that ended: `left`, `broken`, or closed by the relay and why. `slow_reader` lost messages.",
            &["reason"],
        );
        let throttled = counters(
            "convene_relay_throttled_total",
            "Times that a participant was read more slowly because it sent faster than its rate.",
            &[],
        );
        let held_back = counters(
            "convene_relay_held_back_total",
            "Times that a participant was not read on because the one that its message was for had no room for it.",
            &[],
        );
        let full = counters(
            "convene_relay_full_total",
            "Times that a participant was not read on because the relay holds as many bytes as it may.",
            &[],
        );
        let link_dials = counters("convene_relay_link_dials_total", "Attempts to reach the lobby.", &["outcome"]);
        let keys_rejected =
            counters("convene_relay_keys_rejected_total", "Key files that were not taken; the old keys stay.", &[]);
        let drains = counters(
            "convene_relay_drains_total",
            "Drains that ended: with no session left (`empty`), or by closing the rest (`deadline`).",
            &["outcome"],
        );
        let orders = counters(
            "convene_relay_orders_total",
            "Orders of the operator: `obeyed`, `outdated` (for a drain that is over; nothing changed) or `invalid`.",
            &["outcome"],
        );
        Self {
            load,
            joined: joined.with_label_values::<&str>(&[]),
            messages_in: messages.with_label_values(&["in"]),
            messages_out: messages.with_label_values(&["out"]),
            bytes_in: bytes.with_label_values(&["in"]),
            bytes_out: bytes.with_label_values(&["out"]),
            probes: probes.with_label_values::<&str>(&[]),
            refused,
            closed,
            throttled: throttled.with_label_values::<&str>(&[]),
            held_back: held_back.with_label_values::<&str>(&[]),
            full: full.with_label_values::<&str>(&[]),
            queued_bytes,
            link_up,
            link_dials,
            keys,
            keys_rejected: keys_rejected.with_label_values::<&str>(&[]),
            drains,
            orders,
            event_streams,
            connections_refused: Door::refused(catalogue),
            tls: tls::Metrics::new(catalogue),
        }
    }

    /// Shows the load.
    pub(super) fn show(&self, stats: &RelayStats) {
        let Load { seats, sessions, leases, participants, cordoned, draining } = &self.load;
        seats.set(stats.capacity.into());
        sessions.set(stats.sessions.into());
        leases.set(stats.leases.into());
        participants.set(stats.participants.into());
        cordoned.set(stats.cordoned.into());
        draining.set(stats.draining.into());
    }

    /// Counts an order of the operator.
    pub(super) fn ordered(&self, outcome: &str) {
        self.orders.with_label_values(&[outcome]).inc();
    }

    /// Counts a connection that was not let in.
    pub(super) fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// Counts a connection that ended.
    pub(super) fn closed(&self, reason: &str) {
        self.closed.with_label_values(&[reason]).inc();
    }
}

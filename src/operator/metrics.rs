//! Metrics of the operator.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use crate::decide::scale;
use crate::process::metrics::Catalogue;

/// Metrics of the operator.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) reconciles: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) writes: IntCounterVec,
    pub(super) leader: IntGaugeVec,
    pub(super) unreadable: IntGaugeVec,
    pub(super) scalings: IntCounterVec,
    pub(super) orders: IntCounterVec,
    pub(super) samples: IntCounterVec,
    pub(super) drain_seconds: HistogramVec,
    pub(super) decision_seconds: HistogramVec,
    scaling: IntGaugeVec,
}

/// What is shown of a pool's last scaling decision, as label `what`.
const SHOWN: [&str; 7] = ["replicas", "needed", "sessions", "leases", "waiting", "seats", "unknown"];

/// Buckets in seconds for how long relays drain.
const DRAINS: &[f64] = &[1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

impl Metrics {
    /// Declares them.
    pub fn new(catalogue: &mut Catalogue) -> Self {
        Self {
            reconciles: catalogue.counters(
                "convene_operator_reconciles_total",
                "Passes by kind and outcome: `ok`, or the reason of the failure as in conditions. A rising rate of anything but `ok` needs a look at the objects' conditions.",
                &["kind", "outcome"],
            ),
            seconds: catalogue.seconds(
                "convene_operator_reconcile_seconds",
                "How long passes took, in seconds. A pass is cut off at 30 s.",
                &["kind"],
            ),
            writes: catalogue.counters(
                "convene_operator_api_writes_total",
                "Writes to the API server by kind of object and verb. Stands still once everything is settled.",
                &["kind", "verb"],
            ),
            leader: catalogue.gauges(
                "convene_operator_leader",
                "1 while this replica leads. The sum over replicas is 1, or 0 for up to 15 s after a leader died.",
                &[],
            ),
            unreadable: catalogue.gauges(
                "convene_operator_unreadable_objects",
                "Objects of a kind that do not parse with this version's schema and are left alone.",
                &["kind"],
            ),
            scalings: catalogue.counters(
                "convene_operator_scalings_total",
                "Changes of a pool's number of relays under `spec.scaling`, by direction (`ScaledUp`, `ScaledDown`), by the rule that asked for it, and by what held it from following that at once.",
                &["direction", "rule", "clamp"],
            ),
            orders: catalogue.counters(
                "convene_operator_orders_total",
                "Orders to relays by outcome: `taken`; `failed` and `dropped` are given again. A rising rate of these means that relays' port 8082, or what `server.custom.drain` names, cannot be reached.",
                &["outcome"],
            ),
            samples: catalogue.counters(
                "convene_operator_samples_total",
                "Looks at the metrics of relays of other images by outcome: `taken`, or why nothing was learnt: `unreachable`, `status`, `too_large`, `malformed`, `missing`, `duplicate`, `not_a_gauge`, `dated`, `not_a_number`, `negative`, `absurd`. Such a relay is unknown after three of these, and its pool does not shrink.",
                &["outcome"],
            ),
            drain_seconds: catalogue.seconds_in(
                "convene_operator_drain_seconds",
                "How long relays drained, in seconds, by cause and by how it ended: `Empty`; `Deadline`: sessions may have been cut.",
                &["cause", "end"],
                DRAINS,
            ),
            decision_seconds: catalogue.seconds(
                "convene_operator_decision_seconds",
                "From hearing a change of load to having written what follows from it (a relay made, a drain begun), in seconds.",
                &[],
            ),
            scaling: catalogue.gauges(
                "convene_pool_scaling",
                "The last scaling decision of a pool under `spec.scaling` and what it was made from, by `what`: `replicas` (the decision), `needed` (before bounds, windows and steps), `sessions`, `leases`, `waiting`, `seats` (that all this needs, those kept free included), `unknown` (relays whose occupancy is not known).",
                &["namespace", "pool", "what"],
            ),
        }
    }

    /// Shows a pool's scaling decision.
    pub(super) fn show_scaling(&self, namespace: &str, pool: &str, decision: &scale::Decision) {
        let inputs = &decision.inputs;
        let values = [
            decision.replicas.into(),
            inputs.needed,
            inputs.sessions,
            inputs.leases,
            inputs.waiting,
            inputs.seats,
            inputs.unknown.into(),
        ];
        for (what, value) in SHOWN.iter().zip(values) {
            self.scaling.with_label_values(&[namespace, pool, what]).set(value);
        }
    }

    /// A pool is gone, or scales no more.
    pub(super) fn forget_pool(&self, namespace: &str, pool: &str) {
        for what in SHOWN {
            // Not there where it was never shown.
            let _ = self.scaling.remove_label_values(&[namespace, pool, what]);
        }
    }
}

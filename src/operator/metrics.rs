//! Metrics of the operator.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};

use crate::process::metrics::Catalogue;

/// Metrics of the operator.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) reconciles: IntCounterVec,
    pub(super) seconds: HistogramVec,
    pub(super) writes: IntCounterVec,
    pub(super) leader: IntGaugeVec,
    pub(super) unreadable: IntGaugeVec,
}

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
        }
    }
}

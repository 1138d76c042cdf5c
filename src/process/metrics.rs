//! The one registry of a process. Every metric is declared through [`Catalogue`], which also remembers its name, help
//! and labels, so that `docs/metrics.md` is generated from the code.

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// Buckets in seconds for work that ends in milliseconds to half a minute.
pub const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A declared metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Full name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names.
    pub labels: Vec<String>,
    /// How to read it.
    pub help: String,
}

/// Registry and list of all metrics of a process.
#[derive(Debug, Default)]
pub struct Catalogue {
    registry: Registry,
    described: Vec<Described>,
}

impl Catalogue {
    /// An empty catalogue, without the metrics of the process itself (see [`Catalogue::with_process`]).
    pub fn new() -> Self {
        Self::default()
    }

    /// A catalogue that also shows memory, CPU time and open files of this process.
    pub fn with_process() -> Self {
        let catalogue = Self::default();
        let collector = prometheus::process_collector::ProcessCollector::for_self();
        catalogue.registry.register(Box::new(collector)).expect("the first collector of a registry is new to it");
        catalogue
    }

    /// Declares counters.
    pub fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let metric = IntCounterVec::new(Opts::new(name, help), labels).expect("metric names are valid");
        self.add(name, "counter", help, labels, metric)
    }

    /// Declares gauges.
    pub fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        let metric = IntGaugeVec::new(Opts::new(name, help), labels).expect("metric names are valid");
        self.add(name, "gauge", help, labels, metric)
    }

    /// Declares histograms with [`SECONDS`] as buckets.
    pub fn seconds(&mut self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.seconds_in(name, help, labels, SECONDS)
    }

    /// Declares histograms with buckets of their own, in seconds.
    pub fn seconds_in(&mut self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let metric = HistogramVec::new(options, labels).expect("metric names are valid");
        self.add(name, "histogram", help, labels, metric)
    }

    fn add<C: Collector + Clone + 'static>(
        &mut self,
        name: &str,
        kind: &'static str,
        help: &str,
        labels: &[&str],
        metric: C,
    ) -> C {
        self.registry.register(Box::new(metric.clone())).expect("each metric is declared once");
        self.described.push(Described {
            name: name.to_owned(),
            kind,
            labels: labels.iter().map(ToString::to_string).collect(),
            help: help.to_owned(),
        });
        metric
    }

    /// All declared metrics, in order of declaration.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    /// The registry behind it.
    pub fn registry(&self) -> Registry {
        self.registry.clone()
    }
}

/// The registry in Prometheus' text format.
pub fn encode(registry: &Registry) -> Result<String, prometheus::Error> {
    TextEncoder::new().encode_to_string(&registry.gather())
}

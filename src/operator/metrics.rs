//! Metrics of the operator.

use crate::process::metrics::Catalogue;

/// Metrics of the operator.
#[derive(Clone, Debug)]
pub struct Metrics {}

impl Metrics {
    /// Declares them.
    pub fn new(_catalogue: &mut Catalogue) -> Self {
        Self {}
    }
}

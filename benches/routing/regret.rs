//! Regret: how many milliseconds more the chosen pool takes than the best one.

/// Many regrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regrets(Vec<f64>);

impl Regrets {
    pub(crate) fn add(&mut self, ms: f64) {
        self.0.push(ms);
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    /// The value below or at which so large a share of all lies.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Mean and quantiles, as cells of a table.
    pub(crate) fn cells(&self) -> String {
        let [median, ninth, last] = [0.5, 0.9, 0.99].map(|share| self.quantile(share));
        format!("{:.2} | {median:.1} | {ninth:.1} | {last:.1}", self.mean())
    }
}

/// The place in the list of the least of these.
pub(crate) fn least(values: impl IntoIterator<Item = f64>) -> Option<usize> {
    let values = values.into_iter().enumerate();
    values.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
}

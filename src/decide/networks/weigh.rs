//! How words of different age are weighed against one another, and what one liar can do to that.

use std::time::Duration;

/// In which a report loses half of its weight.
const HALF_LIFE: Duration = Duration::from_hours(24);

/// The weight that is left at this age, of 1.
pub(super) fn halved(age: Duration) -> f64 {
    (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}

/// The weight above which weights are cut, so that none is then more than a third of all that is left. Where the two largest
/// are each more than all others together, both must be cut; otherwise the largest alone.
pub(super) fn largest_share(mut weights: Vec<f64>) -> f64 {
    weights.sort_by(|a, b| b.total_cmp(a));
    let second = weights.get(1).copied().unwrap_or_default();
    let others: f64 = weights.iter().skip(2).sum();
    if second <= others { f64::midpoint(second, others) } else { others }
}

/// Values with weights, none of them more than a third of all, in order.
#[derive(Clone, Debug)]
pub(super) struct Weighed {
    words: Vec<(f64, f64)>,
    all: f64,
}

impl Weighed {
    /// Each has the same weight.
    pub(super) fn alike(values: impl Iterator<Item = f64>) -> Self {
        Self::in_order(values.map(|value| (value, 1.0)).collect())
    }

    /// Values and weights.
    pub(super) fn of(words: &[(f64, f64)]) -> Self {
        let most = largest_share(words.iter().map(|(_, weight)| *weight).collect());
        Self::in_order(words.iter().map(|(value, weight)| (*value, weight.min(most))).collect())
    }

    fn in_order(mut words: Vec<(f64, f64)>) -> Self {
        words.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let all = words.iter().map(|(_, weight)| weight).sum();
        Self { words, all }
    }

    /// The value up to which lies this part of the weight, 0 to 1: the lower one of two.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let mut below = 0.0;
        let reaches = |(_, weight): &&(f64, f64)| {
            below += weight;
            // What rounding leaves out is no weight.
            below >= self.all * part * (1.0 - 1e-9)
        };
        self.words.iter().find(reaches).map(|(value, _)| *value)
    }

    /// The value on both sides of which lies at most half of the weight: the lower one of two.
    pub(super) fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_weight_is_more_than_a_third_of_what_is_left() {
        for weights in [
            vec![1.0, 1.0, 1.0],
            vec![1.0, 0.5, 0.25],
            vec![1.0, 1.0, 0.1],
            vec![0.668, 0.172, 0.056],
            vec![9.0, 3.0, 2.0, 2.0],
        ] {
            let most = largest_share(weights.clone());
            let cut: Vec<f64> = weights.iter().map(|weight| weight.min(most)).collect();
            let all: f64 = cut.iter().sum();
            assert!(cut.iter().all(|weight| *weight <= all / 3.0 + 1e-12), "{weights:?}: {cut:?}");
        }
    }

    #[test]
    fn quantiles_are_values_that_somebody_said() {
        let four = Weighed::alike([40.0, 10.0, 30.0, 20.0].into_iter());
        assert_eq!([0.25, 0.5, 0.75, 1.0].map(|part| four.quantile(part)), [10.0, 20.0, 30.0, 40.0].map(Some));
        assert_eq!(Weighed::alike([].into_iter()).median(), None);
        assert_eq!(Weighed::of(&[(10.0, 1.0), (20.0, 9.0), (30.0, 1.0), (40.0, 1.0)]).median(), Some(20.0));
    }
}

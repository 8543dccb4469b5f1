//! The value of a series: what a point says, and what deltas add up to.

use super::exponential::Exponential;
use muxbridge_pdata::view::{HistogramPoint, Number, SummaryPoint};

/// The most buckets of one histogram.
pub(super) const MAX_BUCKETS: usize = 1024;

/// The most quantiles of one summary.
const MAX_QUANTILES: usize = 128;

/// The latest value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(Number),
    Histogram(Histogram),
    Exponential(Exponential),
    Summary { count: u64, sum: f64, quantiles: Vec<(f64, f64)> },
}

/// A histogram with explicit bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    /// Upper bounds of all buckets but the last, which has none; they rise.
    pub(super) bounds: Vec<f64>,
    /// How many values each bucket holds, not cumulative.
    pub(super) counts: Vec<u64>,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
}

/// Why a point has no value that a page can show.
pub(super) type Reason = &'static str;

/// It contradicts itself.
pub(super) const MALFORMED: Reason = "malformed";
/// It has more buckets or quantiles than [`MAX_BUCKETS`].
pub(super) const TOO_MANY_BUCKETS: Reason = "too_many_buckets";

impl Value {
    /// A number of a sum that only grows, which must be one that a counter can have.
    pub(super) fn counter(number: Number) -> Result<Value, Reason> {
        let fits = match number {
            Number::Int(i) => i >= 0,
            Number::Double(d) => d >= 0.0 && d.is_finite(),
        };
        if fits { Ok(Value::Number(number)) } else { Err(MALFORMED) }
    }

    pub(super) fn histogram(point: &HistogramPoint<'_>) -> Result<Value, Reason> {
        let mut bounds: Vec<f64> = point.explicit_bounds().take(MAX_BUCKETS + 1).collect();
        let mut counts: Vec<u64> = point.bucket_counts().take(MAX_BUCKETS + 2).collect();
        if bounds.len() > MAX_BUCKETS {
            return Err(TOO_MANY_BUCKETS);
        }
        if counts.is_empty() && bounds.is_empty() {
            counts.push(point.count);
        }
        if counts.len() != bounds.len() + 1 {
            return Err(MALFORMED);
        }
        if bounds.last() == Some(&f64::INFINITY) {
            // Some write the last bound although it bounds nothing.
            let last = counts.pop().unwrap_or_default();
            bounds.pop();
            if let Some(before) = counts.last_mut() {
                *before = before.checked_add(last).ok_or(MALFORMED)?;
            }
        }
        let rising = bounds.iter().all(|b| b.is_finite()) && bounds.windows(2).all(|w| w[0] < w[1]);
        let total = counts.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
        if !rising || total != Some(point.count) {
            return Err(MALFORMED);
        }
        Ok(Value::Histogram(Histogram { bounds, counts, count: point.count, sum: known(point.sum) }))
    }

    pub(super) fn summary(point: &SummaryPoint<'_>) -> Result<Value, Reason> {
        let mut quantiles: Vec<(f64, f64)> =
            point.quantiles().take(MAX_QUANTILES + 1).map(|q| (q.quantile, q.value)).collect();
        if quantiles.len() > MAX_QUANTILES {
            return Err(TOO_MANY_BUCKETS);
        }
        if quantiles.iter().any(|(quantile, _)| !(0.0..=1.0).contains(quantile)) {
            return Err(MALFORMED);
        }
        // -0 is 0: two lines with the same label would be one series twice.
        quantiles.iter_mut().for_each(|(quantile, _)| *quantile += 0.0);
        quantiles.sort_by(|a, b| a.0.total_cmp(&b.0));
        quantiles.dedup_by(|later, first| later.0 == first.0);
        Ok(Value::Summary { count: point.count, sum: point.sum, quantiles })
    }

    /// Adds a delta. `false`, and no change, if the two cannot be added: other bounds, or a sum beyond what fits.
    pub(super) fn add(&mut self, delta: &Value) -> bool {
        match (self, delta) {
            (Value::Number(total), Value::Number(delta)) => {
                let sum = match (*total, *delta) {
                    (Number::Int(a), Number::Int(b)) => a.checked_add(b).map(Number::Int),
                    _ => None,
                };
                let sum = sum.unwrap_or(Number::Double(total.as_f64() + delta.as_f64()));
                let fits = !matches!(sum, Number::Double(d) if !d.is_finite());
                if fits {
                    *total = sum;
                }
                fits
            }
            (Value::Histogram(total), Value::Histogram(delta)) => total.add(delta),
            (Value::Exponential(total), Value::Exponential(delta)) => total.add(delta),
            _ => false,
        }
    }
}

impl Histogram {
    fn add(&mut self, delta: &Histogram) -> bool {
        if self.bounds != delta.bounds {
            return false;
        }
        let counts: Option<Vec<u64>> =
            self.counts.iter().zip(&delta.counts).map(|(a, b)| a.checked_add(*b)).collect();
        let (Some(counts), Some(count)) = (counts, self.count.checked_add(delta.count)) else { return false };
        self.counts = counts;
        self.count = count;
        self.sum = plus(self.sum, delta.sum);
        true
    }
}

/// The sum of two sums; unknown if one is.
pub(super) fn plus(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    known(Some(a? + b?))
}

/// A sum that is a number; one that is not says nothing.
pub(super) fn known(sum: Option<f64>) -> Option<f64> {
    sum.filter(|sum| !sum.is_nan())
}

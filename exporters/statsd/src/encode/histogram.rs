//! Histograms with explicit and with exponential buckets.

use super::HistogramMode;
use super::number;
use super::output::{Output, Totals};
use super::point::{Drop, Encoder};
use super::replay::{Bucket, close};
use muxbridge_pdata::view::{Buckets, ExponentialPoint, HistogramPoint, Number};

impl<O: Output> Encoder<'_, O> {
    pub(super) fn histogram(&mut self, point: &HistogramPoint<'_>) -> Result<(), Drop> {
        if point.no_recorded_value {
            return Err(Drop::NoValue);
        }
        let totals = Totals { count: point.count, sum: point.sum, min: point.min, max: point.max };
        self.buckets.clear();
        let (mut counts, mut bounds) = std::mem::take(&mut self.lists);
        point.read_buckets(&mut counts, &mut bounds);
        let fits = self.explicit_buckets(&counts, &bounds);
        self.lists = (counts, bounds);
        if !fits {
            return Err(Drop::Malformed);
        }
        if self.lists.0.is_empty() {
            self.push(f64::NEG_INFINITY, f64::INFINITY, point.count);
        }
        self.lines(&totals)
    }

    /// Whether the bounds ascend and there is one count more than bounds, or none.
    fn explicit_buckets(&mut self, counts: &[u64], bounds: &[f64]) -> bool {
        let mut low = f64::NEG_INFINITY;
        for (i, count) in counts.iter().enumerate() {
            let high = bounds.get(i).copied().unwrap_or(f64::INFINITY);
            // A bound that is NaN fails this too.
            if !(low < high || (i == 0 && high == f64::INFINITY)) {
                return false;
            }
            self.push(low, high, *count);
            low = high;
        }
        counts.is_empty() || counts.len() == bounds.len() + 1
    }

    pub(super) fn exponential(&mut self, point: &ExponentialPoint<'_>) -> Result<(), Drop> {
        if point.no_recorded_value {
            return Err(Drop::NoValue);
        }
        let totals = Totals { count: point.count, sum: point.sum, min: point.min, max: point.max };
        self.buckets.clear();
        let width = f64::exp2(-f64::from(point.scale));
        self.exponential_buckets(&point.negative, width, -1.0)?;
        self.buckets.reverse();
        self.push(0.0, 0.0, point.zero_count);
        self.exponential_buckets(&point.positive, width, 1.0)?;
        self.lines(&totals)
    }

    /// Adds buckets of base 2^`width`, away from zero.
    fn exponential_buckets(&mut self, buckets: &Buckets<'_>, width: f64, sign: f64) -> Result<(), Drop> {
        for (i, count) in buckets.counts().enumerate() {
            if count == 0 {
                continue;
            }
            let index = f64::from(buckets.offset) + i as f64;
            let near = f64::exp2(index * width);
            let far = f64::exp2((index + 1.0) * width).min(f64::MAX);
            // A scale and an offset that no double can hold.
            if !near.is_finite() || near == f64::MAX {
                return Err(Drop::Malformed);
            }
            let (low, high) = if sign > 0.0 { (near, far) } else { (-far, -near) };
            self.push(low, high, count);
        }
        Ok(())
    }

    fn push(&mut self, low: f64, high: f64, count: u64) {
        if count > 0 {
            self.buckets.push(Bucket { low, high, count });
        }
    }

    fn lines(&mut self, totals: &Totals) -> Result<(), Drop> {
        if [totals.sum, totals.min, totals.max].into_iter().flatten().any(f64::is_nan) {
            return Err(Drop::NonFinite);
        }
        match self.options.histograms {
            HistogramMode::Distributions => self.distribution(totals),
            HistogramMode::Counters => self.counters(),
            HistogramMode::Nobuckets => {}
        }
        if self.options.aggregates || self.options.histograms == HistogramMode::Nobuckets {
            self.aggregates(totals);
        }
        Ok(())
    }

    fn distribution(&mut self, totals: &Totals) {
        let mean = totals.sum.filter(|s| s.is_finite() && totals.count > 0).map(|s| s / totals.count as f64);
        let mut buckets = std::mem::take(&mut self.buckets);
        close(&mut buckets, totals.min, totals.max, mean);
        self.distribution_out(totals, &buckets);
        self.buckets = buckets;
    }

    fn counters(&mut self) {
        let buckets = std::mem::take(&mut self.buckets);
        for bucket in &buckets {
            let bounds = format!(
                "{}{}upper_bound{}{}",
                bound(bucket.low),
                self.separator(),
                super::tags::assign(self.options.dialect),
                bound(bucket.high)
            );
            self.count(".bucket", Some(("lower_bound", &bounds)), whole(bucket.count));
        }
        self.buckets = buckets;
    }

    fn separator(&self) -> char {
        if self.options.dialect == super::Dialect::Graphite { ';' } else { ',' }
    }

    fn aggregates(&mut self, totals: &Totals) {
        self.count(".count", None, whole(totals.count));
        if let Some(sum) = totals.sum.filter(|v| v.is_finite()) {
            self.count(".sum", None, Number::Double(sum));
        }
        for (suffix, value) in [(".min", totals.min), (".max", totals.max)] {
            if let Some(value) = value.filter(|v| v.is_finite() && totals.count > 0) {
                self.gauge(suffix, None, Number::Double(value));
            }
        }
    }
}

fn whole(count: u64) -> Number {
    Number::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A bound as the value of a tag: `-inf`, `inf`, `0`, `5.0`, `0.25`.
fn bound(value: f64) -> String {
    let mut out = String::new();
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "inf" } else { "-inf" });
        return out;
    }
    number::write(&mut out, value);
    if value != 0.0 && value.fract() == 0.0 && !out.contains('e') {
        out.push_str(".0");
    }
    out
}

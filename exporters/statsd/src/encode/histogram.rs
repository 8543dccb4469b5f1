//! Histograms with explicit and with exponential buckets.

use super::HistogramMode;
use super::number;
use super::output::{Output, Totals};
use super::point::{Drop, Encoder};
use super::replay::{Bucket, close};
use muxbridge_pdata::view::{Buckets, ExponentialPoint, HistogramPoint, Number};

/// The bounds of a histogram. Nearly all have those of the one before.
#[derive(Debug)]
pub(super) struct Bounds {
    /// As they stood in the point, unless they were scattered over it.
    packed: Vec<u8>,
    /// Between an infinity on either side.
    limits: Vec<f64>,
    ascend: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        let mut bounds = Bounds { packed: Vec::new(), limits: Vec::new(), ascend: false };
        bounds.replace(std::iter::empty());
        bounds
    }
}

impl Bounds {
    #[inline]
    fn read(&mut self, packed: &[u8]) {
        // Those of a point where they were scattered have left nothing in `packed`.
        if *self.packed != *packed || self.limits.len() != packed.len() / 8 + 2 {
            self.replace(packed.as_chunks::<8>().0.iter().map(|bound| f64::from_le_bytes(*bound)));
            self.packed.extend_from_slice(packed);
        }
    }

    fn replace(&mut self, bounds: impl Iterator<Item = f64>) {
        self.packed.clear();
        self.limits.clear();
        self.limits.push(f64::NEG_INFINITY);
        self.limits.extend(bounds);
        self.limits.push(f64::INFINITY);
        // A bound that is NaN fails this too.
        self.ascend = self.limits.windows(2).all(|limits| limits[0] < limits[1]);
    }

    /// Adds the buckets that hold something. How many there are in all; `None` unless the bounds ascend and there is one bucket
    /// more than bounds, or none.
    #[inline]
    fn buckets(&self, counts: impl ExactSizeIterator<Item = u64>, to: &mut Vec<Bucket>) -> Option<usize> {
        let buckets = counts.len();
        if buckets > 0 && (!self.ascend || buckets + 1 != self.limits.len()) {
            return None;
        }
        for (i, count) in counts.enumerate() {
            // Most are empty.
            if count > 0 {
                to.push(Bucket { low: self.limits[i], high: self.limits[i + 1], count });
            }
        }
        Some(buckets)
    }
}

impl<O: Output> Encoder<'_, O> {
    pub(super) fn histogram(&mut self, point: &HistogramPoint<'_>) -> Result<(), Drop> {
        if point.no_recorded_value {
            return Err(Drop::NoValue);
        }
        let totals = Totals { count: point.count, sum: point.sum, min: point.min, max: point.max };
        self.buckets.clear();
        let buckets = match point.packed_buckets() {
            Some([counts, bounds]) => {
                self.bounds.read(bounds);
                let counts = counts.as_chunks::<8>().0.iter().map(|count| u64::from_le_bytes(*count));
                self.bounds.buckets(counts, &mut self.buckets)
            }
            None => {
                self.bounds.replace(point.explicit_bounds());
                let counts: Vec<_> = point.bucket_counts().collect();
                self.bounds.buckets(counts.into_iter(), &mut self.buckets)
            }
        };
        match buckets {
            Some(0) => self.push(f64::NEG_INFINITY, f64::INFINITY, point.count),
            Some(_) => {}
            None => return Err(Drop::Malformed),
        }
        self.lines(&totals)
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

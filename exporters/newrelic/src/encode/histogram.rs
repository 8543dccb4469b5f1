//! An exponential histogram that picks its own scale: what New Relic stores without loss as a distribution.

use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{exponential_point, point};
use std::collections::BTreeMap;

/// Buckets between the smallest and the largest value, as OpenTelemetry's SDKs have it.
const MAX_BUCKETS: i64 = 160;
/// The finest scale: the base of the buckets is 2 to the power 2^-scale.
const MAX_SCALE: i32 = 20;

/// Values that are not negative, counted in buckets whose bounds grow exponentially.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exponential {
    scale: i32,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    zero: u64,
    buckets: BTreeMap<i64, u64>,
}

impl Default for Exponential {
    fn default() -> Self {
        Exponential {
            scale: MAX_SCALE,
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            zero: 0,
            buckets: BTreeMap::new(),
        }
    }
}

impl Exponential {
    /// Adds one finite value of at least 0.
    pub(crate) fn record(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value <= 0.0 {
            self.zero += 1;
            return;
        }
        *self.buckets.entry(index(value, self.scale)).or_default() += 1;
        self.shrink();
    }

    /// Adds all values of another one.
    pub(crate) fn merge(&mut self, mut other: Exponential) {
        let scale = self.scale.min(other.scale);
        self.downscale(scale);
        other.downscale(scale);
        for (index, n) in other.buckets {
            *self.buckets.entry(index).or_default() += n;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.zero += other.zero;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.shrink();
    }

    fn span(&self) -> Option<(i64, i64)> {
        Some((*self.buckets.keys().next()?, *self.buckets.keys().next_back()?))
    }

    /// Halves the resolution until the buckets fit.
    fn shrink(&mut self) {
        while self.span().is_some_and(|(first, last)| last - first >= MAX_BUCKETS) {
            self.downscale(self.scale - 1);
        }
    }

    fn downscale(&mut self, scale: i32) {
        let shift = self.scale - scale;
        if shift <= 0 {
            return;
        }
        let mut coarse = BTreeMap::new();
        for (index, n) in std::mem::take(&mut self.buckets) {
            // An arithmetic shift: the buckets below 1 have negative indexes.
            *coarse.entry(index >> shift.min(63)).or_default() += n;
        }
        (self.buckets, self.scale) = (coarse, scale);
    }

    /// Writes the fields of an `ExponentialHistogramDataPoint` but for its times and attributes.
    pub(crate) fn write(&self, w: &mut Writer) {
        w.fixed64(point::COUNT, self.count);
        w.double(point::SUM, self.sum);
        w.sint(exponential_point::SCALE, i64::from(self.scale));
        w.fixed64_nonzero(exponential_point::ZERO_COUNT, self.zero);
        if let Some((first, last)) = self.span() {
            w.message(exponential_point::POSITIVE, |w| {
                w.sint(exponential_point::BUCKETS_OFFSET, first);
                let counts = (first..=last).map(|i| self.buckets.get(&i).copied().unwrap_or_default());
                w.packed_varint(exponential_point::BUCKETS_COUNTS, counts);
            });
        }
        if self.count > 0 {
            w.double(exponential_point::MIN, self.min);
            w.double(exponential_point::MAX, self.max);
        }
    }
}

/// The bucket of a positive value: bucket i holds (base^i, base^(i+1)].
fn index(value: f64, scale: i32) -> i64 {
    let bits = value.to_bits();
    // Powers of two are upper bounds; a logarithm would round some of them into the bucket above.
    if bits & ((1 << 52) - 1) == 0 && value.is_normal() {
        let exponent = (bits >> 52) as i64 - 1023;
        return (exponent << scale) - 1;
    }
    (value.log2() * f64::from(1u32 << scale)).ceil() as i64 - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Exponential {
        let mut histogram = Exponential::default();
        values.iter().for_each(|v| histogram.record(*v));
        histogram
    }

    // V9b, checked with OpenTelemetry's Python SDK.
    #[test]
    fn three_durations_have_the_scale_and_buckets_of_the_python_sdk() {
        let histogram = of(&[0.05, 0.2, 0.812]);
        assert_eq!(histogram.scale, 5);
        assert_eq!(histogram.buckets, BTreeMap::from([(-139, 1), (-139 + 64, 1), (-139 + 129, 1)]));
        assert_eq!((histogram.sum, histogram.min, histogram.max), (1.062, 0.05, 0.812));
    }

    #[test]
    fn a_power_of_two_is_the_upper_bound_of_its_bucket() {
        for scale in [0, 5, 20] {
            for (value, exponent) in [(1.0, 0i64), (2.0, 1), (0.25, -2), (1024.0, 10)] {
                assert_eq!(index(value, scale), (exponent << scale) - 1, "{value} at {scale}");
                assert_eq!(
                    index(value * 1.000_001, scale),
                    (exponent << scale) + i64::from(scale == 20),
                    "{value}"
                );
            }
        }
    }

    #[test]
    fn merging_parts_is_recording_all_values() {
        let values = [0.0, 1e-9, 0.003, 0.05, 0.2, 0.812, 3.0, 90.0, 4000.0];
        for split in 0..values.len() {
            let mut merged = of(&values[..split]);
            merged.merge(of(&values[split..]));
            let whole = of(&values);
            assert_eq!(
                (merged.scale, &merged.buckets, merged.zero),
                (whole.scale, &whole.buckets, 1),
                "{split}"
            );
            assert_eq!((merged.count, merged.min, merged.max), (9, 0.0, 4000.0));
        }
    }

    #[test]
    fn there_are_never_more_than_160_buckets() {
        let mut histogram = Exponential::default();
        for step in 0..200 {
            histogram.record(1e-9 * 1.5f64.powi(step));
            let (first, last) = histogram.span().unwrap();
            assert!(last - first < MAX_BUCKETS);
        }
        assert_eq!(histogram.buckets.values().sum::<u64>(), 200);
    }
}

//! An exponential histogram that picks its own scale: what New Relic stores without loss as a distribution.

use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{exponential_point, point};

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
    /// The index of the first bucket in `counts`.
    first: i64,
    /// What the buckets hold, from the lowest that holds something to the highest.
    counts: Vec<u64>,
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
            first: 0,
            counts: Vec::new(),
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
        let mut index = index(value, self.scale);
        // Halves the resolution until there is room.
        while !self.has_room(index) {
            self.downscale(self.scale - 1);
            index >>= 1;
        }
        self.add(index, 1);
    }

    fn last(&self) -> i64 {
        self.first + self.counts.len() as i64 - 1
    }

    /// Whether the bucket can be one of them.
    fn has_room(&self, index: i64) -> bool {
        self.counts.is_empty() || self.last().max(index) - self.first.min(index) < MAX_BUCKETS
    }

    /// Whether all buckets of both can be in one, at the scale that they share.
    fn has_room_with(&self, other: &Exponential) -> bool {
        self.counts.is_empty()
            || other.counts.is_empty()
            || self.last().max(other.last()) - self.first.min(other.first) < MAX_BUCKETS
    }

    /// Adds to a bucket for which there is room.
    fn add(&mut self, index: i64, n: u64) {
        if self.counts.is_empty() {
            self.first = index;
        }
        if index < self.first {
            let missing = (self.first - index) as usize;
            self.counts.splice(..0, std::iter::repeat_n(0, missing));
            self.first = index;
        }
        let at = (index - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] += n;
    }

    /// Adds all values of another one.
    pub(crate) fn merge(&mut self, mut other: Exponential) {
        let scale = self.scale.min(other.scale);
        self.downscale(scale);
        other.downscale(scale);
        while !self.has_room_with(&other) {
            self.downscale(self.scale - 1);
            other.downscale(self.scale);
        }
        for (index, n) in (other.first..).zip(other.counts) {
            if n > 0 {
                self.add(index, n);
            }
        }
        self.count += other.count;
        self.sum += other.sum;
        self.zero += other.zero;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    fn downscale(&mut self, scale: i32) {
        let shift = self.scale - scale;
        if shift <= 0 {
            return;
        }
        let old = (self.first, std::mem::take(&mut self.counts));
        self.scale = scale;
        for (index, n) in (old.0..).zip(old.1) {
            if n > 0 {
                // An arithmetic shift: the buckets below 1 have negative indexes.
                self.add(index >> shift.min(63), n);
            }
        }
    }

    /// Writes the fields of an `ExponentialHistogramDataPoint` but for its times and attributes.
    pub(crate) fn write(&self, w: &mut Writer) {
        w.fixed64(point::COUNT, self.count);
        w.double(point::SUM, self.sum);
        w.sint(exponential_point::SCALE, i64::from(self.scale));
        w.fixed64_nonzero(exponential_point::ZERO_COUNT, self.zero);
        if !self.counts.is_empty() {
            w.message(exponential_point::POSITIVE, |w| {
                w.sint(exponential_point::BUCKETS_OFFSET, self.first);
                w.packed_varint(exponential_point::BUCKETS_COUNTS, self.counts.iter().copied());
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
    use std::collections::BTreeMap;

    /// The buckets that hold something.
    fn buckets(histogram: &Exponential) -> BTreeMap<i64, u64> {
        (histogram.first..).zip(histogram.counts.iter().copied()).filter(|(_, n)| *n > 0).collect()
    }

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
        assert_eq!(buckets(&histogram), BTreeMap::from([(-139, 1), (-139 + 64, 1), (-139 + 129, 1)]));
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
                (merged.scale, buckets(&merged), merged.zero),
                (whole.scale, buckets(&whole), 1),
                "{split}"
            );
            assert_eq!((merged.count, merged.min, merged.max), (9, 0.0, 4000.0));
        }
    }

    #[test]
    fn two_that_lie_apart_are_merged_at_a_scale_that_has_room_for_both() {
        let middle: Vec<f64> = (0..50).map(|i| 2f64.powf(f64::from(i) / 7.0)).collect();
        let ends = [2f64.powf(-20.5), 2f64.powf(-14.5)];
        for (one, other) in [(&middle[..], &ends[..]), (&ends[..], &middle[..])] {
            let mut merged = of(one);
            merged.merge(of(other));
            let whole = of(&[one, other].concat());
            assert_eq!((merged.scale, buckets(&merged)), (whole.scale, buckets(&whole)));
            assert!(merged.counts.len() <= MAX_BUCKETS as usize);
        }
    }

    #[test]
    fn there_are_never_more_than_160_buckets() {
        let mut histogram = Exponential::default();
        for step in 0..200 {
            histogram.record(1e-9 * 1.5f64.powi(step));
            assert!(histogram.counts.len() <= MAX_BUCKETS as usize);
            assert!(histogram.counts.first().is_some_and(|n| *n > 0));
            assert!(histogram.counts.last().is_some_and(|n| *n > 0));
        }
        assert_eq!(histogram.counts.iter().sum::<u64>(), 200);
    }
}

//! The sketch of Datadog's distributions, and the body of the sketch intake.
//!
//! Bins have a relative width of 1/64: the key of a value is the rounded logarithm to the base 1.015625, moved by 1338,
//! so that the smallest value (1e-9) has the key 1. Zero has the key 0, negative values mirror the positive ones. Field
//! numbers are those of `SketchPayload` in Datadog's `agent_payload.proto`.

use muxbridge_exporter_statsd::encode::Bucket;
use muxbridge_exporter_statsd::encode::output::Totals;
use muxbridge_pdata::Writer;
use std::collections::BTreeMap;

const GAMMA: f64 = 1.015625;
const BIAS: i64 = 1338;
/// Smaller values are zero: the lower end of the first bin.
const SMALLEST: f64 = 9.941_854_089_121_2e-10;
const MAX_KEY: i64 = 32767;
/// More bins than this are collapsed from below.
const MAX_BINS: usize = 4096;
/// A bin that holds more is written several times.
const MAX_BIN: u64 = 65535;

/// The key of a value.
pub fn key(value: f64) -> i32 {
    let size = value.abs();
    if size < SMALLEST || value.is_nan() {
        return 0;
    }
    let key = ((size.ln() / GAMMA.ln()).round_ties_even() as i64 + BIAS).clamp(1, MAX_KEY) as i32;
    if value < 0.0 { -key } else { key }
}

/// A distribution in bins, with exact totals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    bins: BTreeMap<i32, u64>,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Sketch {
    /// The sketch of a histogram: each bucket as `samples` values spread over it, and the totals that the histogram
    /// states; what it does not state is taken from those values.
    pub fn of(totals: &Totals, buckets: &[Bucket], samples: usize) -> Sketch {
        let mut sketch = Sketch::default();
        for bucket in buckets {
            let values = bucket.values(samples);
            let (weight, heavier) = (bucket.count / values, bucket.count % values);
            for j in 0..values {
                sketch.add(bucket.value(j, values), weight + u64::from(j < heavier));
            }
        }
        if sketch.count > 0 {
            sketch.sum = totals.sum.filter(|s| s.is_finite()).unwrap_or(sketch.sum);
            sketch.min = totals.min.filter(|m| m.is_finite()).unwrap_or(sketch.min);
            sketch.max = totals.max.filter(|m| m.is_finite()).unwrap_or(sketch.max);
        }
        sketch
    }

    /// Adds `n` times a value, which must be finite.
    pub fn add(&mut self, value: f64, n: u64) {
        if n == 0 {
            return;
        }
        let first = self.count == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.count += n;
        self.sum += value * n as f64;
        *self.bins.entry(key(value)).or_default() += n;
        if self.bins.len() > MAX_BINS
            && let (Some((_, lowest)), Some(mut next)) = (self.bins.pop_first(), self.bins.first_entry())
        {
            *next.get_mut() += lowest;
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its bins in ascending order, each with at most 65535 values.
    pub fn bins(&self) -> impl Iterator<Item = (i32, u64)> {
        self.bins.iter().flat_map(|(key, n)| {
            let whole = n / MAX_BIN;
            let rest = n % MAX_BIN;
            (0..whole).map(|_| MAX_BIN).chain((rest > 0).then_some(rest)).map(|n| (*key, n))
        })
    }

    /// Appends one entry of a `SketchPayload`.
    pub fn write(&self, w: &mut Writer, metric: &str, host: &str, tags: &[&str], seconds: u64) {
        w.message(1, |w| {
            w.bytes(1, metric.as_bytes());
            w.bytes_nonempty(2, host.as_bytes());
            tags.iter().for_each(|tag| w.bytes(4, tag.as_bytes()));
            w.message(7, |w| {
                w.varint(1, seconds);
                w.varint(2, self.count);
                w.double(3, self.min);
                w.double(4, self.max);
                w.double(5, self.sum / self.count.max(1) as f64);
                w.double(6, self.sum);
                w.packed_varint(7, self.bins().map(|(key, _)| zigzag(key)));
                w.packed_varint(8, self.bins().map(|(_, n)| n));
            });
        });
    }
}

fn zigzag(value: i32) -> u64 {
    u64::from(((value << 1) ^ (value >> 31)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_values_mirror_positive_ones_and_the_bins_are_bounded() {
        assert_eq!((key(-12.25), key(1e300), key(9.9e-10), key(f64::MAX)), (-1500, 32767, 0, 32767));
        let mut sketch = Sketch::default();
        (0..5000).for_each(|i| sketch.add(GAMMA.powi(i), 1));
        assert_eq!((sketch.bins.len(), sketch.bins.values().sum::<u64>()), (MAX_BINS, 5000));
    }

    #[test]
    fn a_full_bin_is_written_again() {
        let mut sketch = Sketch::default();
        sketch.add(1.0, 131_071);
        assert_eq!(sketch.bins().collect::<Vec<_>>(), [(1338, 65535), (1338, 65535), (1338, 1)]);
    }

    #[test]
    fn stated_totals_are_exact() {
        let totals = Totals { count: 4, sum: Some(9.5), min: Some(1.5), max: None };
        let sketch = Sketch::of(&totals, &[Bucket { low: 1.0, high: 4.0, count: 4 }], 4);
        assert_eq!((sketch.count, sketch.sum, sketch.min), (4, 9.5, 1.5));
        assert!(sketch.max > 3.0 && sketch.max < 4.0);
    }
}

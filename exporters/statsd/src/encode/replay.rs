//! Values that stand for a bucket: spread geometrically over it, with weights that add up to its count.

/// A bucket with at least one value, with finite bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
    /// How many values are in it.
    pub count: u64,
}

/// The largest weight of one value, as long as that takes no more than [`MAX_VALUES`] values.
const MAX_WEIGHT: u64 = 100_000;
/// The most values for one bucket, whatever its count.
const MAX_VALUES: u64 = 1024;

impl Bucket {
    /// How many values stand for the bucket.
    pub fn values(&self, samples: usize) -> u64 {
        let wanted = if self.low == self.high { 1 } else { self.count.min(samples as u64) };
        wanted.max(self.count.div_ceil(MAX_WEIGHT).min(MAX_VALUES)).max(1)
    }

    /// Value `j` of `k`.
    pub fn value(&self, j: u64, k: u64) -> f64 {
        let part = (j as f64 + 0.5) / k as f64;
        if self.low > 0.0 {
            self.low * (self.high / self.low).powf(part)
        } else if self.high < 0.0 {
            self.high * (self.low / self.high).powf(1.0 - part)
        } else {
            self.low + (self.high - self.low) * part
        }
    }
}

/// The values that stand for a bucket, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    next: f64,
    step: f64,
    /// Whether each value is the one before times the step, and not plus it.
    geometric: bool,
}

impl Bucket {
    /// The same as [`Bucket::value`] for all `j` of `k`, in one go.
    pub(super) fn spread(&self, k: u64) -> Spread {
        let (low, high, k) = (self.low, self.high, k as f64);
        let ratio = if low > 0.0 { high / low } else { low / high };
        if low > 0.0 {
            let step = ratio.powf(1.0 / k);
            Spread { next: low * step.sqrt(), step, geometric: true }
        } else if high < 0.0 {
            let step = ratio.powf(1.0 / k);
            Spread { next: low / step.sqrt(), step: 1.0 / step, geometric: true }
        } else {
            let step = (high - low) / k;
            Spread { next: low + step / 2.0, step, geometric: false }
        }
    }
}

impl Iterator for Spread {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let value = self.next;
        self.next = if self.geometric { value * self.step } else { value + self.step };
        Some(value)
    }
}

/// Makes the bounds of the outermost buckets finite, and narrows them to the smallest and largest value if known.
///
/// `buckets` are in ascending order. `mean` places the values when neither bound is known.
pub(super) fn close(buckets: &mut [Bucket], min: Option<f64>, max: Option<f64>, mean: Option<f64>) {
    if let Some(first) = buckets.first_mut() {
        if let Some(min) = min.filter(|m| m.is_finite() && *m >= first.low && *m <= first.high) {
            first.low = min;
        } else if first.low == f64::NEG_INFINITY && first.high.is_finite() {
            first.low = if first.high > 0.0 { first.high / 2.0 } else { first.high * 2.0 };
        }
    }
    if let Some(last) = buckets.last_mut() {
        if let Some(max) = max.filter(|m| m.is_finite() && *m >= last.low && *m <= last.high) {
            last.high = max;
        } else if last.high == f64::INFINITY && last.low.is_finite() {
            last.high = if last.low > 0.0 { last.low * 2.0 } else { last.low };
        }
        if last.low == f64::NEG_INFINITY {
            let value = if last.high.is_finite() { last.high } else { mean.unwrap_or(0.0) };
            (last.low, last.high) = (value, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_one_after_the_other_are_those_one_by_one() {
        for (low, high) in
            [(0.5, 1.0), (1e-9, 1e9), (-8.0, -0.25), (0.0, 5.0), (-3.0, 4.0), (2.0, 2.0), (0.0, 0.0)]
        {
            for k in [1, 2, 8, 64, 1024] {
                let bucket = Bucket { low, high, count: 5000 };
                for (j, value) in bucket.spread(k).take(k as usize).enumerate() {
                    let expected = bucket.value(j as u64, k);
                    let near = (value - expected).abs() <= expected.abs() * 1e-12 + 1e-12;
                    assert!(near, "{low} to {high}, {j} of {k}: {value}, not {expected}");
                }
            }
        }
    }
}

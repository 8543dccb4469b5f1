//! Exponential histograms as classic ones.
//!
//! Neither text format can hold native histograms. A bucket of index i has the upper bound 2^((i+1) / 2^scale), so
//! that each becomes a classic bucket with an exact bound. To keep the set of bounds small and steady, a histogram
//! finer than scale [`MAX_SCALE`] is brought down to it, and further while it spans more than [`MAX_SIDE`] buckets on
//! one side of zero: two neighbours become one, and no count is lost.

use super::value::{Histogram, MALFORMED, Reason, known, plus};
use muxbridge_pdata::view::{Buckets, ExponentialPoint};
use std::collections::BTreeMap;

/// The finest scale that is shown: bounds are 2^(1/4) = 1.19 apart.
pub(super) const MAX_SCALE: i32 = 2;

/// The most buckets on one side of zero.
pub(super) const MAX_SIDE: i64 = 160;

/// Counts by bucket index, without those that are zero.
type Side = BTreeMap<i64, u64>;

/// An exponential histogram at a scale of at most [`MAX_SCALE`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exponential {
    scale: i32,
    zero: u64,
    threshold: f64,
    positive: Side,
    negative: Side,
    count: u64,
    sum: Option<f64>,
}

impl Exponential {
    pub(super) fn read(point: &ExponentialPoint<'_>) -> Result<Self, Reason> {
        let shift = point.scale.saturating_sub(MAX_SCALE).max(0);
        let scale = point.scale.min(MAX_SCALE);
        let positive = side(&point.positive, shift).ok_or(MALFORMED)?;
        let negative = side(&point.negative, shift).ok_or(MALFORMED)?;
        let threshold = point.zero_threshold;
        let mut new = Exponential {
            scale,
            zero: point.zero_count,
            threshold,
            positive,
            negative,
            count: point.count,
            sum: known(point.sum),
        };
        if !(threshold >= 0.0 && threshold.is_finite()) || new.total() != Some(point.count) {
            return Err(MALFORMED);
        }
        new.fit();
        Ok(new)
    }

    fn total(&self) -> Option<u64> {
        let all = self.positive.values().chain(self.negative.values());
        all.chain([&self.zero]).try_fold(0u64, |sum, n| sum.checked_add(*n))
    }

    /// Makes it coarser until it spans few enough buckets.
    fn fit(&mut self) {
        let span = |side: &Side| match (side.first_key_value(), side.last_key_value()) {
            (Some((first, _)), Some((last, _))) => last - first + 1,
            _ => 0,
        };
        while span(&self.positive).max(span(&self.negative)) > MAX_SIDE {
            self.coarsen(1);
        }
    }

    fn coarsen(&mut self, steps: i32) {
        // Beyond 40 steps every index is 0 or -1 anyway.
        for side in [&mut self.positive, &mut self.negative] {
            let mut coarse = Side::new();
            for (index, n) in std::mem::take(side) {
                let count = coarse.entry(index >> steps.clamp(0, 40)).or_insert(0);
                // Total counts are checked where they come in.
                *count = u64::saturating_add(*count, n);
            }
            *side = coarse;
        }
        self.scale = self.scale.saturating_sub(steps);
    }

    /// Adds a delta; `false`, and no change, if the counts are beyond what fits.
    pub(super) fn add(&mut self, delta: &Exponential) -> bool {
        let Some(count) = self.count.checked_add(delta.count) else { return false };
        let mut delta = delta.clone();
        let common = self.scale.min(delta.scale);
        self.coarsen(self.scale.saturating_sub(common));
        delta.coarsen(delta.scale.saturating_sub(common));
        for (side, more) in [(&mut self.positive, delta.positive), (&mut self.negative, delta.negative)] {
            for (index, n) in more {
                *side.entry(index).or_insert(0) += n;
            }
        }
        self.zero += delta.zero;
        self.threshold = self.threshold.max(delta.threshold);
        self.count = count;
        self.sum = plus(self.sum, delta.sum);
        self.fit();
        true
    }

    /// The upper bound of the bucket before `index`, which is the lower bound of that one.
    fn bound(&self, index: i64) -> f64 {
        // At an absurd scale the product below would be 0 times infinity.
        if index == 0 { 1.0 } else { (index as f64 * (-f64::from(self.scale)).exp2()).exp2() }
    }

    /// The same values in classic buckets.
    pub(super) fn classic(&self) -> Histogram {
        let mut out = Histogram { count: self.count, sum: self.sum, ..Histogram::default() };
        let mut last = 0;
        let mut push = |bound: f64, n: u64| {
            // No minus zero: it would be a second name of the same bound.
            let bound = bound + 0.0;
            // Bounds that are too close to be two numbers, or to be told from infinity, share a bucket.
            if !bound.is_finite() {
                last += n;
            } else if out.bounds.last().is_some_and(|before| bound <= *before) {
                if let Some(count) = out.counts.last_mut() {
                    *count += n;
                }
            } else {
                out.bounds.push(bound);
                out.counts.push(n);
            }
        };
        if let (Some((first, _)), Some((end, _))) =
            (self.negative.first_key_value(), self.negative.last_key_value())
        {
            for index in (*first..=*end).rev() {
                push(-self.bound(index), self.negative.get(&index).copied().unwrap_or(0));
            }
        }
        push(self.threshold, self.zero);
        if let (Some((first, _)), Some((end, _))) =
            (self.positive.first_key_value(), self.positive.last_key_value())
        {
            // The lower end of the first bucket, so that nobody thinks that it begins at zero.
            push(self.bound(*first), 0);
            for index in *first..=*end {
                push(self.bound(index + 1), self.positive.get(&index).copied().unwrap_or(0));
            }
        }
        out.counts.push(last);
        out
    }
}

/// `None` if the counts do not fit into 64 bits.
fn side(buckets: &Buckets<'_>, shift: i32) -> Option<Side> {
    let mut side = Side::new();
    for (i, n) in buckets.counts().enumerate() {
        if n > 0 {
            let index = (i64::from(buckets.offset) + i as i64) >> shift.clamp(0, 40);
            let count = side.entry(index).or_insert(0u64);
            *count = count.checked_add(n)?;
        }
    }
    Some(side)
}

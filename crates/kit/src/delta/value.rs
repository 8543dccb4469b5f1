//! The value of one point, and the difference of two.

use muxbridge_pdata::view::{Buckets, ExponentialPoint, Number};
use std::sync::Arc;

/// What a series remembers of its last point. Small, so that a counter takes no more room than it must.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Double(f64),
    Histogram(Box<Histogram>),
    Exponential(Box<Exponential>),
}

/// A histogram with explicit bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    /// Shared: few programs have more than one or two layouts.
    pub(super) bounds: Arc<[f64]>,
    pub(super) buckets: Vec<u64>,
}

/// An exponential histogram: above and below zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exponential {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) zero: u64,
    pub(super) threshold: f64,
    pub(super) scale: i32,
    pub(super) sides: [Side; 2],
}

/// The buckets above or below zero: how many values each index holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

impl Value {
    pub(super) fn number(number: Number) -> Option<Self> {
        match number {
            Number::Int(i) => Some(Value::Int(i)),
            Number::Double(d) => d.is_finite().then_some(Value::Double(d)),
        }
    }

    pub(super) fn exponential(point: &ExponentialPoint<'_>) -> Option<Self> {
        let finite = point.sum.is_none_or(f64::is_finite);
        finite.then(|| {
            Value::Exponential(Box::new(Exponential {
                count: point.count,
                sum: point.sum,
                zero: point.zero_count,
                threshold: point.zero_threshold,
                scale: point.scale,
                sides: [Side::read(&point.positive), Side::read(&point.negative)],
            }))
        })
    }

    /// Makes an earlier value of a series the difference to `later`. `false` if the series has been reset in between; what
    /// is left here then means nothing.
    pub(super) fn subtract_from(&mut self, later: &Value) -> bool {
        let difference = match (later, &mut *self) {
            (Value::Int(a), Value::Int(b)) => (*a >= *b).then(|| a.checked_sub(*b)).flatten().map(Value::Int),
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
                let difference = later.as_f64() - self.as_f64();
                (difference >= 0.0).then_some(Value::Double(difference))
            }
            (Value::Histogram(later), Value::Histogram(earlier)) => return earlier.subtract_from(later),
            (Value::Exponential(later), Value::Exponential(earlier)) => {
                later.minus(earlier).map(|difference| Value::Exponential(Box::new(difference)))
            }
            _ => None,
        };
        difference.map(|difference| *self = difference).is_some()
    }

    fn as_f64(&self) -> f64 {
        match self {
            Value::Int(i) => *i as f64,
            Value::Double(d) => *d,
            _ => 0.0,
        }
    }
}

fn difference(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? - b?)
}

impl Histogram {
    /// As [`Value::subtract_from`].
    fn subtract_from(&mut self, later: &Histogram) -> bool {
        let bounds = Arc::ptr_eq(&self.bounds, &later.bounds) || self.bounds == later.bounds;
        let Some(count) = later.count.checked_sub(self.count) else { return false };
        if !bounds || self.buckets.len() != later.buckets.len() {
            return false;
        }
        // Whether one fell shows in the highest bits, unless a count is larger than any: without a comparison for each, several
        // are subtracted at once.
        let mut high = 0;
        for (bucket, later) in self.buckets.iter_mut().zip(&later.buckets) {
            let difference = later.wrapping_sub(*bucket);
            high |= *later | *bucket | difference;
            *bucket = difference;
        }
        (self.count, self.sum) = (count, difference(later.sum, self.sum));
        high >> 63 == 0
            || self.buckets.iter().zip(&later.buckets).all(|(difference, later)| difference <= later)
    }
}

impl Exponential {
    /// This minus an earlier one; `None` if it has been reset in between.
    fn minus(&self, earlier: &Exponential) -> Option<Exponential> {
        if self.threshold != earlier.threshold {
            return None;
        }
        // A series only ever gets coarser; both sides are brought to the coarser of the two.
        let common = self.scale.min(earlier.scale);
        let side = |i: usize| {
            self.sides[i]
                .coarser(self.scale - common)
                .minus(&earlier.sides[i].coarser(earlier.scale - common))
        };
        Some(Exponential {
            count: self.count.checked_sub(earlier.count)?,
            sum: difference(self.sum, earlier.sum),
            zero: self.zero.checked_sub(earlier.zero)?,
            threshold: self.threshold,
            scale: common,
            sides: [side(0)?, side(1)?],
        })
    }
}

impl Side {
    fn read(buckets: &Buckets<'_>) -> Self {
        Side { offset: buckets.offset, counts: buckets.counts().collect() }
    }

    /// The same values with `steps` fewer levels of resolution: two buckets become one at each step.
    fn coarser(&self, steps: i32) -> Side {
        // Beyond 31 steps every index is 0 or -1 anyway.
        let steps = steps.clamp(0, 31);
        let offset = self.offset >> steps;
        let mut counts: Vec<u64> = Vec::new();
        for (i, n) in self.counts.iter().enumerate() {
            let index = (i64::from(self.offset) + i as i64) >> steps;
            let at = usize::try_from(index - i64::from(offset)).unwrap_or_default();
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            counts[at] = counts[at].saturating_add(*n);
        }
        Side { offset, counts }
    }

    fn minus(&self, earlier: &Side) -> Option<Side> {
        let at = |side: &Side, index: i64| {
            let position = usize::try_from(index - i64::from(side.offset)).ok();
            position.and_then(|p| side.counts.get(p)).copied().unwrap_or(0)
        };
        let end = i64::from(earlier.offset) + earlier.counts.len() as i64;
        let own = i64::from(self.offset)..i64::from(self.offset) + self.counts.len() as i64;
        // A bucket that had values and is gone is a reset.
        if (i64::from(earlier.offset)..end).any(|i| !own.contains(&i) && at(earlier, i) > 0) {
            return None;
        }
        let counts = own.map(|i| at(self, i).checked_sub(at(earlier, i))).collect::<Option<_>>()?;
        Some(Side { offset: self.offset, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_that_fell_is_a_reset_however_large_its_count_is() {
        let of = |buckets: &[u64]| Histogram { buckets: buckets.to_vec(), ..Histogram::default() };
        const HALF: u64 = 1 << 63;
        let counts = [0, 1, 2, HALF - 1, HALF, HALF + 1, u64::MAX - 1, u64::MAX];
        for (before, after) in counts.iter().flat_map(|a| counts.map(|b| (*a, b))) {
            let mut difference = of(&[3, before]);
            let grew = difference.subtract_from(&of(&[5, after]));
            assert_eq!(grew, after >= before, "{before} to {after}");
            if grew {
                assert_eq!(difference.buckets, [2, after - before]);
            }
        }
    }
}

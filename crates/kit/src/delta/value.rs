//! The value of one point, and the difference of two.

use muxbridge_pdata::view::{Buckets, ExponentialPoint, HistogramPoint, Number};

/// What a series remembers of its last point.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Double(f64),
    Histogram { count: u64, sum: Option<f64>, bounds: Vec<f64>, buckets: Vec<u64> },
    Exponential { count: u64, sum: Option<f64>, zero: u64, threshold: f64, scale: i32, sides: [Side; 2] },
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

    pub(super) fn histogram(point: &HistogramPoint<'_>) -> Option<Self> {
        let finite = point.sum.is_none_or(f64::is_finite);
        finite.then(|| Value::Histogram {
            count: point.count,
            sum: point.sum,
            bounds: point.explicit_bounds().collect(),
            buckets: point.bucket_counts().collect(),
        })
    }

    pub(super) fn exponential(point: &ExponentialPoint<'_>) -> Option<Self> {
        let finite = point.sum.is_none_or(f64::is_finite);
        finite.then(|| Value::Exponential {
            count: point.count,
            sum: point.sum,
            zero: point.zero_count,
            threshold: point.zero_threshold,
            scale: point.scale,
            sides: [Side::read(&point.positive), Side::read(&point.negative)],
        })
    }

    /// This minus an earlier value of the series; `None` if it has been reset in between.
    pub(super) fn minus(&self, earlier: &Value) -> Option<Value> {
        match (self, earlier) {
            (Value::Int(a), Value::Int(b)) => (a >= b).then(|| a.checked_sub(*b)).flatten().map(Value::Int),
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
                let difference = self.as_f64() - earlier.as_f64();
                (difference >= 0.0).then_some(Value::Double(difference))
            }
            (
                Value::Histogram { count, sum, bounds, buckets },
                Value::Histogram { count: count0, sum: sum0, bounds: bounds0, buckets: buckets0 },
            ) => {
                if bounds != bounds0 || buckets.len() != buckets0.len() {
                    return None;
                }
                let buckets =
                    buckets.iter().zip(buckets0).map(|(a, b)| a.checked_sub(*b)).collect::<Option<_>>()?;
                let count = count.checked_sub(*count0)?;
                Some(Value::Histogram {
                    count,
                    sum: difference(*sum, *sum0),
                    bounds: bounds.clone(),
                    buckets,
                })
            }
            (
                Value::Exponential { count, sum, zero, threshold, scale, sides },
                Value::Exponential {
                    count: count0,
                    sum: sum0,
                    zero: zero0,
                    threshold: threshold0,
                    scale: scale0,
                    sides: sides0,
                },
            ) => {
                if threshold != threshold0 {
                    return None;
                }
                // A series only ever gets coarser; both sides are brought to the coarser of the two.
                let common = *scale.min(scale0);
                let side =
                    |i: usize| sides[i].coarser(scale - common).minus(&sides0[i].coarser(scale0 - common));
                Some(Value::Exponential {
                    count: count.checked_sub(*count0)?,
                    sum: difference(*sum, *sum0),
                    zero: zero.checked_sub(*zero0)?,
                    threshold: *threshold,
                    scale: common,
                    sides: [side(0)?, side(1)?],
                })
            }
            _ => None,
        }
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

//! Cumulative metrics to deltas, once, for every destination that wants them.
//!
//! Monotonic sums, histograms and exponential histograms become the difference to the previous point of their series.
//! Sums that also fall, gauges, summaries and what is a delta already pass untouched. The rules for first values, resets
//! and points out of order are those of Datadog's translator, applied to histograms too; `delta/tests.rs` pins them.

mod rewrite;
mod snapshot;
#[cfg(test)]
mod tests;
mod value;

use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{MetricData, Temporality};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use value::Value;

/// What becomes of the first value of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialValue {
    /// Kept if the series began after this process did, which proves that nobody reported it before; else a baseline.
    #[default]
    Auto,
    /// Always kept.
    Keep,
    /// Always only a baseline.
    Drop,
}

/// Points that were left out of one batch, by reason. Baselines are none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaStats {
    /// Not later than the previous point of the series.
    pub out_of_order: u64,
    /// NaN, an infinity, or no value.
    pub not_a_number: u64,
    /// More series than [`MAX_SERIES`].
    pub too_many_series: u64,
}

impl DeltaStats {
    /// The reasons as labels of a drop counter, without those that are zero.
    pub fn reasons(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("out_of_order", self.out_of_order),
            ("not_a_number", self.not_a_number),
            ("too_many_series", self.too_many_series),
        ]
        .into_iter()
        .filter(|(_, n)| *n > 0)
    }
}

/// The most series that are remembered.
pub const MAX_SERIES: usize = 500_000;

/// How long a series without points is remembered.
const TTL: Duration = Duration::from_secs(3600);

/// The previous point of every series.
#[derive(Debug)]
pub struct DeltaState {
    initial: InitialValue,
    started: u64,
    series: HashMap<Vec<u8>, Previous>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Previous {
    start: u64,
    time: u64,
    value: Value,
    seen: Instant,
}

impl DeltaState {
    /// Remembers nothing yet. `started` is when this process began, in nanoseconds since 1970.
    pub fn new(initial: InitialValue, started: u64) -> Self {
        DeltaState { initial, started, series: HashMap::new(), swept: None }
    }

    /// The batch with deltas in place of cumulative values; the very same one if it holds none, `None` if nothing is
    /// left of it.
    pub fn convert(&mut self, batch: &Batch, now: Instant, stats: &mut DeltaStats) -> Option<Batch> {
        let metrics = || batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics());
        if batch.signal() != Signal::Metrics || !metrics().any(|m| m.data.as_ref().is_some_and(is_cumulative))
        {
            return Some(batch.clone());
        }
        self.sweep(now);
        let otlp = rewrite::request(self, batch, now, stats);
        let converted = Batch::from_valid(Signal::Metrics, otlp, batch.origin().clone());
        (converted.items() > 0).then_some(converted)
    }

    /// What to report for a point, and since when; `None` if it is a baseline or out of order.
    fn step(
        &mut self,
        key: Vec<u8>,
        (start, time): (u64, u64),
        value: Value,
        now: Instant,
        stats: &mut DeltaStats,
    ) -> Option<(u64, Value)> {
        let is_new = start > self.started && start != time;
        if let Some(previous) = self.series.get_mut(&key) {
            if previous.time >= time {
                stats.out_of_order += 1;
                return None;
            }
            let same = start == 0 || (start != time && start == previous.start);
            let difference = if same { value.minus(&previous.value) } else { None };
            let since = previous.time;
            *previous = Previous { start, time, value: value.clone(), seen: now };
            return match difference {
                Some(difference) => Some((since, difference)),
                // Counted from zero again: all of it came after the previous point, if the new start is known.
                None if self.keeps(is_new) => Some((since, value)),
                None => None,
            };
        }
        if self.series.len() >= MAX_SERIES {
            stats.too_many_series += 1;
            return None;
        }
        let kept = self.keeps(is_new).then(|| (start, value.clone()));
        self.series.insert(key, Previous { start, time, value, seen: now });
        kept
    }

    fn keeps(&self, is_new: bool) -> bool {
        match self.initial {
            InitialValue::Auto => is_new,
            InitialValue::Keep => true,
            InitialValue::Drop => false,
        }
    }

    fn sweep(&mut self, now: Instant) {
        let due = self.swept.is_none_or(|at| now.saturating_duration_since(at) >= TTL / 2);
        if due {
            self.swept = Some(now);
            self.series.retain(|_, p| now.saturating_duration_since(p.seen) < TTL);
        }
    }
}

fn is_cumulative(data: &MetricData<'_>) -> bool {
    match data {
        MetricData::Sum { temporality, monotonic, .. } => {
            *monotonic && *temporality == Temporality::Cumulative
        }
        MetricData::Histogram { temporality, .. } | MetricData::ExponentialHistogram { temporality, .. } => {
            *temporality == Temporality::Cumulative
        }
        MetricData::Gauge { .. } | MetricData::Summary { .. } => false,
    }
}

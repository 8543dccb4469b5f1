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
pub use snapshot::Frozen;
use std::collections::HashMap;
use std::sync::Arc;
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

/// How long a series without points is remembered, in milliseconds.
const TTL: u64 = 3_600_000;

/// By series. What is in it is never changed in place, so that a copy of the map costs little.
type Series = HashMap<Arc<[u8]>, Arc<Previous>>;

/// The previous point of every series.
///
/// What it does depends on nothing but the points and the times it is given: the same batches in the same order make the
/// same deltas, in whatever portions they come.
#[derive(Debug)]
pub struct DeltaState {
    initial: InitialValue,
    started: u64,
    series: Series,
    swept: Option<u64>,
    /// What the current conversion changes, if somebody wants to know.
    noting: Option<Undo>,
}

#[derive(Debug)]
struct Previous {
    start: u64,
    time: u64,
    value: Value,
    /// When it was accepted.
    seen: u64,
}

/// What a conversion changed: with it the state as it was before can be stored while what was converted is still under
/// way.
#[derive(Debug)]
pub struct Undo {
    started: u64,
    swept: Option<u64>,
    series: Vec<(Vec<u8>, Option<Arc<Previous>>)>,
}

impl DeltaState {
    /// Remembers nothing yet. `started` is when this process began, in nanoseconds since 1970.
    pub fn new(initial: InitialValue, started: u64) -> Self {
        DeltaState { initial, started, series: HashMap::new(), swept: None, noting: None }
    }

    /// As [`DeltaState::convert`], and says what it changed.
    pub fn convert_noting(
        &mut self,
        batch: &Batch,
        accepted: u64,
        stats: &mut DeltaStats,
    ) -> (Option<Batch>, Undo) {
        let nothing = Undo { started: self.started, swept: self.swept, series: Vec::new() };
        self.noting = Some(nothing);
        let converted = self.convert(batch, accepted, stats);
        let empty = Undo { started: self.started, swept: self.swept, series: Vec::new() };
        (converted, self.noting.take().unwrap_or(empty))
    }

    /// The batch with deltas in place of cumulative values; the very same one if it holds none, `None` if nothing is
    /// left of it. `accepted` is when the batch came in, in milliseconds of any clock: a batch that waited for a day is no
    /// sign that its series were silent.
    pub fn convert(&mut self, batch: &Batch, accepted: u64, stats: &mut DeltaStats) -> Option<Batch> {
        let metrics = || batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics());
        if batch.signal() != Signal::Metrics || !metrics().any(|m| m.data.as_ref().is_some_and(is_cumulative))
        {
            return Some(batch.clone());
        }
        self.sweep(accepted);
        let otlp = rewrite::request(self, batch, accepted, stats);
        let converted = Batch::from_valid(Signal::Metrics, otlp, batch.origin().clone());
        (converted.items() > 0).then_some(converted)
    }

    /// What to report for a point, and since when; `None` if it is a baseline or out of order.
    fn step(
        &mut self,
        key: Vec<u8>,
        (start, time): (u64, u64),
        value: Value,
        accepted: u64,
        stats: &mut DeltaStats,
    ) -> Option<(u64, Value)> {
        let is_new = start > self.started && start != time;
        if let Some(previous) = self.series.get_mut(&key[..]) {
            if previous.time >= time {
                stats.out_of_order += 1;
                return None;
            }
            let same = start == 0 || (start != time && start == previous.start);
            let difference = if same { value.minus(&previous.value) } else { None };
            let since = previous.time;
            let next = Arc::new(Previous { start, time, value: value.clone(), seen: accepted });
            let before = std::mem::replace(previous, next);
            if let Some(undo) = &mut self.noting {
                undo.series.push((key, Some(before)));
            }
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
        self.series.insert(Arc::from(&key[..]), Arc::new(Previous { start, time, value, seen: accepted }));
        if let Some(undo) = &mut self.noting {
            undo.series.push((key, None));
        }
        kept
    }

    fn keeps(&self, is_new: bool) -> bool {
        match self.initial {
            InitialValue::Auto => is_new,
            InitialValue::Keep => true,
            InitialValue::Drop => false,
        }
    }

    fn sweep(&mut self, now: u64) {
        if self.swept.is_some_and(|at| now.saturating_sub(at) < TTL / 2) {
            return;
        }
        self.swept = Some(now);
        for (key, previous) in self.series.extract_if(|_, p| now.saturating_sub(p.seen) >= TTL) {
            // Should it come back after all, its values were reported before: none of its age is new any more.
            self.started = self.started.max(previous.start);
            if let Some(undo) = &mut self.noting {
                undo.series.push((key.to_vec(), Some(previous)));
            }
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

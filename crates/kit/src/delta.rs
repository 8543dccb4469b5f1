//! Cumulative metrics to deltas, once, for every destination that wants them.
//!
//! Monotonic sums, histograms and exponential histograms become the difference to the previous point of their series.
//! Sums that also fall, gauges, summaries and what is a delta already pass untouched. The rules for first values, resets
//! and points out of order are those of Datadog's translator, applied to histograms too; `delta/tests.rs` pins them.

mod known;
mod plain;
mod rewrite;
mod scan;
mod snapshot;
#[cfg(test)]
mod tests;
mod value;

use known::{Known, Previous, Series};
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{MetricData, Temporality};
pub use snapshot::Frozen;
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

/// The previous point of every series.
///
/// What it does depends on nothing but the points and the times it is given: the same batches in the same order make the
/// same deltas, in whatever portions they come.
#[derive(Debug)]
pub struct DeltaState {
    initial: InitialValue,
    started: u64,
    series: Known,
    swept: Option<u64>,
    /// What the current conversion changes, if somebody wants to know.
    noting: Option<Undo>,
    /// Layouts of histograms that series share.
    layouts: Vec<Arc<[f64]>>,
}

/// What a conversion changed: with it the state as it was before can be stored while what was converted is still under
/// way.
#[derive(Debug)]
pub struct Undo {
    started: u64,
    swept: Option<u64>,
    /// By place, what was there before.
    changed: Vec<(u32, Before)>,
}

#[derive(Debug)]
enum Before {
    /// Nothing.
    Absent,
    /// The same series.
    Point(Previous),
    /// A series that has been forgotten.
    Forgotten(Series),
}

/// Whose point it is, and when.
struct Place<'a> {
    prefix: &'a Arc<[u8]>,
    attributes: &'a [u8],
    /// Whether they are those that [`Known::expected_attributes`] gave.
    as_expected: bool,
    start: u64,
    time: u64,
    accepted: u64,
}

impl DeltaState {
    /// Remembers nothing yet. `started` is when this process began, in nanoseconds since 1970.
    pub fn new(initial: InitialValue, started: u64) -> Self {
        DeltaState {
            initial,
            started,
            series: Known::default(),
            swept: None,
            noting: None,
            layouts: Vec::new(),
        }
    }

    /// As [`DeltaState::convert`], and says what it changed.
    pub fn convert_noting(
        &mut self,
        batch: &Batch,
        accepted: u64,
        stats: &mut DeltaStats,
    ) -> (Option<Batch>, Undo) {
        let nothing = Undo { started: self.started, swept: self.swept, changed: Vec::new() };
        self.noting = Some(nothing);
        let converted = self.convert(batch, accepted, stats);
        let empty = Undo { started: self.started, swept: self.swept, changed: Vec::new() };
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
        let (otlp, items) = rewrite::request(self, batch, accepted, stats);
        let converted = Batch::from_counted(Signal::Metrics, otlp, items, batch.origin().clone());
        (items > 0).then_some(converted)
    }

    /// Makes the value of a point what to report for it, and says since when; `None` if it is a baseline or out of order.
    fn step(&mut self, place: &Place<'_>, value: &mut Value, stats: &mut DeltaStats) -> Option<u64> {
        let Place { start, time, accepted: seen, .. } = *place;
        let is_new = start > self.started && start != time;
        let keeps = self.keeps(is_new);
        let found = self.series.find(place.prefix, place.attributes, place.as_expected);
        if let Some((slot, series)) = found.and_then(|slot| Some((slot, self.series.get_mut(slot)?))) {
            let previous = &mut series.previous;
            if previous.time >= time {
                stats.out_of_order += 1;
                return None;
            }
            if let Some(undo) = &mut self.noting {
                undo.changed.push((slot, Before::Point(previous.clone())));
            }
            let same = start == 0 || (start != time && start == previous.start);
            let since = previous.time;
            (previous.start, previous.time, previous.seen) = (start, time, seen);
            // The series takes the value, and what it had becomes the difference: nothing is allocated.
            std::mem::swap(&mut previous.value, value);
            if same && value.subtract_from(&previous.value) {
                return Some(since);
            }
            // Counted from zero again: all of it came after the previous point, if the new start is known.
            return keeps.then(|| {
                value.clone_from(&previous.value);
                since
            });
        }
        if self.series.len() >= MAX_SERIES {
            stats.too_many_series += 1;
            return None;
        }
        let previous = Previous { start, time, seen, value: value.clone() };
        let slot = self.series.insert(place.prefix, place.attributes, previous);
        if let Some(undo) = &mut self.noting {
            undo.changed.push((slot, Before::Absent));
        }
        keeps.then_some(start)
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
        let DeltaState { series, started, noting, .. } = self;
        series.forget(
            |series| now.saturating_sub(series.previous.seen) >= TTL,
            |slot, series| {
                // Should it come back after all, its values were reported before: none of its age is new any more.
                *started = (*started).max(series.previous.start);
                if let Some(undo) = noting {
                    undo.changed.push((slot, Before::Forgotten(series)));
                }
            },
        );
    }

    /// These bounds, shared with other series that have them.
    fn layout(&mut self, bounds: &[f64]) -> Arc<[f64]> {
        /// More than programs have. Layouts beyond it are shared within a while.
        const MOST: usize = 16;
        if let Some(known) = self.layouts.iter().find(|known| ***known == *bounds) {
            return Arc::clone(known);
        }
        if self.layouts.len() == MOST {
            self.layouts.clear();
        }
        let new: Arc<[f64]> = Arc::from(bounds);
        self.layouts.push(Arc::clone(&new));
        new
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

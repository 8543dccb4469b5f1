//! What the walk over a batch of metrics hands out: numbers and distributions with their series. The lines of StatsD are
//! one way to write them; Datadog's own intakes are another.

use super::replay::Bucket;
use muxbridge_pdata::view::Number;

/// Which series a value belongs to, and when.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// The name without its suffix, made to fit.
    pub name: &'a str,
    /// Which metric of the batch it is.
    pub metric: u32,
    /// What a part of a histogram adds to the name, for example `.count`; else empty.
    pub suffix: &'static str,
    /// The tags as the dialect writes them, separated.
    pub tags: &'a str,
    /// Which text that is: the same for the same tags, within a batch.
    pub tags_id: u32,
    /// One more tag, or several already joined, that only this value has.
    pub extra: Option<(&'a str, &'a str)>,
    /// The unit, as OpenTelemetry spells it; may be empty.
    pub unit: &'a str,
    /// Since when, in nanoseconds since 1970; 0 if unknown.
    pub start: u64,
    /// When, in nanoseconds since 1970; 0 if unknown.
    pub time: u64,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A difference.
    Count,
    /// A level.
    Gauge,
}

/// What a histogram knows besides its buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: Option<f64>,
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

/// Takes what a batch of metrics holds, in its order.
pub trait Output {
    /// One number. It is finite.
    fn number(&mut self, series: &Series<'_>, value: Number, kind: Kind);

    /// The values of one histogram: buckets with finite bounds and at least one value each, in ascending order.
    fn distribution(&mut self, series: &Series<'_>, totals: &Totals, buckets: &[Bucket]);

    /// The end of a point. Whether all of it fitted.
    fn end_point(&mut self) -> bool {
        true
    }
}

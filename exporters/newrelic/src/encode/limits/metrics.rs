//! Metrics within the limits: kinds and points that New Relic refuses, names, windows, attributes.

mod summary;

use super::attributes::{self, Metrics, metric_name};
use super::items::{short, write_short};
use super::{Cx, rewrite};
use crate::encode::{Counts, reason};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{self, exponential_point, histogram_point, metric, number_point, point};
use muxbridge_pdata::view::{
    ExponentialPoint, HistogramPoint, KeyValue, Metric, MetricData, NumberPoint, Repeated, Temporality, text,
};
use muxbridge_pdata::wire::{Field, Fields};

/// A window must not be empty, and New Relic counts in milliseconds.
const SHORTEST_WINDOW_NANOS: u64 = 1_000_000;

pub(super) fn fits(raw: &[u8], cx: &Cx) -> bool {
    let metric = Metric::read(raw);
    let name = text(metric.name);
    let texts_fit = short(metric.unit) && short(metric.description) && metric_name(name).len() == name.len();
    if refused(&metric).is_some() || !texts_fit {
        return false;
    }
    let Some(shape) = metric.data.as_ref().and_then(Shape::of) else { return false };
    let rules = cx.rules(Metrics::One(metric.name));
    let Some(data) = data_field(raw) else { return true };
    points(data).all(|f| {
        let point = shape.read(f.value.as_bytes());
        !shape.bad_window(&point) && point.lost.is_none() && attributes::fits(point.attributes, &rules)
    })
}

/// Writes the metric with the points that New Relic can store, or leaves it out.
pub(super) fn fit(w: &mut Writer, raw: &[u8], cx: &Cx, counts: &mut Counts) {
    let view = Metric::read(raw);
    if let Some(MetricData::Summary { points }) = view.data
        && cx.cumulative
        && !view.name.is_empty()
    {
        return summary::write(w, &view, points, cx, counts);
    }
    if let Some(reason) = refused(&view) {
        counts.drop(reason, view.point_count() as u64);
        return;
    }
    // Without data there is no item, and nothing that New Relic could store.
    let (Some(shape), Some(data)) = (view.data.as_ref().and_then(Shape::of), data_field(raw)) else { return };
    let start = w.len();
    let mut written = 0usize;
    w.message(field::scope_items::ITEMS, |w| {
        for f in Fields::new(raw) {
            match f.number {
                metric::NAME => {
                    let name = text(view.name);
                    let short = metric_name(name);
                    counts.adjust(reason::NAME_TRUNCATED, u64::from(short.len() < name.len()));
                    w.bytes(metric::NAME, short.as_bytes());
                }
                metric::UNIT | metric::DESCRIPTION => write_short(w, &f, counts),
                // Of several kinds of data the last one counts, as in every protobuf oneof.
                number if is_data(number) && f.raw.as_ptr() != data.raw.as_ptr() => {}
                number if is_data(number) => w.message(number, |w| {
                    for f in Fields::new(f.value.as_bytes()) {
                        if f.number == metric::DATA_POINTS {
                            written += fit_point(w, f.value.as_bytes(), &shape, view.name, cx, counts);
                        } else {
                            w.raw(f.raw);
                        }
                    }
                }),
                _ => w.raw(f.raw),
            }
        }
    });
    if written == 0 {
        w.truncate(start);
    }
}

/// The times of all points of a metric.
pub(crate) fn times(metric: Metric<'_>) -> impl Iterator<Item = u64> {
    data_field(metric.raw()).into_iter().flat_map(points).map(|point| {
        let time = Fields::new(point.value.as_bytes()).filter(|f| f.number == point::TIME).last();
        time.map_or(0, |f| f.value.as_u64())
    })
}

/// Why no point of the metric can be sent.
fn refused(metric: &Metric<'_>) -> Option<&'static str> {
    if metric.name.is_empty() {
        return Some(reason::NO_NAME);
    }
    match metric.data {
        Some(MetricData::Summary { .. }) => Some(reason::SUMMARY),
        Some(MetricData::Sum { temporality: Temporality::Delta, monotonic: false, .. }) => {
            Some(reason::DELTA_GAUGE)
        }
        Some(
            MetricData::Sum { temporality: Temporality::Unspecified, .. }
            | MetricData::Histogram { temporality: Temporality::Unspecified, .. }
            | MetricData::ExponentialHistogram { temporality: Temporality::Unspecified, .. },
        ) => Some(reason::NO_TEMPORALITY),
        _ => None,
    }
}

fn is_data(number: u32) -> bool {
    matches!(
        number,
        metric::GAUGE | metric::SUM | metric::HISTOGRAM | metric::EXPONENTIAL_HISTOGRAM | metric::SUMMARY
    )
}

fn data_field(raw: &[u8]) -> Option<Field<'_>> {
    Fields::new(raw).filter(|f| is_data(f.number)).last()
}

fn points(data: Field<'_>) -> impl Iterator<Item = Field<'_>> {
    Fields::new(data.value.as_bytes()).filter(|f| f.number == metric::DATA_POINTS)
}

#[derive(Clone, Copy)]
enum Kind {
    Number,
    Histogram,
    Exponential,
}

/// What the points of one metric look like.
struct Shape {
    kind: Kind,
    delta: bool,
}

/// What all kinds of points share.
struct Point<'a> {
    start: u64,
    time: u64,
    attributes: Repeated<'a, KeyValue<'a>>,
    /// Why the point cannot be sent.
    lost: Option<&'static str>,
}

impl Shape {
    fn of(data: &MetricData<'_>) -> Option<Self> {
        let shape =
            |kind, temporality: &Temporality| Some(Shape { kind, delta: *temporality == Temporality::Delta });
        match data {
            MetricData::Gauge { .. } => Some(Shape { kind: Kind::Number, delta: false }),
            MetricData::Sum { temporality, .. } => shape(Kind::Number, temporality),
            MetricData::Histogram { temporality, .. } => shape(Kind::Histogram, temporality),
            MetricData::ExponentialHistogram { temporality, .. } => shape(Kind::Exponential, temporality),
            MetricData::Summary { .. } => None,
        }
    }

    fn attributes(&self) -> u32 {
        match self.kind {
            Kind::Number => number_point::ATTRIBUTES,
            Kind::Histogram => histogram_point::ATTRIBUTES,
            Kind::Exponential => exponential_point::ATTRIBUTES,
        }
    }

    fn read<'a>(&self, raw: &'a [u8]) -> Point<'a> {
        let (start, time, attributes, value, gone) = match self.kind {
            Kind::Number => {
                let p = NumberPoint::read(raw);
                let value = p.value.map(|v| v.as_f64());
                (p.start, p.time, p.attributes(), value, p.no_recorded_value)
            }
            Kind::Histogram => {
                let p = HistogramPoint::read(raw);
                let value = finite([p.sum, p.min, p.max]);
                (p.start, p.time, p.attributes(), Some(value), p.no_recorded_value)
            }
            Kind::Exponential => {
                let p = ExponentialPoint::read(raw);
                let value = finite([p.sum, p.min, p.max]);
                (p.start, p.time, p.attributes(), Some(value), p.no_recorded_value)
            }
        };
        let lost = match value {
            _ if gone => Some(reason::NO_VALUE),
            None => Some(reason::NO_VALUE),
            Some(value) if !value.is_finite() => Some(reason::NOT_FINITE),
            // The shortest window must have room before it.
            Some(_) if time <= SHORTEST_WINDOW_NANOS => Some(reason::NO_TIME),
            Some(_) => None,
        };
        Point { start, time, attributes, lost }
    }

    /// New Relic files a delta under its start: without one it would land in 1970.
    fn bad_window(&self, point: &Point<'_>) -> bool {
        self.delta && (point.start == 0 || point.start >= point.time)
    }
}

/// A finite number if all that are known are finite.
fn finite(values: [Option<f64>; 3]) -> f64 {
    values.into_iter().flatten().find(|v| !v.is_finite()).unwrap_or_default()
}

/// Writes one point; says how many it wrote.
fn fit_point(w: &mut Writer, raw: &[u8], shape: &Shape, name: &[u8], cx: &Cx, counts: &mut Counts) -> usize {
    let view = shape.read(raw);
    if let Some(reason) = view.lost {
        counts.drop(reason, 1);
        return 0;
    }
    let fitted = attributes::fit(view.attributes, None, &cx.rules(Metrics::One(name)), counts);
    let bad_window = shape.bad_window(&view);
    w.message(metric::DATA_POINTS, |w| {
        rewrite(w, raw, shape.attributes(), None, &fitted, |_, f| {
            bad_window && f.number == point::START_TIME
        });
        if bad_window {
            counts.adjust(reason::START_TIME, 1);
            w.fixed64(point::START_TIME, view.time - SHORTEST_WINDOW_NANOS);
        }
    });
    1
}

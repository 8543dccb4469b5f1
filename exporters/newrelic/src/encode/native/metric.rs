//! The Metric API: counts, gauges and summaries. It has no histogram, so one becomes several metrics.

use super::{open_block, push_all, push_scope};
use crate::encode::span::{Fields, Scalar};
use crate::encode::{Counts, Options, json, limits, reason};
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{
    self, ExponentialPoint, HistogramPoint, Metric, MetricData, Number, NumberPoint, Scope, Temporality,
};

/// A Metric API payload. Deltas of monotonic sums become counts, gauges and sums that also fall become gauges.
///
/// A histogram `n` becomes what New Relic's own Prometheus integration makes of it: counts `n_bucket` with the upper
/// bound in `le` (each includes the ones below), a summary `n_sum` and a count `n_count`. An exponential histogram
/// becomes a summary `n`, which has count, sum, min and max but no percentiles. What is cumulative and monotonic is left
/// out: the API has no such type. Of a batch of another signal nothing is encoded: `[]`.
pub fn metric_api(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    let mut out = vec![b'['];
    if batch.signal() == Signal::Metrics {
        let fitted = limits::apply(batch, options, false, counts);
        for items in view::resources(&fitted) {
            let start = out.len();
            open_block(&mut out, items, "metrics", counts);
            let common = items.resource.attributes().count();
            let mut list = List { out, first: true, room: ROW_ATTRIBUTES.saturating_sub(common) };
            for scope in items.scopes() {
                for metric in scope.metrics() {
                    write_metric(&mut list, scope.scope, &metric, counts);
                }
            }
            let empty = list.first;
            out = list.out;
            out.extend_from_slice(b"]}");
            if empty {
                out.truncate(start);
            }
        }
    }
    out.push(b']');
    out
}

/// Attributes of a metric with the common ones, less one for `le`.
const ROW_ATTRIBUTES: usize = 99;
const NAME_CHARS: usize = 254;

struct List {
    out: Vec<u8>,
    first: bool,
    /// How many attributes a metric may have.
    room: usize,
}

/// What all metrics of one data point share.
struct Shared<'a> {
    name: &'a str,
    start: u64,
    time: u64,
    fields: Fields<'a>,
}

impl List {
    /// Writes one metric; `value` writes the value.
    fn metric(
        &mut self,
        shared: &Shared<'_>,
        suffix: &str,
        kind: &str,
        le: Option<&str>,
        value: impl FnOnce(&mut Vec<u8>),
    ) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        let out = &mut self.out;
        out.extend_from_slice(b"{\"name\":");
        let room = NAME_CHARS - suffix.len();
        json::string(out, &format!("{}{suffix}", limits::cut(shared.name, room)));
        out.extend_from_slice(b",\"type\":");
        json::string(out, kind);
        out.extend_from_slice(b",\"value\":");
        value(out);
        out.extend_from_slice(b",\"timestamp\":");
        if kind == "gauge" {
            json::scalar(out, &millis(shared.time));
        } else {
            json::scalar(out, &millis(shared.start));
            out.extend_from_slice(b",\"interval.ms\":");
            // In whole milliseconds on both ends, so that windows that meet still meet.
            json::scalar(out, &millis(shared.time).saturating_sub(millis(shared.start)).max(1));
        }
        out.extend_from_slice(b",\"attributes\":");
        match le {
            None => shared.fields.write(out),
            Some(le) => shared.fields.write_with(out, "le", le),
        }
        out.push(b'}');
    }

    fn summary(
        &mut self,
        shared: &Shared<'_>,
        suffix: &str,
        count: u64,
        sum: f64,
        min: Option<f64>,
        max: Option<f64>,
    ) {
        self.metric(shared, suffix, "summary", None, |out| {
            out.extend_from_slice(b"{\"count\":");
            json::scalar(out, &count);
            for (key, value) in [("sum", Some(sum)), ("min", min), ("max", max)] {
                out.extend_from_slice(format!(",\"{key}\":").as_bytes());
                match value {
                    Some(value) => number(out, value),
                    None => out.extend_from_slice(b"null"),
                }
            }
            out.push(b'}');
        });
    }
}

/// Zero would mean "now".
fn millis(nanos: u64) -> u64 {
    (nanos / 1_000_000).max(1)
}

/// A whole number without a fraction.
fn number(out: &mut Vec<u8>, value: f64) {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json::scalar(out, &(value as i64));
    } else {
        json::scalar(out, &value);
    }
}

fn write_metric(list: &mut List, scope: Scope<'_>, metric: &Metric<'_>, counts: &mut Counts) {
    let room = list.room;
    let shared = |start, time, attributes, counts: &mut Counts| {
        let mut fields = Fields::default();
        push_all(&mut fields, attributes, counts);
        if !metric.unit.is_empty() && metric.name != b"unit" {
            fields.push("unit", Scalar::Text(view::text(metric.unit).into()));
        }
        push_scope(&mut fields, scope, counts);
        counts.adjust(reason::ATTRIBUTE_PRUNED, fields.truncate(room));
        Shared { name: view::text(metric.name), start, time, fields }
    };
    let refused = matches!(
        metric.data,
        Some(
            MetricData::Sum { temporality: Temporality::Cumulative, monotonic: true, .. }
                | MetricData::Histogram { temporality: Temporality::Cumulative, .. }
                | MetricData::ExponentialHistogram { temporality: Temporality::Cumulative, .. }
        )
    );
    if refused {
        return counts.drop(reason::CUMULATIVE, metric.point_count() as u64);
    }
    match metric.data {
        Some(MetricData::Gauge { points }) => numbers(points, |p| {
            let shared = shared(p.start, p.time, p.attributes(), counts);
            list.metric(&shared, "", "gauge", None, |out| write_number(out, p.value));
        }),
        Some(MetricData::Sum { points, monotonic, .. }) => numbers(points, |p| {
            let kind = if monotonic { "count" } else { "gauge" };
            let shared = shared(p.start, p.time, p.attributes(), counts);
            list.metric(&shared, "", kind, None, |out| write_number(out, p.value));
        }),
        Some(MetricData::Histogram { points, .. }) => points.for_each(|p: HistogramPoint<'_>| {
            histogram(list, &shared(p.start, p.time, p.attributes(), counts), &p);
        }),
        Some(MetricData::ExponentialHistogram { points, .. }) => {
            points.for_each(|p: ExponentialPoint<'_>| {
                let shared = shared(p.start, p.time, p.attributes(), counts);
                list.summary(&shared, "", p.count, p.sum.unwrap_or_default(), p.min, p.max);
            });
        }
        Some(MetricData::Summary { .. }) | None => {}
    }
}

fn numbers<'a>(points: impl Iterator<Item = NumberPoint<'a>>, write: impl FnMut(NumberPoint<'a>)) {
    points.for_each(write);
}

fn write_number(out: &mut Vec<u8>, value: Option<Number>) {
    match value {
        Some(Number::Int(i)) => json::scalar(out, &i),
        Some(Number::Double(d)) => number(out, d),
        // Points without a value were left out before.
        None => out.push(b'0'),
    }
}

fn histogram(list: &mut List, shared: &Shared<'_>, point: &HistogramPoint<'_>) {
    let mut below = 0u64;
    let mut bounds = point.explicit_bounds();
    for n in point.bucket_counts() {
        below = below.saturating_add(n);
        let le = bounds.next().map_or("+Inf".to_owned(), |bound| bound.to_string());
        list.metric(shared, "_bucket", "count", Some(&le), |out| json::scalar(out, &below));
    }
    if let Some(sum) = point.sum {
        list.summary(shared, "_sum", 1, sum, point.min, point.max);
    }
    list.metric(shared, "_count", "count", None, |out| json::scalar(out, &point.count));
}

//! Writes the metrics of a page as OTLP.

use super::assemble::{Histogram, Metric, Point, Shape, Value};
use super::line::Exemplar;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::Temporality;
use muxbridge_pdata::{AnyValue, Writer, wire::Fields};

/// `DataPointFlags.NO_RECORDED_VALUE`.
const NO_RECORDED_VALUE: u64 = 1;

/// What the resource of some metrics is.
pub(super) fn resource_metrics<K: AsRef<str>, V: AsRef<str>>(
    w: &mut Writer,
    attributes: impl IntoIterator<Item = (K, V)>,
    metrics: impl FnOnce(&mut Writer),
) {
    let before = w.len();
    let mut any = false;
    w.message(field::REQUEST_RESOURCE, |w| {
        w.message(field::resource_items::RESOURCE, |w| {
            for (key, value) in attributes {
                w.attribute_str(field::resource::ATTRIBUTES, key.as_ref(), value.as_ref());
            }
        });
        w.message(field::resource_items::SCOPES, |w| {
            let empty = w.len();
            metrics(w);
            any = w.len() > empty;
        });
    });
    if !any {
        w.truncate(before);
    }
}

/// A metric with its points, written by `points` with [`point`] or [`stale_point`].
pub(super) fn metric(w: &mut Writer, head: &Metric<'_>, points: impl FnOnce(&mut Writer)) {
    w.message(field::scope_items::ITEMS, |w| {
        w.bytes(field::metric::NAME, head.name.as_bytes());
        w.bytes_nonempty(field::metric::DESCRIPTION, head.help.as_bytes());
        w.bytes_nonempty(field::metric::UNIT, head.unit.as_bytes());
        let (data, temporality) = match head.shape {
            Shape::Gauge => (field::metric::GAUGE, false),
            Shape::Counter | Shape::Sum => (field::metric::SUM, true),
            Shape::Histogram => (field::metric::HISTOGRAM, true),
            Shape::Summary => (field::metric::SUMMARY, false),
        };
        w.message(data, |w| {
            points(w);
            if temporality {
                w.varint(field::metric::TEMPORALITY, Temporality::Cumulative as u64);
            }
            w.varint_nonzero(field::metric::IS_MONOTONIC, (head.shape == Shape::Counter).into());
        });
        if !head.source_type.is_empty() {
            w.attribute_str(field::metric::METADATA, "prometheus.type", head.source_type);
        }
    });
}

/// A point at `time` of a series that began at `start`; 0 if that means nothing for it.
pub(super) fn point(w: &mut Writer, shape: Shape, point: &Point<'_>, start: u64, time: u64) {
    w.message(field::metric::DATA_POINTS, |w| {
        head(w, shape, &point.attributes, start, time);
        match &point.value {
            Value::Number { value, exemplar: found } => {
                w.double(field::number_point::AS_DOUBLE, *value);
                if let Some(found) = found {
                    exemplar(w, field::number_point::EXEMPLARS, found, time);
                }
            }
            Value::Histogram(value) => histogram(w, value, time),
            Value::Summary { count, sum, quantiles } => {
                w.fixed64(field::point::COUNT, *count);
                w.double(field::point::SUM, *sum);
                for (quantile, value) in quantiles {
                    w.message(field::summary_point::QUANTILES, |w| {
                        w.double(field::summary_point::QUANTILE, *quantile);
                        w.double(field::summary_point::VALUE, *value);
                    });
                }
            }
        }
    });
}

/// A point that says: the series has no value any more.
pub(super) fn stale_point(w: &mut Writer, shape: Shape, attributes: &[u8], start: u64, time: u64) {
    w.message(field::metric::DATA_POINTS, |w| {
        head(w, shape, attributes, start, time);
        let flags = match shape {
            Shape::Histogram => field::histogram_point::FLAGS,
            Shape::Summary => field::summary_point::FLAGS,
            _ => field::number_point::FLAGS,
        };
        w.varint(flags, NO_RECORDED_VALUE);
    });
}

fn head(w: &mut Writer, shape: Shape, attributes: &[u8], start: u64, time: u64) {
    match shape {
        // The identity of a series is written as attributes of a number; other points number the field otherwise.
        Shape::Histogram => {
            for f in Fields::new(attributes) {
                w.bytes(field::histogram_point::ATTRIBUTES, f.value.as_bytes());
            }
        }
        _ => w.raw(attributes),
    }
    w.fixed64_nonzero(field::point::START_TIME, start);
    w.fixed64(field::point::TIME, time);
}

fn histogram(w: &mut Writer, value: &Histogram<'_>, time: u64) {
    w.fixed64(field::point::COUNT, value.count);
    if let Some(sum) = value.sum {
        w.double(field::point::SUM, sum);
    }
    w.packed_fixed64(field::histogram_point::BUCKET_COUNTS, value.counts.iter().copied());
    w.packed_double(field::histogram_point::EXPLICIT_BOUNDS, value.bounds.iter().copied());
    for found in &value.exemplars {
        exemplar(w, field::histogram_point::EXEMPLARS, found, time);
    }
}

fn exemplar(w: &mut Writer, number: u32, found: &Exemplar<'_>, time: u64) {
    w.message(number, |w| {
        w.fixed64(field::exemplar::TIME, found.time.unwrap_or(time));
        w.double(field::exemplar::AS_DOUBLE, found.value);
        for (name, value) in &found.labels {
            match (&**name, hex(value)) {
                ("trace_id", Some(id)) if id.len() == 16 => w.bytes(field::exemplar::TRACE_ID, &id),
                ("span_id", Some(id)) if id.len() == 8 => w.bytes(field::exemplar::SPAN_ID, &id),
                _ => w.attribute(field::exemplar::ATTRIBUTES, name.as_bytes(), AnyValue::string(value)),
            }
        }
    });
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A gauge with one value and no attributes.
pub(super) fn gauge(w: &mut Writer, name: &str, help: &str, unit: &str, value: f64, time: u64) {
    let value = Value::Number { value, exemplar: None };
    let only = Point { attributes: Vec::new(), time: None, created: None, value };
    let shape = Shape::Gauge;
    let head = Metric { name: name.to_owned(), help, unit, shape, source_type: "", points: Vec::new() };
    metric(w, &head, |w| point(w, shape, &only, 0, time));
}

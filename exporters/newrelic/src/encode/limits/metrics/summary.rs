//! Summaries: New Relic takes an OTLP summary for a delta, which it never is. So one becomes what a Prometheus page has for
//! it: the sums `<name>_count` and `<name>_sum`, cumulative, and a gauge `<name>` with the label `quantile`.

use super::super::attributes::{self, Metrics, metric_name};
use super::super::items::short;
use super::{Cx, SHORTEST_WINDOW_NANOS};
use crate::encode::{Counts, reason};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field::{metric, number_point, point, scope_items};
use muxbridge_pdata::view::{AnyValue, Metric, SummaryPoint, Temporality, text};

/// One of the three.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Count,
    Sum,
    Quantiles,
}

pub(super) fn write<'a>(
    w: &mut Writer,
    view: &Metric<'a>,
    points: impl Iterator<Item = SummaryPoint<'a>> + Clone,
    cx: &Cx,
    counts: &mut Counts,
) {
    let usable = |point: &SummaryPoint<'_>| !point.no_recorded_value && point.time > SHORTEST_WINDOW_NANOS;
    for point in points.clone() {
        match usable(&point) {
            true => counts.adjust(reason::SUMMARY_TO_SUMS, 1),
            false if point.no_recorded_value => counts.drop(reason::NO_VALUE, 1),
            false => counts.drop(reason::NO_TIME, 1),
        }
    }
    for (part, suffix) in [(Part::Count, "_count"), (Part::Sum, "_sum"), (Part::Quantiles, "")] {
        let name = text(view.name);
        // The end of a name is what tells the three apart.
        let stem = match suffix {
            "" => metric_name(name),
            _ => super::super::cut(name, 254 - suffix.len()),
        };
        let name = format!("{stem}{suffix}");
        let start = w.len();
        let mut written = false;
        w.message(scope_items::ITEMS, |w| {
            w.bytes(metric::NAME, name.as_bytes());
            if part != Part::Count && short(view.unit) {
                w.bytes_nonempty(metric::UNIT, view.unit);
            }
            let data = if part == Part::Quantiles { metric::GAUGE } else { metric::SUM };
            w.message(data, |w| {
                for point in points.clone().filter(usable) {
                    written |= write_point(w, part, &point, name.as_bytes(), cx, counts);
                }
                if part != Part::Quantiles {
                    w.varint(metric::TEMPORALITY, Temporality::Cumulative as u64);
                    w.varint(metric::IS_MONOTONIC, 1);
                }
            });
        });
        if !written {
            w.truncate(start);
        }
    }
}

/// Writes what one point has of a part; says whether it has something.
fn write_point(
    w: &mut Writer,
    part: Part,
    summary: &SummaryPoint<'_>,
    name: &[u8],
    cx: &Cx,
    counts: &mut Counts,
) -> bool {
    // What is changed about the attributes is counted once, not for each part.
    let mut uncounted = Counts::default();
    let counts = if part == Part::Count { counts } else { &mut uncounted };
    let mut number = |quantile: Option<f64>, value: AnyValue<'_>| {
        let label = quantile.map(|q| q.to_string());
        let added = label.iter().map(|q| ("quantile", AnyValue::string(q)));
        let rules = cx.rules(Metrics::One(name));
        let fitted = attributes::fit(summary.attributes(), added, &rules, counts);
        w.message(metric::DATA_POINTS, |w| {
            fitted.write(w, number_point::ATTRIBUTES);
            w.fixed64_nonzero(point::START_TIME, summary.start);
            w.fixed64(point::TIME, summary.time);
            match value {
                AnyValue::Int(value) => w.fixed64(number_point::AS_INT, value as u64),
                AnyValue::Double(value) => w.double(number_point::AS_DOUBLE, value),
                _ => {}
            }
        });
    };
    match part {
        Part::Count => {
            number(None, AnyValue::Int(i64::try_from(summary.count).unwrap_or(i64::MAX)));
            true
        }
        Part::Sum if summary.sum.is_finite() => {
            number(None, AnyValue::Double(summary.sum));
            true
        }
        Part::Sum => false,
        Part::Quantiles => {
            let mut written = false;
            for q in summary.quantiles().filter(|q| q.value.is_finite()) {
                number(Some(q.quantile), AnyValue::Double(q.value));
                written = true;
            }
            written
        }
    }
}

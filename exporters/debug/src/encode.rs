//! Batch to text. Pure.

use crate::Verbosity;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{AnyValue, KeyValue, MetricData, Repeated, ScopeItems, text};
use std::fmt::Write;

pub(crate) fn encode(batch: &Batch, verbosity: Verbosity) -> String {
    let mut out = String::new();
    if verbosity == Verbosity::Detailed {
        out.push_str(&muxbridge_pdata::json::encode(batch.signal(), batch.otlp()));
        out.push('\n');
        return out;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}: {} {}", batch.signal(), batch.items(), batch.signal().items());
    if verbosity == Verbosity::Normal {
        for scope in batch.resources().flat_map(|r| r.scopes()) {
            scope_lines(&mut out, batch.signal(), scope);
        }
    }
    out
}

fn scope_lines(out: &mut String, signal: Signal, scope: ScopeItems<'_>) {
    match signal {
        Signal::Traces => {
            for span in scope.spans() {
                let ms = span.duration() as f64 / 1e6;
                let _ = write!(out, "  {} {:?} {ms:.3}ms {:?}", text(span.name), span.kind, span.status.code);
                attributes(out, span.attributes());
            }
        }
        Signal::Metrics => {
            for metric in scope.metrics() {
                let kind = match metric.data {
                    Some(MetricData::Gauge { .. }) => "gauge",
                    Some(MetricData::Sum { .. }) => "sum",
                    Some(MetricData::Histogram { .. }) => "histogram",
                    Some(MetricData::ExponentialHistogram { .. }) => "exponential histogram",
                    Some(MetricData::Summary { .. }) => "summary",
                    None => "empty",
                };
                let _ = writeln!(
                    out,
                    "  {} {kind} [{}] {} points",
                    text(metric.name),
                    text(metric.unit),
                    metric.point_count()
                );
            }
        }
        Signal::Logs => {
            for log in scope.logs() {
                let _ =
                    write!(out, "  {} {:?}", text(log.severity_text), log.body.as_str().unwrap_or_default());
                attributes(out, log.attributes());
            }
        }
    }
}

fn attributes(out: &mut String, attributes: Repeated<'_, KeyValue<'_>>) {
    for kv in attributes {
        let _ = match kv.value {
            AnyValue::String(s) => write!(out, " {}={:?}", text(kv.key), text(s)),
            AnyValue::Int(i) => write!(out, " {}={i}", text(kv.key)),
            AnyValue::Double(d) => write!(out, " {}={d}", text(kv.key)),
            AnyValue::Bool(b) => write!(out, " {}={b}", text(kv.key)),
            _ => write!(out, " {}=...", text(kv.key)),
        };
    }
    out.push('\n');
}

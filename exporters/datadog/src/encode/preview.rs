//! What would be sent, as JSON for people. Pure.

use super::llmobs::{Format, LlmOptions, llm_spans};
use super::logs::{LogCounts, LogOptions, logs};
use super::metrics::{Distributions, intake};
use super::parts::{Frame, Parts};
use super::{Counts, Options, to_json, trace_chunks};
use muxbridge_core::Batch;
use muxbridge_exporter_statsd::MetricsConfig;
use muxbridge_exporter_statsd::encode::value::write_json_string;
use muxbridge_exporter_statsd::encode::{Counts as LineCounts, Dialect};
use muxbridge_pdata::wire::{Field, Fields};
use std::fmt::Write;

/// Which body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preview {
    /// Spans as an Agent reads them.
    Traces,
    /// Series and distribution points.
    Series,
    /// Log items.
    Logs,
    /// Spans of models, as the public span API reads them.
    Llmobs,
}

impl Preview {
    /// Every preview with its name on the command line.
    pub const ALL: [(&'static str, Preview); 4] = [
        ("datadog", Preview::Traces),
        ("datadog-series", Preview::Series),
        ("datadog-logs", Preview::Logs),
        ("datadog-llmobs", Preview::Llmobs),
    ];
}

/// The body that a batch would become with the default options, as JSON; a body of nothing for a batch of another
/// signal. `now` in nanoseconds is the time of what has none.
pub fn preview(batch: &Batch, what: Preview, now: u64) -> String {
    let list = |parts: &Parts, frame: &Frame| {
        String::from_utf8(parts.body(frame, 0..parts.len())).unwrap_or_default()
    };
    let tags = MetricsConfig::default().options(Dialect::Dogstatsd, usize::MAX, "");
    match what {
        Preview::Traces => {
            let chunks = trace_chunks(batch, &Options::default(), &mut Counts::default());
            to_json(&chunks.body(&Frame::Msgpack, 0..chunks.len())).unwrap_or_default()
        }
        Preview::Series => {
            let bodies = intake(batch, &tags, Distributions::Points, "", now, &mut LineCounts::default());
            let series: Vec<String> =
                (0..bodies.series.len()).map(|i| series_json(bodies.series.piece(i))).collect();
            let points = list(&bodies.distributions, &Frame::json_list());
            format!("{{\"series\":[{}],\"distribution_points\":{points}}}", series.join(","))
        }
        Preview::Logs => {
            let options = LogOptions { tags, hostname: String::new(), source: "modelmuxer".to_owned() };
            list(&logs(batch, &options, now, &mut LogCounts::default()), &Frame::json_list())
        }
        Preview::Llmobs => {
            let options =
                LlmOptions { format: Format::Api, ml_app: String::new(), env: String::new(), content: false };
            let bodies: Vec<String> = llm_spans(batch, &options)
                .iter()
                .map(|application| list(&application.spans, &application.frame(Format::Api)))
                .collect();
            format!("[{}]", bodies.join(","))
        }
    }
}

/// One series of a `MetricPayload`, in the names of the JSON form of the same intake.
fn series_json(piece: &[u8]) -> String {
    let series = Fields::new(piece).next().map(|f| f.value.as_bytes()).unwrap_or_default();
    let text = |field: &Field<'_>| {
        let mut out = String::new();
        write_json_string(&mut out, &String::from_utf8_lossy(field.value.as_bytes()));
        out
    };
    let (mut resources, mut tags, mut points) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = String::new();
    // Writing to a string cannot fail.
    for field in Fields::new(series) {
        let inner = || Fields::new(field.value.as_bytes());
        match field.number {
            1 => {
                let parts: Vec<String> = inner().map(|f| text(&f)).collect();
                resources.push(format!("{{\"type\":{}}}", parts.join(",\"name\":")));
            }
            2 => {
                let _ = write!(rest, ",\"metric\":{}", text(&field));
            }
            3 => tags.push(text(&field)),
            4 => {
                let value = inner().find(|f| f.number == 1).map_or(0, |f| f.value.as_u64());
                let time = inner().find(|f| f.number == 2).map_or(0, |f| f.value.as_u64());
                points.push(format!("{{\"timestamp\":{time},\"value\":{}}}", f64::from_bits(value)));
            }
            5 => {
                let _ = write!(rest, ",\"type\":{}", field.value.as_u64());
            }
            6 => {
                let _ = write!(rest, ",\"unit\":{}", text(&field));
            }
            8 => {
                let _ = write!(rest, ",\"interval\":{}", field.value.as_u64());
            }
            _ => {}
        }
    }
    format!(
        "{{\"resources\":[{}]{rest},\"tags\":[{}],\"points\":[{}]}}",
        resources.join(","),
        tags.join(","),
        points.join(",")
    )
}

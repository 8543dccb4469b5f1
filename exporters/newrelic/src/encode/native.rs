//! The Metric, Log and Event APIs: JSON as New Relic's own telemetry SDKs send it.
//!
//! A batch is first made to fit as for OTLP, so that both ways store the same; what is here changes the form alone.

mod metric;

use super::span::{Fields, Scalar, scalar};
use super::{Counts, Options, json, limits, llm, reason};
use limits::attributes::Fit;
pub use metric::metric_api;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::schema::field::{self, resource_items, scope_items};
use muxbridge_pdata::view::{self, AnyValue, KeyValue, LogRecord, Scope};
use muxbridge_pdata::wire::Fields as Wire;
use muxbridge_pdata::{Writer, view::ResourceItems};

/// How many attributes one event may have.
const EVENT_ATTRIBUTES: usize = 255;

/// Adds attributes that fit already.
fn push_all<'a>(
    fields: &mut Fields<'a>,
    attributes: impl Iterator<Item = KeyValue<'a>>,
    counts: &mut Counts,
) {
    for kv in attributes {
        if let Some(value) = scalar(Fit::Plain(kv.value), counts) {
            fields.push(view::text(kv.key), value);
        }
    }
}

fn push_scope<'a>(fields: &mut Fields<'a>, scope: Scope<'a>, counts: &mut Counts) {
    for (key, value) in [("otel.library.name", scope.name), ("otel.library.version", scope.version)] {
        if !value.is_empty() {
            fields.push(key, Scalar::Text(view::text(value).into()));
        }
    }
    push_all(fields, scope.attributes(), counts);
}

/// Starts a block: the resource as common attributes, then the list called `items`.
fn open_block(out: &mut Vec<u8>, items: ResourceItems<'_>, list: &str, counts: &mut Counts) {
    let mut common = Fields::default();
    push_all(&mut common, items.resource.attributes(), counts);
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(b"{\"common\":{\"attributes\":");
    common.write(out);
    out.extend_from_slice(b"},\"");
    out.extend_from_slice(list.as_bytes());
    out.extend_from_slice(b"\":[");
}

/// Takes the log records that are custom events (`newrelic.event.type`) apart from the others: each of the two goes to
/// an API of its own.
pub(crate) fn split_events(batch: &Batch) -> [Option<Batch>; 2] {
    let is_event = |raw: &[u8]| llm::event_type(&LogRecord::read(raw)).is_some();
    let mut records = batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.items());
    if batch.signal() != Signal::Logs || !records.any(is_event) {
        return [Some(batch.clone()), None];
    }
    let only = |events: bool| {
        let mut w = Writer::with_capacity(batch.otlp().len());
        for r in Wire::new(batch.otlp()) {
            if r.number != field::REQUEST_RESOURCE {
                w.raw(r.raw);
                continue;
            }
            w.message(r.number, |w| {
                for s in Wire::new(r.value.as_bytes()) {
                    if s.number != resource_items::SCOPES {
                        w.raw(s.raw);
                        continue;
                    }
                    w.message(s.number, |w| {
                        let keep = |f: &muxbridge_pdata::wire::Field<'_>| {
                            f.number != scope_items::ITEMS || is_event(f.value.as_bytes()) == events
                        };
                        Wire::new(s.value.as_bytes()).filter(keep).for_each(|f| w.raw(f.raw));
                    });
                }
            });
        }
        let part = Batch::from_valid(Signal::Logs, w.into_bytes(), batch.origin().clone());
        (part.items() > 0).then_some(part)
    };
    [only(false), only(true)]
}

/// A Log API payload. Of a batch of another signal nothing is encoded: `[]`.
pub fn log_api(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    let mut out = vec![b'['];
    if batch.signal() == Signal::Logs {
        let fitted = limits::apply(batch, options, false, counts);
        for items in view::resources(&fitted) {
            let mut records = items.scopes().flat_map(|s| s.logs().map(move |log| (s.scope, log))).peekable();
            if records.peek().is_none() {
                continue;
            }
            open_block(&mut out, items, "logs", counts);
            for (i, (scope, record)) in records.enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_log(&mut out, scope, &record, counts);
            }
            out.extend_from_slice(b"]}");
        }
    }
    out.push(b']');
    out
}

/// When it was logged, in milliseconds; 0 if that is unknown.
fn millis(record: &LogRecord<'_>) -> u64 {
    (if record.time > 0 { record.time } else { record.observed_time }) / 1_000_000
}

fn write_log(out: &mut Vec<u8>, scope: Scope<'_>, record: &LogRecord<'_>, counts: &mut Counts) {
    out.push(b'{');
    if millis(record) > 0 {
        out.extend_from_slice(b"\"timestamp\":");
        json::scalar(out, &millis(record));
        out.push(b',');
    }
    out.extend_from_slice(b"\"message\":");
    match record.body {
        AnyValue::Empty => json::string(out, ""),
        body => json::string(out, &json::text_of(body)),
    }
    out.extend_from_slice(b",\"attributes\":");
    let mut fields = Fields::default();
    if !record.severity_text.is_empty() {
        fields.push("log.level", Scalar::Text(view::text(record.severity_text).into()));
    }
    if record.severity_number > 0 {
        fields.push("severity.number", Scalar::Int(record.severity_number.into()));
    }
    push_ids(&mut fields, record);
    push_all(&mut fields, record.attributes(), counts);
    push_scope(&mut fields, scope, counts);
    fields.write(out);
    out.push(b'}');
}

fn push_ids(fields: &mut Fields<'_>, record: &LogRecord<'_>) {
    for (key, id) in [("trace.id", record.trace_id), ("span.id", record.span_id)] {
        if limits::is_id(id) {
            fields.push(key, Scalar::Text(json::hex(id).into()));
        }
    }
}

/// An Event API payload: each log record with `newrelic.event.type` as a flat event of that type. Records without one,
/// and those whose type New Relic does not allow, are left out. Of a batch of another signal nothing is encoded: `[]`.
pub fn event_api(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    let mut out = vec![b'['];
    if batch.signal() == Signal::Logs {
        let fitted = limits::apply(batch, options, false, counts);
        for items in view::resources(&fitted) {
            for (scope, record) in items.scopes().flat_map(|s| s.logs().map(move |log| (s.scope, log))) {
                write_event(&mut out, items, scope, &record, counts);
            }
        }
    }
    out.push(b']');
    out
}

fn write_event(
    out: &mut Vec<u8>,
    items: ResourceItems<'_>,
    scope: Scope<'_>,
    record: &LogRecord<'_>,
    counts: &mut Counts,
) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | ' ');
    let of_type = llm::event_type(record).filter(|t| t.len() <= 255 && t.chars().all(allowed));
    let Some(of_type) = of_type else { return counts.drop(reason::EVENT_TYPE, 1) };
    let mut own = Fields::default();
    push_ids(&mut own, record);
    push_all(&mut own, record.attributes(), counts);
    push_all(&mut own, items.resource.attributes(), counts);
    push_scope(&mut own, scope, counts);
    let mut fields = Fields::default();
    fields.push("eventType", Scalar::Text(of_type.into()));
    if millis(record) > 0 {
        fields.push("timestamp", Scalar::Int(i64::try_from(millis(record)).unwrap_or(i64::MAX)));
    }
    for (key, value) in own.iter().filter(|(key, _)| key != "newrelic.event.type") {
        // The API drops the first, and refuses a text in the second.
        let key = match key.as_ref() {
            "accountId" | "appId" | "eventType" | "timestamp" => {
                counts.adjust(reason::RESERVED_RENAMED, 1);
                format!("mm.{key}").into()
            }
            _ => key.clone(),
        };
        if fields.len() >= EVENT_ATTRIBUTES {
            counts.adjust(reason::ATTRIBUTE_PRUNED, 1);
            continue;
        }
        // Events know texts and numbers.
        let value = match value {
            Scalar::Bool(b) => Scalar::Text(b.to_string().into()),
            other => other.clone(),
        };
        fields.push(key, value);
    }
    if out.len() > 1 {
        out.push(b',');
    }
    fields.write(out);
}

//! What each limit does to a request, and the two JSON formats; expected values are written by hand.

mod formats;
mod items;
mod native;
mod points;

use super::*;
use muxbridge_testkit::oracle::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use muxbridge_testkit::oracle::logs::v1::LogRecord;
use muxbridge_testkit::oracle::metrics::v1::Metric;
use muxbridge_testkit::oracle::trace::v1::{ResourceSpans, ScopeSpans, Span};
use muxbridge_testkit::oracle::{self, Message};

pub(super) use any_value::Value;

/// Nothing is added, so that a test sees the limits alone.
pub(super) const PLAIN: Options = Options { ai_monitoring: false, service_instance_id: None };
pub(super) const T0: u64 = 1_700_000_000_000_000_000;

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

pub(super) fn kv(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(value)), ..KeyValue::default() }
}

pub(super) fn text(key: &str, value: &str) -> KeyValue {
    kv(key, Value::StringValue(value.into()))
}

fn array(values: impl IntoIterator<Item = Value>) -> Value {
    Value::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })
}

fn map(values: Vec<KeyValue>) -> Value {
    Value::KvlistValue(KeyValueList { values })
}

pub(super) fn s(value: &str) -> Value {
    Value::StringValue(value.into())
}

/// A span with ids and these attributes.
pub(super) fn span(attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![
            0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
        ],
        span_id: vec![0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31],
        name: "work".into(),
        start_time_unix_nano: T0,
        end_time_unix_nano: T0 + 1_000_000,
        attributes,
        ..Span::default()
    }
}

pub(super) fn batch_of(resource: Vec<KeyValue>, spans: Vec<Span>) -> Batch {
    let resource = oracle::resource::v1::Resource { attributes: resource, ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    let request = oracle::ExportTraceServiceRequest { resource_spans };
    muxbridge_testkit::batch(Signal::Traces, request.encode_to_vec().into())
}

/// What becomes of one span.
fn limited(span: Span, options: &Options) -> (Option<Span>, Counts) {
    let mut counts = Counts::default();
    let out = otlp(&batch_of(vec![], vec![span]), options, &mut counts);
    let mut request = oracle::decode_traces(&out);
    (request.resource_spans.remove(0).scope_spans.remove(0).spans.pop(), counts)
}

/// What becomes of the attributes of one span.
fn attributes(list: Vec<KeyValue>) -> (Vec<KeyValue>, Vec<(&'static str, u64)>) {
    let (span, counts) = limited(span(list), &PLAIN);
    (span.unwrap().attributes, counts.adjusted().collect())
}

/// What becomes of one metric below a resource with these attributes.
fn limited_metric(resource: Vec<KeyValue>, metric: Metric) -> (oracle::ExportMetricsServiceRequest, Counts) {
    let mut counts = Counts::default();
    let out = otlp(&batch_of_metric(resource, metric), &PLAIN, &mut counts);
    (oracle::decode_metrics(&out), counts)
}

fn batch_of_metric(resource: Vec<KeyValue>, metric: Metric) -> Batch {
    use oracle::metrics::v1::{ResourceMetrics, ScopeMetrics};
    let resource = Some(oracle::resource::v1::Resource { attributes: resource, ..Default::default() });
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    let request = oracle::ExportMetricsServiceRequest { resource_metrics };
    muxbridge_testkit::batch(Signal::Metrics, request.encode_to_vec().into())
}

/// What becomes of one log record.
fn limited_log(log: LogRecord) -> (LogRecord, Counts) {
    use oracle::logs::v1::{ResourceLogs, ScopeLogs};
    let scope_logs = vec![ScopeLogs { log_records: vec![log], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let request = oracle::ExportLogsServiceRequest { resource_logs };
    let batch = muxbridge_testkit::batch(Signal::Logs, request.encode_to_vec().into());
    let mut counts = Counts::default();
    let out = otlp(&batch, &PLAIN, &mut counts);
    let mut request = oracle::ExportLogsServiceRequest::decode(out).unwrap();
    (request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0), counts)
}

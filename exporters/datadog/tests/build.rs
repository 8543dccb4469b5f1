//! Builds batches of spans with the reference implementation of OTLP, and reads payloads with a foreign msgpack reader.

use muxbridge_core::{Batch, Signal};
use muxbridge_exporter_datadog::encode::{Counts, Options, Payload, traces};
use muxbridge_testkit::oracle::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use muxbridge_testkit::oracle::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use muxbridge_testkit::oracle::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric::Data};
use muxbridge_testkit::oracle::resource::v1::Resource;
use muxbridge_testkit::oracle::trace::v1::{ResourceSpans, ScopeSpans, Span};
use muxbridge_testkit::oracle::{
    ExportLogsServiceRequest, ExportMetricsServiceRequest, ExportTraceServiceRequest, encode,
};

pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;

/// A value of an attribute, of whatever kind a test writes.
pub(crate) fn kv(key: &str, value: impl Into<V>) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value.into().0) }),
        ..Default::default()
    }
}

pub(crate) struct V(pub(crate) Value);
impl From<&str> for V {
    fn from(v: &str) -> V {
        V(Value::StringValue(v.to_owned()))
    }
}
impl From<i64> for V {
    fn from(v: i64) -> V {
        V(Value::IntValue(v))
    }
}
impl From<f64> for V {
    fn from(v: f64) -> V {
        V(Value::DoubleValue(v))
    }
}
impl From<bool> for V {
    fn from(v: bool) -> V {
        V(Value::BoolValue(v))
    }
}

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn span(kind: i32, name: &str, attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: hex("640cfd8d00000000abcd1234ef567890"),
        span_id: hex("00f067aa0ba902b7"),
        name: name.to_owned(),
        kind,
        start_time_unix_nano: 1_700_000_000_000_000_000,
        end_time_unix_nano: 1_700_000_000_000_001_000,
        attributes,
        ..Default::default()
    }
}

pub(crate) fn batch(resource: Vec<KeyValue>, spans: Vec<Span>) -> Batch {
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.2".to_owned(),
        attributes: vec![kv("scope.attribute", "s")],
        ..Default::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: resource, ..Default::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
            ..Default::default()
        }],
    };
    muxbridge_testkit::batch(Signal::Traces, encode(&request))
}

pub(crate) fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Default::default() }
}

pub(crate) fn metrics(resource: Vec<KeyValue>, metrics: Vec<Metric>) -> Batch {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: resource, ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..Default::default() }],
            ..Default::default()
        }],
    };
    muxbridge_testkit::batch(Signal::Metrics, encode(&request))
}

pub(crate) fn log_batch(resource: Vec<KeyValue>, log_records: Vec<LogRecord>) -> Batch {
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes: resource, ..Default::default() }),
            scope_logs: vec![ScopeLogs { log_records, ..Default::default() }],
            ..Default::default()
        }],
    };
    muxbridge_testkit::batch(Signal::Logs, encode(&request))
}

pub(crate) fn payloads(batch: &Batch, options: &Options) -> (Vec<Payload>, Counts) {
    let mut counts = Counts::default();
    (traces(batch, options, &mut counts), counts)
}

/// The chunks of a payload.
pub(crate) fn chunks(payload: &Payload) -> Vec<Vec<Read>> {
    let mut body = payload.body.as_slice();
    let value = rmpv::decode::read_value(&mut body).unwrap();
    assert!(body.is_empty(), "bytes after the payload");
    let chunks = value.as_array().unwrap();
    assert_eq!(chunks.len(), payload.chunks);
    chunks.iter().map(|c| c.as_array().unwrap().iter().cloned().map(Read).collect()).collect()
}

/// The one span of a batch.
pub(crate) fn one(resource: Vec<KeyValue>, span: Span) -> Read {
    one_with(&Options::default(), resource, span)
}

pub(crate) fn one_with(options: &Options, resource: Vec<KeyValue>, span: Span) -> Read {
    let (payloads, _) = payloads(&batch(resource, vec![span]), options);
    assert_eq!(payloads.len(), 1);
    chunks(&payloads[0]).remove(0).remove(0)
}

/// A span as the Agent reads it.
#[derive(Debug)]
pub(crate) struct Read(pub(crate) rmpv::Value);

impl Read {
    pub(crate) fn get(&self, key: &str) -> &rmpv::Value {
        find(&self.0, key).unwrap_or_else(|| panic!("no {key}"))
    }
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).as_str().unwrap()
    }
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.get(key).as_u64().unwrap()
    }
    pub(crate) fn meta(&self, key: &str) -> Option<&str> {
        find(self.get("meta"), key).map(|v| v.as_str().unwrap())
    }
    pub(crate) fn metric(&self, key: &str) -> Option<f64> {
        find(self.get("metrics"), key).map(|v| v.as_f64().unwrap())
    }
    /// Name, resource and type.
    pub(crate) fn what(&self) -> (&str, &str, &str) {
        (self.text("name"), self.text("resource"), self.text("type"))
    }
}

fn find<'v>(map: &'v rmpv::Value, key: &str) -> Option<&'v rmpv::Value> {
    let mut found = map.as_map().unwrap().iter().filter(|(k, _)| k.as_str() == Some(key));
    let value = found.next().map(|(_, v)| v);
    assert!(found.next().is_none(), "{key} is there twice");
    value
}

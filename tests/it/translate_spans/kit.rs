//! Reads what comes out with prost, and builds what goes in.

use bytes::Bytes;
use muxbridge::trace::{TraceOptions, TraceTranslator};
use muxbridge_core::{Batch, BuildContext, Clock, Counters, Origin, Processor, Signal};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) fn corpus(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/corpus/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// All requests of a recorded run, in the order of arrival.
pub(super) fn run(directory: &str) -> Vec<Batch> {
    let root = format!("{}/tests/corpus/{directory}", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("trace-"))
        .collect();
    names.sort();
    assert!(names.len() > 5);
    names.iter().map(|name| batch(corpus(&format!("{directory}/{name}")))).collect()
}

pub(super) fn batch(otlp: impl Into<Bytes>) -> Batch {
    let origin = Arc::new(Origin { receiver: "otlp".to_owned() });
    Batch::new(Signal::Traces, otlp.into(), origin, Default::default()).unwrap()
}

pub(super) fn request(spans: Vec<Span>) -> Batch {
    request_of("modelmuxer", spans)
}

pub(super) fn request_of(scope: &str, spans: Vec<Span>) -> Batch {
    batch(encode(vec![scope_spans(scope, spans)]))
}

pub(super) fn encode(scope_spans: Vec<ScopeSpans>) -> Vec<u8> {
    let attributes = vec![attribute("service.name", "modelmuxer".into())];
    let resource = Some(Resource { attributes, ..Default::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..Default::default() }];
    Request { resource_spans }.encode_to_vec()
}

pub(super) fn scope_spans(scope: &str, spans: Vec<Span>) -> ScopeSpans {
    let scope = Some(InstrumentationScope { name: scope.to_owned(), ..Default::default() });
    ScopeSpans { scope, spans, ..Default::default() }
}

pub(super) fn attribute(key: &str, value: Json) -> KeyValue {
    let value = match value {
        Json::String(s) => Value::StringValue(s),
        Json::Bool(b) => Value::BoolValue(b),
        Json::Number(n) if n.is_f64() => Value::DoubleValue(n.as_f64().unwrap()),
        Json::Number(n) => Value::IntValue(n.as_i64().unwrap()),
        Json::Object(_) => Value::KvlistValue(Default::default()),
        other => panic!("{other}"),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// A span of trace `trace`: ids are small numbers, times are milliseconds, parent 0 is none.
pub(super) fn span(trace: u8, id: u8, parent: u8, name: &str, times: [u64; 2], attributes: Json) -> Span {
    let Json::Object(attributes) = attributes else { panic!() };
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: name.to_owned(),
        kind: 1,
        start_time_unix_nano: times[0] * 1_000_000,
        end_time_unix_nano: times[1] * 1_000_000,
        attributes: attributes.into_iter().map(|(k, v)| attribute(&k, v)).collect(),
        status: Some(Status::default()),
        ..Default::default()
    }
}

pub(super) fn failed(mut span: Span, message: &str) -> Span {
    span.status = Some(Status { code: 2, message: message.to_owned() });
    span
}

pub(super) fn chat(trace: u8, end: u64) -> Span {
    span(trace, 1, 0, "http.request", [0, end], json!({"route": "/v1/chat/completions", "method": "POST"}))
}

pub(super) fn policy(trace: u8, blocked: bool) -> Span {
    span(
        trace,
        2,
        1,
        "policy.enforce",
        [1, 2],
        json!({"tenant_id": "ab12", "blocked": blocked, "num_redactions": 0}),
    )
}

pub(super) fn invoke(trace: u8, name: &str, end: u64) -> Span {
    span(trace, 4, 1, name, [4, end], json!({"provider": "openai", "model": "gpt-4o"}))
}

pub(super) fn attempt(trace: u8, number: u8, times: [u64; 2]) -> Span {
    span(trace, 4 + number, 4, "openai.request", times, json!({"attempt": number}))
}

/// A translator, its counters and a clock.
pub(super) struct Bench {
    pub(super) counters: Counters,
    pub(super) translator: TraceTranslator,
    pub(super) start: Instant,
    pub(super) out: Vec<Batch>,
}

impl Bench {
    pub(super) fn new(options: TraceOptions) -> Self {
        let counters = Counters::new();
        let cx = BuildContext::new("modelmuxer", counters.clone(), Clock::fixed(0));
        let translator = TraceTranslator::new(&options, &cx);
        Bench { counters, translator, start: Instant::now(), out: Vec::new() }
    }

    pub(super) fn take(&mut self, at_ms: u64, batch: Batch) {
        let now = self.start + Duration::from_millis(at_ms);
        self.translator.process(batch, now, &mut |b| self.out.push(b));
    }

    pub(super) fn tick(&mut self, at_ms: u64) {
        let now = self.start + Duration::from_millis(at_ms);
        self.translator.tick(now, &mut |b| self.out.push(b));
    }

    pub(super) fn flush(&mut self) {
        self.translator.flush(&mut |b| self.out.push(b));
    }

    /// Traces that left with this outcome.
    pub(super) fn left(&self, outcome: &str) -> u64 {
        self.counters.sum("muxbridge_assembled_traces_total", &[("outcome", outcome)])
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        self.out.iter().flat_map(spans_of).collect()
    }
}

/// The spans of some requests after translation, with everything flushed at the end.
pub(super) fn translate(options: TraceOptions, batches: Vec<Batch>) -> Vec<Span> {
    let mut bench = Bench::new(options);
    for batch in batches {
        bench.take(0, batch);
    }
    bench.flush();
    bench.spans()
}

pub(super) fn decode(batch: &Batch) -> Request {
    Request::decode(batch.otlp().clone()).unwrap()
}

pub(super) fn spans_of(batch: &Batch) -> Vec<Span> {
    let resources = decode(batch).resource_spans.into_iter();
    resources.flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
}

pub(super) fn hex(id: &[u8]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn attributes(list: &[KeyValue]) -> Json {
    let mut map = Map::new();
    for kv in list {
        let value = match kv.value.as_ref().and_then(|v| v.value.clone()) {
            Some(value) => to_json(value),
            None => Json::Null,
        };
        assert!(map.insert(kv.key.clone(), value).is_none(), "{} twice", kv.key);
    }
    Json::Object(map)
}

fn to_json(value: Value) -> Json {
    match value {
        Value::StringValue(s) => json!(s),
        Value::BoolValue(b) => json!(b),
        Value::IntValue(i) => json!(i),
        Value::DoubleValue(d) => json!(d),
        Value::ArrayValue(a) => a.values.into_iter().filter_map(|v| v.value).map(to_json).collect(),
        other => json!(format!("{other:?}")),
    }
}

/// Name, kind and status code.
pub(super) fn head(span: &Span) -> (&str, i32, i32) {
    (&span.name, span.kind, span.status.as_ref().map_or(0, |s| s.code))
}

pub(super) const INTERNAL: i32 = 1;
pub(super) const SERVER: i32 = 2;
pub(super) const CLIENT: i32 = 3;
pub(super) const UNSET: i32 = 0;
pub(super) const ERROR: i32 = 2;

//! What the tests of this exporter share: configurations, telemetry, and a driver that does what the pipeline does.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use muxbridge_core::{Batch, BuildContext, Clock, Counters, ExportError, Exporter, Signal};
use muxbridge_exporter_newrelic::{NewRelic, NewRelicExporter};
use muxbridge_testkit::oracle::common::v1::{AnyValue, KeyValue, any_value::Value};
use muxbridge_testkit::oracle::{self, Message};
use muxbridge_testkit::{Recorded, Reply, Server, batch, contract, newrelic};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const KEY: &str = "canary0123456789abcdefFFFFNRAL";

/// Configurations of every way in which traces can travel.
pub(crate) fn modes() -> Vec<serde_json::Value> {
    let mut modes = Vec::new();
    for compression in ["gzip", "zstd", "none"] {
        modes.push(json!({"compression": compression}));
        modes.push(json!({"compression": compression, "mode": "trace_api"}));
        modes.push(json!({"compression": compression, "mode": "trace_api", "trace_format": "zipkin"}));
        modes.push(json!({"compression": compression, "mode": "native"}));
    }
    modes
}

pub(crate) fn config(url: &str, mode: &serde_json::Value) -> serde_json::Value {
    let mut config = mode.clone();
    config["license_key"] = json!(KEY);
    config["endpoint"] = json!(url);
    config
}

pub(crate) fn exporter(url: &str, mode: &serde_json::Value) -> (NewRelicExporter, Counters) {
    let cx = contract::context::<NewRelic>();
    (contract::build::<NewRelic>(config(url, mode), &cx), cx.counters)
}

/// Answers as New Relic does.
pub(crate) fn as_new_relic(request: &Recorded) -> Reply {
    let (status, body) = newrelic::answer(&request.path, &request.headers, request.wire_len);
    Reply::status(status.as_u16()).body(body)
}

pub(crate) async fn standin() -> Server {
    Server::start(as_new_relic).await
}

pub(crate) fn violations(server: &Server) -> Vec<String> {
    let of = |r: &Recorded| newrelic::violations(&r.path, &r.headers, &r.body, r.wire_len);
    server.requests().iter().flat_map(of).collect()
}

/// What the pipeline does with `TooLarge`, in short: halves at a span, drops one span alone. Returns how many were
/// dropped.
pub(crate) async fn send_split(exporter: &NewRelicExporter, spans: Batch) -> usize {
    let mut waiting = vec![spans];
    let mut dropped = 0;
    while let Some(next) = waiting.pop() {
        match exporter.export(&next).await {
            Ok(_) => {}
            Err(ExportError::TooLarge { .. }) if next.items() == 1 => dropped += 1,
            Err(ExportError::TooLarge { .. }) => waiting.extend(halves(&next)),
            Err(other) => panic!("{other}"),
        }
    }
    dropped
}

pub(crate) fn halves(spans: &Batch) -> [Batch; 2] {
    let all = oracle::decode_traces(spans.otlp());
    let middle = spans.items() / 2;
    [0..middle, middle..spans.items()].map(|range| {
        let mut part = all.clone();
        let mut position = 0;
        for scope in part.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans) {
            scope.spans.retain(|_| {
                position += 1;
                range.contains(&(position - 1))
            });
        }
        batch(Signal::Traces, part.encode_to_vec().into())
    })
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// Spans with their number as id, each with `bytes` of text that does not compress.
pub(crate) fn spans(count: u32, bytes: usize) -> Batch {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |bytes: usize| -> String {
        (0..bytes)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                char::from(b' ' + (seed % 95) as u8)
            })
            .collect()
    };
    let spans = (1..=count)
        .map(|n| oracle::trace::v1::Span {
            trace_id: vec![1; 16],
            span_id: u64::from(n).to_be_bytes().to_vec(),
            name: "chat gpt-4o-mini".into(),
            kind: 3,
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_000_001_000_000,
            attributes: vec![text("modelmuxer.noise", &noise(bytes))],
            ..Default::default()
        })
        .collect();
    let scope_spans = vec![oracle::trace::v1::ScopeSpans { spans, ..Default::default() }];
    let resource = oracle::resource::v1::Resource {
        attributes: vec![text("service.name", "modelmuxer")],
        ..Default::default()
    };
    let resource_spans = vec![oracle::trace::v1::ResourceSpans {
        resource: Some(resource),
        scope_spans,
        ..Default::default()
    }];
    batch(Signal::Traces, oracle::ExportTraceServiceRequest { resource_spans }.encode_to_vec().into())
}

/// The span ids of a request, in whatever format it came.
pub(crate) fn ids(request: &Recorded) -> Vec<u64> {
    if request.path == "/v1/traces" {
        let request = oracle::decode_traces(&request.body);
        let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
        return spans.map(|s| u64::from_be_bytes(s.span_id.clone().try_into().unwrap())).collect();
    }
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let blocks = body.as_array().unwrap();
    let spans = blocks.iter().flat_map(|b| match b.get("spans") {
        Some(spans) => spans.as_array().unwrap().clone(),
        None => vec![b.clone()],
    });
    spans.map(|s| u64::from_str_radix(s["id"].as_str().unwrap(), 16).unwrap()).collect()
}

/// A request with one gauge.
pub(crate) fn gauge(value: f64) -> Vec<u8> {
    use oracle::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics};
    use oracle::metrics::v1::{metric::Data, number_data_point::Value};
    let point = NumberDataPoint {
        time_unix_nano: 1_700_000_000_000_000_000,
        value: Some(Value::AsDouble(value)),
        ..Default::default()
    };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    let metrics = vec![Metric { name: "modelmuxer_active_connections".into(), data, ..Default::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
    oracle::ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A clock that a test moves.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    /// Starts in 2023, at `T0`.
    pub(crate) fn start() -> Self {
        Time(Arc::new(AtomicU64::new(T0)))
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || time.0.load(Ordering::SeqCst))
    }

    pub(crate) fn forward(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1_000_000_000, Ordering::SeqCst);
    }

    pub(crate) fn seconds(&self) -> u64 {
        (self.0.load(Ordering::SeqCst) - T0) / 1_000_000_000
    }
}

pub(crate) const T0: u64 = 1_700_000_000_000_000_000;

/// An exporter whose clock the test moves.
pub(crate) fn timed(url: &str, mode: &serde_json::Value, time: &Time) -> (NewRelicExporter, Counters) {
    let cx = BuildContext::new("newrelic", Counters::new(), time.clock());
    (contract::build::<NewRelic>(config(url, mode), &cx), cx.counters)
}

/// What became of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) omitted: u64,
    pub(crate) dropped: u64,
    pub(crate) calls: u32,
}

/// What the pipeline does, in short: retries after the wait that was asked for or a second, splits, drops.
pub(crate) async fn deliver(exporter: &NewRelicExporter, batch: &Batch, time: &Time) -> Outcome {
    let mut outcome = Outcome::default();
    let mut waiting = vec![batch.clone()];
    while let Some(next) = waiting.pop() {
        let items = next.items() as u64;
        loop {
            outcome.calls += 1;
            assert!(outcome.calls < 200, "it never ends");
            match exporter.export(&next).await {
                Ok(delivered) => {
                    outcome.sent += items - delivered.omitted - delivered.rejected;
                    outcome.omitted += delivered.omitted;
                    outcome.dropped += delivered.rejected;
                }
                Err(ExportError::Retryable { after, .. }) => {
                    time.forward(after.map_or(1, |wait| wait.as_secs().max(1)));
                    continue;
                }
                Err(ExportError::TooLarge { .. }) if items > 1 => {
                    let half = next.items().div_ceil(2);
                    let parts = muxbridge_pdata::split(next.signal(), next.otlp(), half, usize::MAX);
                    let part = |p| muxbridge_testkit::batch(next.signal(), p);
                    waiting.extend(parts.into_iter().rev().map(part));
                }
                Err(_) => outcome.dropped += items,
            }
            break;
        }
    }
    outcome
}

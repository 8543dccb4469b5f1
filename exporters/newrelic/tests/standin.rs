//! The exporter against a stand-in for New Relic that enforces every documented limit.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use muxbridge_core::{Batch, Clock, Counters, Delivered, ExportError, Exporter, Signal, names};
use muxbridge_exporter_newrelic::{NewRelic, NewRelicExporter, encode};
use muxbridge_testkit::oracle::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use muxbridge_testkit::oracle::{self, Message};
use muxbridge_testkit::{Recorded, Reply, Server, batch, contract, corpus, corpus_traces, newrelic};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

const KEY: &str = "canary0123456789abcdefFFFFNRAL";

/// Configurations of every way in which traces can travel.
fn modes() -> Vec<serde_json::Value> {
    let mut modes = Vec::new();
    for compression in ["gzip", "zstd", "none"] {
        modes.push(json!({"compression": compression}));
        modes.push(json!({"compression": compression, "mode": "trace_api"}));
        modes.push(json!({"compression": compression, "mode": "trace_api", "trace_format": "zipkin"}));
    }
    modes
}

fn config(url: &str, mode: &serde_json::Value) -> serde_json::Value {
    let mut config = mode.clone();
    config["license_key"] = json!(KEY);
    config["endpoint"] = json!(url);
    config
}

fn exporter(url: &str, mode: &serde_json::Value) -> (NewRelicExporter, Counters) {
    let cx = contract::context::<NewRelic>();
    (contract::build::<NewRelic>(config(url, mode), &cx), cx.counters)
}

/// Answers as New Relic does.
fn as_new_relic(request: &Recorded) -> Reply {
    let (status, body) = newrelic::answer(&request.path, &request.headers, request.wire_len);
    Reply::status(status.as_u16()).body(body)
}

async fn standin() -> Server {
    Server::start(as_new_relic).await
}

fn violations(server: &Server) -> Vec<String> {
    let of = |r: &Recorded| newrelic::violations(&r.path, &r.headers, &r.body, r.wire_len);
    server.requests().iter().flat_map(of).collect()
}

/// What the pipeline does with `TooLarge`, in short: halves at a span, drops one span alone. Returns how many were
/// dropped.
async fn send_split(exporter: &NewRelicExporter, spans: Batch) -> usize {
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

fn halves(spans: &Batch) -> [Batch; 2] {
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

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// Spans with their number as id, each with `bytes` of text that does not compress.
fn spans(count: u32, bytes: usize) -> Batch {
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
fn ids(request: &Recorded) -> Vec<u64> {
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

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    contract::exporter_contract::<NewRelic>(json!({"license_key": KEY})).await;
    for mode in modes() {
        contract::http_contract::<NewRelic>(|url| config(url, &mode), &contract::any_traces()).await;
    }
}

#[tokio::test]
async fn the_recorded_telemetry_arrives_without_breaking_a_limit_in_every_mode() {
    let recorded: Vec<Batch> = ["run1", "workers2"].into_iter().flat_map(corpus_traces).collect();
    let sent: usize = recorded.iter().map(Batch::items).sum();
    for mode in modes() {
        let server = standin().await;
        let (exporter, _) = exporter(&server.url(), &mode);
        for spans in &recorded {
            assert_eq!(exporter.export(spans).await.unwrap(), Delivered::default());
        }
        let arrived: usize = server.requests().iter().map(|r| ids(r).len()).sum();
        assert_eq!((arrived, violations(&server)), (sent, vec![]), "{mode}");
    }
}

#[tokio::test]
async fn metrics_and_logs_go_over_otlp_even_with_the_trace_api() {
    let server = standin().await;
    let (exporter, _) = exporter(&server.url(), &json!({"mode": "trace_api"}));
    let attributes = vec![text("logger.name", "app.router")];
    let log = oracle::logs::v1::LogRecord { attributes, ..Default::default() };
    let scope_logs = vec![oracle::logs::v1::ScopeLogs { log_records: vec![log], ..Default::default() }];
    let resource_logs = vec![oracle::logs::v1::ResourceLogs { scope_logs, ..Default::default() }];
    let logs = oracle::ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    exporter.export(&batch(Signal::Logs, logs.into())).await.unwrap();
    exporter.export(&batch(Signal::Metrics, gauge(1.0).into())).await.unwrap();
    let paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!((paths, violations(&server)), (vec!["/v1/logs".into(), "/v1/metrics".into()], vec![]));
}

/// A request with one gauge.
fn gauge(value: f64) -> Vec<u8> {
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

// V14
#[tokio::test]
async fn parts_of_a_refused_batch_have_ids_of_their_own_and_lose_nothing() {
    let server = Server::start(|request| match ids(request).len() {
        10 => Reply::status(413),
        _ => Reply::status(202),
    })
    .await;
    let (exporter, _) = exporter(&server.url(), &json!({"mode": "trace_api"}));
    assert_eq!(send_split(&exporter, spans(10, 10)).await, 0);
    let requests = server.requests();
    assert_eq!(requests.iter().map(|r| ids(r).len()).collect::<Vec<_>>(), [10, 5, 5]);
    let request_ids: BTreeSet<&str> = requests.iter().map(|r| r.header("x-request-id")).collect();
    assert_eq!(request_ids.len(), 3);
}

// V15
#[tokio::test]
async fn one_span_that_is_too_large_is_tried_once() {
    let server = Server::start(|_| Reply::status(413)).await;
    let (exporter, _) = exporter(&server.url(), &json!({}));
    assert_eq!(send_split(&exporter, spans(1, 10)).await, 1);
    assert_eq!(server.requests().len(), 1);
}

// V16, V17: the schedule of retries is the pipeline's.
#[tokio::test]
async fn a_retry_of_a_batch_has_the_same_request_id_and_counts_changes_once() {
    let reserved = {
        let mut request = oracle::decode_traces(spans(1, 10).otlp());
        request.resource_spans[0].scope_spans[0].spans[0].attributes.push(text("timestamp", "1"));
        batch(Signal::Traces, request.encode_to_vec().into())
    };
    let server = Server::start(|_| Reply::status(429).header("retry-after", "29")).await;
    let (exporter, counters) = exporter(&server.url(), &json!({"mode": "trace_api"}));
    for _ in 0..2 {
        let Err(ExportError::Retryable { after, .. }) = exporter.export(&reserved).await else {
            panic!("429 is retryable")
        };
        assert_eq!(after, Some(Duration::from_secs(29)));
    }
    let requests = server.requests();
    assert_eq!(requests[0].header("x-request-id"), requests[1].header("x-request-id"));
    assert_eq!(counters.sum(names::ADJUSTED, &[]), 0, "nothing has left yet");

    let server = standin().await;
    let cx = muxbridge_core::BuildContext::new("newrelic", counters.clone(), Clock::fixed(0));
    let exporter = contract::build::<NewRelic>(config(&server.url(), &json!({})), &cx);
    exporter.export(&reserved).await.unwrap();
    assert_eq!(counters.sum(names::ADJUSTED, &[("reason", "reserved_renamed")]), 1);
}

// V18: that it is logged once is the pipeline's.
#[tokio::test]
async fn a_refused_key_is_a_permanent_error_that_does_not_show_it() {
    let server =
        Server::start(|request| Reply::status(403).body(format!("bad key {}", request.header("api-key"))))
            .await;
    let (exporter, _) = exporter(&server.url(), &json!({}));
    let error = exporter.export(&spans(1, 10)).await.unwrap_err();
    assert!(matches!(error, ExportError::Permanent { reason: "unauthorized", .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
}

// V19
#[tokio::test]
async fn an_empty_answer_is_a_success() {
    let server = Server::start(|_| Reply::status(200)).await;
    let (exporter, _) = exporter(&server.url(), &json!({}));
    assert_eq!(exporter.export(&spans(1, 10)).await.unwrap(), Delivered::default());
}

// V22
#[tokio::test]
async fn three_megabytes_of_spans_arrive_complete_below_the_limit_in_every_mode() {
    let large = spans(1000, 3000);
    assert!(large.otlp().len() > 3_000_000);
    for mode in modes() {
        let server = standin().await;
        let (exporter, _) = exporter(&server.url(), &mode);
        assert_eq!(send_split(&exporter, large.clone()).await, 0);
        let requests = server.requests();
        let mut arrived: Vec<u64> = requests.iter().flat_map(ids).collect();
        arrived.sort_unstable();
        assert_eq!(arrived, (1..=1000).collect::<Vec<_>>(), "{mode}");
        assert_eq!(violations(&server), [""; 0], "{mode}");
    }
}

#[tokio::test]
async fn a_batch_of_which_nothing_can_be_stored_is_not_sent_but_counted() {
    let server = standin().await;
    let (exporter, counters) = exporter(&server.url(), &json!({}));
    let delivered = exporter.export(&batch(Signal::Metrics, gauge(f64::NAN).into())).await.unwrap();
    assert_eq!((delivered.omitted, server.requests().len()), (1, 0));
    let labels = [("component", "newrelic"), ("signal", "metrics"), ("reason", "not_finite")];
    assert_eq!(counters.sum(names::DROPPED, &labels), 1);
}

#[test]
fn the_standin_finds_what_an_unlimited_request_breaks() {
    let mut headers = http::HeaderMap::new();
    for (name, value) in
        [("api-key", "k"), ("user-agent", "muxbridge"), ("content-type", "application/x-protobuf")]
    {
        headers.insert(name, value.parse().unwrap());
    }
    let found = newrelic::violations("/v1/traces", &headers, spans(1, 5000).otlp(), 10);
    assert_eq!(found, ["span.modelmuxer.noise: string over 4095 characters"]);
    let found = newrelic::violations("/v1/metrics", &headers, &gauge(f64::NAN), 10);
    assert_eq!(found, ["metric modelmuxer_active_connections gauge: no finite value"]);
    let found = newrelic::violations("/v1/traces", &headers, spans(1, 10).otlp(), 1_000_000);
    assert_eq!(found, ["request: 1000000 bytes on the wire"]);
}

fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z.]{0,6}",
        "é{250,300}",
        proptest::sample::select(vec![
            "timestamp",
            "name",
            "trace.id",
            "entity.guid",
            "entityGuid",
            "value",
            "mm.value",
            "service.name",
            "m",
            "mm.m",
            "a-b",
            "a/b",
            "gen_ai.provider.name",
            "gen_ai.system",
            "error.type",
            "aiEnabledApp",
            "guid",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        "[a-zé]{0,8}".prop_map(|s| Some(Value::StringValue(s))),
        (4090usize..4100).prop_map(|n| Some(Value::StringValue("é".repeat(n)))),
        any::<bool>().prop_map(|b| Some(Value::BoolValue(b))),
        any::<i64>().prop_map(|i| Some(Value::IntValue(i))),
        any::<f64>().prop_map(|d| Some(Value::DoubleValue(d))),
        Just(Some(Value::DoubleValue(f64::NAN))),
        Just(Some(Value::BytesValue(vec![1, 2]))),
        (60usize..70).prop_map(|n| {
            let values = vec![AnyValue { value: Some(Value::IntValue(7)) }; n];
            Some(Value::ArrayValue(ArrayValue { values }))
        }),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 4, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4);
        let map = proptest::collection::vec((any_key(), inner), 0..4);
        prop_oneof![
            list.prop_map(|values| Some(Value::ArrayValue(ArrayValue { values }))),
            map.prop_map(|entries| {
                let entry = |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
                Some(Value::KvlistValue(KeyValueList { values: entries.into_iter().map(entry).collect() }))
            }),
        ]
        .prop_map(|value| AnyValue { value })
    })
}

/// Few attributes of all kinds, sometimes with many plain ones.
fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let odd = proptest::collection::vec((any_key(), any_value()), 0..5);
    (odd, prop_oneof![3 => Just(0usize), 1 => 0usize..140]).prop_map(|(odd, many)| {
        let odd =
            odd.into_iter().map(|(key, value)| KeyValue { key, value: Some(value), ..Default::default() });
        odd.chain((0..many).map(|i| text(&format!("k{i}"), "v"))).collect()
    })
}

fn any_span() -> impl Strategy<Value = oracle::trace::v1::Span> {
    let name = prop_oneof!["[a-z ]{0,9}", Just("é".repeat(5000))];
    (any_attributes(), any_attributes(), name, 0i32..7, 0i32..4, any::<[u8; 2]>(), any::<u64>()).prop_map(
        |(attributes, of_event, name, kind, code, id, start)| oracle::trace::v1::Span {
            trace_id: if id[0] < 20 { vec![] } else { vec![id[0]; 16] },
            span_id: vec![id[1]; 8],
            parent_span_id: if id[0] % 2 == 0 { vec![] } else { vec![id[0]; 8] },
            trace_state: name.clone(),
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(u64::from(id[0]) * 7_000),
            events: vec![oracle::trace::v1::span::Event {
                name: "exception".into(),
                attributes: of_event,
                ..Default::default()
            }],
            status: Some(oracle::trace::v1::Status { message: name.clone(), code }),
            name,
            attributes,
            ..Default::default()
        },
    )
}

fn any_metric() -> impl Strategy<Value = oracle::metrics::v1::Metric> {
    use oracle::metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point::Value,
    };
    let name = prop_oneof!["[mk][0-9]?", Just("n".repeat(300)), Just(String::new())];
    let value = prop_oneof![any::<f64>(), Just(f64::NAN)];
    let times = (prop_oneof![Just(0), any::<u64>()], prop_oneof![Just(0), any::<u64>()]);
    (name, 0..6, 0..3, any::<bool>(), value, times, any_attributes()).prop_map(
        |(name, kind, temporality, monotonic, value, (start, time), attributes)| {
            let number = NumberDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: start,
                time_unix_nano: time,
                value: Some(Value::AsDouble(value)),
                ..Default::default()
            };
            let histogram = HistogramDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: start,
                time_unix_nano: time,
                sum: Some(value),
                ..Default::default()
            };
            let exponential = ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: time,
                max: Some(value),
                ..Default::default()
            };
            let data = match kind {
                0 => None,
                1 => Some(Data::Gauge(Gauge { data_points: vec![number] })),
                2 => Some(Data::Sum(Sum {
                    data_points: vec![number],
                    aggregation_temporality: temporality,
                    is_monotonic: monotonic,
                })),
                3 => Some(Data::Histogram(Histogram {
                    data_points: vec![histogram],
                    aggregation_temporality: temporality,
                })),
                4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: vec![exponential],
                    aggregation_temporality: temporality,
                })),
                _ => Some(Data::Summary(Summary { data_points: vec![SummaryDataPoint::default()] })),
            };
            Metric { name, data, ..Default::default() }
        },
    )
}

/// What the stand-in says about a body as the exporter would send it.
fn check(path: &str, format: Option<(&str, &str)>, body: &[u8]) -> Vec<String> {
    let mut headers = http::HeaderMap::new();
    let content_type = if format.is_some() { "application/json" } else { "application/x-protobuf" };
    let (name, version) = format.unwrap_or_default();
    for (header, value) in [
        ("api-key", KEY),
        ("user-agent", "muxbridge"),
        ("content-type", content_type),
        ("x-request-id", "00000000-0000-4000-8000-000000000000"),
        ("data-format", name),
        ("data-format-version", version),
    ] {
        headers.insert(header, value.parse().unwrap());
    }
    newrelic::violations(path, &headers, body, 0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_of_spans_breaks_a_limit(
        resource in any_attributes(), scope in any_attributes(), spans in proptest::collection::vec(any_span(), 1..3)
    ) {
        let resource = Some(oracle::resource::v1::Resource { attributes: resource, ..Default::default() });
        let scope = Some(oracle::common::v1::InstrumentationScope { attributes: scope, ..Default::default() });
        let scope_spans = vec![oracle::trace::v1::ScopeSpans { scope, spans, ..Default::default() }];
        let resource_spans = vec![oracle::trace::v1::ResourceSpans { resource, scope_spans, ..Default::default() }];
        let request = oracle::ExportTraceServiceRequest { resource_spans };
        let batch = batch(Signal::Traces, request.encode_to_vec().into());
        let options = encode::Options::default();
        let mut counts = encode::Counts::default();
        let out = encode::otlp(&batch, &options, &mut counts);
        prop_assert_eq!(check("/v1/traces", None, &out), Vec::<String>::new());
        let left = muxbridge_testkit::batch(Signal::Traces, out.clone());
        prop_assert_eq!(left.items() as u64 + counts.dropped_total(), batch.items() as u64);
        // What has been made to fit fits.
        let no_additions = encode::Options { ai_monitoring: false };
        let again = encode::otlp(&left, &no_additions, &mut encode::Counts::default());
        prop_assert_eq!(again.as_ptr(), left.otlp().as_ptr());
        let out = encode::trace_api(&batch, &options, &mut encode::Counts::default());
        prop_assert_eq!(check("/trace/v1", Some(("newrelic", "1")), &out), Vec::<String>::new());
        let out = encode::zipkin(&batch, &options, &mut encode::Counts::default());
        prop_assert_eq!(check("/trace/v1", Some(("zipkin", "2")), &out), Vec::<String>::new());
    }

    #[test]
    fn no_request_of_metrics_breaks_a_limit(
        resource in any_attributes(), scope in any_attributes(),
        metrics in proptest::collection::vec(any_metric(), 1..4)
    ) {
        let resource = Some(oracle::resource::v1::Resource { attributes: resource, ..Default::default() });
        let scope = Some(oracle::common::v1::InstrumentationScope { attributes: scope, ..Default::default() });
        let scope_metrics = vec![oracle::metrics::v1::ScopeMetrics { scope, metrics, ..Default::default() }];
        let resource_metrics =
            vec![oracle::metrics::v1::ResourceMetrics { resource, scope_metrics, ..Default::default() }];
        let request = oracle::ExportMetricsServiceRequest { resource_metrics };
        let batch = batch(Signal::Metrics, request.encode_to_vec().into());
        let mut counts = encode::Counts::default();
        let out = encode::otlp(&batch, &encode::Options::default(), &mut counts);
        prop_assert_eq!(check("/v1/metrics", None, &out), Vec::<String>::new());
        let left = muxbridge_testkit::batch(Signal::Metrics, out);
        prop_assert_eq!(left.items() as u64 + counts.dropped_total(), batch.items() as u64);
        let again = encode::otlp(&left, &encode::Options::default(), &mut encode::Counts::default());
        prop_assert_eq!(again.as_ptr(), left.otlp().as_ptr());
    }

    #[test]
    fn no_request_of_logs_breaks_a_limit(attributes in any_attributes(), body in any_value(), long in any::<bool>()) {
        let body = if long { AnyValue { value: Some(Value::StringValue("é".repeat(33_000))) } } else { body };
        let log = oracle::logs::v1::LogRecord { attributes, body: Some(body), ..Default::default() };
        let scope_logs = vec![oracle::logs::v1::ScopeLogs { log_records: vec![log], ..Default::default() }];
        let resource_logs = vec![oracle::logs::v1::ResourceLogs { scope_logs, ..Default::default() }];
        let request = oracle::ExportLogsServiceRequest { resource_logs };
        let batch = batch(Signal::Logs, request.encode_to_vec().into());
        let out = encode::otlp(&batch, &encode::Options::default(), &mut encode::Counts::default());
        prop_assert_eq!(check("/v1/logs", None, &out), Vec::<String>::new());
    }
}

#[test]
fn the_scenario_is_the_same_in_all_formats() {
    let batch = batch(Signal::Traces, Bytes::from(corpus("scenario/traces.otlp.pb")));
    let options = encode::Options::default();
    let newrelic = encode::trace_api(&batch, &options, &mut encode::Counts::default());
    let zipkin = encode::zipkin(&batch, &options, &mut encode::Counts::default());
    let newrelic: serde_json::Value = serde_json::from_slice(&newrelic).unwrap();
    let zipkin: serde_json::Value = serde_json::from_slice(&zipkin).unwrap();
    let spans = newrelic[0]["spans"].as_array().unwrap();
    assert_eq!((spans.len(), zipkin.as_array().unwrap().len()), (batch.items(), batch.items()));
    for (a, b) in spans.iter().zip(zipkin.as_array().unwrap()) {
        assert_eq!((&a["trace.id"], &a["id"]), (&b["traceId"], &b["id"]));
        assert_eq!(a["attributes"]["service.name"], json!(null), "it is among the common attributes");
        assert_eq!(b["localEndpoint"]["serviceName"], newrelic[0]["common"]["attributes"]["service.name"]);
    }
}

#[test]
fn telemetry_that_is_already_as_new_relic_wants_it_goes_out_as_the_same_bytes() {
    for (signal, file) in [
        (Signal::Traces, "otlp_traces.pb"),
        (Signal::Metrics, "otlp_metrics.pb"),
        (Signal::Logs, "otlp_log.pb"),
        (Signal::Logs, "otlp_llm_event.pb"),
    ] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/").to_owned() + file;
        let batch = batch(signal, std::fs::read(path).unwrap().into());
        let out = encode::otlp(&batch, &encode::Options::default(), &mut encode::Counts::default());
        assert_eq!(out.as_ptr(), batch.otlp().as_ptr(), "{file}");
        assert_eq!(check(&format!("/v1/{signal}"), None, &out), [""; 0], "{file}");
    }
}

//! The test vectors of the reference, each a test with the number that it has there (T13 and T15 to T43; the others are
//! those of the `statsd` exporter).

use crate::build::*;
use muxbridge_core::{ExportError, Exporter, Signal, names};
use muxbridge_exporter_datadog::Datadog;
use muxbridge_exporter_datadog::encode::agent_payload::{Sender, frame, tracer_payloads};
use muxbridge_exporter_datadog::encode::logs::{LogCounts, LogOptions, logs};
use muxbridge_exporter_datadog::encode::metrics::{Distributions, intake};
use muxbridge_exporter_datadog::encode::parts::{Frame, Parts};
use muxbridge_exporter_datadog::encode::sketch::{Sketch, key};
use muxbridge_exporter_datadog::encode::stats::DurationSketch;
use muxbridge_exporter_datadog::encode::{
    keeps, normalize_name, normalize_service, normalize_tag, normalize_tag_value,
};
use muxbridge_exporter_statsd::MetricsConfig;
use muxbridge_exporter_statsd::encode::Dialect;
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use muxbridge_testkit::contract::{build, context};
use muxbridge_testkit::oracle::metrics::v1::number_data_point::Value as Point;
use muxbridge_testkit::oracle::metrics::v1::{NumberDataPoint, Sum, metric::Data};
use muxbridge_testkit::oracle::trace::v1::span::Link;
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use muxbridge_testkit::{Reply, Server};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn t13_the_key_of_a_value_in_a_sketch() {
    for (value, expected) in [
        (0.0, 0),
        (1e-9, 1),
        (0.001, 892),
        (0.25, 1249),
        (1.0, 1338),
        (2.0, 1383),
        (12.25, 1500),
        (100.0, 1635),
        (1000.0, 1784),
        (1e6, 2229),
        (-1.0, -1338),
    ] {
        assert_eq!(key(value), expected, "{value}");
    }
}

#[test]
fn t15_a_sketch_of_three_equal_values() {
    let mut sketch = Sketch::default();
    sketch.add(1.0, 3);
    let mut w = muxbridge_pdata::Writer::new();
    sketch.write(&mut w, "mm.lat", "h1", &["env:test"], 1_700_000_000);
    assert_eq!(
        text(w.as_slice()),
        "0a4b0a066d6d2e6c6174120268312208656e763a746573743a330880e2cfaa06100319000000000000f03f21000000000000f03f\
         29000000000000f03f3100000000000008403a02f414420103"
    );
}

fn count(value: i64, (start, time): (u64, u64)) -> muxbridge_core::Batch {
    let point = NumberDataPoint {
        value: Some(Point::AsInt(value)),
        start_time_unix_nano: start,
        time_unix_nano: time,
        ..Default::default()
    };
    let sum = Sum { data_points: vec![point], aggregation_temporality: 1, is_monotonic: true };
    metrics(vec![kv("deployment.environment", "test")], vec![metric("mm.requests", Data::Sum(sum))])
}

#[test]
fn t16_a_series_of_one_count() {
    const SECOND: u64 = 1_000_000_000;
    let batch = count(3, (1_699_999_990 * SECOND, 1_700_000_000 * SECOND));
    let options = MetricsConfig::default().options(Dialect::Dogstatsd, usize::MAX, "");
    let mut counts = Default::default();
    let bodies = intake(&batch, &options, Distributions::Points, "h1", 0, &mut counts);
    let body = bodies.series.body(&Frame::fields(), 0..1).joined();
    assert_eq!(
        text(&body),
        "0a380a0a0a04686f737412026831120b6d6d2e72657175657374731a08656e763a74657374220f0900000000000008401080e2cfaa06\
         2801400a"
    );
}

#[test]
fn t17_the_index_of_a_duration_in_statistics() {
    for (nanos, expected) in [(1.0, 1338), (1e6, 2229), (1e9, 2675), (1.5e9, 2701)] {
        assert_eq!(DurationSketch::index(nanos), expected, "{nanos}");
    }
}

/// What is emitted for the points of a cumulative sum by an exporter that started at 100.
fn deltas(points: &[(u64, u64, i64)]) -> Vec<Option<i64>> {
    let mut state = DeltaState::new(InitialValue::Auto, 100);
    let emitted = |(start, time, value): &(u64, u64, i64)| {
        let point = NumberDataPoint {
            value: Some(Point::AsInt(*value)),
            start_time_unix_nano: *start,
            time_unix_nano: *time,
            ..Default::default()
        };
        let sum = Sum { data_points: vec![point], aggregation_temporality: 2, is_monotonic: true };
        let batch = metrics(vec![], vec![metric("c", Data::Sum(sum))]);
        let converted = state.convert(&batch, 0, &mut DeltaStats::default())?;
        let request = muxbridge_testkit::oracle::decode_metrics(converted.otlp());
        match &request.resource_metrics[0].scope_metrics[0].metrics[0].data {
            Some(Data::Sum(sum)) => match sum.data_points[0].value {
                Some(Point::AsInt(value)) => Some(value),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    points.iter().map(emitted).collect()
}

#[test]
fn t18_a_counter_that_is_late_and_then_reset() {
    let points = [(50, 110, 7), (50, 120, 9), (50, 120, 11), (130, 140, 4), (130, 150, 6)];
    assert_eq!(deltas(&points), [None, Some(2), None, Some(4), Some(2)]);
}

#[test]
fn t19_a_counter_that_falls_without_saying_since_when() {
    assert_eq!(deltas(&[(0, 110, 5), (0, 120, 3)]), [None, None]);
}

#[test]
fn t20_a_counter_that_begins_with_its_first_point() {
    assert_eq!(deltas(&[(110, 110, 5), (110, 120, 8)]), [None, Some(3)]);
}

#[test]
fn t21_ids_of_128_bits() {
    let read = one(vec![], span(1, "x", vec![]));
    assert_eq!(read.number("trace_id"), 12_379_570_969_274_382_480);
    assert_eq!(read.meta("_dd.p.tid"), Some("640cfd8d00000000"));
    assert_eq!(read.number("span_id"), 67_667_974_448_284_343);
}

/// The minimal span of the reference, version 0.4. That the encoder writes these bytes is the test of its maps
/// (`encode/maps.rs`), because a span that came over OTLP always has more in its `meta`.
const MINIMAL: &str = "91918ca773657276696365a26d6da46e616d65b3687474702e7365727665722e72657175657374a87265736f75726365\
                       ad504f5354202f76312f63686174a874726163655f696401a77370616e5f696402a9706172656e745f696400a57374617274cf\
                       17979cfe362a0000a86475726174696f6ecd03e8a56572726f7200a46d65746181a3656e76a174a76d65747269637381b55f73\
                       616d706c696e675f7072696f726974795f7631cb3ff0000000000000a474797065a3776562";

fn minimal() -> Parts {
    let bytes = hex(MINIMAL);
    assert_eq!(bytes.len(), 187);
    let mut parts = Parts::default();
    parts.push(&bytes[1..], 1);
    parts
}

#[test]
fn t22_a_minimal_span_is_read_as_it_was_written() {
    let parts = minimal();
    assert_eq!(text(&parts.body(&Frame::Msgpack, 0..1).joined()), MINIMAL.replace(char::is_whitespace, ""));
    let spans = muxbridge_exporter_datadog::encode::read::spans(parts.piece(0));
    let s = &spans[0];
    assert_eq!(
        (s.service, s.name, s.resource, s.kind),
        ("mm", "http.server.request", "POST /v1/chat", "web")
    );
    assert_eq!((s.trace_id, s.span_id, s.parent_id, s.error), (1, 2, 0, false));
    assert_eq!((s.start, s.duration), (1_700_000_000_000_000_000, 1000));
    assert_eq!((s.text("env"), s.number("_sampling_priority_v1")), (Some("t"), Some(1.0)));
}

// T23 is the same span in version 0.5. It is not sent: that version has no links and no events, and an Agent that knows
// it knows 0.4. The exporter has one version of the protocol for Agents.

#[test]
fn t24_a_minimal_span_as_agents_send_it() {
    let sender = Sender { hostname: "h1".into(), env: "t".into(), version: "0.1.0" };
    let payloads = tracer_payloads(&minimal(), &sender);
    let body = payloads.body(&frame(&sender), 0..1).joined();
    assert_eq!(
        text(&body),
        "0a0268311201742a80011204727573742205302e312e30326e08011a6a0a026d6d1213687474702e7365727665722e72657175657374\
         1a0d504f5354202f76312f6368617420012802388080a8b1e39fe7cb1740e80752080a03656e761201745a200a155f73616d706c69\
         6e675f7072696f726974795f763111000000000000f03f62037765624201743a05302e312e30"
    );
}

fn request() -> Vec<muxbridge_testkit::oracle::common::v1::KeyValue> {
    vec![
        kv("http.request.method", "POST"),
        kv("http.route", "/v1/chat/completions"),
        kv("http.response.status_code", 200),
    ]
}

#[test]
fn t25_a_served_request() {
    let read = one(vec![], span(SERVER, "x", request()));
    assert_eq!(read.what(), ("http.server.request", "POST /v1/chat/completions", "web"));
    assert_eq!((read.meta("http.method"), read.meta("http.status_code")), (Some("POST"), Some("200")));
    assert_eq!(read.metric("http.status_code"), Some(200.0));
}

#[test]
fn t26_a_sent_request() {
    assert_eq!(one(vec![], span(CLIENT, "x", request())).what(), ("http.client.request", "POST", "http"));
}

#[test]
fn t27_a_call_of_a_model() {
    let attributes = vec![kv("gen_ai.request.model", "gpt-4o"), kv("gen_ai.usage.input_tokens", 12)];
    let read = one(vec![], span(CLIENT, "chat gpt-4o", attributes));
    assert_eq!(read.what(), ("client.request", "chat gpt-4o", "http"));
    assert_eq!(read.metric("gen_ai.usage.input_tokens"), Some(12.0));
    assert_eq!(read.meta("gen_ai.request.model"), Some("gpt-4o"));
}

#[test]
fn t28_inner_and_unspecified_spans() {
    assert_eq!(one(vec![], span(1, "route.decide", vec![])).what(), ("Internal", "route.decide", "custom"));
    let read = one(vec![], span(0, "x", vec![]));
    assert_eq!((read.text("name"), read.meta("span.kind")), ("Internal", Some("unspecified")));
}

#[test]
fn t29_an_unknown_method() {
    let read = one(vec![], span(SERVER, "x", vec![kv("http.request.method", "_OTHER")]));
    assert_eq!(read.text("resource"), "HTTP");
}

#[test]
fn t30_an_error_with_nothing_but_a_status() {
    let status = Some(Status { code: 2, message: String::new() });
    let failed = Span { status, ..span(CLIENT, "x", vec![kv("http.response.status_code", 503)]) };
    let read = one(vec![], failed);
    assert_eq!((read.number("error"), read.meta("error.msg")), (1, Some("503 Service Unavailable")));
}

#[test]
fn t31_a_query() {
    let attributes = vec![kv("db.system", "postgresql"), kv("db.query.text", "SELECT 1")];
    assert_eq!(one(vec![], span(CLIENT, "x", attributes)).what(), ("postgresql.query", "SELECT 1", "sql"));
}

#[test]
fn t32_no_service() {
    assert_eq!(one(vec![], span(1, "x", vec![])).text("service"), "otlpresourcenoservicename");
}

#[test]
fn t33_the_share_in_the_trace_state() {
    for (state, rate) in [("ot=th:8", Some(0.5)), ("ot=p:1;r:1", Some(0.5)), ("ot=p:63", None)] {
        let read = one(vec![], Span { trace_state: state.into(), ..span(1, "x", vec![]) });
        assert_eq!(read.metric("_sample_rate"), rate, "{state}");
    }
}

#[test]
fn t34_who_is_kept_at_a_rate() {
    assert_eq!([1, 10, 100].map(|id| keeps(id, 0.5)), [true, false, true]);
    assert_eq!([0.5, 0.1].map(|rate| keeps(12_379_570_969_274_382_480, rate)), [true, false]);
    assert!(keeps(10, 1.0) && !keeps(10, 0.0));
}

#[test]
fn t35_names_of_operations() {
    let long = "Too-Long-.".repeat(20);
    for (name, expected) in [
        ("", "unnamed_operation".to_owned()),
        ("&***", "unnamed_operation".to_owned()),
        ("bad-name", "bad_name".to_owned()),
        ("&&&&&&&_test-name-", "test_name".to_owned()),
        (&long, "Too_Long.".repeat(10)),
    ] {
        assert_eq!(normalize_name(name), expected);
    }
}

#[test]
fn t36_tags() {
    for (tag, expected) in [
        ("Test Conversion Of Weird !@#$%^&**() Characters", "test_conversion_of_weird_characters"),
        ("12.:trim@", ":trim"),
        ("Data🐨dog🐶 繋がっ⛰てて", "data_dog_繋がっ_てて"),
        ("fun:ky__tag/1", "fun:ky_tag/1"),
    ] {
        assert_eq!(normalize_tag(tag), expected);
    }
}

#[test]
fn t37_a_digit_may_begin_a_value_and_not_a_tag() {
    assert_eq!((normalize_service("1love"), normalize_tag_value("1love")), ("1love".into(), "1love".into()));
    assert_eq!(normalize_tag("1love"), "love");
}

#[test]
fn t38_a_link_with_a_quotation_mark() {
    let link = Link {
        attributes: vec![kv("k", "say \"hi\"")],
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..Default::default()
    };
    let read = one(vec![], Span { links: vec![link], ..span(1, "x", vec![]) });
    let links: Value = serde_json::from_str(read.meta("_dd.span_links").unwrap()).unwrap();
    assert_eq!(links[0]["attributes"]["k"], "say \"hi\"");
}

#[test]
fn t39_a_log_of_a_span() {
    let record = muxbridge_testkit::oracle::logs::v1::LogRecord {
        body: kv("", "hi").value,
        severity_number: 17,
        trace_id: hex("640cfd8d00000000abcd1234ef567890"),
        span_id: hex("00f067aa0ba902b7"),
        ..Default::default()
    };
    let options = LogOptions {
        tags: MetricsConfig::default().options(Dialect::Dogstatsd, usize::MAX, ""),
        hostname: String::new(),
        source: "modelmuxer".into(),
    };
    let parts = logs(
        &log_batch(vec![kv("service.name", "mm")], vec![record]),
        &options,
        0,
        &mut LogCounts::default(),
    );
    let item: Value = serde_json::from_slice(parts.piece(0)).unwrap();
    for (key, value) in [
        ("message", "hi"),
        ("status", "error"),
        ("dd.trace_id", "12379570969274382480"),
        ("dd.span_id", "67667974448284343"),
        ("otel.trace_id", "640cfd8d00000000abcd1234ef567890"),
        ("otel.severity_number", "17"),
        ("service", "mm"),
    ] {
        assert_eq!(item[key], value, "{key}");
    }
}

fn many(traces: u8) -> muxbridge_core::Batch {
    batch(vec![], (1..=traces).map(|i| Span { trace_id: [i; 16].into(), ..span(1, "n", vec![]) }).collect())
}

fn trace_count(request: &muxbridge_testkit::Recorded) -> usize {
    request.header("x-datadog-trace-count").parse().unwrap()
}

#[tokio::test]
async fn t40_a_payload_that_is_too_large_is_halved_and_a_chunk_that_is_too_large_alone_is_dropped() {
    let server = Server::start(|r| Reply::status(if trace_count(r) > 20 { 413 } else { 200 })).await;
    let config = |url: String| json!({ "trace_agent_url": url, "discovery": false });
    let exporter = build::<Datadog>(config(server.url()), &context::<Datadog>());
    exporter.export(&many(40)).await.unwrap();
    assert_eq!(server.requests().iter().map(trace_count).collect::<Vec<_>>(), [40, 20, 20]);

    // One of the traces is too large, even alone.
    let marked = |r: &muxbridge_testkit::Recorded| r.body.windows(5).any(|w| w == b"large");
    let server = Server::start(move |r| Reply::status(if marked(r) { 413 } else { 200 })).await;
    let cx = context::<Datadog>();
    let mut spans: Vec<_> =
        (1..=40u8).map(|i| Span { trace_id: [i; 16].into(), ..span(1, "n", vec![]) }).collect();
    spans[6].name = "large".into();
    let delivered = build::<Datadog>(config(server.url()), &cx).export(&batch(vec![], spans)).await.unwrap();
    assert_eq!((delivered.omitted, delivered.rejected), (1, 0));
    assert_eq!(cx.counters.sum(names::DROPPED, &[("signal", "traces"), ("reason", "too_large")]), 1);
    let accepted = server.requests().iter().filter(|r| !marked(r)).map(trace_count).sum::<usize>();
    assert_eq!(accepted, 39, "a trace was lost or doubled");
}

fn agentless(url: &str) -> Value {
    json!({ "mode": "agentless", "api_key": "k", "agentless": {
        "api_url": url, "logs_url": url, "otlp_url": url, "traces_url": url, "validate_key": false } })
}

#[tokio::test]
async fn t41_a_refused_key_loses_nothing() {
    let calls = Arc::new(AtomicUsize::new(0));
    let seen = calls.clone();
    let server = Server::start(move |_| {
        Reply::status(if seen.fetch_add(1, Ordering::SeqCst) < 3 { 403 } else { 202 })
    })
    .await;
    let exporter = build::<Datadog>(agentless(&server.url()), &context::<Datadog>());
    let batch = count(3, (1, 2_000_000_000));
    for _ in 0..3 {
        // The pipeline keeps the batch, waits, and shows the error as the health of the exporter.
        match exporter.export(&batch).await {
            Err(ExportError::Retryable { after: Some(after), source }) => {
                assert_eq!(after, Duration::from_secs(60));
                assert!(
                    source.to_string().contains("403") && source.to_string().contains("api_key"),
                    "{source}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    exporter.export(&batch).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn t42_a_destination_is_left_alone_as_long_as_it_asks() {
    let server = Server::start(|_| Reply::status(429).header("retry-after", "2")).await;
    let reset = Server::start(|_| Reply::status(429).header("x-ratelimit-reset", "2")).await;
    for url in [server.url(), reset.url()] {
        let result = build::<Datadog>(agentless(&url), &context::<Datadog>()).export(&count(1, (0, 1))).await;
        assert!(
            matches!(result, Err(ExportError::Retryable { after: Some(after), .. }) if after == Duration::from_secs(2))
        );
    }
}

#[tokio::test]
async fn t43_rates_hold_until_there_are_others() {
    let server = Server::start(|request| match request.header("datadog-rates-payload-version") {
        "" => Reply::json(r#"{"rate_by_service":{"service:mm,env:t":0.5}}"#)
            .header("datadog-rates-payload-version", "v7"),
        _ => Reply::json("{}").header("datadog-rates-payload-version", "v7"),
    })
    .await;
    let config = json!({ "trace_agent_url": server.url(), "discovery": false });
    let exporter = build::<Datadog>(config, &context::<Datadog>());
    for _ in 0..3 {
        exporter.export(&many(1)).await.unwrap();
        assert_eq!(exporter.rates()["service:mm,env:t"], 0.5);
    }
    assert_eq!(server.requests()[2].header("datadog-rates-payload-version"), "v7");
}

#[test]
fn the_signals_are_all_three() {
    assert_eq!(muxbridge_exporter_datadog::FACTORY.signals, Signal::ALL);
}

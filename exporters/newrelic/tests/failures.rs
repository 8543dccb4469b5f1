//! Scripted failures: nothing is lost, doubled or hammered; and what is derived from spans, over every way of sending.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/telemetry.rs"]
mod telemetry;

use muxbridge_core::{Batch, Delivered, ExportError, Exporter, Signal, names};
use muxbridge_testkit::newrelic::{Fault, Standin};
use muxbridge_testkit::oracle::metrics::v1::metric::Data;
use muxbridge_testkit::oracle::{self, Message};
use muxbridge_testkit::{GrpcReply, GrpcServer, Recorded, Reply, batch};
use serde_json::json;
use std::collections::BTreeMap;
use telemetry::*;

/// The four golden spans: a request, a decision, a call of a model, a failed attempt.
fn translated() -> Batch {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/otlp_traces.pb");
    batch(Signal::Traces, std::fs::read(path).unwrap().into())
}

/// How many requests each path got.
fn by_path(requests: &[Recorded]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    requests.iter().for_each(|r| *found.entry(r.path.clone()).or_default() += 1);
    found
}

fn paths(list: &[(&str, usize)]) -> BTreeMap<String, usize> {
    list.iter().map(|(path, n)| ((*path).to_owned(), *n)).collect()
}

/// Counts of the histograms of all metrics requests, by the name of the metric.
fn durations(requests: &[Recorded]) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for request in requests.iter().filter(|r| r.path == "/v1/metrics") {
        let request = oracle::decode_metrics(&request.body);
        let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
        for metric in scopes.flat_map(|s| s.metrics) {
            let Some(Data::ExponentialHistogram(histogram)) = metric.data else { continue };
            let count: u64 = histogram.data_points.iter().map(|p| p.count).sum();
            *found.entry(metric.name).or_default() += count;
        }
    }
    found
}

fn counts(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

const SERVER: &str = "http.server.request.duration";
const CLIENT: &str = "http.client.request.duration";

#[tokio::test]
async fn with_every_failure_of_the_table_each_span_arrives_exactly_once() {
    let again = [
        Fault::Status(408),
        Fault::RetryAfter(429, 29),
        Fault::Status(429),
        Fault::Status(500),
        Fault::RetryAfter(503, 5),
        Fault::Html(520),
        Fault::Html(530),
        Fault::Hangup,
        Fault::Status(413),
    ];
    for (mode, path) in [
        (json!({}), "/v1/traces"),
        (json!({"mode": "trace_api"}), "/trace/v1"),
        (json!({"mode": "trace_api", "trace_format": "zipkin"}), "/trace/v1"),
    ] {
        let server = Standin::start(again.iter().map(|fault| (path, fault.clone()))).await;
        let time = Time::start();
        let (exporter, _) = timed(&server.url(), &mode, &time);
        let outcome = deliver(&exporter, &spans(10, 50), &time).await;
        assert_eq!((outcome.sent, outcome.omitted, outcome.dropped), (10, 0, 0), "{mode}");
        let mut arrived: Vec<u64> = server.taken().iter().flat_map(ids).collect();
        arrived.sort_unstable();
        assert_eq!(arrived, (1..=10).collect::<Vec<_>>(), "{mode}");
        assert_eq!((server.faults_left(), server.violations()), (0, vec![]), "{mode}");
        assert_eq!(server.requests().len(), again.len() + 2, "one request for each fault, and two halves");
    }
}

#[tokio::test]
async fn a_large_request_gets_three_times_the_timeout_and_both_are_tried_again() {
    let server = muxbridge_testkit::Server::start(|_| Reply::status(Reply::SILENCE)).await;
    let (exporter, _) = exporter(&server.url(), &json!({"compression": "none", "timeout": "20ms"}));
    for (batch, waited) in [(spans(1, 10), "within 20ms"), (spans(150, 4_000), "within 60ms")] {
        let error = exporter.export(&batch).await.unwrap_err();
        assert!(matches!(error, ExportError::Retryable { after: None, .. }), "{error}");
        assert!(error.to_string().contains(waited), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_dropped_once_and_not_asked_again() {
    for status in [400, 404, 405, 409, 410, 411, 414, 415, 431] {
        let server = Standin::start([("/v1/traces", Fault::Status(status))]).await;
        let time = Time::start();
        let (exporter, _) = timed(&server.url(), &json!({}), &time);
        let outcome = deliver(&exporter, &spans(10, 50), &time).await;
        assert_eq!((outcome.dropped, outcome.calls, server.requests().len()), (10, 1, 1), "{status}");
        assert_eq!(
            deliver(&exporter, &spans(3, 50), &time).await.sent,
            3,
            "{status}: the next one goes through"
        );
    }
}

#[tokio::test]
async fn the_apm_metrics_follow_their_spans_and_fit_new_relics_limits() {
    let server = Standin::start([]).await;
    let (exporter, counters) = exporter(&server.url(), &json!({}));
    exporter.export(&translated()).await.unwrap();
    assert_eq!(by_path(&server.requests()), paths(&[("/v1/metrics", 1), ("/v1/traces", 1)]));
    assert_eq!(durations(&server.taken()), counts(&[(CLIENT, 1), (SERVER, 1)]));
    assert_eq!(server.violations(), [""; 0]);
    assert_eq!(counters.sum(names::DERIVED, &[("rule", "newrelic.apm_metrics")]), 2);
    // The resource is that of the spans, so the metrics are of the same entity.
    let metrics = oracle::decode_metrics(&server.taken()[1].body);
    let spans = oracle::decode_traces(&server.taken()[0].body);
    assert_eq!(metrics.resource_metrics[0].resource, spans.resource_spans[0].resource);
}

#[tokio::test]
async fn a_retry_of_spans_counts_their_duration_once() {
    let script = [("/v1/traces", Fault::Status(503)), ("/v1/traces", Fault::Hangup)];
    let server = Standin::start(script).await;
    let time = Time::start();
    let (exporter, _) = timed(&server.url(), &json!({}), &time);
    deliver(&exporter, &translated(), &time).await;
    assert_eq!(durations(&server.taken()), counts(&[(CLIENT, 1), (SERVER, 1)]));
}

#[tokio::test]
async fn metrics_that_find_no_way_hold_back_no_spans_and_arrive_later_in_one() {
    let script = [("/v1/metrics", Fault::Status(500)), ("/v1/metrics", Fault::RetryAfter(429, 60))];
    let server = Standin::start(script).await;
    let time = Time::start();
    let (exporter, _) = timed(&server.url(), &json!({}), &time);
    // At 0 s the first try fails; the next one is due after 5 s and is told to wait for a minute.
    for at in [0, 1, 4, 5, 6, 30, 64] {
        time.forward(at - time.seconds());
        assert_eq!(exporter.export(&translated()).await.unwrap(), Delivered::default());
    }
    assert_eq!(by_path(&server.requests()), paths(&[("/v1/metrics", 2), ("/v1/traces", 7)]));
    time.forward(1);
    exporter.export(&translated()).await.unwrap();
    assert_eq!(by_path(&server.requests()), paths(&[("/v1/metrics", 3), ("/v1/traces", 8)]));
    assert_eq!(durations(&server.taken()), counts(&[(CLIENT, 8), (SERVER, 8)]));
    assert_eq!(server.violations(), [""; 0]);
}

#[tokio::test]
async fn metrics_leave_every_five_seconds_and_the_last_ones_without_another_batch() {
    let server = Standin::start([]).await;
    let time = Time::start();
    let (exporter, _) = timed(&server.url(), &json!({}), &time);
    for at in [0, 4, 4, 4, 4] {
        time.forward(at - time.seconds());
        exporter.export(&translated()).await.unwrap();
    }
    assert_eq!(by_path(&server.requests()), paths(&[("/v1/metrics", 1), ("/v1/traces", 5)]));
    // Nothing more comes in, and time goes by.
    time.forward(1);
    server.wait_for(7).await;
    assert_eq!(by_path(&server.requests()), paths(&[("/v1/metrics", 2), ("/v1/traces", 5)]));
    assert_eq!(durations(&server.requests()), counts(&[(CLIENT, 5), (SERVER, 5)]));
}

#[tokio::test]
async fn at_the_end_what_waits_is_tried_once_more_and_the_rest_is_counted() {
    for (faults, arrived, lost) in [(1, 1, 0), (2, 0, 2)] {
        let server = Standin::start((0..faults).map(|_| ("/v1/metrics", Fault::Status(500)))).await;
        let time = Time::start();
        let (exporter, counters) = timed(&server.url(), &json!({}), &time);
        exporter.export(&translated()).await.unwrap();
        exporter.shutdown().await;
        assert_eq!(durations(&server.taken()).get(SERVER).copied().unwrap_or_default(), arrived);
        assert_eq!(counters.sum(names::DERIVED, &[("rule", "newrelic.apm_metrics_lost")]), lost);
        assert_eq!(server.requests().len(), 3);
    }
}

#[tokio::test]
async fn at_the_end_events_are_sent_even_if_the_metrics_find_no_way_and_losses_count_once() {
    let script =
        (0..2).map(|_| ("/v1/metrics", Fault::Status(500))).chain([("/v1/logs", Fault::Status(500))]);
    let server = Standin::start(script).await;
    let time = Time::start();
    let (exporter, counters) = timed(&server.url(), &json!({"llm_events": true}), &time);
    exporter.export(&translated()).await.unwrap();
    exporter.shutdown().await;
    exporter.shutdown().await;
    let rule = |rule| counters.sum(names::DERIVED, &[("rule", rule)]);
    assert_eq!((rule("newrelic.llm_events"), rule("newrelic.llm_events_lost")), (1, 0));
    assert_eq!((rule("newrelic.apm_metrics"), rule("newrelic.apm_metrics_lost")), (0, 2));
}

#[tokio::test]
async fn metrics_that_are_refused_are_counted_and_not_tried_with_every_batch() {
    let server = Standin::start([("/v1/metrics", Fault::Status(404))]).await;
    let time = Time::start();
    let (exporter, counters) = timed(&server.url(), &json!({}), &time);
    for at in [0, 1, 30, 59] {
        time.forward(at - time.seconds());
        exporter.export(&translated()).await.unwrap();
    }
    assert_eq!(by_path(&server.requests()), paths(&[("/v1/metrics", 1), ("/v1/traces", 4)]));
    assert_eq!(counters.sum(names::DERIVED, &[("rule", "newrelic.apm_metrics_lost")]), 2);
    time.forward(1);
    exporter.export(&translated()).await.unwrap();
    assert_eq!(durations(&server.taken()), counts(&[(CLIENT, 4), (SERVER, 4)]));
}

#[tokio::test]
async fn what_is_too_old_for_new_relic_is_sent_and_counted() {
    let server = Standin::start([]).await;
    let time = Time::start();
    let (exporter, counters) = timed(&server.url(), &json!({}), &time);
    let stale = || counters.sum(names::ADJUSTED, &[("reason", "stale")]);
    // Everything here is of T0.
    time.forward(48 * 3600);
    exporter.export(&spans(3, 10)).await.unwrap();
    exporter.export(&batch(Signal::Metrics, gauge(1.0).into())).await.unwrap();
    assert_eq!(stale(), 0);
    time.forward(1);
    exporter.export(&spans(3, 10)).await.unwrap();
    assert_eq!(stale(), 3);
    exporter.export(&batch(Signal::Metrics, gauge(1.0).into())).await.unwrap();
    assert_eq!((stale(), server.taken().len()), (4, 4));
}

/// A metrics batch of this service that has the metric of this name itself.
fn own_metric(service: &str, name: &str) -> Batch {
    let mut request = oracle::decode_metrics(&gauge(1.0));
    let attributes = vec![text("service.name", service)];
    request.resource_metrics[0].resource =
        Some(oracle::resource::v1::Resource { attributes, ..Default::default() });
    request.resource_metrics[0].scope_metrics[0].metrics[0].name = name.into();
    batch(Signal::Metrics, request.encode_to_vec().into())
}

#[tokio::test]
async fn a_metric_that_comes_in_by_itself_is_not_derived_as_well_unless_told_so() {
    for (mode, service, expected) in [
        (json!({}), "modelmuxer", counts(&[(CLIENT, 1)])),
        (json!({}), "another service", counts(&[(CLIENT, 1), (SERVER, 1)])),
        (json!({"apm_metrics": "always"}), "modelmuxer", counts(&[(CLIENT, 1), (SERVER, 1)])),
        (json!({"apm_metrics": "never"}), "modelmuxer", counts(&[])),
    ] {
        let server = Standin::start([]).await;
        let (exporter, _) = exporter(&server.url(), &mode);
        exporter.export(&own_metric(service, SERVER)).await.unwrap();
        exporter.export(&translated()).await.unwrap();
        assert_eq!(durations(&server.taken()), expected, "{mode}");
    }
}

#[tokio::test]
async fn events_of_calls_are_log_records_over_otlp_and_events_in_native_mode() {
    for (mode, expected) in [
        (json!({"llm_events": true}), paths(&[("/v1/logs", 1), ("/v1/metrics", 1), ("/v1/traces", 1)])),
        (
            json!({"llm_events": true, "mode": "native"}),
            paths(&[("/metric/v1", 1), ("/trace/v1", 1), ("/v1/accounts/events", 1)]),
        ),
    ] {
        let server = Standin::start([]).await;
        let (exporter, counters) = exporter(&server.url(), &mode);
        exporter.export(&translated()).await.unwrap();
        assert_eq!((by_path(&server.taken()), server.violations()), (expected, vec![]), "{mode}");
        assert_eq!(counters.sum(names::DERIVED, &[("rule", "newrelic.llm_events")]), 1);
        let last = server.taken().pop().unwrap();
        let body = String::from_utf8_lossy(&last.body).into_owned();
        assert!(body.contains("LlmChatCompletionSummary") && body.contains("gpt-4o-mini"), "{body}");
    }
}

/// A log record and a custom event.
fn record_and_event() -> Batch {
    use oracle::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    let record = |name: &str, attributes| LogRecord {
        time_unix_nano: T0,
        attributes,
        severity_text: name.into(),
        ..LogRecord::default()
    };
    let event = vec![text("newrelic.event.type", "Feedback"), text("rating", "5")];
    let log_records = vec![record("INFO", vec![text("logger.name", "app")]), record("", event)];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let request = oracle::ExportLogsServiceRequest { resource_logs };
    batch(Signal::Logs, request.encode_to_vec().into())
}

#[tokio::test]
async fn a_batch_for_two_apis_is_not_sent_twice_to_the_first_when_the_second_fails() {
    let events = "/v1/accounts/events";
    let server = Standin::start([(events, Fault::Status(503)), (events, Fault::Hangup)]).await;
    let time = Time::start();
    let (exporter, _) = timed(&server.url(), &json!({"mode": "native"}), &time);
    let outcome = deliver(&exporter, &record_and_event(), &time).await;
    assert_eq!((outcome.sent, outcome.calls), (2, 3));
    assert_eq!(by_path(&server.requests()), paths(&[("/log/v1", 1), (events, 3)]));
    assert_eq!(server.violations(), [""; 0]);
    // What went wrong for good with the events is no loss of the records.
    let server = Standin::start([(events, Fault::Status(400))]).await;
    let (exporter, _) = timed(&server.url(), &json!({"mode": "native"}), &time);
    let outcome = deliver(&exporter, &record_and_event(), &time).await;
    assert_eq!((outcome.sent, outcome.dropped), (1, 1));
    // The same batch again is another one.
    assert_eq!(deliver(&exporter, &record_and_event(), &time).await.sent, 2);
    assert_eq!(by_path(&server.requests()), paths(&[("/log/v1", 2), (events, 2)]));
}

#[tokio::test]
async fn over_grpc_the_bytes_the_key_and_the_compression_arrive() {
    for (compression, encoding) in [("gzip", "gzip"), ("zstd", "zstd"), ("none", "")] {
        let server = GrpcServer::start(|_| GrpcReply::ok()).await;
        let mode = json!({"protocol": "grpc", "compression": compression});
        let (exporter, _) = exporter(&server.url(), &mode);
        assert_eq!(exporter.export(&translated()).await.unwrap(), Delivered::default());
        let calls = server.calls();
        let signals: Vec<Signal> = calls.iter().map(|c| c.signal).collect();
        assert_eq!(signals, [Signal::Traces, Signal::Metrics]);
        assert_eq!(&calls[0].body, translated().otlp());
        assert_eq!((calls[0].header("api-key"), calls[0].header("grpc-encoding")), (KEY, encoding));
    }
}

#[tokio::test]
async fn grpc_statuses_have_new_relics_table_and_not_that_of_otlp() {
    for (code, expected) in [
        (1, "retry"),
        (2, "retry"),
        (3, "invalid"),
        (4, "retry"),
        (5, "wrong_endpoint"),
        (7, "wait 60"),
        (8, "wait 10"),
        (9, "rejected"),
        (10, "retry"),
        (12, "wrong_endpoint"),
        (13, "retry"),
        (14, "retry"),
        (15, "retry"),
        (16, "wait 60"),
    ] {
        let server =
            GrpcServer::start(move |c| GrpcReply::status(code, &format!("said {}", c.header("api-key"))))
                .await;
        let (exporter, _) = exporter(&server.url(), &json!({"protocol": "grpc"}));
        let error = exporter.export(&spans(1, 10)).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(KEY), "{code}: {error:?}");
        let found = match error {
            ExportError::Retryable { after: None, .. } => "retry".to_owned(),
            ExportError::Retryable { after: Some(wait), .. } => format!("wait {}", wait.as_secs()),
            ExportError::Permanent { reason, .. } => reason.to_owned(),
            ExportError::TooLarge { .. } => "split".to_owned(),
        };
        assert_eq!(found, expected, "{code}");
    }
    let proxy = |status| move |_: &_| GrpcReply { http_status: Some(status), ..GrpcReply::default() };
    for (status, retryable) in [(413, false), (429, true), (520, true), (404, false)] {
        let server = GrpcServer::start(proxy(status)).await;
        let (exporter, _) = exporter(&server.url(), &json!({"protocol": "grpc"}));
        let error = exporter.export(&spans(1, 10)).await.unwrap_err();
        assert_eq!(matches!(error, ExportError::Retryable { .. }), retryable, "{status}: {error}");
        assert_eq!(matches!(error, ExportError::TooLarge { .. }), status == 413, "{status}: {error}");
    }
}

#[tokio::test]
async fn a_request_of_a_million_bytes_is_split_before_it_is_sent_over_grpc_too() {
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    let (exporter, _) = exporter(&server.url(), &json!({"protocol": "grpc"}));
    let error = exporter.export(&spans(400, 3000)).await.unwrap_err();
    assert!(matches!(error, ExportError::TooLarge { .. }), "{error}");
    assert_eq!(server.calls().len(), 0);
}

//! What goes over the wire to an Agent, and what its answers mean.

use crate::build::*;
use muxbridge_core::{ExportError, Exporter, names};
use muxbridge_exporter_datadog::Datadog;
use muxbridge_testkit::contract::{build, context, exporter_contract, http_contract, problems};
use muxbridge_testkit::oracle::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value,
};
use muxbridge_testkit::oracle::trace::v1::Span;
use muxbridge_testkit::{Reply, Server};
use serde_json::json;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};

fn many(traces: u8) -> muxbridge_core::Batch {
    let spans = (1..=traces).map(|i| Span { trace_id: [i; 16].into(), ..span(1, &"n".repeat(4000), vec![]) });
    batch(vec![], spans.collect())
}

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    exporter_contract::<Datadog>(json!({})).await;
    http_contract::<Datadog>(|url| json!({ "trace_agent_url": url }), &many(1)).await;
}

#[tokio::test]
async fn a_request_has_the_headers_that_an_agent_reads() {
    let server = Server::start(|_| Reply::json(r#"{"rate_by_service":{}}"#)).await;
    let exporter = build::<Datadog>(
        json!({ "trace_agent_url": server.url(), "discovery": false }),
        &context::<Datadog>(),
    );
    exporter.export(&many(3)).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v0.4/traces"));
    for (name, value) in [
        ("content-type", "application/msgpack"),
        ("x-datadog-trace-count", "3"),
        ("datadog-meta-lang", "rust"),
        ("datadog-meta-tracer-version", env!("CARGO_PKG_VERSION")),
        ("datadog-client-computed-top-level", "yes"),
        ("datadog-client-computed-stats", ""),
        ("datadog-send-real-http-status", "true"),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn traces_go_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("apm.socket");
    let server = Server::start_unix(&path, |_| Reply::json("{}"));
    let url = format!("unix://{}", path.display());
    build::<Datadog>(json!({ "trace_agent_url": url, "discovery": false }), &context::<Datadog>())
        .export(&many(1))
        .await
        .unwrap();
    assert_eq!(server.wait_for(1).await[0].path, "/v0.4/traces");
}

#[tokio::test]
async fn statuses_say_whether_to_try_again_to_split_or_to_drop() {
    for (status, expected) in [
        (400, "permanent"),
        (404, "permanent"),
        (408, "retry"),
        (413, "split"),
        (415, "permanent"),
        (429, "retry"),
        (500, "retry"),
    ] {
        let server = Server::start(move |_| Reply::status(status)).await;
        let cx = context::<Datadog>();
        let result = build::<Datadog>(json!({ "trace_agent_url": server.url(), "discovery": false }), &cx)
            .export(&many(1))
            .await;
        let found = match result.unwrap_err() {
            ExportError::Retryable { .. } => "retry",
            ExportError::TooLarge { .. } => "split",
            ExportError::Permanent { .. } => "permanent",
        };
        assert_eq!(found, expected, "{status}");
        assert_eq!(cx.counters.sum(names::REQUESTS, &[("outcome", "failed")]), 1);
    }
}

#[tokio::test]
async fn rates_are_kept_and_an_answer_without_them_changes_nothing() {
    let server = Server::start(|request| match request.header("datadog-rates-payload-version") {
        "" => Reply::json(r#"{"rate_by_service":{"service:mm,env:t":0.5}}"#)
            .header("datadog-rates-payload-version", "v7"),
        _ => Reply::json("{}"),
    })
    .await;
    let exporter = build::<Datadog>(
        json!({ "trace_agent_url": server.url(), "discovery": false }),
        &context::<Datadog>(),
    );
    for _ in 0..2 {
        exporter.export(&many(1)).await.unwrap();
        assert_eq!(exporter.rates()["service:mm,env:t"], 0.5);
    }
    assert_eq!(server.requests()[1].header("datadog-rates-payload-version"), "v7");
}

#[tokio::test]
async fn a_retry_sends_only_what_the_agent_does_not_have() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let server =
        Server::start(|_| Reply::status(if CALLS.fetch_add(1, Ordering::SeqCst) == 1 { 503 } else { 200 }))
            .await;
    let config = json!({ "trace_agent_url": server.url(), "discovery": false, "max_payload_size": 100_000 });
    let exporter = build::<Datadog>(config, &context::<Datadog>());
    let batch = many(40);
    assert!(matches!(exporter.export(&batch).await, Err(ExportError::Retryable { .. })));
    exporter.export(&batch).await.unwrap();
    let counts: Vec<_> =
        server.requests().iter().map(|r| r.header("x-datadog-trace-count").to_owned()).collect();
    assert_eq!(counts[1], counts[2], "the refused request was not the one that was repeated");
    let bodies: std::collections::HashSet<_> = server.requests().iter().map(|r| r.body.clone()).collect();
    assert_eq!(bodies.len() + 1, counts.len(), "a request that was accepted was sent again");
    let sent: usize = counts.iter().map(|c| c.parse::<usize>().unwrap()).sum();
    assert_eq!(sent - counts[1].parse::<usize>().unwrap(), 40);
}

#[tokio::test]
async fn spans_without_ids_are_counted_once_even_if_the_batch_is_tried_again() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let server =
        Server::start(|_| Reply::status(if CALLS.fetch_add(1, Ordering::SeqCst) == 0 { 503 } else { 200 }))
            .await;
    let cx = context::<Datadog>();
    let exporter = build::<Datadog>(json!({ "trace_agent_url": server.url(), "discovery": false }), &cx);
    let batch = batch(vec![], vec![span(1, "x", vec![]), Span { span_id: vec![], ..span(1, "y", vec![]) }]);
    exporter.export(&batch).await.unwrap_err();
    assert_eq!(exporter.export(&batch).await.unwrap().omitted, 1);
    assert_eq!(cx.counters.sum(names::DROPPED, &[("signal", "traces"), ("reason", "no_id")]), 1);
}

#[tokio::test]
async fn metrics_go_to_dogstatsd_with_the_configured_environment() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = json!({ "dogstatsd_url": format!("udp://{}", server.local_addr().unwrap()), "env": "t" });
    let exporter = build::<Datadog>(config, &context::<Datadog>());
    let point = NumberDataPoint { value: Some(Value::AsDouble(1.5)), ..Default::default() };
    let metric = Metric {
        name: "m".into(),
        data: Some(Data::Gauge(Gauge { data_points: vec![point] })),
        ..Default::default()
    };
    let request = muxbridge_testkit::oracle::ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }],
            ..Default::default()
        }],
    };
    let otlp = muxbridge_testkit::oracle::encode(&request);
    exporter.export(&muxbridge_testkit::batch(muxbridge_core::Signal::Metrics, otlp)).await.unwrap();
    let mut buffer = [0; 100];
    let n = server.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..n], b"m:1.5|g|#env:t\n");
}

#[test]
fn every_mistake_in_the_configuration_is_named() {
    let bad = json!({
        "trace_agent_url": "localhost:8126", "dogstatsd_url": "tcp://x:1", "timeout": "0", "max_payload_size": 1,
        "metrics": { "prefix": "9" },
    });
    let found = problems::<Datadog>(&bad);
    let paths: Vec<_> = found.iter().map(|p| p.split(':').next().unwrap()).collect();
    assert_eq!(paths, ["trace_agent_url", "dogstatsd_url", "timeout", "max_payload_size", "metrics.prefix"]);
    for url in ["http://h:1/path", "unix://relative", "http://user@h:1", "ftp://h"] {
        assert_eq!(problems::<Datadog>(&json!({ "trace_agent_url": url })).len(), 1, "{url}");
    }
    for url in ["http://h:1/", "https://h", "unix:///run/apm.socket"] {
        assert!(problems::<Datadog>(&json!({ "trace_agent_url": url })).is_empty(), "{url}");
    }
}

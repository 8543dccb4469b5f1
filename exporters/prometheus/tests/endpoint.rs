//! The page over HTTP, and the contract of every exporter.

use crate::build::*;
use muxbridge_core::{Exporter, ExporterKind, names};
use muxbridge_exporter_prometheus::{Prometheus, PrometheusExporter};
use muxbridge_testkit::contract::{self, context, exporter_contract, problems};
use serde_json::json;
use std::io::Read;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn raw(exporter: &PrometheusExporter, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(exporter.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
}

async fn get(exporter: &PrometheusExporter, method: &str, path: &str, headers: &str) -> (String, Vec<u8>) {
    raw(exporter, &format!("{method} {path} HTTP/1.1\r\nhost: anything\r\n{headers}\r\n")).await
}

async fn filled(config: serde_json::Value) -> PrometheusExporter {
    let exporter = contract::build::<Prometheus>(config, &context::<Prometheus>());
    let delivered = exporter.export(&batch(vec![gauge("g", vec![int(1, &[])])])).await.unwrap();
    assert_eq!(delivered.omitted, 0);
    exporter
}

#[tokio::test]
async fn it_keeps_the_contract_of_exporters() {
    exporter_contract::<Prometheus>(json!({ "endpoint": "127.0.0.1:0" })).await;
}

#[test]
fn every_wrong_option_is_reported() {
    let found = problems::<Prometheus>(&json!({
        "endpoint": "prometheus:9464", "path": "metrics", "namespace": "9 lives", "const_labels": { "job": "x" },
        "metric_expiration": "0s", "max_series": 0, "max_connections": 0
    }));
    let paths: Vec<&str> = found.iter().map(|p| p.split(':').next().unwrap()).collect();
    let expected = [
        "endpoint",
        "path",
        "namespace",
        "const_labels.job",
        "metric_expiration",
        "max_series",
        "max_connections",
    ];
    assert_eq!(paths, expected, "{found:?}");
    assert!(problems::<Prometheus>(&json!({ "endpoint": "localhost:9464" })).is_empty());
}

#[test]
fn a_preview_is_the_page_after_all_batches_with_what_it_leaves_out() {
    let batches =
        [1, 2].map(|value| batch(vec![gauge("g", vec![int(value, &[])]), counter("c", 0, int(1, &[]))]));
    let preview = Prometheus::preview(&Default::default(), &batches).unwrap();
    assert_eq!(preview.text, "# TYPE g gauge\ng 2\n");
    assert_eq!(preview.dropped.into_iter().collect::<Vec<_>>(), [("no_temporality".to_owned(), 2)]);
}

#[tokio::test]
async fn the_accept_header_chooses_the_format_and_gzip_is_sent_if_taken() {
    let exporter = filled(json!({ "endpoint": "127.0.0.1:0" })).await;
    let (head, body) = get(&exporter, "GET", "/metrics", "").await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert_eq!(body, b"# TYPE g gauge\ng 1\n");
    let (head, body) = get(
        &exporter,
        "GET",
        "/metrics",
        "accept: application/openmetrics-text\r\naccept-encoding: gzip\r\n",
    )
    .await;
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(
        head.contains("content-encoding: gzip") && head.contains("vary: accept, accept-encoding"),
        "{head}"
    );
    let mut page = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut page).unwrap();
    assert_eq!(page, "# TYPE g gauge\ng 1\n# EOF\n");
    let (head, body) = get(&exporter, "HEAD", "/metrics", "").await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-length: 19") && body.is_empty(),
        "{head}"
    );
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let exporter = filled(json!({ "endpoint": "127.0.0.1:0", "path": "/page" })).await;
    let (head, _) = get(&exporter, "POST", "/page", "content-length: 0\r\n").await;
    assert!(head.starts_with("http/1.1 405") && head.contains("allow: get, head"), "{head}");
    assert!(get(&exporter, "GET", "/metrics", "").await.0.starts_with("http/1.1 404"));
    assert!(get(&exporter, "GET", "/page", "").await.0.starts_with("http/1.1 200"));
    assert!(raw(&exporter, "nonsense\r\n\r\n").await.0.starts_with("http/1.1 400"));
}

#[tokio::test]
async fn openmetrics_can_be_switched_off() {
    let exporter = filled(json!({ "endpoint": "127.0.0.1:0", "enable_open_metrics": false })).await;
    let (head, _) = get(&exporter, "GET", "/metrics", "accept: application/openmetrics-text\r\n").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
}

#[tokio::test]
async fn a_client_beyond_the_connection_limit_waits_until_another_one_leaves() {
    let exporter = filled(json!({ "endpoint": "127.0.0.1:0", "max_connections": 1 })).await;
    let silent = TcpStream::connect(exporter.address()).await.unwrap();
    // The one connection is taken once the server has accepted it, which it does in the order of connecting.
    let waiting = get(&exporter, "GET", "/metrics", "");
    tokio::pin!(waiting);
    for _ in 0..1000 {
        tokio::select! {
            biased;
            answer = &mut waiting => panic!("answered besides the limit: {answer:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    drop(silent);
    assert!(waiting.await.0.starts_with("http/1.1 200"));
}

#[tokio::test]
async fn what_is_dropped_is_counted_and_told_to_the_pipeline() {
    let cx = context::<Prometheus>();
    let exporter = contract::build::<Prometheus>(json!({ "endpoint": "127.0.0.1:0", "max_series": 1 }), &cx);
    let metrics = batch(vec![
        gauge("g", vec![int(1, &[("k", "1")]), int(1, &[("k", "2")])]),
        counter("c", 0, int(1, &[])),
    ]);
    assert_eq!(exporter.export(&metrics).await.unwrap().omitted, 2);
    for reason in ["series_limit", "no_temporality"] {
        let labels = [("component", "prometheus"), ("signal", "metrics"), ("reason", reason)];
        assert_eq!(cx.counters.sum(names::DROPPED, &labels), 1, "{reason}");
    }
}

#[tokio::test]
async fn shutdown_closes_the_port_and_a_taken_port_is_named() {
    let exporter = filled(json!({ "endpoint": "127.0.0.1:0" })).await;
    let address = exporter.address();
    let config =
        muxbridge_exporter_prometheus::Config { endpoint: address.to_string(), ..Default::default() };
    let error = Prometheus::build(config, &context::<Prometheus>()).err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("endpoint"), "{error}");
    exporter.shutdown().await;
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), closed).await.expect("the port is closed");
}

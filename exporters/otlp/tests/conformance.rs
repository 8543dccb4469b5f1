//! The requirements of the OTLP specification on a client, one test for each, named by its id in the list that the
//! project keeps: `e8` is "HTTP retries only 429, 502, 503 and 504".

use bytes::Bytes;
use muxbridge_core::{Batch, Delivered, ExportError, Exporter, ExporterKind, Signal};
use muxbridge_exporter_otlp::{Otlp, OtlpHttp};
use muxbridge_testkit::contract::{build, context, dead_endpoint, problems};
use muxbridge_testkit::oracle::{self, Message};
use muxbridge_testkit::{GrpcReply, GrpcServer, Reply, Server, batch, corpus_traces, retry_info};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

type Outcome = Result<Delivered, ExportError>;

fn spans(batch: &[u8]) -> usize {
    let request = oracle::decode_traces(batch);
    request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum()
}

fn one_batch() -> Batch {
    corpus_traces("run1").remove(0)
}

fn span_named(name: String) -> Batch {
    let span =
        oracle::trace::v1::Span { trace_id: vec![1; 16], span_id: vec![2; 8], name, ..Default::default() };
    let scope = oracle::trace::v1::ScopeSpans { spans: vec![span], ..Default::default() };
    let resource = oracle::trace::v1::ResourceSpans { scope_spans: vec![scope], ..Default::default() };
    let request = oracle::ExportTraceServiceRequest { resource_spans: vec![resource] };
    batch(Signal::Traces, oracle::encode(&request))
}

fn one_point() -> Batch {
    use oracle::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
    };
    let point = NumberDataPoint { value: Some(number_data_point::Value::AsInt(7)), ..Default::default() };
    let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
    let metric = Metric { name: "queue".into(), data, ..Default::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..Default::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..Default::default() };
    let request = oracle::ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    batch(Signal::Metrics, oracle::encode(&request))
}

fn one_log() -> Batch {
    use oracle::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    let record = LogRecord { severity_text: "INFO".into(), ..Default::default() };
    let scope = ScopeLogs { log_records: vec![record], ..Default::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..Default::default() };
    batch(Signal::Logs, oracle::encode(&oracle::ExportLogsServiceRequest { resource_logs: vec![resource] }))
}

async fn grpc(config: Value, batch: &Batch) -> Outcome {
    build::<Otlp>(config, &context::<Otlp>()).export(batch).await
}

async fn http(config: Value, batch: &Batch) -> Outcome {
    build::<OtlpHttp>(config, &context::<OtlpHttp>()).export(batch).await
}

async fn grpc_says(reply: GrpcReply) -> Outcome {
    let server = GrpcServer::start(move |_| reply.clone()).await;
    grpc(json!({ "endpoint": server.url() }), &one_batch()).await
}

async fn http_says(reply: Reply) -> Outcome {
    let server = Server::start(move |_| reply.clone()).await;
    http(json!({ "endpoint": server.url() }), &one_batch()).await
}

/// What the pipeline will do: `retry`, `retry 2s`, `split`, `drop`.
fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Ok(_) => "delivered".into(),
        Err(ExportError::Retryable { after: None, .. }) => "retry".into(),
        Err(ExportError::Retryable { after: Some(after), .. }) => format!("retry {after:?}"),
        Err(ExportError::TooLarge { .. }) => "split".into(),
        Err(ExportError::Permanent { .. }) => "drop".into(),
    }
}

#[tokio::test]
async fn grpc_carries_every_signal_and_the_very_bytes_with_each_compression() {
    let traces = corpus_traces("run1");
    for compression in ["none", "gzip", "zstd"] {
        let server = GrpcServer::start(|_| GrpcReply::ok()).await;
        let config = json!({ "endpoint": server.url(), "compression": compression });
        let exporter = build::<Otlp>(config, &context::<Otlp>());
        for batch in traces.iter().chain([&one_point(), &one_log()]) {
            assert_eq!(exporter.export(batch).await.unwrap(), Delivered::default());
        }
        let calls = server.calls();
        let (last, first) = (&calls[traces.len()..], &calls[..traces.len()]);
        for (call, batch) in first.iter().zip(&traces) {
            assert_eq!((call.signal, &call.body), (Signal::Traces, batch.otlp()));
            assert_eq!(spans(&call.body), batch.items());
        }
        let total: usize = first.iter().map(|c| c.wire_len).sum();
        let plain: usize = traces.iter().map(|b| b.otlp().len()).sum();
        assert_eq!(total < plain / 2, compression != "none", "{compression}: {total} of {plain}");
        let metric = &oracle::decode_metrics(&last[0].body).resource_metrics[0].scope_metrics[0].metrics[0];
        assert_eq!((last[0].signal, metric.name.as_str()), (Signal::Metrics, "queue"));
        let record = &oracle::decode_logs(&last[1].body).resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!((last[1].signal, record.severity_text.as_str()), (Signal::Logs, "INFO"));
    }
}

#[tokio::test]
async fn http_carries_every_signal_and_the_very_bytes_with_each_compression() {
    for compression in ["none", "gzip", "zstd"] {
        let server = Server::start(|_| Reply::status(200)).await;
        let config = json!({ "endpoint": server.url(), "compression": compression });
        let exporter = build::<OtlpHttp>(config, &context::<OtlpHttp>());
        let batches = [one_batch(), one_point(), one_log()];
        for batch in &batches {
            assert_eq!(exporter.export(batch).await.unwrap(), Delivered::default());
        }
        let requests = server.requests();
        let paths: Vec<_> = requests.iter().map(|r| r.path.as_str()).collect();
        assert_eq!(paths, ["/v1/traces", "/v1/metrics", "/v1/logs"]);
        for (request, batch) in requests.iter().zip(&batches) {
            assert_eq!((request.method.as_str(), &request.body), ("POST", batch.otlp()));
        }
        assert_eq!(spans(&requests[0].body), batches[0].items());
    }
}

#[tokio::test]
async fn e1_a_request_over_the_limit_is_not_sent() {
    let huge = span_named("x".repeat(65 << 20));
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    assert_eq!(verdict(&grpc(json!({ "endpoint": server.url() }), &huge).await), "split");
    assert!(server.calls().is_empty());
    let server = Server::start(|_| Reply::status(200)).await;
    assert_eq!(verdict(&http(json!({ "endpoint": server.url() }), &huge).await), "split");
    assert!(server.requests().is_empty());
}

#[test]
fn e1_the_pipeline_splits_to_the_configured_size() {
    let needs = |bytes: Option<usize>| {
        let mut config = muxbridge_exporter_otlp::GrpcConfig::default();
        let mut http = muxbridge_exporter_otlp::HttpConfig::default();
        if let Some(bytes) = bytes {
            (config.max_request_bytes, http.max_request_bytes) = (bytes, bytes);
        }
        (Otlp::needs(&config).max_request_bytes, OtlpHttp::needs(&http).max_request_bytes)
    };
    assert_eq!(needs(None), (Some(4_194_304), Some(4_194_304)));
    assert_eq!(needs(Some(1000)), (Some(1000), Some(1000)));
}

#[tokio::test]
async fn e4_an_answer_over_4_mib_is_permanent() {
    let long = vec![b'x'; 5 << 20];
    assert_eq!(verdict(&http_says(Reply::status(200).body(long.clone())).await), "drop");
    assert_eq!(verdict(&http_says(Reply::status(503).body(long.clone())).await), "drop");
    assert_eq!(verdict(&grpc_says(GrpcReply::message(long)).await), "drop");
}

#[tokio::test]
async fn e4_compressed_answers_are_neither_asked_for_nor_inflated() {
    let server =
        Server::start(|_| Reply::status(200).header("content-encoding", "gzip").body("\x1f\u{8b}")).await;
    let outcome = http(json!({ "endpoint": server.url() }), &one_batch()).await;
    assert_eq!(outcome.unwrap(), Delivered::default());
    assert_eq!(server.requests()[0].header("accept-encoding"), "");
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    grpc(json!({ "endpoint": server.url() }), &one_batch()).await.unwrap();
    assert_eq!(server.calls()[0].header("grpc-accept-encoding"), "");
}

#[tokio::test]
async fn e5_partial_success_is_delivered_with_its_count_and_message() {
    let expected = Delivered { rejected: 2, omitted: 0, message: "too old".into() };
    let partial = oracle::ExportTracePartialSuccess { rejected_spans: 2, error_message: "too old".into() };
    let answer = oracle::ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    assert_eq!(grpc_says(GrpcReply::message(answer.clone())).await.unwrap(), expected);
    let proto = Reply::status(200).header("content-type", "application/x-protobuf").body(answer);
    assert_eq!(http_says(proto).await.unwrap(), expected);
    for count in [json!("2"), json!(2)] {
        let answer = json!({ "partialSuccess": { "rejectedSpans": count, "errorMessage": "too old" } });
        assert_eq!(http_says(Reply::json(answer.to_string())).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn e5_a_warning_without_rejected_items_is_kept() {
    let partial = oracle::ExportTracePartialSuccess { rejected_spans: 0, error_message: "slow down".into() };
    let answer = oracle::ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let expected = Delivered { rejected: 0, omitted: 0, message: "slow down".into() };
    assert_eq!(grpc_says(GrpcReply::message(answer)).await.unwrap(), expected);
}

#[tokio::test]
async fn e5_an_absurd_count_is_bounded_by_the_batch() {
    for (rejected_spans, expected) in [(-1, 0), (i64::MAX, one_batch().items() as u64)] {
        let partial = oracle::ExportTracePartialSuccess { rejected_spans, ..Default::default() };
        let answer = oracle::ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(grpc_says(GrpcReply::message(answer)).await.unwrap().rejected, expected);
    }
}

#[tokio::test]
async fn an_unreadable_answer_to_a_success_is_still_a_success() {
    for body in ["", "{", "<html>", "\u{1}\u{2}\u{3}"] {
        for kind in ["application/json", "application/x-protobuf", "text/html"] {
            let reply = Reply::status(200).header("content-type", kind).body(body);
            assert_eq!(http_says(reply).await.unwrap(), Delivered::default(), "{body:?} as {kind}");
        }
        assert_eq!(grpc_says(GrpcReply::message(body)).await.unwrap(), Delivered::default(), "{body:?}");
    }
}

#[tokio::test]
async fn e6_grpc_retries_only_what_the_table_allows() {
    const RETRYABLE: [u32; 6] = [1, 4, 10, 11, 14, 15];
    for code in [7, 16] {
        // Refused credentials hold the data: one key that expired would empty the queue.
        let outcome = grpc_says(GrpcReply::status(code, "no")).await;
        assert_eq!(verdict(&outcome), "retry 60s", "code {code}");
    }
    for code in (1..16).filter(|code| *code != 7) {
        let always = RETRYABLE.contains(&code);
        // RESOURCE_EXHAUSTED is retryable if the server says when.
        let with_delay = always || code == 8;
        let none = grpc_says(GrpcReply::status(code, "no")).await;
        assert_eq!(verdict(&none), if always { "retry" } else { "drop" }, "code {code}");
        for (seconds, nanos, expected) in
            [(0, 0, "retry 0ns"), (2, 0, "retry 2s"), (0, 500_000_000, "retry 500ms")]
        {
            let details = retry_info(code, seconds, nanos);
            let outcome = grpc_says(GrpcReply::status(code, "no").details(details)).await;
            assert_eq!(
                verdict(&outcome),
                if with_delay { expected } else { "drop" },
                "code {code} {seconds}"
            );
        }
    }
}

#[tokio::test]
async fn e6_a_request_over_the_limit_of_the_server_is_split() {
    let go = GrpcReply::status(8, "grpc: received message larger than max (5000000 vs. 4194304)");
    assert_eq!(verdict(&grpc_says(go).await), "split");
    let tonic = GrpcReply::status(
        11,
        "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
    );
    assert_eq!(verdict(&grpc_says(tonic).await), "split");
}

#[tokio::test]
async fn e6_a_proxy_that_answers_in_http_is_understood() {
    for (status, expected) in [
        (400, "drop"),
        (401, "retry 60s"),
        (404, "drop"),
        (429, "retry"),
        (502, "retry"),
        (503, "retry"),
        (500, "drop"),
    ] {
        let reply = GrpcReply { http_status: Some(status), ..GrpcReply::status(0, "proxy") };
        assert_eq!(verdict(&grpc_says(reply).await), expected, "HTTP {status}");
    }
}

#[tokio::test]
async fn e7_a_delay_is_at_most_an_hour() {
    let outcome = grpc_says(GrpcReply::status(14, "later").details(retry_info(14, 1 << 40, 0))).await;
    assert_eq!(verdict(&outcome), "retry 3600s");
    let outcome = http_says(Reply::status(503).header("retry-after", "99999999999999999999999")).await;
    assert_eq!(verdict(&outcome), "retry 3600s");
}

#[tokio::test]
async fn e8_http_retries_only_429_502_503_504_and_refused_credentials_once_a_minute() {
    let retried = BTreeSet::from([429, 502, 503, 504]);
    for status in 300..=599 {
        let expected = match status {
            413 => "split",
            s if retried.contains(&s) => "retry",
            // Not the OTLP specification's "must not retry": one key that expired would empty the queue.
            401 | 403 => "retry 60s",
            _ => "drop",
        };
        assert_eq!(verdict(&http_says(Reply::status(status)).await), expected, "HTTP {status}");
    }
}

#[tokio::test]
async fn e9_http_400_is_dropped_even_with_a_delay_and_says_why() {
    // google.rpc.Status { code: 3, message: "bad trace id" }
    let status = b"\x08\x03\x12\x0cbad trace id";
    let reply =
        Reply::status(400).header("retry-after", "5").header("content-type", "application/x-protobuf");
    let outcome = http_says(reply.body(&status[..])).await;
    assert_eq!(verdict(&outcome), "drop");
    assert_eq!(outcome.unwrap_err().to_string(), "permanent: HTTP 400 Bad Request: bad trace id");
}

#[tokio::test]
async fn e10_retry_after_is_read_in_seconds_and_as_each_kind_of_date() {
    // The clock of the test stands at 2026-01-01 00:00:00 UTC, a Thursday.
    for (value, expected) in [
        ("120", "retry 120s"),
        ("0", "retry 0ns"),
        ("Thu, 01 Jan 2026 00:01:00 GMT", "retry 60s"),
        ("Thursday, 01-Jan-26 00:01:00 GMT", "retry 60s"),
        ("Thu Jan  1 00:01:00 2026", "retry 60s"),
        ("Wed, 31 Dec 2025 23:59:00 GMT", "retry 0ns"),
        ("-5", "retry"),
        ("soon", "retry"),
        ("", "retry"),
    ] {
        let reply = Reply::status(503).header("retry-after", value);
        assert_eq!(verdict(&http_says(reply).await), expected, "Retry-After: {value}");
    }
}

#[tokio::test]
async fn e11_no_answer_is_retried() {
    let dead = dead_endpoint();
    assert_eq!(verdict(&http(json!({ "endpoint": dead }), &one_batch()).await), "retry");
    assert_eq!(verdict(&grpc(json!({ "endpoint": dead }), &one_batch()).await), "retry");
    assert_eq!(verdict(&http_says(Reply::status(Reply::HANGUP)).await), "retry");
    let hangup = GrpcReply { hangup: true, ..GrpcReply::ok() };
    assert_eq!(verdict(&grpc_says(hangup).await), "retry");
}

#[tokio::test]
async fn e11_an_answer_that_takes_too_long_is_retried() {
    let server = Server::start(|_| Reply::status(Reply::SILENCE)).await;
    let config = json!({ "endpoint": server.url(), "timeout": "50ms" });
    let outcome = http(config, &one_batch()).await;
    assert_eq!(verdict(&outcome), "retry");
    assert!(outcome.unwrap_err().to_string().contains("no answer within 50ms"));
    let server = GrpcServer::start(|_| GrpcReply { silence: true, ..GrpcReply::ok() }).await;
    let config = json!({ "endpoint": server.url(), "timeout": "50ms" });
    assert_eq!(verdict(&grpc(config, &one_batch()).await), "retry");
    assert!(server.calls().iter().all(|c| c.header("grpc-timeout") == "50m"));
}

/// Passes connections on to `to` and counts them.
#[allow(clippy::expect_used, reason = "a test that cannot go on has failed")]
async fn counting(to: std::net::SocketAddr) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("loopback"));
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(to).await.expect("loopback");
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (url, count)
}

#[tokio::test]
async fn e13_a_hundred_requests_one_after_the_other_take_one_connection() {
    let (grpc, http) =
        (GrpcServer::start(|_| GrpcReply::ok()).await, Server::start(|_| Reply::status(200)).await);
    let (url, connections) = counting(grpc.addr()).await;
    let exporter = build::<Otlp>(json!({ "endpoint": url }), &context::<Otlp>());
    for _ in 0..100 {
        assert_eq!(verdict(&exporter.export(&one_batch()).await), "delivered");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 1, "gRPC");
    let (url, connections) = counting(http.addr()).await;
    let exporter = build::<OtlpHttp>(json!({ "endpoint": url }), &context::<OtlpHttp>());
    for _ in 0..100 {
        assert_eq!(verdict(&exporter.export(&one_batch()).await), "delivered");
    }
    assert_eq!(connections.load(std::sync::atomic::Ordering::Relaxed), 1, "HTTP");
}

#[tokio::test]
async fn e14_the_content_type_is_set_and_the_encoding_with_it() {
    for (compression, encoding) in [("none", ""), ("gzip", "gzip"), ("zstd", "zstd")] {
        for (form, kind) in [("proto", "application/x-protobuf"), ("json", "application/json")] {
            let server = Server::start(|_| Reply::status(200)).await;
            let config = json!({ "endpoint": server.url(), "compression": compression, "encoding": form });
            http(config, &one_batch()).await.unwrap();
            let request = &server.requests()[0];
            assert_eq!(
                (request.header("content-type"), request.header("content-encoding")),
                (kind, encoding)
            );
        }
        let server = GrpcServer::start(|_| GrpcReply::ok()).await;
        let config = json!({ "endpoint": server.url(), "compression": compression });
        grpc(config, &one_batch()).await.unwrap();
        let call = &server.calls()[0];
        assert_eq!(
            (call.header("content-type"), call.header("grpc-encoding")),
            ("application/grpc", encoding)
        );
        assert_eq!((call.header("te"), call.header("grpc-timeout")), ("trailers", "10000m"));
    }
}

#[tokio::test]
async fn e16_an_empty_batch_is_not_sent() {
    let empty = batch(Signal::Traces, Bytes::new());
    // Nobody listens: a request would fail.
    let dead = json!({ "endpoint": dead_endpoint() });
    assert_eq!(http(dead.clone(), &empty).await.unwrap(), Delivered::default());
    assert_eq!(grpc(dead, &empty).await.unwrap(), Delivered::default());
}

#[tokio::test]
async fn e17_a_base_url_gets_the_path_of_the_signal_and_an_own_url_is_used_as_it_is() {
    let server = Server::start(|_| Reply::status(200)).await;
    let url = server.url();
    let config = json!({
        "endpoint": format!("{url}/mycollector/"),
        "metrics_endpoint": format!("{url}/other/metrics?tenant=a"),
        "logs_endpoint": url,
    });
    let exporter = build::<OtlpHttp>(config, &context::<OtlpHttp>());
    for batch in [one_batch(), one_point(), one_log()] {
        exporter.export(&batch).await.unwrap();
    }
    let paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/mycollector/v1/traces", "/other/metrics?tenant=a", "/"]);
}

#[tokio::test]
async fn e17_an_endpoint_without_a_scheme_is_plain_text_only_if_insecure() {
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    let address = server.addr().to_string();
    let insecure = json!({ "endpoint": address, "tls": { "insecure": true } });
    assert_eq!(verdict(&grpc(insecure, &one_batch()).await), "delivered");
    assert_eq!(verdict(&grpc(json!({ "endpoint": address }), &one_batch()).await), "retry");
    // The scheme beats the flag.
    let https = json!({ "endpoint": format!("https://{address}"), "tls": { "insecure": true } });
    assert_eq!(verdict(&grpc(https, &one_batch()).await), "retry");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn e17_headers_are_sent_with_every_request() {
    let headers = json!({ "api-key": "canary-1", "X-Tenant": "a" });
    let server = Server::start(|_| Reply::status(200)).await;
    http(json!({ "endpoint": server.url(), "headers": headers }), &one_batch()).await.unwrap();
    let request = &server.requests()[0];
    assert_eq!((request.header("api-key"), request.header("x-tenant")), ("canary-1", "a"));
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    grpc(json!({ "endpoint": server.url(), "headers": headers }), &one_batch()).await.unwrap();
    let call = &server.calls()[0];
    assert_eq!((call.header("api-key"), call.header("x-tenant")), ("canary-1", "a"));
}

#[test]
fn e17_an_endpoint_that_cannot_work_is_reported_with_its_key() {
    let grpc = |endpoint: &str| problems::<Otlp>(&json!({ "endpoint": endpoint })).join("\n");
    assert!(grpc("").starts_with("endpoint: missing"));
    assert!(grpc("ftp://host").contains("the scheme must be http or https"));
    assert!(grpc("http://host:4318/v1/traces").contains("otlphttp"));
    assert!(grpc("https://user:canary@host").contains("use headers"));
    assert!(!grpc("https://user:canary@host").contains("canary"));
    assert_eq!(grpc("collector:4317") + &grpc("http://collector:4317/") + &grpc("[::1]:4317"), "");
    let http = |config: Value| problems::<OtlpHttp>(&config).join("\n");
    assert!(http(json!({})).starts_with("endpoint: missing"));
    assert!(http(json!({ "endpoint": "https://host?x=1" })).contains("no query"));
    assert!(http(json!({ "endpoint": "https://host", "logs_endpoint": "" })).starts_with("logs_endpoint: "));
    assert_eq!(http(json!({ "traces_endpoint": "https://host/x" })), "");
    let zero = json!({ "endpoint": "https://host", "timeout": "0", "max_request_bytes": 0 });
    assert!(http(zero.clone()).contains("timeout: ") && http(zero).contains("max_request_bytes: "));
}

#[tokio::test]
async fn e18_one_attempt_is_one_request_and_the_backoff_is_left_to_the_pipeline() {
    let server = Server::start(|_| Reply::status(503)).await;
    assert_eq!(verdict(&http(json!({ "endpoint": server.url() }), &one_batch()).await), "retry");
    assert_eq!(server.requests().len(), 1);
    let server = GrpcServer::start(|_| GrpcReply::status(14, "later")).await;
    assert_eq!(verdict(&grpc(json!({ "endpoint": server.url() }), &one_batch()).await), "retry");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn e18_an_exporter_recovers_when_the_server_does() {
    let answers = std::sync::atomic::AtomicU32::new(0);
    let server = GrpcServer::start(move |_| {
        let n = answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if n == 0 { GrpcReply { hangup: true, ..GrpcReply::ok() } } else { GrpcReply::ok() }
    })
    .await;
    let exporter = build::<Otlp>(json!({ "endpoint": server.url() }), &context::<Otlp>());
    assert_eq!(verdict(&exporter.export(&one_batch()).await), "retry");
    assert_eq!(verdict(&exporter.export(&one_batch()).await), "delivered");
}

#[tokio::test]
async fn e19_the_user_agent_names_the_program_and_its_version() {
    let expected = concat!("muxbridge/", env!("CARGO_PKG_VERSION"));
    let server = Server::start(|_| Reply::status(200)).await;
    http(json!({ "endpoint": server.url() }), &one_batch()).await.unwrap();
    assert_eq!(server.requests()[0].header("user-agent"), expected);
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    grpc(json!({ "endpoint": server.url() }), &one_batch()).await.unwrap();
    assert_eq!(server.calls()[0].header("user-agent"), expected);
    let own = json!({ "endpoint": server.url(), "headers": { "user-agent": "mine" } });
    grpc(own, &one_batch()).await.unwrap();
    assert_eq!(server.calls()[1].header("user-agent"), "mine");
}

#[tokio::test]
async fn e20_fields_that_are_not_known_arrive() {
    // Field 1000, a string, behind a recorded request.
    let mut newer = one_batch().otlp().to_vec();
    newer.extend_from_slice(b"\xc2\x3e\x05newer");
    let newer = batch(Signal::Traces, newer.into());
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    grpc(json!({ "endpoint": server.url() }), &newer).await.unwrap();
    assert_eq!(&server.calls()[0].body, newer.otlp());
    let server = Server::start(|_| Reply::status(200)).await;
    http(json!({ "endpoint": server.url() }), &newer).await.unwrap();
    assert_eq!(&server.requests()[0].body, newer.otlp());
}

#[tokio::test]
async fn many_calls_at_once_share_a_connection_and_all_arrive() {
    let server = GrpcServer::start(|_| GrpcReply::ok()).await;
    let exporter = build::<Otlp>(json!({ "endpoint": server.url() }), &context::<Otlp>());
    let exporter = std::sync::Arc::new(exporter);
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..100 {
        let exporter = exporter.clone();
        calls.spawn(async move { exporter.export(&span_named(format!("span {i}"))).await });
    }
    while let Some(outcome) = calls.join_next().await {
        assert_eq!(verdict(&outcome.unwrap()), "delivered");
    }
    let names: BTreeSet<String> = server
        .wait_for(100)
        .await
        .iter()
        .map(|c| oracle::decode_traces(&c.body).resource_spans[0].scope_spans[0].spans[0].name.clone())
        .collect();
    assert_eq!(names.len(), 100);
}

#[tokio::test]
async fn a_connection_that_never_speaks_does_not_hold_an_export_for_ever() {
    // Accepted by the kernel, never by a program.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = json!({ "endpoint": format!("http://{}", silent.local_addr().unwrap()), "timeout": "50ms" });
    let outcome = tokio::time::timeout(Duration::from_secs(10), grpc(config, &one_batch())).await;
    assert_eq!(verdict(&outcome.unwrap()), "retry");
}

//! What the OTLP specification requires of a receiver, each named by its id in the list that the project keeps: `r` for all
//! and gRPC, `h` for HTTP.

use super::kit::Rig;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use muxbridge_testkit::{corpus, oracle};
use prost::Message;
use serde_json::{Value, json};

const SERVICES: [(&str, &str); 3] = [
    ("/v1/traces", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    ("/v1/metrics", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
    ("/v1/logs", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
];

fn client(http2: bool) -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).http2_only(http2).build(connector)
}

struct Answer {
    status: u16,
    headers: hyper::HeaderMap,
    body: Bytes,
    trailers: hyper::HeaderMap,
}

impl Answer {
    /// The status of gRPC, and its details.
    fn grpc(&self) -> (u16, bool) {
        let found = |name| self.trailers.get(name).or_else(|| self.headers.get(name));
        let status = found("grpc-status").expect("a status").to_str().expect("a text");
        (status.parse().expect("a number"), found("grpc-status-details-bin").is_some())
    }
}

async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    method: &str,
    url: String,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let mut request = hyper::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer =
        client.request(request.body(Full::new(body.into())).expect("a request")).await.expect("an answer");
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole answer");
    let trailers = body.trailers().cloned().unwrap_or_default();
    Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes(), trailers }
}

fn frame(compressed: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[compressed], &length[..], message].concat()
}

const PB: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

fn rig() -> Rig {
    Rig::start(&json!({}), json!({}))
}

/// A request of this length exactly: a trace with a long name.
fn of_length(length: usize) -> Vec<u8> {
    let named = |name: usize| {
        let span = oracle::trace::v1::Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "x".repeat(name),
            ..Default::default()
        };
        let scope = oracle::trace::v1::ScopeSpans { spans: vec![span], ..Default::default() };
        let resource = oracle::trace::v1::ResourceSpans { scope_spans: vec![scope], ..Default::default() };
        oracle::encode(&oracle::ExportTraceServiceRequest { resource_spans: vec![resource] }).to_vec()
    };
    let around = named(length).len() - length;
    let made = named(length - around);
    assert_eq!(made.len(), length);
    made
}

#[tokio::test]
async fn r2_r3_64_mib_are_taken_and_a_byte_more_is_refused_for_good() {
    let rig = rig();
    let (one, two) = (client(false), client(true));
    for (length, http, grpc) in [(64 << 20, 200, 0), ((64 << 20) + 1, 413, 8)] {
        let body = of_length(length);
        let answer = send(&one, "POST", format!("http://{}/v1/traces", rig.http), &[PB], body.clone()).await;
        assert_eq!(answer.status, http, "{length}");
        let url = format!("http://{}{}", rig.grpc, SERVICES[0].1);
        let answer = send(&two, "POST", url, &GRPC, frame(0, &body)).await;
        assert_eq!(
            answer.grpc(),
            (grpc, false),
            "{length}: RESOURCE_EXHAUSTED with details would be retried"
        );
    }
    assert_eq!(rig.taken(), 2);
}

#[tokio::test]
async fn r2_what_grows_over_the_limit_is_refused_for_good() {
    let rig = rig();
    let zeros = vec![0; 65 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &zeros).expect("memory");
    let zstd = zstd::encode_all(&zeros[..], 1).expect("memory");
    for (name, body) in [("gzip", gzip.finish().expect("memory")), ("zstd", zstd)] {
        let headers = [GRPC[0], GRPC[1], ("grpc-encoding", name)];
        let url = format!("http://{}{}", rig.grpc, SERVICES[0].1);
        assert_eq!(
            send(&client(true), "POST", url, &headers, frame(1, &body)).await.grpc(),
            (8, false),
            "{name}"
        );
    }
}

#[tokio::test]
async fn r1_an_unknown_compression_is_refused_and_says_what_is_known() {
    let rig = rig();
    for name in ["snappy", "br", "gzip, gzip"] {
        let headers = [GRPC[0], GRPC[1], ("grpc-encoding", name)];
        let url = format!("http://{}{}", rig.grpc, SERVICES[0].1);
        let answer = send(&client(true), "POST", url, &headers, frame(1, b"x")).await;
        assert_eq!(answer.grpc(), (12, false), "{name}");
        assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip,zstd");
        let url = format!("http://{}/v1/traces", rig.http);
        let answer = send(&client(false), "POST", url, &[PB, ("content-encoding", name)], "x").await;
        assert_eq!(answer.status, 415, "{name}");
    }
}

#[tokio::test]
async fn r4_r5_r7_r8_h4_a_success_is_the_empty_answer_of_the_signal_also_for_an_empty_request() {
    let rig = rig();
    let (one, two) = (client(false), client(true));
    let traces = corpus("run1/trace-0001.pb");
    for (path, method) in SERVICES {
        for body in [&b""[..], &traces] {
            if !body.is_empty() && path != "/v1/traces" {
                continue;
            }
            let url = format!("http://{}{path}", rig.http);
            let answer = send(&one, "POST", url.clone(), &[PB], body.to_vec()).await;
            assert_eq!(
                (answer.status, &answer.body[..]),
                (200, &b""[..]),
                "{path}: partial_success is unset"
            );
            let answer =
                send(&two, "POST", format!("http://{}{method}", rig.grpc), &GRPC, frame(0, body)).await;
            assert_eq!((answer.grpc(), &answer.body[..]), ((0, false), &[0, 0, 0, 0, 0][..]), "{method}");
        }
        let answer = send(&one, "POST", format!("http://{}{path}", rig.http), &[JSON], "{}").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{path}");
    }
    // An empty message is one of every answer type.
    assert!(
        oracle::ExportTraceServiceResponse::decode(&b""[..]).expect("an answer").partial_success.is_none()
    );
}

#[tokio::test]
async fn r11_h6_what_cannot_be_read_is_refused_for_good_with_what_is_wrong() {
    let rig = rig();
    let bad = b"\x0a\x7f\x00";
    for (path, method) in SERVICES {
        let answer =
            send(&client(true), "POST", format!("http://{}{method}", rig.grpc), &GRPC, frame(0, bad)).await;
        assert_eq!(answer.grpc(), (3, true), "{method}: INVALID_ARGUMENT with BadRequest");
        let url = format!("http://{}{path}", rig.http);
        let answer = send(&client(false), "POST", url.clone(), &[PB], bad.to_vec()).await;
        assert_eq!((answer.status, &answer.body[..2]), (400, &[8, 3][..]));
        assert!(answer.body.windows(21).any(|w| w == b"google.rpc.BadRequest"));
        let answer = send(
            &client(false),
            "POST",
            url,
            &[JSON],
            "{\"resourceSpans\":7,\"resourceMetrics\":7,\"resourceLogs\":7}",
        )
        .await;
        let status: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status, &status["code"]), (400, &json!(3)), "{status}");
        assert!(status["details"][0]["fieldViolations"][0]["description"].is_string(), "{status}");
    }
    assert_eq!(rig.taken(), 0);
}

#[tokio::test]
async fn r13_a_hundred_calls_at_once_over_one_connection_are_all_answered() {
    let rig = rig();
    let client = client(true);
    let url = format!("http://{}{}", rig.grpc, SERVICES[0].1);
    let body = frame(0, &corpus("run1/trace-0001.pb"));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (client, url, body) = (client.clone(), url.clone(), body.clone());
        calls.spawn(async move { send(&client, "POST", url, &GRPC, body).await.grpc() });
    }
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.expect("no panic"), (0, false));
    }
    assert_eq!(rig.taken(), 100);
}

#[tokio::test]
async fn h1_h5_every_refusal_is_a_status_in_the_format_of_the_request() {
    let rig = rig();
    let client = client(false);
    for (format, media) in [(PB, "application/x-protobuf"), (JSON, "application/json")] {
        for (method, path, status, code) in [
            ("POST", "/v1/other", 404, 12),
            ("POST", "/", 404, 12),
            ("GET", "/v1/traces", 405, 12),
            ("PUT", "/v1/logs", 405, 12),
            ("DELETE", "/v1/metrics", 405, 12),
        ] {
            let answer = send(&client, method, format!("http://{}{path}", rig.http), &[format], "").await;
            assert_eq!((answer.status, answer.headers["content-type"].to_str().ok()), (status, Some(media)));
            if media.ends_with("json") {
                let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
                assert_eq!(body["code"], code);
                assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()), "{body}");
            } else {
                assert_eq!(answer.body[..3], [8, code as u8, 0x12], "{method} {path}: code, then a message");
            }
            assert_eq!(answer.headers.contains_key("allow"), status == 405);
        }
    }
    let answer = send(&client, "POST", format!("http://{}/v1/traces", rig.http), &[], "").await;
    assert_eq!(
        (answer.status, answer.headers["content-type"].to_str().ok()),
        (415, Some("application/x-protobuf"))
    );
}

#[tokio::test]
async fn h8_answers_are_not_compressed_whether_asked_for_or_not() {
    let rig = rig();
    for accept in [&[PB][..], &[PB, ("accept-encoding", "gzip")]] {
        let answer = send(&client(false), "POST", format!("http://{}/v1/traces", rig.http), accept, "").await;
        assert_eq!((answer.status, answer.headers.get("content-encoding")), (200, None));
    }
}

#[tokio::test]
async fn h9_h10_protobuf_and_json_come_over_one_port_with_either_version_of_http() {
    let rig = rig();
    let url = format!("http://{}/v1/traces", rig.http);
    let traces = corpus("run1/trace-0001.pb");
    let text = muxbridge_pdata::json::encode(muxbridge::core::Signal::Traces, &traces);
    for http2 in [false, true] {
        let client = client(http2);
        assert_eq!(send(&client, "POST", url.clone(), &[PB], traces.to_vec()).await.status, 200);
        assert_eq!(send(&client, "POST", url.clone(), &[JSON], text.clone()).await.status, 200);
    }
    assert_eq!(rig.taken(), 4);
}

#[test]
fn r13_h11_m15_the_usual_ports_of_this_machine_alone_are_listened_on() {
    let config: muxbridge::receivers::otlp::Config = serde_json::from_value(json!({})).expect("defaults");
    assert_eq!(config.protocols.grpc.expect("on").endpoint, "127.0.0.1:4317");
    assert_eq!(config.protocols.http.expect("on").endpoint, "127.0.0.1:4318");
}

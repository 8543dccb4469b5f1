//! Tests of the receiver without sockets: configuration, bodies, statuses and mutated requests.

use super::body::{Answer, Budget, Pieces};
use super::intake::{Intake, Tally};
use super::*;
use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use http_body_util::{BodyExt, Full};
use muxbridge_core::{Batch, BoxFuture, Clock, Counters, Refused, names};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use prost::Message;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

mod workers;

const MIB: usize = 1024 * 1024;

#[derive(Default)]
struct Taken {
    batches: Mutex<Vec<Batch>>,
    refuse: Option<Refused>,
}

impl Consumer for Taken {
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            if let Some(refused) = self.refuse {
                return Err(refused);
            }
            self.batches.lock().unwrap().push(batch);
            Ok(())
        })
    }
}

struct Rig {
    intake: Intake,
    taken: Arc<Taken>,
    counters: Counters,
    budget: Budget,
}

fn rig(refuse: Option<Refused>, budget: usize) -> Rig {
    let counters = Counters::new();
    let cx = BuildContext::new("otlp", counters.clone(), Clock::fixed(0));
    let taken = Arc::new(Taken { batches: Mutex::default(), refuse });
    let budget = Budget::new(budget);
    let intake = Intake::new(taken.clone(), "otlp", budget.clone(), Tally::new(&cx));
    Rig { intake, taken, counters, budget }
}

fn post(path: &str, headers: &[(&str, &[u8])], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, ::http::HeaderValue::from_bytes(value).unwrap());
    }
    request.body(Full::new(body.into())).unwrap()
}

const PB: (&str, &[u8]) = ("content-type", b"application/x-protobuf");

async fn send(rig: &Rig, request: Request<Full<Bytes>>) -> (StatusCode, ::http::HeaderMap, Bytes) {
    let response: Response<Answer> = http::answer(&rig.intake, 64 * MIB, request).await;
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
}

fn recorded() -> Vec<Bytes> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut found = vec![Bytes::from(std::fs::read(format!("{root}/scenario/traces.otlp.pb")).unwrap())];
    for i in 1..=14 {
        found.push(Bytes::from(std::fs::read(format!("{root}/run1/trace-{i:04}.pb")).unwrap()));
    }
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn problems(config: Value) -> Vec<String> {
    let mut problems = Problems::new();
    let _ = (FACTORY.parse)(&config, &mut problems);
    problems.into_vec().iter().map(ToString::to_string).collect()
}

fn parse(config: Value) -> Config {
    serde_json::from_value(config).unwrap()
}

#[test]
fn without_protocols_both_are_on_at_their_usual_ports() {
    for config in [parse(json!({})), parse(json!({ "protocols": null }))] {
        assert_eq!(config.protocols.grpc.unwrap().endpoint, "127.0.0.1:4317");
        assert_eq!(config.protocols.http.unwrap().endpoint, "127.0.0.1:4318");
    }
    assert_eq!(problems(Value::Null), [""; 0]);
}

#[test]
fn a_protocol_with_nothing_below_it_is_on_and_the_other_is_off() {
    let config = parse(json!({ "protocols": { "grpc": null } }));
    assert_eq!(config.protocols.grpc.unwrap().max_recv_msg_size_mib, 64);
    assert!(config.protocols.http.is_none());
    let config = parse(json!({ "protocols": { "http": {} } }));
    assert_eq!(config.protocols.http.unwrap().max_request_body_size, 64 * MIB);
    assert!(config.protocols.grpc.is_none());
}

#[test]
fn every_mistake_of_the_configuration_is_reported_with_its_path() {
    let found = problems(json!({
        "protocols": {
            "grpc": { "endpoint": ":4317", "max_concurrent_streams": 0, "tls": { "cert_file": "a.pem" } },
            "http": { "endpoint": "http://127.0.0.1:4318", "max_request_body_size": 0 }
        },
        "max_in_flight_mib": 100,
        "max_connections": 0
    }));
    let paths: Vec<&str> = found.iter().map(|p| p.split(": ").next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "max_connections",
            "protocols.grpc.endpoint",
            "protocols.grpc.tls.key_file",
            "protocols.grpc.max_concurrent_streams",
            "protocols.http.endpoint",
            "protocols.http.max_request_body_size",
            "max_in_flight_mib"
        ]
    );
    assert!(found[6].contains("at least 128"), "{}", found[6]);
    assert!(problems(json!({ "protocols": {} }))[0].starts_with("protocols: no protocol is on"));
    assert!(problems(json!({ "protocols": { "thrift": null } }))[0].contains("thrift"));
}

#[tokio::test]
async fn h3_the_answer_has_the_content_type_of_the_request_whatever_its_case_and_parameters() {
    let rig = rig(None, 256 * MIB);
    for (sent, status, answered) in [
        (&b"application/x-protobuf"[..], 200, "application/x-protobuf"),
        (b"Application/X-Protobuf; charset=utf-8", 200, "application/x-protobuf"),
        (b"application/JSON ;charset=utf-8", 200, "application/json"),
        (b"application/x-protobuf; a=\xff", 200, "application/x-protobuf"),
        (b"\xff\xfe", 415, "application/x-protobuf"),
        (b"text/plain", 415, "application/x-protobuf"),
    ] {
        let body = if answered.ends_with("json") { "{}" } else { "" };
        let (got, headers, _) = send(&rig, post("/v1/logs", &[("content-type", sent)], body)).await;
        assert_eq!((got.as_u16(), headers["content-type"].to_str().unwrap()), (status, answered), "{sent:?}");
    }
    let (status, ..) = send(&rig, post("/v1/logs", &[], "")).await;
    assert_eq!(status, 415, "no content type at all");
}

#[tokio::test]
async fn h2_what_grows_beyond_the_limit_is_413_and_leaves_the_budget_as_it_was() {
    let rig = rig(None, 256 * MIB);
    let bomb = gzip(&vec![0u8; 65 * MIB]);
    let mut members = Vec::new();
    for _ in 0..10 {
        members.extend_from_slice(&gzip(&vec![0u8; 7 * MIB]));
    }
    let zstd = zstd::encode_all(&vec![0u8; 65 * MIB][..], 1).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&vec![0u8; 65 * MIB]).unwrap();
    let ratio = gzip(&vec![0u8; 2 * MIB]);
    for (encoding, body) in [
        (&b"gzip"[..], bomb),
        (b"gzip", members),
        (b"gzip", ratio),
        (b"zstd", zstd),
        (b"deflate", zlib.finish().unwrap()),
        (b"identity", vec![0u8; 64 * MIB + 1]),
    ] {
        let request = post("/v1/traces", &[PB, ("content-encoding", encoding)], body);
        let (status, _, body) = send(&rig, request).await;
        assert_eq!(status, 413, "{encoding:?}");
        // Status.code 8 is RESOURCE_EXHAUSTED; field 3 would be details.
        assert_eq!(body[..2], [8, 8]);
        assert_eq!(rig.budget.free(), 256 * MIB);
    }
    assert_eq!(rig.counters.sum(names::BAD_REQUESTS, &[("reason", "too_large")]), 6);
}

/// The frame names its window, and a decoder reserves it before it has seen a byte of the content.
#[tokio::test]
async fn m3_a_zstd_frame_that_asks_for_more_than_8_mib_of_window_is_refused() {
    let otlp = recorded().remove(1);
    for (window_log, expected) in [(23, 200), (24, 400), (27, 400)] {
        let rig = rig(None, 256 * MIB);
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(window_log).unwrap();
        encoder.write_all(&otlp).unwrap();
        let body = encoder.finish().unwrap();
        let (status, ..) = send(&rig, post("/v1/traces", &[PB, ("content-encoding", b"zstd")], body)).await;
        assert_eq!(status, expected, "2^{window_log} bytes");
        assert_eq!(rig.budget.free(), 256 * MIB);
    }
}

#[tokio::test]
async fn r1_each_compression_arrives_as_what_was_compressed_and_a_broken_one_is_400() {
    let otlp = recorded().remove(1);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&otlp).unwrap();
    let zlib = zlib.finish().unwrap();
    let zstd = zstd::encode_all(&otlp[..], 1).unwrap();
    for (encoding, body) in [("gzip", gzip(&otlp)), ("zstd", zstd), ("deflate", zlib), ("", otlp.to_vec())] {
        let rig = rig(None, 256 * MIB);
        let header = ("content-encoding", encoding.as_bytes());
        let (status, ..) = send(&rig, post("/v1/traces", &[PB, header], body.clone())).await;
        assert_eq!(status, 200, "{encoding}");
        assert_eq!(rig.taken.batches.lock().unwrap()[0].otlp(), &otlp);
        if encoding.is_empty() {
            continue;
        }
        for cut in [1, body.len() / 2, body.len() - 1] {
            let request = post("/v1/traces", &[PB, header], body[..cut].to_vec());
            assert_eq!(send(&rig, request).await.0, 400, "{encoding} cut at {cut}");
        }
    }
}

#[tokio::test]
async fn only_one_known_content_encoding_is_read() {
    let rig = rig(None, 256 * MIB);
    for encodings in [&[&b"gzip, gzip"[..]][..], &[b"gzip", b"gzip"], &[b"br"], &[b"\xff"]] {
        let mut headers = vec![PB];
        headers.extend(encodings.iter().map(|e| ("content-encoding", *e)));
        let (status, headers, _) = send(&rig, post("/v1/traces", &headers, "")).await;
        assert_eq!(status, 415, "{encodings:?}");
        assert_eq!(headers["accept-encoding"], "gzip, zstd, deflate");
    }
}

#[tokio::test]
async fn h7_a_full_pipeline_is_503_with_a_delay_of_whole_seconds_never_under_one() {
    for (asked, least, most) in [(1, 1, 2), (2_500, 3, 4), (600_000, 30, 30)] {
        let busy = Refused::Busy { retry_after: Duration::from_millis(asked) };
        let rig = rig(Some(busy), 256 * MIB);
        let (status, headers, body) = send(&rig, post("/v1/traces", &[PB], recorded().remove(1))).await;
        let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!(status, 503);
        assert!((least..=most).contains(&seconds), "{asked} ms became {seconds} s");
        assert_eq!(body[..2], [8, 14], "UNAVAILABLE");
        assert!(rig.counters.sum(names::REFUSED, &[("signal", "traces"), ("reason", "busy")]) > 0);
    }
}

#[tokio::test]
async fn r12_a_request_beyond_the_budget_in_flight_is_asked_to_come_back() {
    let request = recorded().remove(2);
    let rig = rig(None, request.len() + 1000);
    let mut other = rig.intake.share();
    other.grow_to(1001).unwrap();
    // Whether its length is known before or not.
    let length = request.len().to_string();
    for known in [&[PB][..], &[PB, ("content-length", length.as_bytes())]] {
        let (status, headers, _) = send(&rig, post("/v1/traces", known, request.clone())).await;
        assert_eq!(status, 503);
        assert!(headers.contains_key("retry-after"));
    }
    assert_eq!(rig.counters.sum(names::BAD_REQUESTS, &[("reason", "no_room")]), 2);
    drop(other);
    assert_eq!(send(&rig, post("/v1/traces", &[PB], request.clone())).await.0, 200);
    assert_eq!(rig.budget.free(), request.len() + 1000);
}

#[tokio::test]
async fn m1_a_request_that_could_never_fit_into_the_budget_is_not_asked_to_come_back() {
    let rig = rig(None, 1000);
    let (status, headers, _) = send(&rig, post("/v1/traces", &[PB], recorded().remove(2))).await;
    assert_eq!((status.as_u16(), headers.get("retry-after")), (413, None));
    assert_eq!(rig.budget.free(), 1000);
}

#[tokio::test]
async fn h5_errors_of_json_requests_are_statuses_in_json() {
    let rig = rig(Some(Refused::Busy { retry_after: Duration::from_secs(30) }), 256 * MIB);
    let json_type: (&str, &[u8]) = ("content-type", b"application/json");
    let (status, headers, body) = send(&rig, post("/v1/other", &[json_type], "{}")).await;
    assert_eq!((status.as_u16(), headers["content-type"].to_str().unwrap()), (404, "application/json"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], 12);
    assert_eq!(body["message"], "served here: /v1/traces, /v1/metrics and /v1/logs");

    let status = refusal::Refusal::Busy(Duration::from_secs(30)).rpc_status().to_json();
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(
        status["details"],
        json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30.000000000s" }])
    );
}

#[test]
fn a_status_is_written_as_google_rpc_defines_it() {
    let status = refusal::Refusal::Busy(Duration::from_secs(30)).rpc_status().to_protobuf();
    let message = b"the queue is full; try again later";
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut expected = vec![8, 14, 0x12, message.len() as u8];
    expected.extend_from_slice(message);
    // Any: field 3, then type_url, then a RetryInfo with a Duration of 30 seconds.
    expected.extend_from_slice(&[0x1a, 2 + url.len() as u8 + 6, 0x0a, url.len() as u8]);
    expected.extend_from_slice(url);
    expected.extend_from_slice(&[0x12, 4, 0x0a, 2, 8, 30]);
    assert_eq!(status, expected);

    let status = refusal::Refusal::Invalid("x".into()).rpc_status().to_protobuf();
    assert_eq!(status[..2], [8, 3]);
    assert!(status.ends_with(&[0x12, 5, 0x0a, 3, 0x12, 1, b'x']), "{status:?}");
    let status = refusal::Refusal::TooLarge("x".into()).rpc_status().to_protobuf();
    assert_eq!(status[..], [8, 8, 0x12, 1, b'x'], "no details: the sender must not try again");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up_after_five_seconds() {
    let started = tokio::time::Instant::now();
    let refused = Pieces::new(Never, MIB).next().await;
    assert_eq!(refused, Err(refusal::Refusal::TooSlow));
    assert_eq!(started.elapsed().as_secs(), 5);
}

/// A body without an end or a piece.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = std::convert::Infallible;
    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// An `AnyValue` of arrays in one another, as an attribute of a resource.
fn nested(levels: usize) -> Vec<u8> {
    let field = |number: u8, inner: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut out);
        out.extend_from_slice(inner);
        out
    };
    let mut value = field(1, b"x");
    for _ in 0..levels {
        value = field(5, &field(1, &value));
    }
    let attribute = [field(1, b"k"), field(2, &value)].concat();
    field(1, &field(1, &field(1, &attribute)))
}

#[tokio::test]
async fn a1_malformed_requests_are_400_and_counted() {
    let rig = rig(None, 256 * MIB);
    let whole = recorded().remove(1);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("nested ten thousand deep", nested(10_000)),
        ("nested deeper than allowed", nested(40)),
        ("a varint where a message belongs", vec![0x08, 1]),
        ("a length beyond the end", vec![0x0a, 0x7f, 0]),
        ("field number zero", vec![0x02, 0]),
        ("a name that is no text", vec![0x0a, 6, 0x12, 4, 0x12, 2, 0x2a, 0xff]),
        ("text", b"hello".to_vec()),
    ];
    let sent = cases.len() as u64;
    for (what, body) in cases {
        let (status, _, body) = send(&rig, post("/v1/traces", &[PB], body)).await;
        assert_eq!(status, 400, "{what}");
        assert_eq!(body[..2], [8, 3], "{what}: INVALID_ARGUMENT");
    }
    let (status, ..) = send(&rig, post("/v1/traces", &[PB], nested(20))).await;
    assert_eq!(status, 200, "twenty levels are allowed");
    assert_eq!(rig.counters.sum(names::BAD_REQUESTS, &[("reason", "invalid")]), sent);
    assert_eq!(rig.counters.sum(names::RECEIVED, &[]), 0);
}

fn mutate(random: &mut fastrand::Rng, from: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        match random.u8(..7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.u8(..8),
            1 if !bytes.is_empty() => bytes[at] = random.u8(..),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.u8(..)),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            5 => {
                let end = (at + random.usize(..64)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.usize(..=bytes.len());
                bytes.splice(to..to, copy);
            }
            _ => {
                let end = (at + random.usize(..64)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

/// The number of mutations comes from `MUXBRIDGE_MUTATIONS`, the seed from `MUXBRIDGE_SEED`.
#[tokio::test]
async fn a1_mutated_requests_never_panic_and_200_means_that_others_can_read_them() {
    let setting = |name: &str, usual| std::env::var(name).map_or(usual, |v| v.parse::<u64>().unwrap());
    let (count, seed) = (setting("MUXBRIDGE_MUTATIONS", 50_000), setting("MUXBRIDGE_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut corpus = recorded();
    corpus.sort_by_key(Bytes::len);
    let signals =
        [("/v1/traces", Signal::Traces), ("/v1/metrics", Signal::Metrics), ("/v1/logs", Signal::Logs)];
    let rig = rig(None, 256 * MIB);
    let (mut taken, mut refused) = (0u64, 0u64);
    for i in 0..count {
        // Small requests more often: a mutation of a large one mostly hits text.
        let last = random.usize(..corpus.len());
        let from = &corpus[random.usize(..=last)];
        let from = &from[..];
        let bytes = mutate(&mut random, from);
        let (path, signal) = signals[if i % 8 == 0 { random.usize(..3) } else { 0 }];
        let (status, ..) = send(&rig, post(path, &[PB], bytes.clone())).await;
        let readable = match signal {
            Signal::Traces => ExportTraceServiceRequest::decode(&bytes[..]).is_ok(),
            Signal::Metrics => ExportMetricsServiceRequest::decode(&bytes[..]).is_ok(),
            Signal::Logs => ExportLogsServiceRequest::decode(&bytes[..]).is_ok(),
        };
        match status.as_u16() {
            200 => {
                taken += 1;
                assert!(readable, "seed {seed}, mutation {i}: taken, but not readable: {bytes:02x?}");
            }
            400 => refused += 1,
            other => panic!("seed {seed}, mutation {i}: status {other}"),
        }
        for batch in rig.taken.batches.lock().unwrap().drain(..) {
            let spans: usize = batch.resources().flat_map(|r| r.scopes()).map(|s| s.spans().count()).sum();
            assert!(batch.signal() != Signal::Traces || spans == batch.items());
        }
    }
    assert!(taken > count / 100 && refused > count / 100, "{taken} taken, {refused} refused of {count}");
    assert_eq!(rig.budget.free(), 256 * MIB);
}

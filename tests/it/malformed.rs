//! Malformed input: requests over real sockets get the right status in every protocol, format and compression, and
//! malformed Prometheus pages are refused.
//!
//! `MUXBRIDGE_MUTATIONS` says how many mutations of each kind there are, `MUXBRIDGE_SEED` which. Requests without
//! sockets, in far greater numbers, are in `receivers::otlp::tests`.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use muxbridge::core::{
    Batch, BoxFuture, BuildContext, Clock, Consumer, Counters, Receiver, ReceiverKind, Refused, Signal, Stop,
};
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge::receivers::otlp::{Config, Otlp};
use muxbridge_testkit::corpus;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Takes everything and keeps the last.
#[derive(Default)]
struct Last(Mutex<Option<Batch>>);

impl Consumer for Last {
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        Box::pin(async move {
            *self.0.lock().expect("no panic") = Some(batch);
            Ok(())
        })
    }
}

struct Rig {
    last: Arc<Last>,
    http: SocketAddr,
    grpc: SocketAddr,
    stop: Stop,
    ended: tokio::task::JoinHandle<bool>,
    client: Client<HttpConnector, Full<Bytes>>,
    http2: Client<HttpConnector, Full<Bytes>>,
}

impl Rig {
    fn start() -> Rig {
        let any =
            r#"{"protocols": {"grpc": {"endpoint": "127.0.0.1:0"}, "http": {"endpoint": "127.0.0.1:0"}}}"#;
        let config: Config = serde_json::from_str(any).expect("a configuration");
        let cx = BuildContext::new("otlp", Counters::new(), Clock::fixed(0));
        let receiver = Otlp::build(config, &cx).expect("it binds");
        let (http, grpc) = (receiver.http_address().expect("http"), receiver.grpc_address().expect("grpc"));
        let (last, stop) = (Arc::new(Last::default()), Stop::new());
        let run = receiver.run(last.clone(), stop.clone());
        let ended = tokio::spawn(async move { run.await.is_ok() });
        // Otherwise the last packet of a request waits for an acknowledgement of the one before it.
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector.clone());
        let http2 = Client::builder(TokioExecutor::new()).http2_only(true).build(connector);
        Rig { last, http, grpc, stop, ended, client, http2 }
    }

    /// The status of HTTP.
    async fn post(&self, kind: &str, encoding: &str, body: Vec<u8>) -> u16 {
        let request = hyper::Request::post(format!("http://{}/v1/traces", self.http))
            .header("content-type", kind)
            .header("content-encoding", encoding)
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let answer = self.client.request(request).await.expect("an answer");
        let status = answer.status().as_u16();
        answer.into_body().collect().await.expect("a whole answer");
        status
    }

    /// The status of gRPC.
    async fn call(&self, frame: Vec<u8>) -> u16 {
        let request = hyper::Request::post(format!("http://{}{GRPC_PATH}", self.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from(frame)))
            .expect("a request");
        let answer = self.http2.request(request).await.expect("an answer");
        let head = answer.headers().get("grpc-status").cloned();
        let body = answer.into_body().collect().await.expect("a whole answer");
        let status = head.or_else(|| body.trailers()?.get("grpc-status").cloned()).expect("a status");
        status.to_str().ok().and_then(|s| s.parse().ok()).expect("a number")
    }

    /// What was taken must be readable by others, with as many spans as were counted.
    fn check_last(&self) {
        if let Some(batch) = self.last.0.lock().expect("no panic").take() {
            assert_eq!(batch.signal(), Signal::Traces);
            let read = ExportTraceServiceRequest::decode(&batch.otlp()[..]).expect("others can read it");
            let scopes = read.resource_spans.iter().flat_map(|r| &r.scope_spans);
            assert_eq!(scopes.map(|s| s.spans.len()).sum::<usize>(), batch.items());
        }
    }

    async fn end(self) {
        self.stop.stop();
        assert!(self.ended.await.expect("no panic"), "the receiver ends in peace");
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |v| v.parse().expect("a number"))
}

fn recorded() -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = ["run1/trace-0001.pb", "run1/trace-0010.pb", "scenario/traces.otlp.pb"]
        .iter()
        .map(|name| corpus(name).to_vec())
        .collect();
    // One request of a few spans: a mutation of a large one mostly hits text.
    let whole = ExportTraceServiceRequest::decode(&files[2][..]).expect("recorded");
    let mut small = whole.clone();
    small.resource_spans[0].scope_spans[0].spans.truncate(3);
    files.insert(2, small.encode_to_vec());
    files
}

fn mutate(random: &mut fastrand::Rng, from: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..random.usize(1..4) {
        let at = random.usize(..=bytes.len());
        let end = (at + random.usize(..32)).min(bytes.len());
        match random.u8(..6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.u8(..)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => drop(bytes.drain(at..end)),
        }
    }
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    [&[0], &length[..], message].concat()
}

#[tokio::test]
async fn mutated_requests_are_answered_as_valid_or_invalid_over_every_protocol_and_format() {
    let (count, seed) = (setting("MUXBRIDGE_MUTATIONS", 2_000), setting("MUXBRIDGE_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let rig = Rig::start();
    let recorded = recorded();
    let json: Vec<String> =
        recorded.iter().map(|r| muxbridge_pdata::json::encode(Signal::Traces, r)).collect();
    let (mut taken, mut refused) = ([0u64; 5], [0u64; 5]);
    for i in 0..count {
        let from = random.usize(..recorded.len());
        let bytes = mutate(&mut random, &recorded[from]);
        let readable = ExportTraceServiceRequest::decode(&bytes[..]).is_ok();
        let text = mutate(&mut random, json[from].as_bytes());
        let compressed = mutate(&mut random, &gzip(&recorded[from]));
        let framed = mutate(&mut random, &frame(&recorded[from]));
        let statuses = [
            rig.post("application/x-protobuf", "identity", bytes.clone()).await,
            rig.post("application/json", "identity", text).await,
            rig.post("application/x-protobuf", "gzip", compressed).await,
            rig.call(frame(&bytes)).await,
            rig.call(framed).await,
        ];
        let at = format!("seed {seed}, mutation {i}: {statuses:?}");
        // The same bytes have the same fate over both protocols, and what others cannot read is not taken.
        assert!(matches!((statuses[0], statuses[3]), (200, 0) | (400, 3)), "{at}");
        assert!(readable || statuses[0] == 400, "{at}");
        assert!(matches!(statuses[1], 200 | 400) && matches!(statuses[2], 200 | 400), "{at}");
        // 8: the length in the frame is over the limit.
        assert!(matches!(statuses[4], 0 | 3 | 8), "{at}");
        rig.check_last();
        for (kind, status) in statuses.into_iter().enumerate() {
            let ok = matches!(status, 0 | 200);
            taken[kind] += u64::from(ok);
            refused[kind] += u64::from(!ok);
        }
    }
    // Otherwise the mutations would prove nothing. Of what is compressed, a checksum notices nearly all.
    let enough = taken.iter().zip([100, 100, 1_000, 100, 100]).all(|(n, part)| *n >= count / part);
    assert!(enough && refused.iter().all(|n| *n >= count / 100), "{taken:?} taken, {refused:?} refused");
    rig.end().await;
}

#[test]
fn mutated_prometheus_pages_are_read_or_refused_by_line_and_what_is_read_is_valid_otlp() {
    let (count, seed) = (setting("MUXBRIDGE_MUTATIONS", 2_000), setting("MUXBRIDGE_SEED", 1));
    let mut random = fastrand::Rng::with_seed(seed);
    let pages: Vec<Vec<u8>> =
        ["workers2/prom_w2_00_text.txt", "run1/prom_a_00_text.txt", "run1/prom_a_01_text.txt"]
            .iter()
            .map(|name| corpus(name))
            .collect();
    let scraper = || Scraper::new(TargetInfo::default(), PageLimits::default());
    let (mut reader, mut read, mut refused) = (scraper(), 0, 0);
    for i in 0..count {
        // One that has seen many wrong pages must go on as well as a new one.
        if i % 500 == 0 {
            reader = scraper();
        }
        let from = random.usize(..pages.len());
        let page = mutate(&mut random, &pages[from]);
        let kind = [None, Some("text/plain"), Some("application/openmetrics-text")][random.usize(..3)];
        match reader.page(&page, kind, 1_700_000_000_000_000_000 + i) {
            Ok(otlp) => {
                read += 1;
                let limits = muxbridge::core::Limits::default();
                let valid = muxbridge_pdata::validate(Signal::Metrics, &otlp, limits);
                assert!(valid.is_ok(), "seed {seed}, mutation {i}: {valid:?}");
                assert!(ExportMetricsServiceRequest::decode(&otlp[..]).is_ok(), "seed {seed}, mutation {i}");
            }
            Err(error) => {
                refused += 1;
                let lines = page.iter().filter(|b| **b == b'\n').count() + 1;
                assert!((1..=lines).contains(&error.line), "seed {seed}, mutation {i}: {error}");
            }
        }
    }
    assert!(read >= count / 100 && refused >= count / 100, "{read} read, {refused} refused");
}

#[tokio::test]
async fn each_kind_of_malformed_request_has_its_status_over_both_protocols() {
    let rig = Rig::start();
    let whole = corpus("run1/trace-0001.pb").to_vec();
    let mut nested = vec![0x0a, 1, b'x'];
    for _ in 0..10_000 {
        // ArrayValue { values = 1 } in AnyValue { array_value = 5 }, around what was there.
        for tag in [0x0a, 0x2a] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(nested.len() as u64, &mut outer);
            outer.append(&mut nested);
            nested = outer;
        }
    }
    for field in [&[0x0a, 1, b'k', 0x12][..], &[0x0a], &[0x0a], &[0x0a]] {
        let mut outer = field.to_vec();
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.append(&mut nested);
        nested = outer;
    }
    for (what, body, http, grpc) in [
        ("as recorded", whole.clone(), 200, 0),
        ("nothing at all", Vec::new(), 200, 0),
        ("cut in the middle", whole[..whole.len() / 2].to_vec(), 400, 3),
        ("nested ten thousand deep", nested, 400, 3),
        ("a number where a message belongs", vec![0x08, 1], 400, 3),
        ("a length beyond the end", vec![0x0a, 0x7f, 0], 400, 3),
        ("over the limit of 64 MiB", vec![0; (64 << 20) + 1], 413, 8),
    ] {
        assert_eq!(rig.post("application/x-protobuf", "identity", body.clone()).await, http, "{what}");
        assert_eq!(rig.call(frame(&body)).await, grpc, "{what}");
    }
    assert_eq!(rig.post("application/json", "identity", b"{\"resourceSpans\":7}".to_vec()).await, 400);
    assert_eq!(rig.post("application/json", "identity", b"[".repeat(100_000)).await, 400);
    assert_eq!(rig.post("application/x-protobuf", "gzip", gzip(&vec![0; 65 << 20])).await, 413);
    assert_eq!(rig.post("text/plain", "identity", b"hello".to_vec()).await, 415);
    rig.end().await;
}

//! New Relic behind the whole program: what the exporter leaves to the pipeline, and real sizes.

use super::program::{PROGRAM, http, port};
use muxbridge_pdata::Writer;
use muxbridge_testkit::newrelic::Standin;
use muxbridge_testkit::{Recorded, Reply, Server, oracle};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KEY: &str = "0123456789012345678901234567890123456789";

struct Bridge {
    child: Child,
    otlp: u16,
    admin: u16,
    directory: tempfile::TempDir,
}

impl Bridge {
    /// With these options of the exporter.
    fn start(url: &str, options: &str) -> Bridge {
        let (otlp, admin) = (port(), port());
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("bridge.yaml");
        let pipeline = "{receivers: [otlp], exporters: [newrelic]}";
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
             exporters: {{newrelic: {{license_key: '{KEY}', endpoint: '{url}', {options}}}}}\n\
             service:\n  durability: memory\n  admin: {{endpoint: '127.0.0.1:{admin}'}}\n  workers: 2\n  \
             shutdown_timeout: 10s\n  pipelines: {{traces: {pipeline}, metrics: {pipeline}}}\n"
        );
        std::fs::write(&file, yaml).expect("the configuration");
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let mut command = Command::new(PROGRAM);
        let child = command.args(["run", "--config"]).arg(&file).stderr(log).spawn().expect("it starts");
        let bridge = Bridge { child, otlp, admin, directory };
        bridge.until("the receiver listens", || TcpStream::connect(("127.0.0.1", bridge.otlp)).is_ok());
        bridge.until("the admin port answers", || http(admin, "GET", "/health", "", b"").is_some());
        bridge
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(60), "waited in vain until {what}: {}", self.log());
            std::thread::yield_now();
        }
    }

    fn send(&self, path: &str, body: &[u8]) {
        let answer = http(self.otlp, "POST", path, "application/x-protobuf", body).expect("an answer");
        assert_eq!(answer.0, 200, "{}", answer.1);
    }

    fn metric(&self, name: &str, label: &str) -> u64 {
        let page = http(self.admin, "GET", "/metrics", "", b"").expect("a page").1;
        let lines = page.lines().filter(|l| l.starts_with(name) && l.contains(label));
        lines.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).expect("the log")
    }

    /// SIGTERM, and the end.
    fn terminate(mut self) -> String {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it ends");
        self.log()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Spans with these numbers as ids, each with this much text that does not compress.
fn spans(numbers: std::ops::Range<u64>, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(numbers.start);
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(1, |w| w.attribute_str(1, "service.name", "modelmuxer"));
        w.message(2, |w| {
            for number in numbers {
                w.message(2, |w| {
                    w.bytes(1, &[7; 16]);
                    w.bytes(2, &number.to_be_bytes());
                    w.bytes(5, b"work");
                    w.fixed64(7, 1_700_000_000_000_000_000);
                    w.fixed64(8, 1_700_000_000_001_000_000);
                    let noise: String = (0..bytes).map(|_| char::from(random.u8(b' '..b'~'))).collect();
                    w.attribute_str(9, "noise", &noise);
                });
            }
        });
    });
    w.into_vec()
}

fn gauge() -> Vec<u8> {
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, b"some.gauge");
                w.message(5, |w| {
                    w.message(1, |w| {
                        w.fixed64(3, 1_700_000_000_000_000_000);
                        w.double(4, 1.0);
                    });
                });
            });
        });
    });
    w.into_vec()
}

/// The numbers of the spans of a request.
fn numbers(request: &Recorded) -> Vec<u64> {
    if request.path == "/v1/traces" {
        let spans = oracle::decode_traces(&request.body).resource_spans.into_iter();
        let spans = spans.flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        return spans.map(|s| u64::from_be_bytes(s.span_id.try_into().expect("an id"))).collect();
    }
    let blocks: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
    let spans = blocks.as_array().expect("blocks").iter().flat_map(|b| b["spans"].as_array().expect("spans"));
    spans.map(|s| u64::from_str_radix(s["id"].as_str().expect("an id"), 16).expect("hex")).collect()
}

type Log = Arc<Mutex<Vec<(Instant, Recorded)>>>;

/// A server that notes when each request came.
async fn timed(answer: impl Fn(usize, &Recorded) -> Reply + Send + Sync + 'static) -> (Server, Log) {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(move |request| {
        let mut noted = noted.lock().expect("the log");
        let before = noted.iter().filter(|(_, r)| r.path == request.path).count();
        noted.push((Instant::now(), request.clone()));
        answer(before, request)
    })
    .await;
    (server, log)
}

// V16
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_pauses_its_signal_alone_and_the_retry_has_the_same_id() {
    let (server, log) = timed(|before, request| match (before, request.path.as_str()) {
        (0, "/trace/v1") => Reply::status(429).header("retry-after", "2"),
        _ => Reply::status(202),
    })
    .await;
    let bridge = Bridge::start(&server.url(), "mode: trace_api");
    bridge.send("/v1/traces", &spans(1..2, 10));
    server.wait_for(1).await;
    for number in 2..6 {
        bridge.send("/v1/traces", &spans(number..number + 1, 10));
    }
    bridge.send("/v1/metrics", &gauge());
    bridge.until("all spans have arrived", || bridge.metric("muxbridge_exporter_sent_total", "traces") == 5);
    let log = log.lock().expect("the log").clone();
    let traces: Vec<_> = log.iter().filter(|(_, r)| r.path == "/trace/v1").collect();
    let pause = traces[1].0 - traces[0].0;
    assert!(pause >= Duration::from_secs(2), "asked again after {pause:?}");
    let first = traces[0].1.header("x-request-id");
    assert_eq!(traces.iter().filter(|(_, r)| r.header("x-request-id") == first).count(), 2);
    let metrics = log.iter().find(|(_, r)| r.path == "/v1/metrics").expect("metrics");
    assert!(metrics.0 < traces[1].0, "metrics wait for a limit of traces");
    let mut arrived: Vec<u64> = traces[1..].iter().flat_map(|(_, r)| numbers(r)).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, [1, 2, 3, 4, 5]);
    bridge.terminate();
}

// V17
#[tokio::test(flavor = "multi_thread")]
async fn server_errors_are_retried_for_as_long_as_the_user_says_and_then_dropped_with_one_line() {
    let (server, log) = timed(|_, _| Reply::status(500)).await;
    let retry = "retry_on_failure: {initial_interval: 10ms, max_interval: 20ms, max_elapsed_time: 300ms}";
    let bridge = Bridge::start(&server.url(), &format!("mode: trace_api, {retry}"));
    bridge.send("/v1/traces", &spans(1..11, 10));
    bridge.until("they are given up", || bridge.metric("muxbridge_dropped_total", "retries_exhausted") == 10);
    let text = bridge.terminate();
    let dropped = text.lines().filter(|l| l.contains("retries_exhausted")).count();
    assert_eq!(dropped, 1, "{text}");
    let ids: BTreeMap<_, usize> =
        log.lock().expect("the log").iter().fold(BTreeMap::new(), |mut ids, (_, r)| {
            *ids.entry(r.header("x-request-id").to_owned()).or_default() += 1;
            ids
        });
    assert!(ids.len() == 1 && *ids.values().next().expect("one") >= 3, "{ids:?}");
}

// V18
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_tried_once_a_minute_reported_once_and_shown_nowhere() {
    let (server, log) =
        timed(|_, r| Reply::status(403).body(format!("bad key {}", r.header("api-key")))).await;
    let bridge = Bridge::start(&server.url(), "");
    for number in 1..101 {
        bridge.send("/v1/traces", &spans(number..number + 1, 10));
    }
    bridge.until("readiness names it", || {
        let ready = http(bridge.admin, "GET", "/ready", "", b"");
        ready.is_some_and(|(status, body)| status == 503 && body.contains("newrelic") && !body.contains(KEY))
    });
    assert_eq!(bridge.metric("muxbridge_exporter_queued{", "newrelic"), 100, "nothing is lost");
    assert_eq!(log.lock().expect("the log").len(), 1, "New Relic is asked once");
    let text = bridge.log();
    assert_eq!(text.lines().filter(|l| l.contains("not delivering")).count(), 1, "{text}");
    assert!(!text.contains(KEY), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_of_text_that_does_not_compress_arrive_complete_below_a_million_bytes() {
    for options in [
        "compression: none",
        "compression: gzip",
        "compression: zstd",
        "compression: none, mode: trace_api",
        "mode: native",
    ] {
        let server = Standin::start([]).await;
        let bridge = Bridge::start(&server.url(), options);
        for part in 0..3 {
            bridge.send("/v1/traces", &spans(part * 400 + 1..part * 400 + 401, 3_500));
        }
        bridge.until("all have left", || bridge.metric("muxbridge_exporter_sent_total", "traces") == 1200);
        bridge.terminate();
        let taken = server.taken();
        let mut arrived: Vec<u64> = taken.iter().flat_map(numbers).collect();
        arrived.sort_unstable();
        assert_eq!(arrived, (1..1201).collect::<Vec<_>>(), "{options}");
        let largest = server.requests().iter().map(|r| r.wire_len).max().expect("requests");
        assert!((700_000..1_000_000).contains(&largest), "{options}: {largest} bytes");
        assert_eq!(server.violations(), [""; 0], "{options}");
    }
}

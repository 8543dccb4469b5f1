//! The built program shows metrics that it received: on the admin port and on the page of the exporter.

use muxbridge::core::Signal;
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge_testkit::oracle::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use muxbridge_testkit::oracle::{ExportMetricsServiceRequest, Message};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Bridge {
    child: Child,
    otlp: u16,
    page: u16,
    admin: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// Status, head and body.
fn http(port: u16, head: &str, body: &[u8]) -> Option<(u16, String, Vec<u8>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let length = body.len();
    let head = format!("{head}host: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head, answer[end + 4..].to_vec()))
}

fn until<T>(what: &str, done: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

impl Bridge {
    fn start(admin_options: &str) -> Bridge {
        let (otlp, page, admin) = (port(), port(), port());
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("bridge.yaml");
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
             exporters: {{prometheus: {{endpoint: '127.0.0.1:{page}'}}}}\n\
             service:\n  admin: {{endpoint: '127.0.0.1:{admin}'{admin_options}}}\n  workers: 2\n  \
             pipelines: {{metrics: {{receivers: [otlp], exporters: [prometheus]}}}}\n"
        );
        std::fs::write(&file, yaml).expect("the configuration");
        let child = Command::new(env!("CARGO_BIN_EXE_muxbridge"))
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let bridge = Bridge { child, otlp, page, admin, _directory: directory };
        until("the admin port answers", || http(admin, "GET /health HTTP/1.1\r\n", b""));
        until("the receiver listens", || TcpStream::connect(("127.0.0.1", otlp)).ok());
        bridge
    }

    fn send(&self, metrics: Vec<Metric>) {
        let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        let head = "POST /v1/metrics HTTP/1.1\r\ncontent-type: application/x-protobuf\r\n";
        assert_eq!(http(self.otlp, head, &body).expect("an answer").0, 200);
    }
}

/// The page, after the parser of our own receiver has accepted all of it.
fn page(port: u16, accept: &str) -> String {
    let request = format!("GET /metrics HTTP/1.1\r\naccept: {accept}\r\n");
    let (status, head, body) = http(port, &request, b"").expect("a page");
    assert_eq!(status, 200);
    let kind = head.lines().find_map(|l| l.strip_prefix("content-type: ")).expect("a type").to_owned();
    assert_eq!(
        kind.starts_with("application/openmetrics-text"),
        accept.starts_with("application/"),
        "{kind}"
    );
    let mut scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
    let otlp = scraper.page(&body, Some(&kind), 1_795_462_000_000_000_000).expect("a page that can be read");
    let batch = muxbridge_testkit::batch(Signal::Metrics, otlp);
    let names: Vec<_> =
        batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics()).map(|m| m.name).collect();
    assert!(names.iter().all(|n| names.iter().filter(|m| m == &n).count() == 1), "a family is there twice");
    String::from_utf8(body).expect("UTF-8")
}

/// A delta of a counter, with its times in nanoseconds since 1970.
fn tokens(value: i64, start: u64, time: u64) -> Metric {
    let point = NumberDataPoint {
        value: Some(Value::AsInt(value)),
        start_time_unix_nano: start,
        time_unix_nano: time,
        ..Default::default()
    };
    let data = Sum { data_points: vec![point], aggregation_temporality: 1, is_monotonic: true };
    Metric { name: "llm.tokens".to_owned(), data: Some(Data::Sum(data)), ..Default::default() }
}

fn value(page: &str, series: &str) -> Option<u64> {
    page.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

#[test]
fn metrics_that_came_in_are_on_the_admin_page_and_on_the_page_of_the_exporter() {
    let bridge = Bridge::start("");
    bridge.send(vec![tokens(5, 1_000_000_000, 2_000_000_000)]);
    let own = Metric { name: "muxbridge.dropped".to_owned(), ..tokens(9, 1, 2) };
    bridge.send(vec![tokens(2, 2_000_000_000, 3_000_000_000), own]);
    // The admin page has no queue before it.
    let admin = page(bridge.admin, "text/plain");
    assert_eq!(value(&admin, "llm_tokens_total"), Some(7), "{admin}");
    let count = |name: &str, labels: &str| {
        value(&admin, &format!("{name}{{component=\"admin\",signal=\"metrics\"{labels}}}"))
    };
    assert_eq!(count("muxbridge_exporter_enqueued_total", ""), Some(3), "{admin}");
    assert_eq!(count("muxbridge_exporter_sent_total", ""), Some(2));
    assert_eq!(
        count("muxbridge_dropped_total", ",reason=\"name_conflict\""),
        Some(1),
        "a name of ours is not taken"
    );
    let admin = page(bridge.admin, OPEN);
    assert!(admin.contains("llm_tokens_created 1\n") && admin.ends_with("# EOF\n"), "{admin}");
    assert!(admin.contains("# TYPE muxbridge_receiver_accepted counter\n"), "{admin}");
    for accept in ["text/plain", OPEN] {
        until("the exporter has it", || {
            (value(&page(bridge.page, accept), "llm_tokens_total") == Some(7)).then_some(())
        });
    }
}

#[test]
fn the_metrics_of_the_pipelines_can_be_kept_off_the_admin_page() {
    let bridge = Bridge::start(", pipeline_metrics: false");
    bridge.send(vec![tokens(5, 1_000_000_000, 2_000_000_000)]);
    until("the exporter has it", || value(&page(bridge.page, "text/plain"), "llm_tokens_total"));
    let admin = page(bridge.admin, "text/plain");
    assert!(admin.contains("muxbridge_receiver_accepted_total") && !admin.contains("llm_tokens"), "{admin}");
    assert!(!admin.contains("component=\"admin\""), "{admin}");
}

//! What is accepted is delivered, whatever happens to the process: the built program with a data directory.

mod refused;
mod sums;

use super::program::{PROGRAM, http, port};
use muxbridge_testkit::{Recorded, Reply, Server, corpus, oracle};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Bridge {
    child: Child,
    otlp: u16,
    admin: u16,
}

/// What differs between the tests.
struct Setup<'s> {
    data: &'s Path,
    exporters: String,
    pipeline: &'s str,
    /// More lines of `service`.
    service: &'s str,
}

impl Setup<'_> {
    fn command(&self, otlp: u16, admin: u16) -> Command {
        let file = self.data.join(format!("{otlp}.yaml"));
        let data = self.data.join("data");
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
             processors: {{modelmuxer: {{}}}}\n\
             exporters: {}\n\
             service:\n  admin: {{endpoint: '127.0.0.1:{admin}'}}\n  workers: 2\n  \
             data_dir: '{}'\n  {}\n  pipelines: {{{}}}\n",
            self.exporters,
            data.display(),
            if self.service.contains("shutdown_timeout") {
                self.service.to_owned()
            } else {
                format!("shutdown_timeout: 2s\n  {}", self.service)
            },
            self.pipeline,
        );
        std::fs::write(&file, yaml).expect("the configuration");
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(&file);
        command
    }

    fn start(&self) -> Bridge {
        let (otlp, admin) = (port(), port());
        let child = self.command(otlp, admin).stderr(Stdio::null()).spawn().expect("the program starts");
        let bridge = Bridge { child, otlp, admin };
        until("the receiver listens", || TcpStream::connect(("127.0.0.1", bridge.otlp)).is_ok());
        bridge
    }
}

fn post(port: u16, signal: &str, body: &[u8]) -> Option<u16> {
    Some(http(port, "POST", &format!("/v1/{signal}"), "application/x-protobuf", body)?.0)
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(40), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

impl Bridge {
    fn send(&self, body: &[u8]) -> u16 {
        self.post("traces", body).expect("an answer")
    }

    fn post(&self, signal: &str, body: &[u8]) -> Option<u16> {
        post(self.otlp, signal, body)
    }

    fn metric(&self, name: &str, label: &str) -> u64 {
        let page = http(self.admin, "GET", "/metrics", "", b"").expect("a page").1;
        page.lines()
            .filter(|l| l.starts_with(name) && l.contains(label))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// SIGKILL: nothing in the process gets to run any more.
    fn kill(mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("it ends");
    }

    fn terminate(mut self) -> Option<i32> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }

    fn assert_identity(&self, component: &str) {
        let label = format!("component=\"{component}\"");
        let of = |name| self.metric(name, &label);
        let [enqueued, sent, dropped, omitted, queued] = [
            "muxbridge_exporter_enqueued_total",
            "muxbridge_exporter_sent_total",
            "muxbridge_dropped_total",
            "muxbridge_omitted_total",
            "muxbridge_exporter_queued{",
        ]
        .map(of);
        assert_eq!(enqueued, sent + dropped + omitted + queued, "{sent} {dropped} {omitted} {queued}");
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request with one span of this number, and as many bytes beside it.
fn numbered(number: u64, padding: usize) -> Vec<u8> {
    let mut w = muxbridge_pdata::Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, &[7; 16]);
                w.bytes(2, &number.to_be_bytes());
                w.bytes(3, &vec![b'x'; padding]);
                w.bytes(5, b"work");
            });
        });
    });
    w.as_slice().to_vec()
}

fn span_ids(requests: &[Recorded]) -> Vec<Vec<u8>> {
    requests.iter().flat_map(|r| ids(&r.body)).collect()
}

fn ids(request: &[u8]) -> Vec<Vec<u8>> {
    oracle::decode_traces(request)
        .resource_spans
        .into_iter()
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .map(|s| s.span_id)
        .collect()
}

fn distinct(ids: Vec<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    ids.into_iter().collect()
}

fn expected(numbers: impl Iterator<Item = u64>) -> BTreeSet<Vec<u8>> {
    numbers.map(|n| n.to_be_bytes().to_vec()).collect()
}

const PLAIN: &str = "traces: {receivers: [otlp], exporters: [otlphttp]}";
const TRANSLATED: &str = "traces: {receivers: [otlp], processors: [modelmuxer], exporters: [otlphttp]}";

fn to(url: &str) -> String {
    format!("{{otlphttp: {{endpoint: '{url}'}}}}")
}

fn nowhere() -> String {
    to(&format!("http://127.0.0.1:{}", port()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_delivered_after_a_kill_and_the_counters_add_up() {
    for service in ["durability: fsync", "durability: os"] {
        let data = tempfile::tempdir().expect("a directory");
        let mut setup = Setup { data: data.path(), exporters: nowhere(), pipeline: PLAIN, service };
        let bridge = setup.start();
        for number in 0..200 {
            assert_eq!(bridge.send(&numbered(number, 10)), 200);
        }
        bridge.assert_identity("otlphttp");
        bridge.kill();

        let server = Server::start(|_| Reply::status(200)).await;
        setup.exporters = to(&server.url());
        let bridge = setup.start();
        until("all is sent", || bridge.metric("muxbridge_exporter_sent_total", "otlphttp") == 200);
        assert_eq!(bridge.metric("muxbridge_exporter_enqueued_total", "otlphttp"), 200);
        bridge.assert_identity("otlphttp");
        assert_eq!(span_ids(&server.requests()).len(), 200, "once each: nothing had been sent before");
        assert_eq!(distinct(span_ids(&server.requests())), expected(0..200));
        let label = service.split(": ").nth(1).expect("a value");
        assert_eq!(bridge.metric("muxbridge_durability", &format!("\"{label}\"")), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_time_lose_nothing_that_was_acknowledged() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(|_| Reply::status(200)).await;
    let setup = Setup { data: data.path(), exporters: to(&server.url()), pipeline: PLAIN, service: "" };
    let mut random = fastrand::Rng::with_seed(7);
    let (mut next, mut acknowledged) = (0u64, BTreeSet::new());
    for _ in 0..5 {
        let bridge = setup.start();
        // The process dies while this many requests are still to come.
        let (last, otlp) = (next + random.u64(10..120), bridge.otlp);
        let sender = std::thread::spawn(move || {
            let sent = |n: &u64| {
                let answer = http(otlp, "POST", "/v1/traces", "application/x-protobuf", &numbered(*n, 10));
                answer.is_some_and(|a| a.0 == 200)
            };
            (next..next + 400).filter(sent).collect::<Vec<u64>>()
        });
        until("some have come in", || {
            sender.is_finished()
                || bridge.metric("muxbridge_exporter_enqueued_total", "otlphttp") >= last - next
        });
        bridge.kill();
        acknowledged.extend(sender.join().expect("no panic"));
        next += 400;
    }
    let bridge = setup.start();
    until("nothing is queued", || bridge.metric("muxbridge_exporter_queued{", "otlphttp") == 0);
    let arrived = distinct(span_ids(&server.requests()));
    let missing: Vec<_> = expected(acknowledged.iter().copied()).difference(&arrived).cloned().collect();
    assert!(acknowledged.len() > 50, "{}", acknowledged.len());
    assert!(missing.is_empty(), "{} of {} are missing", missing.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_trace_survives_a_kill() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(|_| Reply::status(200)).await;
    let setup = Setup { data: data.path(), exporters: to(&server.url()), pipeline: TRANSLATED, service: "" };
    let bridge = setup.start();
    let request = corpus("scenario/traces.otlp.pb");
    assert_eq!(bridge.send(&request), 200);
    assert!(bridge.metric("muxbridge_buffered_spans", "") > 0, "nothing was open");
    bridge.kill();

    let bridge = setup.start();
    assert_eq!(bridge.terminate(), Some(0));
    let (sent, arrived) = (distinct(ids(&request)), distinct(span_ids(&server.requests())));
    let missing: Vec<_> = sent.difference(&arrived).collect();
    assert!(missing.is_empty(), "{} of {} spans are missing", missing.len(), sent.len());

    // What has left does not come again.
    let before = server.requests().len();
    let bridge = setup.start();
    assert_eq!(bridge.metric("muxbridge_exporter_enqueued_total", ""), 0);
    assert_eq!(bridge.terminate(), Some(0));
    assert_eq!(server.requests().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_destination_holds_back_no_other_and_gets_everything_when_it_is_back() {
    let data = tempfile::tempdir().expect("a directory");
    let (alive, late) =
        (Server::start(|_| Reply::status(200)).await, Server::start(|_| Reply::status(200)).await);
    let both = |second: &str| {
        format!("{{otlphttp: {{endpoint: '{}'}}, otlphttp/late: {{endpoint: '{second}'}}}}", alive.url())
    };
    let pipeline = "traces: {receivers: [otlp], exporters: [otlphttp, otlphttp/late]}";
    let exporters = both(&format!("http://127.0.0.1:{}", port()));
    let mut setup = Setup { data: data.path(), exporters, pipeline, service: "" };
    let bridge = setup.start();
    for number in 0..50 {
        assert_eq!(bridge.send(&numbered(number, 10)), 200);
    }
    until("the living one has it", || bridge.metric("muxbridge_exporter_sent_total", "\"otlphttp\"") == 50);
    assert_eq!(bridge.metric("muxbridge_exporter_queued{", "otlphttp/late"), 50);
    assert_eq!(bridge.terminate(), Some(0));

    setup.exporters = both(&late.url());
    let bridge = setup.start();
    until("it is delivered", || bridge.metric("muxbridge_exporter_sent_total", "otlphttp/late") == 50);
    bridge.assert_identity("otlphttp/late");
    assert_eq!(distinct(span_ids(&late.requests())), expected(0..50));
    assert_eq!(span_ids(&alive.requests()).len(), 50, "a stop in order repeats nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_log_refuses_and_keeps_what_was_acknowledged() {
    let data = tempfile::tempdir().expect("a directory");
    let service = "storage: {max_size_mib: 4}";
    let mut setup = Setup { data: data.path(), exporters: nowhere(), pipeline: PLAIN, service };
    let bridge = setup.start();
    let mut acknowledged = 0;
    while bridge.send(&numbered(acknowledged, 20_000)) == 200 {
        acknowledged += 1;
        assert!(acknowledged < 1_000, "20 MB in 4 MiB");
    }
    assert!(acknowledged > 20, "{acknowledged}");
    assert_eq!(bridge.send(&numbered(9_999, 10)), 503, "refused");
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 0);
    bridge.kill();

    let server = Server::start(|_| Reply::status(200)).await;
    setup.exporters = to(&server.url());
    let bridge = setup.start();
    until("nothing is queued", || bridge.metric("muxbridge_exporter_queued{", "otlphttp") == 0);
    bridge.assert_identity("otlphttp");
    assert_eq!(distinct(span_ids(&server.requests())), expected(0..acknowledged));
    until("there is room again", || bridge.send(&numbered(9_999, 10)) == 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_share_a_data_directory() {
    let data = tempfile::tempdir().expect("a directory");
    let setup = Setup { data: data.path(), exporters: nowhere(), pipeline: PLAIN, service: "" };
    let bridge = setup.start();
    let output = setup.command(port(), port()).output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69));
    let expected = format!("in use by process {}", bridge.child.id());
    assert!(text.contains(&expected) && text.contains(&data.path().display().to_string()), "{text}");
}

#[test]
fn durability_without_a_directory_is_an_error_that_says_what_to_do() {
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("bridge.yaml");
    let yaml = "receivers: {otlp: }\nexporters: {debug: }\nservice: {admin: {enabled: false}, durability: fsync, \
                pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";
    std::fs::write(&file, yaml).expect("the configuration");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(&file).env_remove("STATE_DIRECTORY");
    if Path::new("/var/lib/muxbridge").exists() {
        return;
    }
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("service.data_dir") && text.contains("/var/lib/muxbridge"), "{text}");
}

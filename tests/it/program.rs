//! The built program, as an operator runs it: real sockets, real signals.

use muxbridge_testkit::{Recorded, Reply, Server, corpus, oracle};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_muxbridge");

/// A port that was free a moment ago.
pub(super) fn port() -> u16 {
    // The system may choose one again that another test was given and does not listen on yet.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().expect("no test panics here");
    loop {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        if given.insert(port) {
            return port;
        }
    }
}

struct Bridge {
    child: Child,
    otlp: u16,
    admin: u16,
    _directory: tempfile::TempDir,
}

impl Bridge {
    fn start(exporters: &str, pipeline: &str) -> Bridge {
        let (otlp, admin) = (port(), port());
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("bridge.yaml");
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}}}\n\
             processors: {{modelmuxer: {{}}}}\n\
             exporters: {exporters}\n\
             service:\n  admin: {{endpoint: '127.0.0.1:{admin}'}}\n  workers: 2\n  shutdown_timeout: 5s\n  \
             pipelines: {{traces: {pipeline}}}\n"
        );
        std::fs::write(&file, yaml).expect("the configuration");
        let child = Command::new(PROGRAM)
            .args(["run", "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let bridge = Bridge { child, otlp, admin, _directory: directory };
        bridge.until("the admin port answers", || {
            http(bridge.admin, "GET", "/health", "", b"").is_some_and(|a| a.0 == 200)
        });
        bridge.until("the receiver listens", || TcpStream::connect(("127.0.0.1", bridge.otlp)).is_ok());
        bridge
    }

    fn until(&self, what: &str, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
            std::thread::yield_now();
        }
    }

    fn send(&self, body: &[u8]) -> u16 {
        http(self.otlp, "POST", "/v1/traces", "application/x-protobuf", body).expect("an answer").0
    }

    fn metric(&self, name: &str, label: &str) -> u64 {
        let page = http(self.admin, "GET", "/metrics", "", b"").expect("a page").1;
        page.lines()
            .filter(|l| l.starts_with(name) && l.contains(label))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// SIGTERM, and the exit code.
    fn terminate(mut self) -> Option<i32> {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request over a connection of its own: status and body.
pub(super) fn http(port: u16, method: &str, path: &str, kind: &str, body: &[u8]) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

fn span_names(requests: &[Recorded]) -> Vec<String> {
    let mut names: Vec<String> = requests
        .iter()
        .flat_map(|r| oracle::decode_traces(&r.body).resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .map(|s| s.name)
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_traces_arrive_translated_and_every_span_is_accounted_for() {
    let server = Server::start(|_| Reply::status(200)).await;
    let exporters = format!("{{otlphttp: {{endpoint: '{}'}}}}", server.url());
    let bridge =
        Bridge::start(&exporters, "{receivers: [otlp], processors: [modelmuxer], exporters: [otlphttp]}");
    assert_eq!(bridge.send(&corpus("scenario/traces.otlp.pb")), 200);
    assert_eq!(bridge.metric("muxbridge_receiver_accepted_total", "signal=\"traces\""), 42);
    assert_eq!(bridge.terminate(), Some(0), "what is held back leaves before the program ends");
    let names = span_names(&server.requests());
    assert_eq!(names.len(), 42, "no span is lost or doubled");
    assert!(names.contains(&"POST /v1/chat/completions".to_owned()), "{names:?}");
    assert!(names.contains(&"chat gpt-4o-mini".to_owned()), "{names:?}");
    assert!(!names.contains(&"http.request".to_owned()), "{names:?}");
    let bodies: Vec<u8> = server.requests().iter().flat_map(|r| r.body.to_vec()).collect();
    assert!(!String::from_utf8_lossy(&bodies).contains("?key=placeholder"), "a credential left the bridge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_destination_holds_back_no_other_and_readiness_names_it() {
    let server = Server::start(|_| Reply::status(200)).await;
    let dead = port();
    let exporters = format!(
        "{{otlphttp: {{endpoint: '{}'}}, otlphttp/dead: {{endpoint: 'http://127.0.0.1:{dead}'}}}}",
        server.url()
    );
    let bridge = Bridge::start(&exporters, "{receivers: [otlp], exporters: [otlphttp, otlphttp/dead]}");
    assert_eq!(bridge.send(&corpus("scenario/traces.otlp.pb")), 200);
    bridge.until("the living one has it", || {
        bridge.metric("muxbridge_exporter_sent_total", "\"otlphttp\"") == 42
    });
    bridge.until("readiness names the dead one", || {
        http(bridge.admin, "GET", "/ready", "", b"")
            .is_some_and(|(status, body)| status == 503 && body.contains("otlphttp/dead"))
    });
    assert_eq!(bridge.metric("muxbridge_exporter_queued{", "otlphttp/dead"), 42, "it keeps what it owes");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_spans_pass_byte_for_byte() {
    let server = Server::start(|_| Reply::status(200)).await;
    let exporters = format!("{{otlphttp: {{endpoint: '{}'}}}}", server.url());
    let bridge =
        Bridge::start(&exporters, "{receivers: [otlp], processors: [modelmuxer], exporters: [otlphttp]}");
    // One span of another scope, with a field that no version of OTLP has.
    let mut w = muxbridge_pdata::Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(1, |w| w.bytes(1, b"another"));
            w.message(2, |w| {
                w.bytes(1, &[7; 16]);
                w.bytes(2, &[8; 8]);
                w.bytes(5, b"work");
                w.bytes(500, b"from the future");
            });
        });
    });
    assert_eq!(bridge.send(w.as_slice()), 200);
    let requests = server.wait_for(1).await;
    assert_eq!(&requests[0].body[..], w.as_slice());
}

#[test]
fn a_wrong_configuration_prints_every_problem_and_exits_78() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/config/ten_mistakes.yaml");
    let output = Command::new(PROGRAM).arg("validate").arg(file).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for line in include_str!("../config/ten_mistakes.txt").lines() {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

#[test]
fn every_example_is_a_valid_configuration() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut checked = 0;
    for entry in std::fs::read_dir(examples).expect("examples").flatten() {
        if entry.path().extension().is_some_and(|e| e == "yaml") {
            let output = Command::new(PROGRAM)
                .arg("validate")
                .arg(entry.path())
                .env("NEW_RELIC_LICENSE_KEY", "0123456789012345678901234567890123456789")
                .env("DD_API_KEY", "0123456789abcdef0123456789abcdef")
                .output()
                .expect("the program runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            checked += 1;
        }
    }
    assert!(checked >= 3);
}

#[test]
fn a_wrong_command_line_exits_64() {
    let output = Command::new(PROGRAM).arg("--no-such-option").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(64));
}

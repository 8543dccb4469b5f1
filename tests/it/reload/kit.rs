//! The built program with a configuration file that changes, and a sender that never rests.

use crate::it::program::{PROGRAM, http, port};
use muxbridge_testkit::{Recorded, oracle};
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Receivers besides `otlp` (with a comma before them), processors and exporters, pipelines.
pub(super) type Parts = (String, String, String);

pub(super) struct Bridge {
    child: Child,
    pub(super) otlp: u16,
    admin: u16,
    /// More lines of `service`.
    pub(super) service: String,
    directory: Arc<tempfile::TempDir>,
}

impl Bridge {
    pub(super) fn start(parts: Parts, service: &str) -> Bridge {
        let directory = Arc::new(tempfile::tempdir().expect("a directory"));
        let (otlp, admin) = (port(), port());
        write(directory.path(), &yaml(otlp, admin, &parts, service));
        Self::run(directory, otlp, admin, service.to_owned())
    }

    fn run(directory: Arc<tempfile::TempDir>, otlp: u16, admin: u16, service: String) -> Bridge {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(directory.path().join("bridge.yaml")).stderr(Stdio::null());
        let child = command.spawn().expect("the program starts");
        let bridge = Bridge { child, otlp, admin, service, directory };
        until("the receiver listens", || TcpStream::connect(("127.0.0.1", otlp)).is_ok());
        bridge
    }

    /// Stops it in order and starts it again with the same file.
    pub(super) fn restart(mut self) -> Bridge {
        let (otlp, admin, service) = (self.otlp, self.admin, self.service.clone());
        let directory = self.directory.clone();
        self.signal("TERM");
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
        Self::run(directory, otlp, admin, service)
    }

    /// Writes the file and waits until the program has made the change.
    pub(super) fn reload(&mut self, parts: Parts) {
        let text = yaml(self.otlp, self.admin, &parts, &self.service);
        self.change(&text, "ok");
    }

    pub(super) fn reload_to_fail(&mut self, text: &str) {
        self.change(text, "failed");
    }

    fn change(&mut self, text: &str, outcome: &str) {
        let label = format!("outcome=\"{outcome}\"");
        let of = |bridge: &Self, label: &str| bridge.metric("muxbridge_config_reloads_total", label);
        let (before, all) = (of(self, &label), of(self, ""));
        write(self.directory.path(), text);
        self.signal("HUP");
        until("it has reloaded", || of(self, "") > all);
        assert_eq!(of(self, &label), before + 1, "{}", self.get("/ready").1);
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        http(self.admin, "GET", path, "", b"").expect("a page")
    }

    pub(super) fn metric(&self, name: &str, label: &str) -> u64 {
        let page = self.get("/metrics").1;
        page.lines()
            .filter(|l| l.starts_with(name) && l.contains(label))
            .filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    pub(super) fn send(&self, body: &[u8]) -> u16 {
        http(self.otlp, "POST", "/v1/traces", "application/x-protobuf", body).expect("an answer").0
    }

    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    pub(super) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("it ends").code()
    }

    pub(super) fn assert_identity(&self, component: &str) {
        let label = format!("component=\"{component}\"");
        let page = self.get("/metrics").1;
        let of = |name: &str| {
            let lines = page.lines().filter(|l| l.starts_with(name) && l.contains(&label));
            lines.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
        };
        let [enqueued, sent, dropped, omitted, queued] = [
            "muxbridge_exporter_enqueued_total",
            "muxbridge_exporter_sent_total",
            "muxbridge_dropped_total",
            "muxbridge_omitted_total",
            "muxbridge_exporter_queued{",
        ]
        .map(of);
        assert_eq!(
            enqueued,
            sent + dropped + omitted + queued,
            "{component}: {sent} {dropped} {omitted} {queued}"
        );
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn yaml(otlp: u16, admin: u16, (receivers, components, pipelines): &Parts, service: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{otlp}'}}}}}}{receivers}}}\n{components}\n\
         service:\n  admin: {{endpoint: '127.0.0.1:{admin}'}}\n  workers: 2\n  {}\n  pipelines: {{{pipelines}}}\n",
        service.replace(", ", "\n  "),
    )
}

/// In one step: the program may be reading.
fn write(directory: &Path, text: &str) {
    let new = directory.join("new.yaml");
    std::fs::write(&new, text).expect("the configuration");
    std::fs::rename(new, directory.join("bridge.yaml")).expect("the configuration");
}

pub(super) fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// A request with one span of this number.
pub(super) fn number(number: u64) -> Vec<u8> {
    let mut w = muxbridge_pdata::Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, &[7; 16]);
                w.bytes(2, &number.to_be_bytes());
                w.bytes(5, b"work");
            });
        });
    });
    w.as_slice().to_vec()
}

pub(super) fn expected(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<Vec<u8>> {
    numbers.into_iter().map(|n| n.to_be_bytes().to_vec()).collect()
}

pub(super) fn span_ids(requests: &[Recorded]) -> BTreeSet<Vec<u8>> {
    requests
        .iter()
        .flat_map(|r| oracle::decode_traces(&r.body).resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .map(|s| s.span_id)
        .collect()
}

/// Sends one span after the other, each over a connection of its own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Vec<u64>>,
}

impl Load {
    pub(super) fn start(otlp: u16) -> Load {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            let mut all = Vec::new();
            for n in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let answer = http(otlp, "POST", "/v1/traces", "application/x-protobuf", &number(n));
                // No answer would be a connection that was refused or reset.
                assert_eq!(answer.expect("an answer").0, 200, "span {n}");
                all.push(n);
                count.fetch_add(1, Ordering::Relaxed);
            }
            all
        });
        Load { stop, acknowledged, thread }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        assert!(!self.thread.is_finished(), "the sender was refused");
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The numbers of all spans that were acknowledged.
    pub(super) fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("nobody was refused")
    }
}

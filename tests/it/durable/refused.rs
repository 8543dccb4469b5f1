//! What a destination refuses for good, what expires, what cannot be read any more, and what an operator sees of it.

use super::{PLAIN, Setup, distinct, expected, ids, nowhere, numbered, span_ids, to, until};
use crate::it::program::{PROGRAM, http};
use muxbridge_testkit::{Reply, Server};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn muxbridge(arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg(path).output().expect("the program runs")
}

fn queue(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut all = vec!["queue"];
    all.extend(arguments);
    all.push("--data-dir");
    let output = muxbridge(&all, data);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), text)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_destination_refuses_for_good_is_kept_counted_and_can_be_sent_again() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(|_| Reply::status(400)).await;
    let mut setup = Setup { data: data.path(), exporters: to(&server.url()), pipeline: PLAIN, service: "" };
    let bridge = setup.start();
    (0..3).for_each(|number| assert_eq!(bridge.send(&numbered(number, 10)), 200));
    until("all are refused", || bridge.metric("muxbridge_dropped_total", "\"otlphttp\"") == 3);
    assert_eq!(bridge.metric("muxbridge_dead_letter_items_total", "signal=\"traces\""), 3);
    bridge.assert_identity("otlphttp");
    let directory = data.path().join("data");
    let (code, text) = queue(&directory, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("  otlphttp, traces, rejected: 3 items in "), "{text}");

    let dead = directory.join("dead-letters");
    let output = muxbridge(&["translate"], &dead);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.matches("\"spanId\"").count() == 3, "{text}");
    bridge.kill();

    let server = Server::start(|_| Reply::status(200)).await;
    setup.exporters = to(&server.url());
    let bridge = setup.start();
    for file in files(&dead) {
        for line in std::fs::read_to_string(file).expect("text").lines() {
            let answer = http(bridge.otlp, "POST", "/v1/traces", "application/json", line.as_bytes());
            assert_eq!(answer.map(|a| a.0), Some(200), "{line}");
        }
    }
    // More, if the kill came before it was stored that they are done with: delivery is at least once.
    until("they are sent", || bridge.metric("muxbridge_exporter_sent_total", "otlphttp") >= 3);
    assert_eq!(distinct(span_ids(&server.requests())), expected(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_bounded_and_can_be_off() {
    for (mib, kept) in [(1, true), (0, false)] {
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start(|_| Reply::status(400)).await;
        let service = format!("storage: {{dead_letter_mib: {mib}}}");
        let setup =
            Setup { data: data.path(), exporters: to(&server.url()), pipeline: PLAIN, service: &service };
        let bridge = setup.start();
        (0..40).for_each(|number| assert_eq!(bridge.send(&numbered(number, 50_000)), 200));
        until("all are refused", || bridge.metric("muxbridge_dropped_total", "\"otlphttp\"") == 40);
        let dead = data.path().join("data/dead-letters");
        assert_eq!(dead.exists(), kept);
        if kept {
            let bytes: u64 = files(&dead).iter().map(|f| f.metadata().expect("a file").len()).sum();
            assert!((500_000..=1 << 20).contains(&bytes), "{bytes}");
            assert_eq!(bridge.metric("muxbridge_dead_letter_items_total", ""), 40);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queue_shows_what_waits_while_the_bridge_runs_and_drops_it_when_it_is_stopped() {
    let data = tempfile::tempdir().expect("a directory");
    let mut setup = Setup { data: data.path(), exporters: nowhere(), pipeline: PLAIN, service: "" };
    let directory = data.path().join("data");
    let bridge = setup.start();
    (0..50).for_each(|number| assert_eq!(bridge.send(&numbered(number, 10)), 200));
    let (code, text) = queue(&directory, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("outbound/traces: 1 segment, "), "{text}");
    assert!(text.contains("  otlphttp: 50 items in 50 records, ") && text.contains("the oldest "), "{text}");
    assert!(text.contains("  open traces: 0 items"), "{text}");
    let (code, text) = queue(&directory, &["drop", "--destination", "otlphttp"]);
    assert!(code == Some(69) && text.contains("in use by process"), "{text}");
    bridge.kill();

    let (code, text) = queue(&directory, &["drop", "--destination", "otlp"]);
    assert!(code == Some(64) && text.contains("there is: otlphttp"), "{text}");
    let (code, text) = queue(&directory, &["drop", "--destination", "otlphttp", "--signal", "traces"]);
    assert_eq!((code, text.trim()), (Some(0), "outbound/traces: 50 items in 50 records dropped"));
    assert!(queue(&directory, &["--check"]).1.contains("  otlphttp: 0 items in 0 records"));
    let server = Server::start(|_| Reply::status(200)).await;
    setup.exporters = to(&server.url());
    let bridge = setup.start();
    assert_eq!(bridge.metric("muxbridge_exporter_enqueued_total", "otlphttp"), 0);
    assert_eq!(bridge.send(&numbered(77, 10)), 200);
    until("it is sent", || bridge.metric("muxbridge_exporter_sent_total", "otlphttp") == 1);
    assert_eq!(distinct(span_ids(&server.requests())), expected(77..78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_costs_itself_is_counted_and_shown_by_queue() {
    let data = tempfile::tempdir().expect("a directory");
    let mut setup = Setup { data: data.path(), exporters: nowhere(), pipeline: PLAIN, service: "" };
    let directory = data.path().join("data");
    let bridge = setup.start();
    (0..50).for_each(|number| assert_eq!(bridge.send(&numbered(number, 100)), 200));
    bridge.kill();
    let segment = files(&directory.join("outbound/traces"))
        .into_iter()
        .find(|f| f.extension().is_some_and(|e| e == "log"));
    let segment = segment.expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    // With its tag and length: the eight bytes alone may also be zeros and the first byte of a checksum.
    let id = [&[0x12, 8][..], &20u64.to_be_bytes()].concat();
    let victim = bytes.windows(id.len()).position(|w| w == id).expect("span 20");
    bytes[victim + 30] ^= 1;
    std::fs::write(&segment, bytes).expect("written");

    let (_, text) = queue(&directory, &["--check"]);
    assert!(
        text.contains("outbound/traces: 1 segment, ") && text.contains(", 1 record cannot be read"),
        "{text}"
    );
    let (code, text) = queue(&directory, &["repair"]);
    assert!(code == Some(0) && text.contains("49 records good, 1 lost with 1 item\n"), "{text}");
    let server = Server::start(|_| Reply::status(200)).await;
    setup.exporters = to(&server.url());
    let bridge = setup.start();
    until("nothing is queued", || bridge.metric("muxbridge_exporter_queued{", "otlphttp") == 0);
    assert_eq!(bridge.metric("muxbridge_dropped_total", "reason=\"corrupt\""), 1);
    bridge.assert_identity("otlphttp");
    assert_eq!(distinct(span_ids(&server.requests())), expected((0..50).filter(|n| *n != 20)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_expires_and_is_counted_by_destination_and_reason() {
    let data = tempfile::tempdir().expect("a directory");
    let service = "storage: {max_age: 1s}";
    let queue = "{num_consumers: 1, batch: {min_size: 1, max_size: 1}}";
    let exporters =
        format!("{{otlphttp: {{endpoint: 'http://127.0.0.1:{}', sending_queue: {queue}}}}}", super::port());
    let setup = Setup { data: data.path(), exporters, pipeline: PLAIN, service };
    let bridge = setup.start();
    (0..50).for_each(|number| assert_eq!(bridge.send(&numbered(number, 10)), 200));
    let expired = || {
        let page = http(bridge.admin, "GET", "/metrics", "", b"").expect("a page").1;
        let labels = ["component=\"otlphttp\"", "signal=\"traces\"", "reason=\"expired\""];
        let line = page
            .lines()
            .find(|l| l.starts_with("muxbridge_dropped_total") && labels.iter().all(|x| l.contains(x)));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    until("all but the one that is under way are gone", || expired() == 49);
    assert_eq!(bridge.metric("muxbridge_exporter_queued{", "otlphttp"), 1);
    bridge.assert_identity("otlphttp");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_costs_the_dead_destination_its_oldest_and_the_living_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let alive = Server::start(|_| Reply::status(200)).await;
    let exporters = format!(
        "{{otlphttp: {{endpoint: '{}'}}, otlphttp/dead: {{endpoint: 'http://127.0.0.1:{}'}}}}",
        alive.url(),
        super::port()
    );
    let pipeline = "traces: {receivers: [otlp], exporters: [otlphttp, otlphttp/dead]}";
    let setup = Setup { data: data.path(), exporters, pipeline, service: "storage: {max_size_mib: 4}" };
    let bridge = setup.start();
    let mut sent = 0;
    let expired =
        || bridge.metric("muxbridge_dropped_total", "otlphttp/dead\",signal=\"traces\",reason=\"expired\"");
    while expired() == 0 {
        assert_eq!(bridge.send(&numbered(sent, 20_000)), 200, "the living one has room");
        sent += 1;
        assert!(sent < 1000, "20 MB in 4 MiB");
        until("the living one keeps up", || bridge.metric("muxbridge_exporter_queued{", "\"otlphttp\"") == 0);
    }
    assert_eq!(distinct(span_ids(&alive.requests())), expected(0..sent));
    assert_eq!(bridge.metric("muxbridge_dropped_total", "\"otlphttp\""), 0);
    bridge.assert_identity("otlphttp/dead");
    let held: Vec<_> = alive.requests().iter().flat_map(|r| ids(&r.body)).collect();
    assert_eq!(held.len() as u64, sent, "and everything once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_dead_destination_whose_data_is_on_the_disk() {
    let data = tempfile::tempdir().expect("a directory");
    let mut setup =
        Setup { data: data.path(), exporters: nowhere(), pipeline: PLAIN, service: "shutdown_timeout: 60s" };
    let bridge = setup.start();
    (0..20).for_each(|number| assert_eq!(bridge.send(&numbered(number, 10)), 200));
    until("it is known to be dead", || bridge.metric("muxbridge_exporter_retries_total", "otlphttp") > 0);
    let began = Instant::now();
    assert_eq!(bridge.terminate(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    let server = Server::start(|_| Reply::status(200)).await;
    setup.exporters = to(&server.url());
    let bridge = setup.start();
    until("all is sent", || bridge.metric("muxbridge_exporter_sent_total", "otlphttp") == 20);
    assert_eq!(distinct(span_ids(&server.requests())), expected(0..20));
}

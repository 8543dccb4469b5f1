//! A change of the configuration while the built program runs: nothing accepted is lost, nobody is refused, and what is
//! wrong changes nothing.

mod kit;

use kit::{Bridge, Load, expected, number, span_ids, until};
use muxbridge_testkit::{Reply, Server};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// How many reloads the long test makes, for a longer run.
const RELOADS: &str = "MUXBRIDGE_TEST_RELOADS";

fn durable(directory: &std::path::Path) -> String {
    format!("data_dir: '{}'", directory.join("data").display())
}

/// A configuration of the long test: what changes with the round is all but the receiver `otlp` and the exporter `kept`.
fn round(n: usize, kept: &str, other: &str, spare: u16) -> (String, String, String) {
    let processors = match n % 3 {
        0 => "{modelmuxer: {}}",
        1 => "{modelmuxer: {idle: 2s}}",
        _ => "{}",
    };
    let processors = format!("processors: {processors}\n");
    let mut exporters = format!("otlphttp/kept: {{endpoint: '{kept}'}}");
    let mut ids = vec!["otlphttp/kept"];
    if n.is_multiple_of(2) {
        // Another header each time: a changed exporter with the same queue.
        exporters += &format!(", otlphttp/other: {{endpoint: '{other}', headers: {{x-round: '{n}'}}}}");
        ids.push("otlphttp/other");
    }
    let mut receivers = String::new();
    let mut sources = "otlp".to_owned();
    if n % 4 < 2 {
        receivers = format!(
            ", otlp/spare: {{protocols: {{http: {{endpoint: '127.0.0.1:{spare}'}}}}, max_connections: {}}}",
            n + 10
        );
        sources += ", otlp/spare";
    }
    let own = if n % 3 == 2 { "" } else { "processors: [modelmuxer], " };
    let pipelines = format!("traces: {{receivers: [{sources}], {own}exporters: [{}]}}", ids.join(", "));
    (receivers, format!("{processors}exporters: {{{exporters}}}"), pipelines)
}

async fn under_load(service: &str, reloads: usize) {
    let kept = Server::start(|_| Reply::status(200)).await;
    let other = Server::start(|_| Reply::status(200)).await;
    let spare = super::program::port();
    let write = |n| {
        let (receivers, components, pipelines) = round(n, &kept.url(), &other.url(), spare);
        (receivers, components, pipelines)
    };
    let mut bridge = Bridge::start(write(0), service);
    let load = Load::start(bridge.otlp);
    for n in 1..=reloads {
        if n % 5 == 0 {
            bridge.reload_to_fail("receivers: {otlp: }\nexporters: {nowhere: }\n");
        }
        // Some spans in every configuration.
        let before = load.acknowledged();
        until("spans come in", || load.acknowledged() > before + 20);
        bridge.reload(write(n));
        assert!(bridge.send(&number(1_000_000 + n as u64)) == 200, "reload {n}");
    }
    let total = bridge.metric("muxbridge_receiver_accepted_total", "\"otlp\"");
    let acknowledged = load.stop();
    assert!(total >= acknowledged.len() as u64 / 2, "counters went on: {total}");
    assert!(acknowledged.len() > 20 * reloads, "{}", acknowledged.len());
    let named: Vec<u64> = (1..=reloads as u64).map(|n| 1_000_000 + n).collect();
    for component in ["otlphttp/kept", "otlphttp/other"] {
        until("nothing is queued", || bridge.metric("muxbridge_exporter_queued{", component) == 0);
        bridge.assert_identity(component);
    }
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 0);
    assert_eq!(bridge.metric("muxbridge_config_reloads_total", "\"ok\"") as usize, reloads);
    assert_eq!(bridge.terminate(), Some(0));
    let arrived = span_ids(&kept.requests());
    let missing = expected(acknowledged.into_iter().chain(named)).difference(&arrived).count();
    assert_eq!(missing, 0, "of {} that arrived", arrived.len());
    assert!(!span_ids(&other.requests()).is_empty());
}

fn reloads() -> usize {
    std::env::var(RELOADS).ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_acknowledged_span_and_refuse_no_connection_in_memory() {
    under_load("durability: memory", reloads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_lose_no_acknowledged_span_and_refuse_no_connection_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    under_load(&durable(directory.path()), reloads()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing_and_is_reported_with_all_its_problems() {
    let server = Server::start(|_| Reply::status(200)).await;
    let exporters = format!("exporters: {{otlphttp: {{endpoint: '{}'}}}}", server.url());
    let mut bridge = Bridge::start(
        (String::new(), exporters, "traces: {receivers: [otlp], exporters: [otlphttp]}".to_owned()),
        "durability: memory",
    );
    assert_eq!(bridge.metric("muxbridge_config_last_reload_successful", ""), 1);
    bridge.reload_to_fail(
        "receivers: {otlp: {colour: red}}\nexporters: {otlphttp: {}}\nservice: {pipelines: {}}\n",
    );
    let (code, ready) = bridge.get("/ready");
    assert_eq!(code, 200, "what runs is as ready as before: {ready}");
    for place in ["receivers.otlp.colour", "exporters.otlphttp.endpoint", "service.pipelines"] {
        assert!(ready.contains(place), "{place}: {ready}");
    }
    assert_eq!(bridge.metric("muxbridge_config_last_reload_successful", ""), 0);
    assert_eq!(bridge.send(&number(1)), 200);
    until("it arrives", || span_ids(&server.requests()).len() == 1);

    // A port that is taken is known only when it is opened.
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address");
    bridge.reload_to_fail(&format!(
        "receivers: {{otlp/taken: {{protocols: {{http: {{endpoint: '{taken}'}}}}}}}}\nexporters: {{debug: }}\n\
         service: {{pipelines: {{logs: {{receivers: [otlp/taken], exporters: [debug]}}}}}}\n"
    ));
    assert!(bridge.get("/ready").1.contains("receivers.otlp/taken.protocols.http.endpoint"));
    assert_eq!(bridge.send(&number(2)), 200);
    until("it arrives", || span_ids(&server.requests()).len() == 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_secrets_are_taken_up_and_what_was_held_for_them_is_sent() {
    let wanted = Arc::new(Mutex::new("Bearer good".to_owned()));
    let check = wanted.clone();
    let server = Server::start(move |request| {
        let given = request.header("authorization").to_owned();
        Reply::status(if given == *check.lock().expect("a lock") { 200 } else { 401 })
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let secret = directory.path().join("token");
    std::fs::write(&secret, "old\n").expect("a file");
    let exporters = format!(
        "exporters: {{otlphttp: {{endpoint: '{}', headers: {{authorization: 'Bearer ${{file:{}}}'}}}}}}",
        server.url(),
        secret.display()
    );
    let pipelines = "traces: {receivers: [otlp], exporters: [otlphttp]}".to_owned();
    let configuration = (String::new(), exporters, pipelines);
    let mut bridge = Bridge::start(configuration.clone(), "durability: memory, watch_config: true");
    (1..=50).for_each(|n| assert_eq!(bridge.send(&number(n)), 200));
    until("it is refused", || bridge.get("/ready").1.contains("failing"));
    assert_eq!(bridge.metric("muxbridge_exporter_sent_total", ""), 0);
    // Nobody tells the program: it watches the file that the configuration refers to.
    std::fs::write(&secret, "good\n").expect("a file");
    until("all is delivered", || bridge.metric("muxbridge_exporter_sent_total", "") == 50);
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 0);
    assert_eq!(bridge.metric("muxbridge_config_reloads_total", "\"ok\""), 1);
    bridge.assert_identity("otlphttp");
    bridge.reload(configuration);
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_removed_destination_is_kept_on_disk_until_it_is_back_or_given_up() {
    let alive = Server::start(|_| Reply::status(200)).await;
    let back = Server::start(|_| Reply::status(200)).await;
    let nowhere = format!("http://127.0.0.1:{}", super::program::port());
    let with = |second: Option<&str>| {
        let mut exporters = format!("otlphttp: {{endpoint: '{}'}}", alive.url());
        let mut ids = "otlphttp".to_owned();
        if let Some(url) = second {
            exporters += &format!(", otlphttp/two: {{endpoint: '{url}'}}");
            ids += ", otlphttp/two";
        }
        let pipelines = format!("traces: {{receivers: [otlp], exporters: [{ids}]}}");
        (String::new(), format!("exporters: {{{exporters}}}"), pipelines)
    };
    let directory = tempfile::tempdir().expect("a directory");
    let mut bridge = Bridge::start(
        with(Some(&nowhere)),
        &format!("{}\n  shutdown_timeout: 1s", durable(directory.path())),
    );
    (1..=30).for_each(|n| assert_eq!(bridge.send(&number(n)), 200));
    bridge.reload(with(None));
    assert_eq!(bridge.metric("muxbridge_exporter_queued{", "otlphttp/two"), 30);
    (31..=40).for_each(|n| assert_eq!(bridge.send(&number(n)), 200));
    until("the other has it", || bridge.metric("muxbridge_exporter_sent_total", "\"otlphttp\"") == 40);
    assert_eq!(
        bridge.metric("muxbridge_exporter_queued{", "otlphttp/two"),
        30,
        "no more than it was accepted for"
    );
    bridge.assert_identity("otlphttp/two");

    // Also over a restart.
    let mut bridge = bridge.restart();
    assert!(bridge.metric("muxbridge_exporter_queued{", "otlphttp/two") >= 30);
    bridge.reload(with(Some(&back.url())));
    until("it has it", || bridge.metric("muxbridge_exporter_queued{", "otlphttp/two") == 0);
    bridge.assert_identity("otlphttp/two");
    let missing = expected(1..=30).difference(&span_ids(&back.requests())).count();
    assert_eq!(missing, 0);
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 0);

    // Given up on request, and counted.
    bridge.reload(with(Some(&nowhere)));
    (41..=50).for_each(|n| assert_eq!(bridge.send(&number(n)), 200));
    bridge.reload(with(None));
    bridge.service += "\n  storage: {forget: [otlphttp/two]}";
    bridge.reload(with(None));
    assert_eq!(bridge.metric("muxbridge_dropped_total", "\"removed\""), 10);
    assert_eq!(bridge.metric("muxbridge_exporter_queued{", "otlphttp/two"), 0);
    bridge.assert_identity("otlphttp/two");
    assert_eq!(bridge.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory_a_removed_destination_gets_what_it_takes_and_the_rest_is_counted() {
    let slow = Arc::new(AtomicU16::new(503));
    let status = slow.clone();
    let server = Server::start(move |_| Reply::status(status.load(Ordering::Relaxed))).await;
    let other = Server::start(|_| Reply::status(200)).await;
    let both = (
        String::new(),
        format!(
            "exporters: {{otlphttp: {{endpoint: '{}'}}, otlphttp/two: {{endpoint: '{}', retry_on_failure: {{initial_interval: 50ms, max_interval: 50ms}}}}}}",
            other.url(),
            server.url()
        ),
        "traces: {receivers: [otlp], exporters: [otlphttp, otlphttp/two]}".to_owned(),
    );
    let one = (
        String::new(),
        format!("exporters: {{otlphttp: {{endpoint: '{}'}}}}", other.url()),
        "traces: {receivers: [otlp], exporters: [otlphttp]}".to_owned(),
    );
    let mut bridge = Bridge::start(both.clone(), "durability: memory\n  shutdown_timeout: 2s");
    (1..=20).for_each(|n| assert_eq!(bridge.send(&number(n)), 200));
    bridge.reload(one.clone());
    assert_eq!(bridge.metric("muxbridge_dropped_total", "\"removed\""), 20);
    bridge.assert_identity("otlphttp/two");

    slow.store(200, Ordering::Relaxed);
    bridge.reload(both);
    (21..=40).for_each(|n| assert_eq!(bridge.send(&number(n)), 200));
    bridge.reload(one);
    assert_eq!(expected(21..=40).difference(&span_ids(&server.requests())).count(), 0);
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 20);
    bridge.assert_identity("otlphttp/two");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_traces_stay_open_and_a_destination_that_leaves_gets_what_was_accepted_for_it() {
    let server = Server::start(|_| Reply::status(200)).await;
    let with = |extra: &str| {
        (
            String::new(),
            format!(
                "processors: {{modelmuxer: {{}}}}\nexporters: {{otlphttp: {{endpoint: '{}'}}{extra}}}",
                server.url()
            ),
            format!(
                "traces: {{receivers: [otlp], processors: [modelmuxer], exporters: [otlphttp{}]}}",
                if extra.is_empty() { "" } else { ", debug" }
            ),
        )
    };
    let mut bridge = Bridge::start(with(""), "durability: memory");
    assert_eq!(bridge.send(&muxbridge_testkit::corpus("scenario/traces.otlp.pb")), 200);
    let held = bridge.metric("muxbridge_buffered_spans", "");
    assert!(held > 0, "nothing was open");
    bridge.reload(with(", debug: {}"));
    assert_eq!(bridge.metric("muxbridge_assembled_traces_total", "\"shutdown\""), 0, "open traces stay open");
    // A destination that leaves gets what was accepted for it.
    bridge.reload(with(""));
    assert_eq!(bridge.metric("muxbridge_buffered_spans", ""), 0);
    assert_eq!(bridge.metric("muxbridge_dropped_total", ""), 0);
    bridge.assert_identity("debug");
    bridge.assert_identity("otlphttp");
}

/// A request with one point of a cumulative counter.
fn counter(value: i64, time: u64) -> Vec<u8> {
    use muxbridge_testkit::oracle::metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
    };
    let point = NumberDataPoint {
        start_time_unix_nano: 1,
        time_unix_nano: time,
        value: Some(Value::AsInt(value)),
        ..Default::default()
    };
    let sum = Sum { data_points: vec![point], aggregation_temporality: 2, is_monotonic: true };
    let metric = Metric { name: "work".to_owned(), data: Some(Data::Sum(sum)), ..Default::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
    let request = muxbridge_testkit::oracle::ExportMetricsServiceRequest { resource_metrics };
    muxbridge_testkit::oracle::encode(&request).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_of_deltas_go_on_where_nothing_of_them_was_changed() {
    let statsd = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    statsd.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a timeout");
    let port = statsd.local_addr().expect("an address").port();
    let with = |options: &str, more: &str, ids: &str| {
        let exporters = format!("exporters: {{statsd: {{endpoint: '127.0.0.1:{port}'{options}}}{more}}}");
        let pipelines = format!("metrics: {{receivers: [otlp], exporters: [{ids}]}}");
        (String::new(), exporters, pipelines)
    };
    let mut bridge = Bridge::start(with("", "", "statsd"), "durability: memory");
    let send = |bridge: &Bridge, value, time| {
        let body = counter(value, time);
        let kind = "application/x-protobuf";
        let answer = super::program::http(bridge.otlp, "POST", "/v1/metrics", kind, &body);
        assert_eq!(answer.expect("an answer").0, 200);
    };
    let next = || {
        let mut line = [0; 1500];
        let length = statsd.recv(&mut line).expect("a line");
        String::from_utf8_lossy(&line[..length]).into_owned()
    };
    let second = 1_000_000_000;
    send(&bridge, 100, second);
    until("the baseline is set", || bridge.metric("muxbridge_omitted_total", "delta_baseline") == 1);
    // Another destination beside it, then another configuration of the same one.
    bridge.reload(with("", ", debug: {}", "statsd, debug"));
    send(&bridge, 107, 2 * second);
    assert!(next().contains(":7|c"));
    bridge.reload(with(", metrics: {prefix: 'x.'}", "", "statsd"));
    send(&bridge, 118, 3 * second);
    let line = next();
    assert!(line.starts_with("x.") && line.contains(":11|c"), "{line}");
    bridge.assert_identity("statsd");
}

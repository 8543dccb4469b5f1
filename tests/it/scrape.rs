//! The Prometheus receiver against targets that are well, ill and hostile.

mod kit;
mod mutated;
mod program;

use kit::{INTERVAL, Pipeline, Scrape, T, lines, rows, text};
use muxbridge_core::{Refused, names};
use muxbridge_testkit::tls::Authority;
use muxbridge_testkit::{Reply, Server, corpus, oracle};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

fn page(body: impl Into<Vec<u8>>) -> Reply {
    Reply::status(200).header("content-type", TEXT).body(body.into())
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).expect("compress");
    encoder.finish().expect("compress")
}

/// Answers with these one after the other, then with the last one for ever.
fn one_after_the_other(replies: Vec<Reply>) -> impl Fn(&muxbridge_testkit::Recorded) -> Reply + Send + Sync {
    let next = AtomicUsize::new(0);
    move |_| replies[next.fetch_add(1, Ordering::Relaxed).min(replies.len() - 1)].clone()
}

#[tokio::test]
async fn a_recorded_page_arrives_with_every_value_and_says_where_it_is_from() {
    let recorded = String::from_utf8(corpus("scenario/metrics_prometheus.txt")).expect("text");
    let body = recorded.clone();
    let server = Server::start(move |_| page(body.clone())).await;
    let scrape = Scrape::start(&json!({ "targets": [
        { "endpoint": server.url(), "job": "router", "labels": { "deployment.environment.name": "test" } }
    ]}));
    let batch = scrape.batches(1).await.remove(0);
    assert_eq!(batch.origin().receiver, "prometheus");
    let found = rows(batch.otlp());
    let mut expected = lines(&recorded);
    let samples = expected.len();
    // Start times, not values.
    expected.retain(|series, _| !series.split('{').next().is_some_and(|name| name.ends_with("_created")));
    for (series, value) in &expected {
        assert_eq!(found.get(series).map(|r| r.value), Some(*value), "{series}");
    }
    let more: BTreeMap<_, _> = found.iter().filter(|(series, _)| !expected.contains_key(*series)).collect();
    let own: Vec<_> = more.keys().map(|k| k.as_str()).collect();
    assert_eq!(own, ["scrape_duration_seconds{}", "scrape_samples_scraped{}", "up{}"]);
    assert_eq!(
        (more[&"up{}".to_owned()].value, more[&"scrape_samples_scraped{}".to_owned()].value),
        (1.0, samples as f64)
    );
    let instance = format!("127.0.0.1:{}", server.addr().port());
    assert!(more.values().all(|r| r.instance == instance && r.time == T), "{more:?}");

    for resource in oracle::decode_metrics(batch.otlp()).resource_metrics {
        let mut attributes: BTreeMap<_, _> = resource
            .resource
            .expect("a resource")
            .attributes
            .iter()
            .map(|kv| (kv.key.clone(), text(kv)))
            .collect();
        assert!(attributes.remove("service.instance.id").is_some());
        let port = server.addr().port().to_string();
        let expected = [
            ("deployment.environment.name", "test"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
            ("service.name", "router"),
            ("url.scheme", "http"),
        ];
        assert_eq!(attributes, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
    let request = &server.requests()[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/metrics/prometheus"));
    assert_eq!(request.header("host"), instance);
    assert_eq!(request.header("accept-encoding"), "gzip");
    let accept = request.header("accept");
    assert!(
        accept.starts_with("application/openmetrics-text;version=1.0.0")
            && accept.contains("version=0.0.4;q=0.5")
    );
    assert_eq!(
        scrape.count(names::SCRAPE_UP, &[("target", &format!("{}/metrics/prometheus", server.url()))]),
        1
    );
    assert_eq!(scrape.count(names::RECEIVED, &[("component", "prometheus")]), batch.items() as u64);
}

#[tokio::test]
async fn two_workers_behind_one_address_are_two_instances_and_their_counters_never_mix() {
    let numbers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 18, 21, 22, 23];
    let pages = numbers.map(|n| page(corpus(&format!("workers2/prom_w2_{n:02}_text.txt"))));
    let server = Server::start(one_after_the_other(pages.to_vec())).await;
    let scrape = Scrape::start(&json!({ "targets": [server.url()], "interval": INTERVAL }));
    let batches = scrape.batches(numbers.len()).await;
    let chat = r#"http_requests_total{method="POST",route="/v1/chat/completions",status="200"}"#;
    let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for batch in &batches[..numbers.len()] {
        if let Some(row) = rows(batch.otlp()).remove(chat) {
            found.entry(row.instance).or_default().push(row.value);
        }
    }
    // By the `_created` values on the pages.
    let first = vec![7.0, 11.0, 20.0, 24.0, 53.0, 53.0];
    let second = vec![2.0, 7.0, 9.0, 13.0, 15.0, 16.0, 18.0, 30.0, 30.0];
    let found: BTreeSet<_> = found.into_values().map(|v| format!("{v:?}")).collect();
    assert_eq!(found, [first, second].map(|v| format!("{v:?}")).into());
}

#[tokio::test]
async fn every_scrape_has_a_connection_of_its_own_even_if_the_target_keeps_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let target = tokio::spawn(async move {
        let mut requests_by_connection = Vec::new();
        while requests_by_connection.len() < 3 {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut requests = 0;
            let mut buffer = [0; 4096];
            // Until the other side closes; one scrape fits into one read.
            while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                requests += 1;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nx 1\n";
                stream.write_all(answer).await.expect("an answer");
            }
            requests_by_connection.push(requests);
        }
        requests_by_connection
    });
    let scrape = Scrape::start(&json!({ "targets": [url], "interval": INTERVAL }));
    assert_eq!(target.await.expect("no panic"), [1, 1, 1]);
    scrape.stop().await;
}

#[tokio::test]
async fn a_restart_is_a_new_start_time_and_the_scrape_that_failed_in_between_is_up_0() {
    // A second after the first page.
    let restarted = T / 1_000_000_000 + 1;
    let restart = |started: u64, value: u32| {
        page(format!(
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {started}\n\
             # TYPE c_total counter\nc_total {value}\n"
        ))
    };
    let replies = vec![
        restart(1_000, 143),
        Reply::status(Reply::HANGUP),
        restart(restarted, 21),
        restart(restarted, 30),
    ];
    let server = Server::start(one_after_the_other(replies)).await;
    let scrape = Scrape::start(&json!({ "targets": [server.url()], "interval": INTERVAL }));
    let batches = scrape.batches(4).await;
    let found: Vec<_> = batches[..4]
        .iter()
        .map(|b| {
            let rows = rows(b.otlp());
            let counter = rows.get("c_total{}").map(|r| (r.value, r.start / 1_000_000_000));
            (rows["up{}"].value, counter)
        })
        .collect();
    let expected = [
        (1.0, Some((143.0, 1_000))),
        (0.0, None),
        (1.0, Some((21.0, restarted))),
        (1.0, Some((30.0, restarted))),
    ];
    assert_eq!(found, expected);
    assert_eq!(scrape.reason().await, "transport");
    assert_eq!(scrape.count(names::SCRAPE_FAILED, &[]), 1);
    let log = scrape.stop().await;
    assert_eq!(log.matches("scrape failed").count(), 1, "{log}");
    assert_eq!(log.matches("scrape works").count(), 2, "at first and again: {log}");
}

#[tokio::test]
async fn a_compressed_page_and_one_wrapped_in_json_are_read() {
    let whole = gzip(&corpus("scenario/metrics_prometheus.txt"));
    // Two members, as some servers flush.
    let members = [gzip(b"a 1\n"), gzip(b"b 2\n")].concat();
    let wrapped = corpus("scenario/metrics_json_string.txt");
    let replies = vec![
        page(whole).header("content-encoding", "gzip"),
        page(members).header("content-encoding", "GZIP"),
        page(wrapped),
    ];
    let server = Server::start(one_after_the_other(replies)).await;
    let scrape = Scrape::start(&json!({ "targets": [server.url()], "interval": INTERVAL }));
    let batches = scrape.batches(3).await;
    let page = lines(&String::from_utf8(corpus("scenario/metrics_prometheus.txt")).expect("text"));
    let samples: Vec<_> =
        batches[..3].iter().map(|b| rows(b.otlp())["scrape_samples_scraped{}"].value as usize).collect();
    assert_eq!((samples[0], samples[1]), (page.len(), 2));
    assert!(samples[2] > 100, "{samples:?}");
}

/// What a scrape of a target that answers so counts as, and what is logged.
async fn failure(reply: Reply, more: serde_json::Value) -> (String, String) {
    let server = Server::start(move |_| reply.clone()).await;
    let mut config = json!({ "targets": [format!("{}/metrics", server.url())], "interval": "100ms" });
    config.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
    let scrape = Scrape::start(&config);
    let batches = scrape.batches(2).await;
    for batch in &batches {
        assert_eq!(
            rows(batch.otlp()).into_iter().map(|(k, r)| (k, r.value)).collect::<Vec<_>>(),
            [("up{}".to_owned(), 0.0)]
        );
    }
    let reason = scrape.reason().await;
    assert_eq!(scrape.count(names::SCRAPE_UP, &[]), 0);
    assert!(scrape.count(names::SCRAPE_FAILED, &[("reason", &reason)]) >= 2);
    let log = scrape.stop().await;
    assert_eq!(log.matches(" WARN ").count(), 1, "once for all of the same kind: {log}");
    (reason, log)
}

#[tokio::test]
async fn each_failure_has_its_reason_and_says_what_to_do() {
    let open_metrics =
        || Reply::status(200).header("content-type", "application/openmetrics-text; version=1.0.0");
    let cases = [
        (Reply::status(401), json!({}), "status_401", "scrape /metrics/prometheus, which needs no key"),
        (Reply::status(404), json!({}), "status", "ModelMuxer's page is /metrics/prometheus"),
        (Reply::status(503), json!({}), "status", "its log says why"),
        (Reply::status(204), json!({}), "status", "status 204"),
        (page("<html>hello</html>\n"), json!({}), "parse", "line 1"),
        (page("\"not json\n"), json!({}), "parse", "no JSON string"),
        (page(b"a 1\n\xff 2\n".to_vec()), json!({}), "parse", "line 2: is not UTF-8"),
        (open_metrics().body("a 1\n"), json!({}), "parse", "# EOF is missing"),
        (
            page("a 1\nb 2\nc 3\n"),
            json!({ "max_samples": 2 }),
            "too_large",
            "raise max_body_bytes or max_samples",
        ),
        (page("a 1\n".repeat(50)), json!({ "max_body_bytes": 199 }), "too_large", "longer than 199 bytes"),
        (page("x").header("content-encoding", "br"), json!({}), "encoding", "only gzip was offered"),
        (
            page("x").header("content-encoding", "gzip"),
            json!({}),
            "encoding",
            "the gzip of the page is broken",
        ),
        (Reply::status(Reply::SILENCE), json!({ "timeout": "30ms" }), "timeout", "within 30ms"),
        (Reply::status(Reply::HANGUP), json!({}), "transport", "the request failed"),
    ];
    for (reply, more, reason, words) in cases {
        let (found, log) = failure(reply, more).await;
        assert_eq!(found, reason, "{log}");
        assert!(log.contains(words), "{words:?} is not in {log}");
    }
}

#[tokio::test]
async fn a_page_that_explodes_when_decompressed_is_stopped_at_the_limit() {
    let mut bomb = gzip(&vec![b'\n'; 64 << 20]);
    // Whoever reads on after the limit finds this instead.
    bomb.extend_from_slice(b"no gzip");
    assert!(bomb.len() < 1 << 20);
    let reply = page(bomb).header("content-encoding", "gzip");
    let (reason, log) = failure(reply, json!({ "max_body_bytes": 1 << 20 })).await;
    assert_eq!(reason, "too_large");
    assert!(log.contains("longer than 1048576 bytes"), "{log}");
}

#[tokio::test]
async fn a_page_cut_off_in_its_gzip_is_not_half_a_page() {
    let mut cut = gzip(&corpus("scenario/metrics_prometheus.txt"));
    cut.truncate(cut.len() - 20);
    let (reason, _) = failure(page(cut).header("content-encoding", "gzip"), json!({})).await;
    assert_eq!(reason, "encoding");
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_shows_where_it_leads_but_no_credential() {
    let elsewhere = Server::start(|_| page("a 1\n")).await;
    let location = format!("http://u:canary@127.0.0.1:{}/x?key=canary", elsewhere.addr().port());
    let (reason, log) = failure(Reply::status(302).header("location", &location), json!({})).await;
    assert_eq!(reason, "redirect");
    assert!(log.contains(&format!("http://127.0.0.1:{}/x", elsewhere.addr().port())), "{log}");
    assert!(!log.contains("canary"), "{log}");
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn credentials_are_sent_and_appear_in_no_log_no_counter_and_no_batch() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "canary-file\n").expect("write");
    let server = Server::start(|r| if r.path == "/ok" { page("a 1\n") } else { Reply::status(401) }).await;
    let url = server.url();
    let target = |path: &str, key: &str, value: serde_json::Value| json!({ "endpoint": format!("{url}/{path}?key=canary-query"), key: value });
    let scrape = Scrape::start(&json!({ "interval": INTERVAL, "targets": [
        target("basic", "basic_auth", json!({ "username": "u", "password": "canary-pässword" })),
        target("bearer", "authorization", json!({ "credentials": "canary-token" })),
        target("file", "authorization", json!({ "type": "Token", "credentials_file": file })),
        target("header", "headers", json!({ "X-Key": "canary-header" })),
        { "endpoint": format!("{url}/ok"), "basic_auth": { "username": "u", "password": "canary" } },
    ]}));
    let sent = |path: &str, header: &str| {
        let all = server.requests();
        all.iter()
            .filter(|r| r.path.starts_with(path))
            .map(|r| r.header(header).to_owned())
            .collect::<Vec<_>>()
    };
    scrape
        .until(|| ["/basic", "/bearer", "/file", "/header", "/ok"].iter().all(|p| !sent(p, "").is_empty()))
        .await;
    // printf 'u:canary-pässword' | base64
    assert_eq!(sent("/basic", "authorization")[0], "Basic dTpjYW5hcnktcMOkc3N3b3Jk");
    assert_eq!(sent("/bearer", "authorization")[0], "Bearer canary-token");
    assert_eq!(sent("/file", "authorization")[0], "Token canary-file");
    assert_eq!(sent("/header", "x-key")[0], "canary-header");
    assert!(server.requests().iter().any(|r| r.path == "/basic?key=canary-query"));
    std::fs::write(&file, "canary-new").expect("write");
    scrape.until(|| sent("/file", "authorization").last().is_some_and(|a| a == "Token canary-new")).await;
    std::fs::remove_file(&file).expect("remove");
    scrape.until(|| scrape.count(names::SCRAPE_FAILED, &[("reason", "credentials")]) > 0).await;
    let counters = format!("{:?}", scrape.counters.samples());
    let batches = format!("{:?}", scrape.batches(5).await);
    let log = scrape.stop().await;
    assert!(log.contains("cannot read"), "{log}");
    for shown in [counters, batches, log] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}

#[tokio::test]
async fn tls_is_verified_against_the_authority_that_is_named() {
    let authority = Authority::new();
    let server = Server::start_tls(authority.server("localhost", false), |_| page("a 1\n")).await;
    let target = json!({ "endpoint": server.url(), "tls": { "ca_file": authority.ca_file() } });
    let scrape = Scrape::start(&json!({ "targets": [target] }));
    assert_eq!(rows(scrape.batches(1).await[0].otlp())["a{}"].value, 1.0);
    scrape.stop().await;
    let scrape = Scrape::start(&json!({ "targets": [server.url()] }));
    assert_eq!(scrape.reason().await, "tls");
    let log = scrape.stop().await;
    assert!(log.contains("tls.ca_file"), "{log}");
}

#[tokio::test]
async fn a_spelling_of_the_metadata_address_that_only_the_resolver_knows_is_not_connected_to() {
    // 169.254.169.254 as one number.
    let scrape = Scrape::start(&json!({ "targets": ["http://2852039166/latest/"] }));
    assert_eq!(scrape.reason().await, "address");
    let log = scrape.stop().await;
    assert!(log.contains("169.254.169.254") && log.contains("never scraped"), "{log}");
}

#[tokio::test]
async fn an_optional_target_is_silent_until_it_is_there_and_a_wanted_one_is_not() {
    // Bound, so that nobody else takes the port, and not listening.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("bind");
    let address = socket.local_addr().expect("an address");
    let endpoint = format!("http://{address}/metrics/prometheus");
    let scrape = Scrape::start(&json!({ "targets": [endpoint], "interval": INTERVAL }));
    let batch = scrape.batches(1).await.remove(0);
    assert_eq!(rows(batch.otlp())["up{}"].value, 0.0);
    let log = scrape.stop().await;
    assert!(
        log.contains(" WARN ") && log.contains("nothing listens") && log.contains("MODELMUXER_URL"),
        "{log}"
    );

    let target = json!({ "endpoint": endpoint, "optional": true });
    let scrape = Scrape::start(&json!({ "targets": [target], "interval": INTERVAL }));
    scrape.until(|| scrape.count(names::SCRAPE_FAILED, &[("reason", "connect")]) >= 3).await;
    assert!(scrape.batches(0).await.is_empty());
    // Now it starts, and goes away again.
    let listener = socket.listen(8).expect("listen");
    let (mut stream, _) = listener.accept().await.expect("a scrape");
    assert!(stream.read(&mut [0; 4096]).await.expect("a request") > 0);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nx 1\n").await.expect("an answer");
    assert_eq!(rows(scrape.batches(1).await[0].otlp())["up{}"].value, 1.0);
    drop((stream, listener));
    let batches = scrape.batches(2).await;
    assert_eq!(rows(batches[1].otlp())["up{}"].value, 0.0, "once it was there, its absence is told");
    let log = scrape.stop().await;
    assert_eq!(log.matches("nothing to scrape yet").count(), 1, "{log}");
    assert!(log.find(" WARN ") > log.find("scrape works"), "{log}");
}

#[tokio::test]
async fn what_the_pipeline_does_not_take_is_counted() {
    let server = Server::start(|_| page("a 1\nb 2\n")).await;
    let pipeline = Arc::new(Pipeline::default());
    *pipeline.refuses.lock().unwrap() = Some(Refused::Busy { retry_after: Duration::from_secs(1) });
    let config = json!({ "targets": [server.url()] });
    let scrape = Scrape::start_with(&config, pipeline);
    // Two samples and three about the scrape.
    scrape.until(|| scrape.count(names::REFUSED, &[("signal", "metrics"), ("reason", "busy")]) == 5).await;
    assert_eq!(scrape.count(names::RECEIVED, &[]), 0);
    let log = scrape.stop().await;
    assert!(log.contains("scraped page not taken"), "{log}");
}

#[tokio::test]
async fn a_slow_target_delays_neither_the_others_nor_the_stop() {
    let slow = Server::start(|_| Reply::status(Reply::SILENCE)).await;
    let quick = Server::start(|_| page("a 1\n")).await;
    let scrape = Scrape::start(&json!({
        "interval": INTERVAL,
        "targets": [{ "endpoint": slow.url(), "interval": "1h", "timeout": "1h" }, quick.url()],
    }));
    slow.wait_for(1).await;
    quick.wait_for(3).await;
    scrape.stop().await;
    assert_eq!(slow.requests().len(), 1);
}

/// The keys of a schema and of all below it.
fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        found.extend(properties.keys().cloned());
    }
    let below = schema.as_object().into_iter().flat_map(|o| o.values());
    let below = below.chain(schema.as_array().into_iter().flatten());
    below.for_each(|value| keys(value, found));
}

#[test]
fn every_option_of_every_receiver_is_documented() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/receivers.md");
    let text = std::fs::read_to_string(file).expect("the documentation");
    for factory in muxbridge::Registry::builtin().receivers() {
        let heading = format!("## `{}`", factory.name);
        let section = text.split(&heading).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        let mut all = BTreeSet::new();
        keys(&(factory.schema)(), &mut all);
        assert!(all.len() > 5);
        let missing: Vec<_> = all.iter().filter(|key| !section.contains(&format!("{key}`"))).collect();
        assert!(missing.is_empty(), "{heading} does not document {missing:?}");
    }
}

#[test]
fn the_configurations_in_the_documentation_are_right() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/receivers.md");
    let text = std::fs::read_to_string(file).expect("the documentation");
    let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    assert!(blocks.len() >= 3);
    let directory = tempfile::tempdir().expect("a directory");
    for block in blocks {
        let signal = if block.contains("otlp:") { "traces" } else { "metrics" };
        let receiver = if block.contains("otlp:") { "otlp" } else { "prometheus" };
        let yaml = format!(
            "{block}exporters: {{debug: }}\nservice: {{pipelines: {{{signal}: {{receivers: [{receiver}], exporters: [debug]}}}}}}\n"
        );
        let file = directory.path().join("bridge.yaml");
        std::fs::write(&file, &yaml).expect("write");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_muxbridge"))
            .args(["validate".as_ref(), file.as_os_str()])
            .env("ROUTER_TOKEN", "x")
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{yaml}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

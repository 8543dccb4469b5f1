//! A canary in every place where a secret can stand appears nowhere but where it is sent to.

use crate::it::program::{PROGRAM, http, port};
use muxbridge_testkit::{Reply, Server, corpus, oracle};
use oracle::common::v1::{AnyValue, KeyValue, any_value};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const CANARY: &str = "canary";

fn assert_clean(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    // The path of a file that holds a secret may be shown.
    let lines: Vec<&str> =
        text.lines().filter(|l| l.replace("/secret-files/", "").contains(CANARY)).collect();
    assert!(lines.is_empty(), "{what}: {lines:#?}");
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(40), "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// The whole of a log that has been read to its end.
fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        all
    })
}

fn run(command: &mut Command) -> (Child, [std::thread::JoinHandle<Vec<u8>>; 2]) {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let said = [read_all(child.stdout.take().expect("piped")), read_all(child.stderr.take().expect("piped"))];
    (child, said)
}

fn terminate(child: &mut Child) {
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    child.wait().expect("it ends");
}

/// Recorded spans, some of whose texts hold credentials; the first trace is not complete.
fn leaking() -> Vec<u8> {
    let mut request = oracle::decode_traces(&corpus("scenario/traces.otlp.pb"));
    let leaks = [
        ("api_key", "canary-attribute"),
        ("url.full", "https://canary-user:canary-password@host/v1?key=canary-query&a=1"),
        ("note", "Authorization: Bearer canary.bearer-1234"),
        ("error", "key sk-canary0123456789abcdef rejected"),
        ("dsn", "redis://user:canary-dsn@host:6379/0"),
        ("header", "x-api-key: canary-value-1, next"),
    ];
    let attributes = leaks.map(|(key, value)| KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) }),
        ..Default::default()
    });
    for span in request.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans).flat_map(|s| &mut s.spans)
    {
        span.attributes.extend(attributes.clone());
    }
    oracle::encode(&request).to_vec()
}

/// Everything that an operator can write a secret into.
fn configuration(otlp: u16, admin: u16, dead: &str, refusing: &str, directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{otlp}
        auth:
          bearer: {{ token: canary-otlp, tokens: ["${{env:CANARY_TOKEN}}"], filename: {directory}/secret-files/tokens }}
          basic: {{ username: me, password: canary-basic, htpasswd: {{ inline: "you:canary-inline" }} }}
  prometheus:
    interval: 100ms
    targets:
      - {{ endpoint: "{dead}/x?key=canary-scrape-query", basic_auth: {{ username: a, password: canary-scrape }} }}
      - {{ endpoint: "{refusing}/y?key=canary-scrape-query", authorization: {{ credentials: canary-scrape-token }}, headers: {{ x-key: canary-scrape-header }} }}
processors: {{ modelmuxer: }}
exporters:
  otlp: {{ endpoint: "{dead}", headers: {{ api-key: canary-grpc-header }} }}
  otlphttp: {{ endpoint: "{refusing}", headers: {{ authorization: "Bearer ${{env:CANARY_TOKEN}}" }}, traces_endpoint: "{refusing}/v1/traces?key=canary-query" }}
  datadog: {{ mode: agentless, api_key: canary0000000000000000000000000c, site: localhost }}
  newrelic: {{ license_key: canary0000000000000000000000000000000NRAL, region: us }}
  debug: {{ verbosity: detailed }}
service:
  admin: {{ endpoint: '127.0.0.1:{admin}' }}
  workers: 1
  shutdown_timeout: 5s
  data_dir: '{directory}/data'
  telemetry: {{ logs: {{ level: trace }} }}
  pipelines:
    traces: {{ receivers: [otlp], processors: [modelmuxer], exporters: [EXPORTERS] }}
    metrics: {{ receivers: [prometheus], processors: [modelmuxer], exporters: [debug] }}
"#
    )
}

/// With the exporters that send to the network beyond this machine checked, but not started.
const LOCAL: &str = "otlp, otlphttp, debug";
const ALL: &str = "otlp, otlphttp, debug, datadog, newrelic";

#[tokio::test(flavor = "multi_thread")]
async fn m24_no_secret_of_the_configuration_or_in_telemetry_appears_in_any_output_or_on_the_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::fs::create_dir(path.join("secret-files")).expect("created");
    std::fs::write(path.join("secret-files/tokens"), "canary-in-file\n").expect("written");
    // It refuses, and repeats the credential as bad servers do.
    let refusing =
        Server::start(|r| Reply::status(401).body(format!("denied: {}", r.header("x-nothing")))).await;
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let (otlp, admin) = (port(), port());
    let yaml = configuration(otlp, admin, &format!("http://{nobody}"), &refusing.url(), path);
    let file = path.join("bridge.yaml");
    std::fs::write(&file, yaml.replace("EXPORTERS", LOCAL)).expect("written");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--config"]).arg(&file).env("CANARY_TOKEN", "canary-environment");
    let (mut child, said) = run(&mut command);
    until("the receiver listens", || TcpStream::connect(("127.0.0.1", otlp)).is_ok());

    let url = format!("http://127.0.0.1:{otlp}");
    let client = |headers: &str| {
        let config = serde_json::json!({ "endpoint": url, "headers": { "authorization": headers } });
        muxbridge_testkit::contract::build::<muxbridge_exporter_otlp::OtlpHttp>(
            config,
            &muxbridge_testkit::contract::context::<muxbridge_exporter_otlp::OtlpHttp>(),
        )
    };
    let batch = muxbridge_testkit::batch(muxbridge::core::Signal::Traces, leaking().into());
    use muxbridge::core::Exporter;
    for right in ["Bearer canary-otlp", "Bearer canary-in-file", "Bearer canary-environment"] {
        client(right).export(&batch).await.expect("taken");
    }
    let error = client("Bearer canary-wrong").export(&batch).await.expect_err("refused");
    assert_clean("the answer to a wrong token", error.to_string().as_bytes());

    let get = |path: &str| http(admin, "GET", path, "", b"").expect("an answer").1;
    until("both exporters have tried", || {
        let page = get("/ready");
        ["\"otlp\":{\"error\"", "\"otlphttp\":{\"error\""].iter().all(|id| page.contains(id))
    });
    until("both targets were scraped", || {
        get("/metrics").matches("muxbridge_scrape_failed_total{").count() >= 2
    });
    assert!(get("/metrics").contains("muxbridge_scrubbed_secrets_total{"), "{}", get("/metrics"));
    for path in ["/", "/metrics", "/ready", "/health", "/x?key=canary-asked"] {
        assert_clean(path, get(path).as_bytes());
    }
    // Killed, so that what is kept of open traces stays.
    child.kill().expect("a running process");
    child.wait().expect("it ends");
    let mut files = 0;
    let mut stack = vec![path.join("data")];
    while let Some(next) = stack.pop() {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&next).expect("there").permissions().mode() & 0o777;
        if next.is_dir() {
            assert_eq!(mode, 0o700, "{}", next.display());
            stack.extend(std::fs::read_dir(&next).expect("readable").map(|e| e.expect("an entry").path()));
        } else {
            assert_eq!(mode, 0o600, "{}", next.display());
            let bytes = std::fs::read(&next).expect("readable");
            let at = bytes.windows(CANARY.len()).position(|w| w == CANARY.as_bytes());
            assert_eq!(at, None, "{} holds a canary", next.display());
            files += usize::from(bytes.windows(4).any(|w| w == b"span" || w == b"rout"));
        }
    }
    assert!(files > 0, "nothing was stored, so that nothing was shown");
    // What was kept comes again, and leaves.
    let (mut child, again) = run(&mut command);
    until("the receiver listens", || TcpStream::connect(("127.0.0.1", otlp)).is_ok());
    terminate(&mut child);
    let [first_out, first_err, out, err] =
        [said, again].map(|s| s.map(|s| s.join().expect("no panic"))).concat().try_into().expect("four");
    assert_clean("stdout", &[first_out, out].concat());
    let said = [first_err, err].concat();
    assert_clean("stderr at level trace", &said);
    // Otherwise nothing was shown: the exporter `debug` prints what it gets.
    assert!(String::from_utf8_lossy(&said).contains("sk-[scrubbed]") && said.len() > 100_000);
}

fn validate(yaml: &str) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), yaml).expect("written");
    let mut command = Command::new(PROGRAM);
    command.arg("validate").arg(file.path()).env("CANARY_TOKEN", "canary-environment");
    command.output().expect("the program runs")
}

#[test]
fn m24_no_mistake_beside_a_secret_shows_it() {
    let directory = Path::new("/nowhere");
    let right = configuration(4318, 9090, "http://127.0.0.1:9", "http://127.0.0.1:9", directory);
    let right = right.replace("EXPORTERS", ALL);
    let output = validate(&right);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_clean("validate", &[output.stdout, output.stderr].concat());
    for (old, new) in [
        ("token: canary-otlp", "token: [canary-otlp]"),
        ("token: canary-otlp", "token: {canary-key: canary-value}"),
        ("token: canary-otlp", "tokne: canary-otlp"),
        ("token: canary-otlp", "token: \"canary otlp\""),
        ("token: canary-otlp", "token: \"canary${otlp\""),
        ("token: canary-otlp", "token: \"${file:canary-path}\""),
        ("token: canary-otlp", "token: \"p${canary word}\""),
        ("password: canary-basic", "password: \"\""),
        // What is no YAML at all.
        ("password: canary-basic", "password: canary, htpasswd: { inline: canary }"),
        ("password: canary-basic", "password: \"canary"),
        ("password: canary-basic", "password: canary: canary"),
        ("password: canary-basic", "password: *anchor }, x: { canary"),
        ("you:canary-inline", "canary-inline"),
        ("you:canary-inline", "you:$2y$canary"),
        ("password: canary-scrape }", "password: \"canary-scrape\\n\" }"),
        ("credentials: canary-scrape-token", "credentials: \"canary\\nscrape\""),
        ("x-key: canary-scrape-header", "x-key: \"canary\\u0007\""),
        ("api-key: canary-grpc-header", "api-key: [canary]"),
        ("api-key: canary-grpc-header", "content-type: canary"),
        ("http://127.0.0.1:9\", headers: { api-key", "http://u:canary@127.0.0.1:9\", headers: { api-key"),
        ("http://127.0.0.1:9/x?", "http://u:canary@127.0.0.1:9/x?"),
        ("http://127.0.0.1:9/x?", "ftp://u:canary@127.0.0.1:9/x?"),
        ("http://127.0.0.1:9/v1/traces?", "http://u:canary@127.0.0.1:9/v1/traces?"),
        ("http://127.0.0.1:9/v1/traces?", "nothing://u:canary@127.0.0.1:9/v1/traces?"),
        ("api_key: canary0000000000000000000000000c", "api_key: [canary]"),
        ("api_key: canary0000000000000000000000000c", "api_key: \"canary\\n\""),
        ("license_key: canary0000000000000000000000000000000NRAL", "license_key: \"canary key\""),
        ("license_key: canary0000000000000000000000000000000NRAL", "license_key: {canary: canary}"),
    ] {
        assert!(right.contains(old), "{old}");
        let output = validate(&right.replacen(old, new, 1));
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(output.status.code(), Some(78), "{new}: {}", String::from_utf8_lossy(&said));
        // The name of a key that is unknown is shown: it is what the operator has to find.
        let said = String::from_utf8_lossy(&said).replace("canary-key", "");
        assert_clean(new, said.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn m24_keys_of_the_environment_are_used_and_not_shown() {
    let server = Server::start(|_| Reply::status(401)).await;
    let admin = port();
    let mut command = Command::new(PROGRAM);
    let (scraped, url) = (format!("http://canary-user:canary-password@127.0.0.1:{}", port()), server.url());
    command.env_clear();
    for (name, value) in [
        ("MODELMUXER_URL", scraped.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=canary-otel"),
        ("LOG_LEVEL", "trace"),
        ("METRICS_PORT", &admin.to_string()),
    ] {
        command.env(name, value);
    }
    // The usual ports may be taken by another test, so that it ends by itself; what it says until then counts, too.
    let (mut child, said) = run(&mut command);
    until("it listens or has ended", || {
        http(admin, "GET", "/ready", "", b"").is_some() || child.try_wait().expect("a child").is_some()
    });
    if child.try_wait().expect("a child").is_none() {
        assert_clean("/ready", http(admin, "GET", "/ready", "", b"").expect("an answer").1.as_bytes());
        terminate(&mut child);
    }
    let said: Vec<u8> = said.into_iter().flat_map(|s| s.join().expect("no panic")).collect();
    assert!(
        String::from_utf8_lossy(&said).contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{}",
        String::from_utf8_lossy(&said)
    );
    assert_clean("output", &said);
}

//! `muxbridge translate`: recorded telemetry in, what a destination would get out.

use muxbridge::core::Signal;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Ran {
    code: Option<i32>,
    out: String,
    notes: String,
}

impl Ran {
    fn json(&self) -> Vec<Value> {
        self.out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn translate_with(stdin: &[u8], arguments: &[&str]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_muxbridge"))
        .arg("translate")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end before it has read everything.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        notes: String::from_utf8(output.stderr).expect("text"),
    }
}

fn translate(arguments: &[&str]) -> Ran {
    translate_with(b"", arguments)
}

fn corpus(path: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(path).display().to_string()
}

fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

/// A page of a process that is none of ModelMuxer's, so that nothing in it is translated.
fn page(process: u64, jobs: u64, seconds: &str) -> String {
    format!(
        "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {process}\n\
         # TYPE jobs_total counter\njobs_total{{kind=\"a b\"}} {jobs}\n\
         # TYPE job_seconds_total counter\njob_seconds_total {seconds}\n\
         # TYPE depth gauge\ndepth 4\n"
    )
}

#[test]
fn pages_are_successive_scrapes_and_statsd_gets_their_differences() {
    let directory = tempfile::tempdir().expect("a directory");
    let one = write(directory.path(), "1.txt", page(1_767_225_600, 5, "0.5"));
    let two = write(directory.path(), "2.txt", page(1_767_225_600, 12, "0.75"));
    // The process began anew.
    let three = write(directory.path(), "3.txt", page(1_767_225_660, 3, "0.25"));
    let ran = translate(&["--to", "statsd", &one, &two, &three]);
    assert_eq!(ran.code, Some(0), "{}", ran.notes);
    let jobs: Vec<&str> = ran.out.lines().filter(|l| l.starts_with("job")).collect();
    assert_eq!(
        jobs,
        [
            "jobs_total:5|c|#kind:a_b,service:modelmuxer",
            "job_seconds_total:0.5|c|#service:modelmuxer",
            "jobs_total:7|c|#kind:a_b,service:modelmuxer",
            "job_seconds_total:0.25|c|#service:modelmuxer",
            "jobs_total:3|c|#kind:a_b,service:modelmuxer",
            "job_seconds_total:0.25|c|#service:modelmuxer",
        ]
    );
    assert_eq!(ran.out.lines().filter(|l| l.starts_with("depth:4|g|#")).count(), 3);

    let ran = translate(&["--interval", "10s", &one, &two, &three]);
    let times: Vec<Value> = ran
        .json()
        .iter()
        .map(|request| {
            let metrics = &request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
            let metrics = metrics.as_array().expect("metrics");
            let jobs = metrics.iter().find(|m| m["name"] == "jobs_total").expect("the counter");
            let point = &jobs["sum"]["dataPoints"][0];
            serde_json::json!([point["startTimeUnixNano"], point["timeUnixNano"]])
        })
        .collect();
    let expected = serde_json::json!([
        ["1767225600000000000", "1767225601000000000"],
        ["1767225600000000000", "1767225611000000000"],
        // Not ten seconds later: the process had not begun by then.
        ["1767225660000000000", "1767225661000000000"],
    ]);
    assert_eq!(Value::from(times), expected);
}

/// Every span of OTLP, in the order of its text.
fn spans(ran: &Ran) -> Vec<String> {
    let mut spans = Vec::new();
    for request in ran.json() {
        for resource in request["resourceSpans"].as_array().expect("a list") {
            for scope in resource["scopeSpans"].as_array().expect("a list") {
                spans.extend(scope["spans"].as_array().expect("a list").iter().map(Value::to_string));
            }
        }
    }
    spans.sort();
    spans
}

#[test]
fn a_request_says_the_same_in_whatever_form_it_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let expected = translate(&[&corpus("scenario/traces.otlp.pb")]);
    assert_eq!(expected.code, Some(0), "{}", expected.notes);
    assert!(expected.notes.contains("in: 42 spans\n") && expected.notes.contains("out to otlp: 42 spans\n"));
    let pretty = std::fs::read_to_string(corpus("scenario/traces.otlp.json")).expect("the corpus");
    let value: Value = serde_json::from_str(&pretty).expect("JSON");
    let line = write(directory.path(), "line.json", format!("\n{value}\n"));
    for ran in [
        translate(&[&corpus("scenario/traces.otlp.json")]),
        translate(&[&line]),
        translate_with(pretty.as_bytes(), &["-"]),
        translate(&["--from", "otlp-json", &line]),
        translate(&["--from", "otlp", &corpus("scenario/traces.otlp.pb")]),
    ] {
        assert!(ran.out == expected.out, "another result: {}", ran.notes);
    }
    // What was translated is translated no second time: what comes out can be read again.
    let again = translate_with(expected.out.as_bytes(), &["--to", "file", "-"]);
    assert_eq!(spans(&again), spans(&expected), "{}", again.notes);
}

#[test]
fn several_requests_in_a_file_are_all_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":9}]}]}]}"#;
    let metric = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}"#;
    let file = write(directory.path(), "otlp.json", format!("{log}\n\n{metric}\n{log}"));
    let inside = directory.path().display().to_string();
    for arguments in [[file.as_str()], [inside.as_str()]] {
        let ran = translate(&arguments);
        assert!(ran.notes.starts_with("in: 2 log_records, 1 metric_points\n"), "{}", ran.notes);
        assert_eq!(ran.json().len(), 3);
    }
    let ran = translate(&["--to", "statsd", &file]);
    assert_eq!(ran.out, "m:1|g\n");
    assert!(ran.notes.contains("not taken by it: 2 log_records\n"), "{}", ran.notes);
}

#[test]
fn protobuf_requests_of_every_signal_are_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","severityText":"INFO","body":{"stringValue":"sixteen letters."}}]}]}]}"#;
    // A name of sixteen bytes and a description of eight look like the two ids of a span, and the points like its name.
    let metric = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"sixteen letters.","description":"8 bytes.","gauge":{"dataPoints":[{"timeUnixNano":"5","asInt":"1"}]}}]}]}]}"#;
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hello"}}]}]}]}"#;
    for (signal, json) in [(Signal::Logs, log), (Signal::Logs, body), (Signal::Metrics, metric)] {
        let otlp = muxbridge_pdata::json::decode(signal, json.as_bytes()).expect("a request");
        let ran = translate(&[&write(directory.path(), "request.pb", &otlp)]);
        assert_eq!(ran.out.trim_end(), json, "{}", ran.notes);
    }
}

#[test]
fn each_destination_gets_every_recorded_span_in_its_own_form() {
    let traces = corpus("scenario/traces.otlp.pb");
    let show = |to: &str| {
        let ran = translate(&["--to", to, &traces]);
        assert_eq!(ran.code, Some(0), "{to}: {}", ran.notes);
        assert!(ran.notes.contains(&format!("out to {to}: 42 spans\n")), "{to}: {}", ran.notes);
        assert!(ran.out == translate(&["--to", to, &traces]).out, "{to}: not the same twice");
        let mut json = ran.json();
        // New Relic's OTLP is also sent the metrics of the APM pages, which it makes of spans.
        json.retain(|request| request["resourceMetrics"].is_null());
        assert_eq!(json.len(), 2, "{to}: a line for what leaves at once, and one for what waited");
        json
    };
    let list = |value: &Value| value.as_array().expect("a list").clone();

    // The request that was refused for its budget: row S1 of the table.
    let refused = "c7c89b2413614db7";
    let otlp = show("newrelic");
    let of = |request: &Value| list(&request["resourceSpans"][0]["scopeSpans"][0]["spans"]);
    let spans: Vec<Value> = otlp.iter().flat_map(of).collect();
    assert_eq!(spans.len(), 42);
    let span = spans.iter().find(|s| s["spanId"] == refused).expect("the span");
    assert_eq!((&span["name"], &span["kind"]), (&"POST /v1/chat/completions".into(), &2.into()));
    assert!(
        otlp.iter().all(|request| request.to_string().contains("aiEnabledApp")),
        "New Relic's own attribute"
    );

    let chunks: Vec<Value> = show("datadog").iter().flat_map(list).collect();
    assert_eq!(chunks.len(), 15, "a chunk for each trace");
    assert_eq!(chunks.iter().map(|c| list(c).len()).sum::<usize>(), 42);
    let id = u64::from_str_radix(refused, 16).expect("hex");
    let span = chunks.iter().flat_map(list).find(|s| s["span_id"] == id).expect("the span");
    assert_eq!(span["resource"], "POST /v1/chat/completions");
    assert_eq!((&span["type"], &span["meta"]["http.status_code"]), (&"web".into(), &"402".into()));

    let spans: Vec<Value> = show("zipkin").iter().flat_map(list).collect();
    assert_eq!(spans.len(), 42);
    let span = spans.iter().find(|s| s["id"] == refused).expect("the span");
    assert_eq!((&span["kind"], &span["duration"]), (&"SERVER".into(), &23_561.into()), "in microseconds");

    let spans: Vec<Value> = show("newrelic-trace").iter().flat_map(|r| list(&r[0]["spans"])).collect();
    assert_eq!(spans.len(), 42);
    let span = spans.iter().find(|s| s["id"] == refused).expect("the span");
    assert_eq!(span["attributes"]["duration.ms"], 23.561_312);
}

#[test]
fn each_api_of_new_relic_gets_its_own_form_of_each_signal() {
    let show = |to: &str, input: &[&str]| {
        let input: Vec<String> = input.iter().map(|name| corpus(&format!("scenario/{name}"))).collect();
        let mut arguments = vec!["--to", to];
        arguments.extend(input.iter().map(String::as_str));
        let ran = translate(&arguments);
        assert_eq!(ran.code, Some(0), "{to}: {}", ran.notes);
        ran
    };
    let traces = "traces.otlp.pb";
    let metrics = "metrics_prometheus.txt";

    // Spans, then what is made of them: 15 are called `http.request`.
    let ran = show("newrelic-otlp", &[traces]);
    let requests = ran.json();
    let derived =
        requests.iter().find_map(|r| r["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array());
    let server = derived.expect("a list").iter().find(|m| m["name"] == "http.server.request.duration");
    let points = &server.expect("the metric")["exponentialHistogram"]["dataPoints"];
    let count = |point: &Value| point["count"].as_str().and_then(|n| n.parse::<u64>().ok()).expect("a count");
    assert_eq!(points.as_array().expect("a list").iter().map(count).sum::<u64>(), 15);

    // Other signals are not shown, and the notes say so.
    let ran = show("newrelic-metric", &[traces, metrics]);
    let metric_api = ran.json();
    assert_eq!(metric_api.len(), 1, "{}", ran.out);
    let sent = metric_api[0][0]["metrics"].as_array().expect("a list of metrics");
    let names: Vec<&str> = sent.iter().filter_map(|m| m["name"].as_str()).collect();
    assert!(names.contains(&"modelmuxer.router.decisions"), "{names:?}");
    assert!(
        sent.iter().all(|m| ["count", "summary", "gauge"].contains(&m["type"].as_str().unwrap_or("gauge")))
    );
    assert!(ran.notes.contains("not taken by it: 42 spans\n"), "{}", ran.notes);

    // A record for the Log API, and one that says that it is an event.
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
        {"timeUnixNano":"5000000","traceId":"0af7651916cd43dd8448eb211c80319c","body":{"stringValue":"hello"}},
        {"timeUnixNano":"6000000","attributes":[{"key":"newrelic.event.type","value":{"stringValue":"Rating"}}]}
    ]}]}]}"#;
    let ran = translate_with(logs.as_bytes(), &["--to", "newrelic-log", "-"]);
    let json = ran.json();
    assert_eq!(json.len(), 2, "{}", ran.notes);
    let record = &json[0][0]["logs"][0];
    assert_eq!((&record["message"], &record["timestamp"]), (&"hello".into(), &5.into()), "{}", ran.out);
    assert_eq!(record["attributes"]["trace.id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!((&json[1][0]["eventType"], &json[1][0]["timestamp"]), (&"Rating".into(), &6.into()));

    // The request to the Trace API, then one event for each call of a model: 6 `provider.invoke`, 2 `provider.invoke_stream`.
    let events = show("newrelic-event", &[traces]).json().pop().expect("a request");
    let events = events.as_array().expect("a list of events");
    assert_eq!(events.len(), 8);
    assert!(events.iter().all(|e| e["eventType"] == "LlmChatCompletionSummary"), "{events:?}");
}

#[test]
fn each_intake_of_datadog_can_be_shown_by_its_name() {
    let record = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1767225600000000000","severityText":"WARN",
        "traceId":"640cfd8d00000000abcd1234ef567890","spanId":"00f067aa0ba902b7","body":{"stringValue":"slow"}}]}]}]}"#;
    let directory = tempfile::tempdir().expect("a directory");
    let log = write(directory.path(), "log.json", record);
    let (traces, page) = (corpus("scenario/traces.otlp.pb"), corpus("scenario/metrics_prometheus.txt"));
    let show = |to: &str| {
        let ran = translate(&["--to", to, &traces, &page, &log]);
        assert_eq!(ran.code, Some(0), "{to}: {}", ran.notes);
        assert_eq!(ran.out.lines().count(), ran.json().len(), "{to}: only JSON");
        assert_eq!(ran.notes.matches("not taken by it").count(), 1, "{to}: {}", ran.notes);
        ran
    };
    // Each shows one signal: the others are said to be left out, and nothing of them is shown.
    let bodies = show("datadog-series").json();
    assert_eq!(bodies.len(), 2, "series, and distribution points");
    let series = bodies[0]["series"].as_array().expect("a list");
    let errors = series.iter().find(|s| s["metric"] == "modelmuxer.http.requests").expect("requests");
    assert_eq!(errors["type"], 1);
    assert!(errors["tags"].as_array().expect("tags").contains(&"service:modelmuxer".into()));
    let points = bodies[1]["series"].as_array().expect("a list");
    assert!(points.iter().any(|p| p["metric"] == "http.server.request.duration"));
    let logs = show("datadog-logs").json();
    let item = &logs[0][0];
    assert_eq!((&item["message"], &item["status"]), (&"slow".into(), &"WARN".into()));
    assert_eq!(item["dd.trace_id"], "12379570969274382480");
    assert_eq!((logs.len(), logs[0].as_array().map(Vec::len)), (1, Some(1)));
    let ran = show("datadog-llmobs");
    let models = ran.json();
    assert_eq!(models.len(), 1, "one application");
    let attributes = &models[0]["data"]["attributes"];
    assert_eq!(attributes["ml_app"], "modelmuxer");
    let spans = attributes["spans"].as_array().expect("a list");
    assert!(!spans.is_empty() && spans.len() < 42, "{}", spans.len());
    assert!(spans.iter().all(|s| s["meta"]["kind"].is_string()));
    assert!(
        ran.notes.contains(&format!("left out by it: {} not_of_a_model\n", 42 - spans.len())),
        "{}",
        ran.notes
    );
}

/// The counters of a recorded page, each reviewed against its line on the page and its row of the table of metrics.
const COUNTERS: &str = include_str!("translate_command/page_counters.txt");

#[test]
fn a_recorded_page_becomes_the_counters_that_the_table_says() {
    let ran = translate(&["--to", "statsd", &corpus("scenario/metrics_prometheus.txt")]);
    // Name, value, type and tags; what may follow depends on the server.
    let short = |line: &str| line.split('|').take(3).collect::<Vec<_>>().join("|");
    let is_counter = |line: &str| line.starts_with("modelmuxer.") && line.contains("|c|");
    let lines: Vec<String> = ran.out.lines().map(short).filter(|line| is_counter(line)).collect();
    assert_eq!(lines, COUNTERS.lines().collect::<Vec<_>>());
    assert!(ran.notes.contains("omitted: 2 M.fake_zero\n"), "{}", ran.notes);
}

#[test]
fn every_built_in_exporter_can_show_what_it_sends() {
    let output = Command::new(env!("CARGO_BIN_EXE_muxbridge")).args(["components", "--json"]).output();
    let all: Value = serde_json::from_slice(&output.expect("it runs").stdout).expect("JSON");
    let exporters = all.as_array().expect("a list").iter().filter(|c| c["kind"] == "exporters");
    let mut shown = 0;
    for name in exporters.filter_map(|c| c["name"].as_str()) {
        let ran = translate(&[
            "--to",
            name,
            &corpus("scenario/traces.otlp.pb"),
            &corpus("scenario/metrics_prometheus.txt"),
        ]);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.notes);
        assert!(!ran.out.is_empty(), "{name}: {}", ran.notes);
        shown += 1;
    }
    assert!(shown > 5, "the list is not the list");
}

/// Reviewed against rows S1 to S3 of the translation: a request whose budget was too small for every model.
const EXPLAINED: &str = include_str!("translate_command/explained.txt");

#[test]
fn each_change_is_explained_with_the_rule_that_made_it() {
    let ran = translate(&["--explain", &corpus("scenario/traces.otlp.pb")]);
    assert_eq!(ran.code, Some(0));
    let (mut lines, mut ours) = (String::new(), false);
    for line in ran.out.lines() {
        if line.starts_with("span ") {
            ours = line.contains("trace=8696be227d53229cc3c8ebe88ea0b1bc");
        }
        if ours {
            lines.push_str(line);
            lines.push('\n');
        }
    }
    assert_eq!(lines, EXPLAINED);
    assert!(!ran.out.contains("AIzaSy"), "a credential is no explanation");
}

#[test]
fn what_cannot_be_read_is_exit_65_with_its_place_and_a_missing_file_is_66() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name, content: &[u8]| write(directory.path(), name, content);
    let missing = directory.path().join("missing").display().to_string();
    let ran = translate(&[&missing]);
    assert_eq!(
        (ran.code, ran.notes),
        (Some(66), format!("{missing}: No such file or directory (os error 2)\n"))
    );

    let recorded = std::fs::read(corpus("scenario/traces.otlp.pb")).expect("the corpus");
    let good = r#"{"resourceSpans":[]}"#;
    let page = b"# TYPE jobs counter\njobs_total 1\njobs_total{a=\"b\" 2\n";
    for (path, place) in [
        (file("cut.pb", &recorded[..1000]), "byte "),
        (file("bad.json", format!("{good}\n{{\"resourceSpans\":[}}").as_bytes()), "line 2 column 19"),
        (
            file("type.json", format!("{good}\n{{\"resourceSpans\":[{{\"scopeSpans\":3}}]}}").as_bytes()),
            "request at line 2, byte 21: resourceSpans[0].scopeSpans: ",
        ),
        (file("other.json", b"{\"spans\":[]}"), "request at line 1, byte 0: holds no resourceSpans"),
        (file("page.txt", page), "line 3: "),
    ] {
        let ran = translate(&[&corpus("scenario/traces.otlp.pb"), &path]);
        assert_eq!(ran.code, Some(65), "{path}: {}", ran.notes);
        assert!(ran.notes.starts_with(&format!("{path}: ")) && ran.notes.contains(place), "{}", ran.notes);
        assert!(ran.out.is_empty(), "half a result is none");
    }
}

#[test]
fn a_destination_that_is_not_known_or_needs_options_says_what_to_do() {
    let traces = corpus("scenario/traces.otlp.pb");
    let ran = translate(&["--to", "datadgo", &traces]);
    assert_eq!(ran.code, Some(64));
    assert!(ran.notes.contains("datadog"), "{}", ran.notes);
    let ran = translate(&["--interval", "soon", &traces]);
    assert_eq!(ran.code, Some(64));
    assert!(ran.notes.contains("write for example 500ms"), "{}", ran.notes);
}

#[test]
fn processors_and_options_come_from_the_pipelines_of_the_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let yaml = "receivers: {otlp: {}}\n\
        processors: {modelmuxer: {}}\n\
        exporters:\n  statsd/team: {dialect: influx, metrics: {prefix: llm.}}\n  otlphttp: {endpoint: 'http://localhost'}\n  file: {path: x}\n\
        service:\n  pipelines:\n\
        \x20   traces: {receivers: [otlp], processors: [modelmuxer], exporters: [otlphttp]}\n\
        \x20   traces/raw: {receivers: [otlp], exporters: [file]}\n\
        \x20   metrics: {receivers: [otlp], exporters: [statsd/team]}\n";
    let config = write(directory.path(), "bridge.yaml", yaml);
    let one = write(directory.path(), "1.txt", page(1_767_225_600, 5, "0.5"));
    let with = |to: &str, input: &str| translate(&["--config", &config, "--to", to, input]);
    let ran = with("statsd/team", &one);
    assert!(ran.out.lines().any(|l| l.starts_with("llm.jobs_total,kind=a")), "{}{}", ran.out, ran.notes);
    let traces = corpus("scenario/traces.otlp.pb");
    assert!(with("otlphttp", &traces).out.contains("POST /v1/chat/completions"));
    let raw = with("file", &traces).out;
    assert!(raw.contains("\"http.request\"") && !raw.contains("POST /v1/chat/completions"), "not translated");
    let logs = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#;
    let ran = with("file", &write(directory.path(), "logs.json", logs));
    assert!(ran.out.is_empty() && ran.notes.contains("without a pipeline: 1 log_records"), "{}", ran.notes);
}

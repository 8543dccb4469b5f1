//! `muxbridge demo`: the bridge on its bundled recording.

use muxbridge_testkit::{Reply, Server, corpus_traces, oracle};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Without what the environment of the test may say about destinations.
fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muxbridge"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if ["DD_", "NEW_RELIC_", "OTEL_", "LOG_", "METRICS_", "ENABLE_METRICS"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Counted in the recorded requests by a script of its own: spans by name, the nearest-rank percentiles of their
/// durations (a request that is streamed ends with its call), tokens on the last page, estimates by a thousandth. The
/// 75 failures are 56 answers of 502 (as the client counted), 17 streams that failed behind a 200, and 2 requests that
/// raised without saying a status.
const COUNTED: &str = "\
requests 804 (69 refused, 75 failed)   p50 95.1 ms   p95 491.4 ms
provider model calls failed p50 ms p95 ms tokens in tokens out est. USD
openai gpt-4o-mini 263 2 143.6 406.4 8933 11587 0.015897
openai gpt-4o 67 1 140.0 1129.6 2272 3146 0.058370
groq llama-3.1-8b-instant 27 9 148.2 802.3 745 1843 -
mistral_ai mistral-small-latest 25 5 114.9 403.0 780 1089 -
openai gpt-3.5-turbo 25 5 148.9 605.3 574 673 -
cohere command-r 23 15 178.1 953.7 322 392 -
together_ai llama-2-7b-chat 23 9 130.6 4019.5 671 705 -
ollama llama3.2 20 11 145.3 626.6 235 533 -
anthropic claude-3-5-sonnet-latest 10 8 0.6 230.9 - - -
openai o1 7 0 144.1 236.5 203 561 -
gcp.gemini gemini-1.5-flash 6 4 77.3 100.3 69 79 -
anthropic claude-3-5-haiku-20241022 4 4 0.5 0.9 - - -
";

#[test]
fn one_playing_ends_by_itself_and_shows_what_a_count_of_the_recording_gives() {
    let output = demo(&["--once", "--speed", "1000"]).output().expect("it runs");
    let (out, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{notes}");
    let (_, last) = out.split_once("all in all: ").expect("the last numbers");
    let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = last.lines().map(squeezed).collect();
    let expected: Vec<String> = COUNTED.lines().map(squeezed).collect();
    assert_eq!(lines, expected);
    assert!(notes.contains("/ready") && notes.contains("DD_API_KEY=... muxbridge demo"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_of_the_environment_gets_every_span_with_new_ids_and_times() {
    let server = Server::start(|_| Reply::status(200)).await;
    let mut command = demo(&["--once", "--speed", "1000"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", server.url()).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || command.status()).await.expect("no panic");
    assert_eq!(ended.expect("it runs").code(), Some(0));
    let recorded: BTreeSet<Vec<u8>> = corpus_traces("run1")
        .iter()
        .flat_map(|batch| oracle::decode_traces(batch.otlp()).resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .map(|span| span.trace_id)
        .collect();
    let requests = server.requests();
    let spans: Vec<_> = requests
        .iter()
        .filter(|r| r.path == "/v1/traces")
        .flat_map(|r| oracle::decode_traces(&r.body).resource_spans)
        .flat_map(|r| r.scope_spans)
        .flat_map(|s| s.spans)
        .collect();
    assert_eq!(spans.len(), 2703);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let ids: BTreeSet<&Vec<u8>> = spans.iter().map(|s| &s.trace_id).collect();
    assert_eq!(ids.len(), 804);
    for span in &spans {
        assert!(!recorded.contains(&span.trace_id), "an id of the recording");
        let age = now.saturating_sub(span.end_time_unix_nano) / 1_000_000_000;
        assert!(age < 120 && span.end_time_unix_nano <= now, "{age} s old");
    }
    assert!(requests.iter().any(|r| r.path == "/v1/metrics"));
}

#[test]
fn it_runs_until_it_is_interrupted_and_says_where_to_look() {
    let mut child = demo(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let look = lines.find_map(|l| l.expect("text").strip_prefix("  look: http://").map(str::to_owned));
    let look = look.expect("a line about the admin port");
    let address = look.split('/').next().expect("an address").to_owned();
    let mut admin = TcpStream::connect(address).expect("the admin port listens");
    admin
        .write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .expect("a request");
    let mut answer = String::new();
    admin.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"summary\""), "{answer}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    // Nobody reads the rest, and a pipe that is full would hold the program up.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let output = child.wait_with_output().expect("it ends");
    rest.join().expect("no panic");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("all in all: requests "));
}

#[test]
fn an_impossible_speed_is_refused() {
    let output = demo(&["--speed", "0"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(64));
}

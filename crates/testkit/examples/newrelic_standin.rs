//! The stand-in for New Relic as a program, for scripts that run the real muxbridge against it.
//!
//! Arguments are faults, in the order in which they come: `<path>=<status>` or `<path>=<status>/<Retry-After in seconds>`;
//! status 0 closes the connection. It prints its URL, answers until its standard input ends, and prints a report as JSON.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a tool of tests")]

use muxbridge_testkit::newrelic::{Fault, Standin};
use muxbridge_testkit::{Recorded, oracle};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn fault(argument: &str) -> (&'static str, Fault) {
    let (path, fault) = argument.split_once('=').expect("<path>=<status>");
    let path: &'static str = path.to_owned().leak();
    let fault = match fault.split_once('/') {
        Some((status, seconds)) => Fault::RetryAfter(status.parse().unwrap(), seconds.parse().unwrap()),
        None if fault == "0" => Fault::Hangup,
        None => Fault::Status(fault.parse().unwrap()),
    };
    (path, fault)
}

/// The ids of the spans of one request, in whatever format it came.
fn span_ids(request: &Recorded) -> Vec<String> {
    if request.path == "/v1/traces" {
        let spans =
            oracle::decode_traces(&request.body).resource_spans.into_iter().flat_map(|r| r.scope_spans);
        let hex = |id: Vec<u8>| id.iter().map(|byte| format!("{byte:02x}")).collect();
        return spans.flat_map(|s| s.spans).map(|s| hex(s.span_id)).collect();
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let blocks = body.as_array().cloned().unwrap_or_default();
    let spans = blocks.into_iter().flat_map(|block| match block.get("spans") {
        Some(spans) => spans.as_array().cloned().unwrap_or_default(),
        None => vec![block],
    });
    spans.map(|span| span["id"].as_str().unwrap().to_owned()).collect()
}

/// How many measurements the exponential histograms of a request hold, by the name of the metric.
fn durations(request: &Recorded, found: &mut BTreeMap<String, u64>) {
    use oracle::metrics::v1::metric::Data;
    let metrics =
        oracle::decode_metrics(&request.body).resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
    for metric in metrics.flat_map(|s| s.metrics) {
        if let Some(Data::ExponentialHistogram(histogram)) = metric.data {
            let count: u64 = histogram.data_points.iter().map(|p| p.count).sum();
            *found.entry(metric.name).or_default() += count;
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() {
    let faults: Vec<_> = std::env::args().skip(1).map(|argument| fault(&argument)).collect();
    let standin = Standin::start(faults).await;
    println!("{}", standin.url());
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await
        .unwrap()
        .unwrap();
    let (mut requests, mut found) = (BTreeMap::<String, u64>::new(), BTreeMap::new());
    standin.requests().iter().for_each(|r| *requests.entry(r.path.clone()).or_default() += 1);
    let taken = standin.taken();
    taken.iter().filter(|r| r.path == "/v1/metrics").for_each(|r| durations(r, &mut found));
    let traces = taken.iter().filter(|r| matches!(r.path.as_str(), "/v1/traces" | "/trace/v1"));
    let report = json!({
        "requests": requests,
        "taken": taken.len(),
        "faults_left": standin.faults_left(),
        "violations": standin.violations(),
        "span_ids": traces.flat_map(span_ids).collect::<Vec<_>>(),
        "durations": found,
    });
    println!("{report}");
}

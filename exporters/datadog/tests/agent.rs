//! The official test Agent accepts our payloads. Runs only where `MUXBRIDGE_DD_TEST_AGENT` is the URL of one;
//! `tests/interop/datadog_test_agent.py` starts one and sets it.

use crate::build::*;
use muxbridge_core::Exporter;
use muxbridge_exporter_datadog::Datadog;
use muxbridge_exporter_datadog::encode::Options;
use muxbridge_kit::http::{ClientOptions, HttpClient};
use muxbridge_testkit::contract::{build, context};
use muxbridge_testkit::oracle::trace::v1::span::{Event, Link};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use serde_json::json;
use std::collections::BTreeSet;

/// Every span that the test Agent holds.
async fn read_back(url: &str) -> Vec<serde_json::Value> {
    let uri = format!("{url}/test/session/traces");
    let request = http::Request::get(uri).body(bytes::Bytes::new()).unwrap();
    let response = HttpClient::new(&ClientOptions::default()).unwrap().send(request).await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    let traces: Vec<Vec<serde_json::Value>> = serde_json::from_slice(response.body()).unwrap();
    traces.into_iter().flatten().collect()
}

fn ids(span: &serde_json::Value) -> (u64, u64) {
    (span["trace_id"].as_u64().unwrap(), span["span_id"].as_u64().unwrap())
}

#[tokio::test]
async fn the_test_agent_accepts_every_payload_and_gives_every_span_back() {
    let Ok(url) = std::env::var("MUXBRIDGE_DD_TEST_AGENT") else { return };
    let exporter = build::<Datadog>(json!({ "trace_agent_url": url, "env": "test" }), &context::<Datadog>());
    let mut sent = BTreeSet::new();
    for batch in muxbridge_testkit::corpus_traces("run1") {
        exporter.export(&batch).await.unwrap();
        for payload in payloads(&batch, &Options::default()).0 {
            let spans = chunks(&payload).into_iter().flatten();
            sent.extend(spans.map(|s| (s.number("trace_id"), s.number("span_id"))));
        }
    }
    let hostile = "a\"b\\c\n\u{1}é";
    let exception = Event {
        name: "exception".into(),
        attributes: vec![kv("exception.message", hostile)],
        ..Default::default()
    };
    let link = Link {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        attributes: vec![kv("k", hostile)],
        ..Default::default()
    };
    let special = Span {
        trace_state: "ot=th:8".into(),
        status: Some(Status { code: 2, message: String::new() }),
        events: vec![exception],
        links: vec![link],
        ..span(SERVER, "special", vec![kv("http.request.method", "POST"), kv("n", 1)])
    };
    exporter.export(&batch(vec![kv("service.name", "special")], vec![special])).await.unwrap();
    sent.insert((12_379_570_969_274_382_480, 67_667_974_448_284_343));

    let spans = read_back(&url).await;
    assert_eq!(spans.iter().map(ids).collect::<BTreeSet<_>>(), sent);
    let special = spans.iter().find(|s| s["service"] == "special").unwrap();
    assert_eq!((&special["name"], &special["resource"]), (&json!("http.server.request"), &json!("POST")));
    assert_eq!((&special["error"], &special["meta"]["error.msg"]), (&json!(1), &json!(hostile)));
    assert_eq!(special["meta"]["_dd.p.tid"], "640cfd8d00000000");
    assert_eq!((&special["metrics"]["n"], &special["metrics"]["_sample_rate"]), (&json!(1.0), &json!(0.5)));
    assert_eq!(special["meta"]["env"], "test");
}

//! The official test Agent accepts our payloads. Runs only where `MUXBRIDGE_DD_TEST_AGENT` is the URL of one;
//! `tests/interop/datadog_test_agent.py` starts one and sets it.

use crate::build::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muxbridge_core::Exporter;
use muxbridge_exporter_datadog::Datadog;
use muxbridge_exporter_datadog::encode::Options;
use muxbridge_kit::http::{ClientOptions, HttpClient};
use muxbridge_testkit::contract::{build, context};
use muxbridge_testkit::oracle::trace::v1::span::{Event, Link};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

async fn ask(url: &str, path: &str) -> bytes::Bytes {
    let request = http::Request::get(format!("{url}{path}")).body(bytes::Bytes::new()).unwrap();
    let response = HttpClient::new(&ClientOptions::default()).unwrap().send(request).await.unwrap();
    assert!(response.status().is_success(), "{response:?}");
    response.into_body()
}

async fn get(url: &str, path: &str) -> serde_json::Value {
    serde_json::from_slice(&ask(url, path).await).unwrap()
}

/// Makes the test Agent forget what it holds.
async fn clear(url: &str) {
    ask(url, "/test/session/clear").await;
}

/// Every span that the test Agent holds.
async fn read_back(url: &str) -> Vec<serde_json::Value> {
    let traces = get(url, "/test/session/traces").await;
    traces.as_array().unwrap().iter().flat_map(|t| t.as_array().unwrap().clone()).collect()
}

/// A span as it was written, in the form in which the Agent gives it back.
fn as_json(value: &rmpv::Value) -> serde_json::Value {
    match value {
        rmpv::Value::Map(entries) => {
            entries.iter().map(|(k, v)| (k.as_str().unwrap().to_owned(), as_json(v))).collect()
        }
        rmpv::Value::Array(values) => values.iter().map(as_json).collect(),
        rmpv::Value::String(text) => json!(text.as_str().unwrap()),
        rmpv::Value::F64(number) => json!(number),
        rmpv::Value::Integer(number) => number.as_u64().map_or(json!(number.as_i64()), |n| json!(n)),
        other => panic!("not in a span: {other}"),
    }
}

/// Recorded spans come back as they were written, every field of each.
async fn recorded_spans_come_back_equal(url: &str, to: &str) {
    clear(url).await;
    let config = json!({ "trace_agent_url": to, "env": "test" });
    let exporter = build::<Datadog>(config, &context::<Datadog>());
    // The test Agent says at `/info` that it reads lists of events.
    let options = Options { env: "test".to_owned(), native_events: true, ..Options::default() };
    let mut written = BTreeMap::new();
    for batch in muxbridge_testkit::corpus_traces("run1") {
        exporter.export(&batch).await.unwrap();
        for payload in payloads(&batch, &options).0 {
            let spans = chunks(&payload).into_iter().flatten().map(|span| as_json(&span.0));
            written.extend(spans.map(|span| (ids(&span), span)));
        }
    }
    let read: BTreeMap<_, _> = read_back(url).await.into_iter().map(|span| (ids(&span), span)).collect();
    assert!(written.len() > 500 && written.keys().eq(read.keys()), "{} and {}", written.len(), read.len());
    for (id, span) in &written {
        for (key, value) in span.as_object().unwrap() {
            assert_eq!(&read[id][key], value, "{key} of {span}");
        }
    }
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

    recorded_spans_come_back_equal(&url, &url).await;
    let socket = std::env::var("MUXBRIDGE_DD_TEST_AGENT_SOCKET").ok().map(|path| format!("unix://{path}"));
    if let Some(socket) = &socket {
        recorded_spans_come_back_equal(&url, socket).await;
    }
    everything_else(&url, &url).await;
    if let Some(socket) = &socket {
        everything_else(&url, socket).await;
    }
}

/// Statistics and spans of models, sent to `to`, arrive at the Agent at `url`, which reads them with its own parsers.
async fn everything_else(url: &str, to: &str) {
    clear(url).await;
    let config = json!({ "trace_agent_url": to, "env": "test", "client_stats": true,
        "llm_observability": { "enabled": true } });
    let exporter = build::<Datadog>(config, &context::<Datadog>());
    let batch = crate::llm::model_trace();
    let delivered = exporter.export(&batch).await.unwrap();
    assert_eq!((delivered.rejected, delivered.omitted), (0, 0));
    assert_eq!(read_back(url).await.len(), batch.items());

    let requests = get(url, "/test/session/requests").await;
    let body = |path: &str| {
        let sent = |r: &&serde_json::Value| r["url"].as_str().unwrap().ends_with(path);
        let found: Vec<_> = requests.as_array().unwrap().iter().filter(sent).collect();
        assert_eq!(found.len(), 1, "{path} over {to}: {requests}");
        STANDARD.decode(found[0]["body"].as_str().unwrap()).unwrap()
    };
    let spans: serde_json::Value = serde_json::from_slice(&body("/evp_proxy/v2/api/v2/llmobs")).unwrap();
    assert_eq!(spans.as_array().unwrap().len(), 2);
    assert_eq!(spans[1]["spans"][0]["meta"]["model_name"], "gpt-4o-2024");
    // The Agent answers 400 to statistics with a field missing or a sketch that its protobuf cannot read.
    let stats = rmpv::decode::read_value(&mut &body("/v0.6/stats")[..]).unwrap();
    let groups = stats["Stats"][0]["Stats"].as_array().unwrap();
    let hits: u64 = groups.iter().map(|g| g["Hits"].as_u64().unwrap()).sum();
    // All four spans are roots, clients or servers.
    assert_eq!(hits, 4);
}

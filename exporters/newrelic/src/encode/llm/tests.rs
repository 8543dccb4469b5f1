//! The custom events of AI Monitoring.

use super::super::tests::{T0, batch_of, kv, s, span, text};
use super::*;
use muxbridge_testkit::oracle;
use muxbridge_testkit::oracle::common::v1::any_value::Value;
use muxbridge_testkit::oracle::common::v1::{AnyValue as Any, ArrayValue};
use muxbridge_testkit::oracle::logs::v1::LogRecord;
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use std::collections::BTreeMap;

fn call(more: Vec<(&str, Value)>) -> Span {
    let mut attributes = vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "openai"),
        text("gen_ai.request.model", "gpt-4o-mini"),
    ];
    attributes.extend(more.into_iter().map(|(key, value)| kv(key, value)));
    Span { kind: 3, end_time_unix_nano: T0 + 800_000_000, ..span(attributes) }
}

fn events(spans: Vec<Span>) -> Vec<LogRecord> {
    let Some((otlp, n)) = llm_events(&batch_of(vec![text("service.name", "modelmuxer")], spans)) else {
        return Vec::new();
    };
    let mut request = oracle::decode_logs(&otlp);
    let records = request.resource_logs.remove(0).scope_logs.remove(0).log_records;
    assert_eq!(records.len() as u64, n);
    records
}

fn attributes(record: &LogRecord) -> BTreeMap<String, Value> {
    record.attributes.iter().map(|a| (a.key.clone(), a.value.clone().unwrap().value.unwrap())).collect()
}

// V13
#[test]
fn a_call_with_tokens_becomes_the_summary_that_new_relics_agents_send() {
    let reasons = Value::ArrayValue(ArrayValue { values: vec![Any { value: Some(s("stop")) }] });
    let [record] = events(vec![call(vec![
        ("gen_ai.usage.input_tokens", Value::IntValue(9)),
        ("gen_ai.usage.output_tokens", Value::IntValue(2)),
        ("gen_ai.response.model", s("gpt-4o-mini-2024-07-18")),
        ("gen_ai.response.finish_reasons", reasons),
        ("gen_ai.response.id", s("req_123")),
    ])])
    .try_into()
    .unwrap();
    assert_eq!((record.time_unix_nano, &record.body), (T0, &None));
    assert_eq!((record.trace_id.len(), record.span_id.len()), (16, 8));
    let mut found = attributes(&record);
    let Some(Value::StringValue(id)) = found.remove("id") else { panic!("no id") };
    assert_eq!(id.len(), 36);
    let expected: BTreeMap<String, Value> = [
        ("newrelic.event.type", s("LlmChatCompletionSummary")),
        ("span_id", s("b7ad6b7169203331")),
        ("trace_id", s("0af7651916cd43dd8448eb211c80319c")),
        ("appName", s("modelmuxer")),
        ("request_id", s("req_123")),
        ("request.model", s("gpt-4o-mini")),
        ("response.model", s("gpt-4o-mini-2024-07-18")),
        ("vendor", s("openai")),
        ("ingest_source", s("muxbridge")),
        ("duration", Value::DoubleValue(800.0)),
        ("response.choices.finish_reason", s("stop")),
        ("response.usage.prompt_tokens", Value::IntValue(9)),
        ("response.usage.completion_tokens", Value::IntValue(2)),
        ("response.usage.total_tokens", Value::IntValue(11)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    assert_eq!(found, expected);
}

#[test]
fn unknown_tokens_are_left_out_and_half_of_them_too() {
    for more in [vec![], vec![("gen_ai.usage.input_tokens", Value::IntValue(9))]] {
        let found = attributes(&events(vec![call(more)])[0]);
        assert!(found.keys().all(|key| !key.starts_with("response.")), "{found:?}");
        assert!(!found.contains_key("error"));
    }
}

#[test]
fn a_failed_call_says_so_and_the_same_call_has_the_same_id() {
    let failed = Span { status: Some(Status { code: 2, message: "m".into() }), ..call(vec![]) };
    let (a, b) = (events(vec![failed.clone()]), events(vec![failed, call(vec![])]));
    assert_eq!(attributes(&a[0])["error"], Value::BoolValue(true));
    assert_eq!(attributes(&a[0])["id"], attributes(&b[0])["id"]);
}

#[test]
fn what_is_no_call_of_a_model_is_no_event() {
    let decision = span(vec![text("modelmuxer.route.selected.model", "gpt-4o-mini")]);
    let tool =
        span(vec![text("gen_ai.operation.name", "execute_tool"), text("gen_ai.provider.name", "openai")]);
    assert_eq!(events(vec![decision, tool]), []);
}

#[test]
fn a_prompt_in_a_span_is_in_no_event() {
    let call = call(vec![("gen_ai.input.messages", s("canary prompt"))]);
    let (otlp, _) = llm_events(&batch_of(vec![], vec![call])).unwrap();
    assert!(!String::from_utf8_lossy(&otlp).contains("canary"));
}

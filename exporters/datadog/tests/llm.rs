//! Spans of models for LLM Observability, in both spellings, with and without content.

use crate::build::*;
use muxbridge_core::Batch;
use muxbridge_exporter_datadog::encode::llmobs::{Format, LlmOptions, llm_spans};
use muxbridge_testkit::oracle::trace::v1::{Span, Status};
use serde_json::{Value, json};

/// An agent that asks a model through an ordinary HTTP span, and a span that has nothing to do with models.
pub(crate) fn model_trace() -> Batch {
    let id = |n: u8| vec![0, 0, 0, 0, 0, 0, 0, n];
    let agent =
        Span { span_id: id(1), ..span(1, "invoke", vec![kv("gen_ai.operation.name", "invoke_agent")]) };
    let http = Span { span_id: id(2), parent_span_id: id(1), ..span(CLIENT, "POST", vec![]) };
    let chat = Span {
        span_id: id(3),
        parent_span_id: id(2),
        status: Some(Status { code: 2, message: "overloaded".into() }),
        ..span(
            CLIENT,
            "chat gpt-4o",
            vec![
                kv("gen_ai.operation.name", "chat"),
                kv("gen_ai.provider.name", "openai"),
                kv("gen_ai.request.model", "gpt-4o"),
                kv("gen_ai.response.model", "gpt-4o-2024"),
                kv("gen_ai.request.temperature", 0.5),
                kv("gen_ai.usage.input_tokens", 12),
                kv("gen_ai.usage.completion_tokens", 3),
                kv("gen_ai.conversation.id", "c1"),
                kv("gen_ai.input.messages", "[\"secret\"]"),
                kv("gen_ai.output.messages", "[\"answer\"]"),
                kv("modelmuxer.route.estimate.cost", 0.25),
                kv("error.type", "503"),
                kv("team", "blue"),
            ],
        )
    };
    let other = Span { trace_id: vec![9; 16], span_id: id(4), ..span(SERVER, "other", vec![]) };
    batch(vec![kv("service.name", "mm"), kv("service.version", "0.3")], vec![agent, http, chat, other])
}

fn spans(format: Format, content: bool) -> Vec<Value> {
    let options = LlmOptions { format, ml_app: String::new(), env: "t".into(), content };
    let applications = llm_spans(&model_trace(), &options);
    assert_eq!(applications.len(), 1);
    let parts = &applications[0].spans;
    let body = parts.body(&applications[0].frame(format), 0..parts.len()).joined();
    let body: Value = serde_json::from_slice(&body).unwrap();
    match format {
        Format::Api => body["data"]["attributes"]["spans"].as_array().unwrap().clone(),
        Format::Library => body.as_array().unwrap().clone(),
    }
}

#[test]
fn the_public_api_gets_kinds_models_tokens_and_errors() {
    let spans = spans(Format::Api, false);
    assert_eq!(spans.len(), 2, "only spans of models are sent");
    assert_eq!((&spans[0]["span_id"], &spans[0]["parent_id"]), (&json!("1"), &json!("undefined")));
    // The HTTP span between them is not sent, so that its parent is the parent.
    assert_eq!(spans[1]["parent_id"], "1");
    assert_eq!(spans[1]["trace_id"], "640cfd8d00000000abcd1234ef567890");
    assert_eq!(
        (&spans[1]["start_ns"], &spans[1]["duration"]),
        (&json!(1_700_000_000_000_000_000_u64), &json!(1000))
    );
    assert_eq!(spans[1]["status"], "error");
    assert_eq!(
        spans[1]["meta"],
        json!({
            "kind": "llm",
            "metadata": { "model_name": "gpt-4o-2024", "model_provider": "openai", "temperature": 0.5,
                "estimated_cost_usd": 0.25 },
            "error": { "message": "overloaded", "type": "503" },
        })
    );
    assert_eq!(spans[1]["metrics"], json!({ "input_tokens": 12, "output_tokens": 3, "total_tokens": 15 }));
    let tags: Vec<_> = spans[1]["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    for tag in
        ["ml_app:mm", "service:mm", "env:t", "version:0.3", "session_id:c1", "source:otel", "team:blue"]
    {
        assert!(tags.contains(&tag), "{tag} is not in {tags:?}");
    }
    // The agent says nothing of tokens, and nothing is not zero.
    assert_eq!(spans[0]["metrics"], json!({}));
}

#[test]
fn an_agent_gets_what_datadogs_libraries_send() {
    let items = spans(Format::Library, false);
    let item = &items[1];
    assert_eq!((&item["_dd.stage"], &item["event_type"]), (&json!("raw"), &json!("span")));
    assert_eq!(item["spans"].as_array().unwrap().len(), 1);
    let chat = &item["spans"][0];
    assert_eq!(chat["meta"]["span"]["kind"], "llm");
    assert_eq!(
        (&chat["meta"]["model_name"], &chat["meta"]["model_provider"]),
        (&json!("gpt-4o-2024"), &json!("openai"))
    );
    assert_eq!((&chat["session_id"], &chat["_dd"]["span_id"]), (&json!("c1"), &json!("3")));
}

#[test]
fn content_leaves_only_if_it_is_asked_for() {
    for format in [Format::Api, Format::Library] {
        let text = |content| Value::from(spans(format, content)).to_string();
        assert!(!text(false).contains("secret") && !text(false).contains("answer"));
        assert!(text(true).contains("secret") && text(true).contains("answer"));
    }
    let read = |content| {
        let options = muxbridge_exporter_datadog::encode::Options { content, ..Default::default() };
        let (payloads, counts) = payloads(&model_trace(), &options);
        (String::from_utf8_lossy(&payloads[0].body).contains("secret"), counts.content)
    };
    assert_eq!((read(false), read(true)), ((false, 2), (true, 0)));
}

#[test]
fn traces_without_a_model_give_nothing() {
    let options = LlmOptions { format: Format::Api, ml_app: "x".into(), env: String::new(), content: false };
    let plain = batch(vec![], vec![span(SERVER, "x", vec![])]);
    assert!(llm_spans(&plain, &options).is_empty());
    // Attributes of models alone do not make a trace one of a model.
    let stray = batch(vec![], vec![span(SERVER, "x", vec![kv("gen_ai.usage.input_tokens", 1)])]);
    assert!(llm_spans(&stray, &options).is_empty());
}

//! Calls of models to the custom events that New Relic's own agents send: `LlmChatCompletionSummary`, as OTLP logs.
//!
//! An attribute `newrelic.event.type` on a log record makes it an event of that type. Prompts and answers are in no
//! event, because ModelMuxer's spans have none.

use super::id;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::schema::field::{self, log, resource_items, scope, scope_items};
use muxbridge_pdata::view::{AnyValue, Resource, Span, StatusCode};
use muxbridge_pdata::{Writer, view};

/// What the events name as their origin.
const INGEST_SOURCE: &str = "muxbridge";

/// An OTLP logs request with one `LlmChatCompletionSummary` for each call of a model among the spans, and how many
/// there are. `None` if there is none.
pub fn llm_events(batch: &Batch) -> Option<(bytes::Bytes, u64)> {
    if batch.signal() != Signal::Traces {
        return None;
    }
    let mut w = Writer::new();
    let mut events = 0;
    for items in batch.resources() {
        let mut calls = items.scopes().flat_map(|s| s.spans()).filter(is_completion).peekable();
        if calls.peek().is_none() {
            continue;
        }
        w.message(field::REQUEST_RESOURCE, |w| {
            w.bytes(resource_items::RESOURCE, items.resource.raw());
            w.message(resource_items::SCOPES, |w| {
                w.message(scope_items::SCOPE, |w| w.bytes(scope::NAME, super::SCOPE.as_bytes()));
                for span in calls {
                    events += 1;
                    w.message(scope_items::ITEMS, |w| write_summary(w, &span, items.resource));
                }
            });
        });
    }
    (events > 0).then(|| (w.into_bytes(), events))
}

fn string<'a>(span: &Span<'a>, key: &str) -> Option<&'a [u8]> {
    match span.attribute(key.as_bytes()) {
        Some(AnyValue::String(s)) if !s.is_empty() => Some(s),
        _ => None,
    }
}

fn vendor<'a>(span: &Span<'a>) -> Option<&'a [u8]> {
    string(span, "gen_ai.provider.name").or_else(|| string(span, "gen_ai.system"))
}

fn is_completion(span: &Span<'_>) -> bool {
    let operation = string(span, "gen_ai.operation.name");
    vendor(span).is_some() && matches!(operation, Some(b"chat" | b"generate_content" | b"text_completion"))
}

fn write_summary(w: &mut Writer, span: &Span<'_>, resource: Resource<'_>) {
    w.fixed64(log::TIME, span.start);
    let mut add = |key: &str, value: AnyValue<'_>| w.attribute(log::ATTRIBUTES, key.as_bytes(), value);
    let (trace_id, span_id) = (hex(span.trace_id), hex(span.span_id));
    add("newrelic.event.type", AnyValue::string("LlmChatCompletionSummary"));
    add("id", AnyValue::string(&id::uuid(&[b"LlmChatCompletionSummary", span.trace_id, span.span_id])));
    add("span_id", AnyValue::string(&span_id));
    add("trace_id", AnyValue::string(&trace_id));
    if let Some(name @ AnyValue::String(_)) = resource.attribute(b"service.name") {
        add("appName", name);
    }
    let texts = [
        ("request_id", string(span, "gen_ai.response.id")),
        ("request.model", string(span, "gen_ai.request.model")),
        ("response.model", string(span, "gen_ai.response.model")),
        ("vendor", vendor(span)),
        ("llm.conversation_id", string(span, "gen_ai.conversation.id")),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            add(key, AnyValue::String(value));
        }
    }
    add("ingest_source", AnyValue::string(INGEST_SOURCE));
    add("duration", AnyValue::Double(span.duration() as f64 / 1e6));
    let numbers = [
        ("request.temperature", span.attribute(b"gen_ai.request.temperature")),
        ("request.max_tokens", span.attribute(b"gen_ai.request.max_tokens")),
    ];
    for (key, value) in numbers {
        if let Some(value @ (AnyValue::Int(_) | AnyValue::Double(_))) = value {
            add(key, value);
        }
    }
    if let Some(reason) = finish_reason(span) {
        add("response.choices.finish_reason", AnyValue::String(reason));
    }
    // All three or none: a total of half of the tokens would be wrong.
    let tokens = |key: &str| span.attribute(key.as_bytes()).and_then(|v| v.as_int());
    let used = (tokens("gen_ai.usage.input_tokens"), tokens("gen_ai.usage.output_tokens"));
    if let (Some(input), Some(output)) = used {
        add("response.usage.prompt_tokens", AnyValue::Int(input));
        add("response.usage.completion_tokens", AnyValue::Int(output));
        add("response.usage.total_tokens", AnyValue::Int(input.saturating_add(output)));
    }
    // The agents leave it out of what went well.
    if span.status.code == StatusCode::Error {
        add("error", AnyValue::Bool(true));
    }
    w.bytes_nonempty(log::TRACE_ID, span.trace_id);
    w.bytes_nonempty(log::SPAN_ID, span.span_id);
}

/// The first one: there is one for each choice, and ModelMuxer asks for one.
fn finish_reason<'a>(span: &Span<'a>) -> Option<&'a [u8]> {
    match span.attribute(b"gen_ai.response.finish_reasons")? {
        AnyValue::Array(reasons) => reasons.values().find_map(|reason| match reason {
            AnyValue::String(s) => Some(s),
            _ => None,
        }),
        AnyValue::String(s) => Some(s),
        _ => None,
    }
}

fn hex(id: &[u8]) -> String {
    super::json::hex(id)
}

/// The type of the custom event that a log record stands for, if it stands for one.
pub(crate) fn event_type<'a>(record: &view::LogRecord<'a>) -> Option<&'a str> {
    record.attribute(b"newrelic.event.type").and_then(|v| v.as_str()).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests;

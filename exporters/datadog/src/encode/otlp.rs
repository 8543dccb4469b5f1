//! Traces for Datadog's OTLP intake: as they are, but without content, and with the mark of LLM Observability.

use super::content::is_content;
use bytes::Bytes;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{AnyValue, KeyValue, Span};
use muxbridge_pdata::wire::Fields;

/// The attribute by which a trace asks for LLM Observability or declines it.
const MARK: &str = "dd_llmobs_enabled";

/// The request to send: the bytes of the batch if nothing is to be changed. `llmobs` says it on every span of a model,
/// because Datadog's default has changed; content leaves only with `content`.
pub fn otlp_traces(batch: &Batch, llmobs: bool, content: bool) -> Bytes {
    let spans = || batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.spans());
    if batch.signal() != Signal::Traces || !spans().any(|span| changes(&span, content)) {
        return batch.otlp().clone();
    }
    let mut w = Writer::with_capacity(batch.otlp().len() + 256);
    for request in Fields::new(batch.otlp()) {
        if request.number != field::REQUEST_RESOURCE {
            w.raw(request.raw);
            continue;
        }
        w.message(request.number, |w| {
            for part in Fields::new(request.value.as_bytes()) {
                if part.number != field::resource_items::SCOPES {
                    w.raw(part.raw);
                    continue;
                }
                w.message(part.number, |w| {
                    for item in Fields::new(part.value.as_bytes()) {
                        if item.number == field::scope_items::ITEMS {
                            let span = Span::read(item.value.as_bytes());
                            w.message(item.number, |w| write(w, &span, llmobs, content));
                        } else {
                            w.raw(item.raw);
                        }
                    }
                });
            }
        });
    }
    w.into_bytes()
}

fn is_model(span: &Span<'_>) -> bool {
    span.attributes().any(|kv| kv.key.starts_with(b"gen_ai."))
}

fn changes(span: &Span<'_>, content: bool) -> bool {
    let events = || span.events().flat_map(|e| e.attributes());
    is_model(span) || (!content && span.attributes().chain(events()).any(|kv| is_content(kv.key)))
}

fn write(w: &mut Writer, span: &Span<'_>, llmobs: bool, content: bool) {
    let keep = |raw: &[u8]| content || !is_content(KeyValue::read(raw).key);
    let marks = is_model(span);
    for part in Fields::new(span.raw()) {
        let bytes = part.value.as_bytes();
        match part.number {
            field::span::ATTRIBUTES => {
                let is_mark = marks && KeyValue::read(bytes).key == MARK.as_bytes();
                if keep(bytes) && !is_mark {
                    w.raw(part.raw);
                }
            }
            field::span::EVENTS => w.message(part.number, |w| {
                for part in Fields::new(bytes) {
                    if part.number != field::event::ATTRIBUTES || keep(part.value.as_bytes()) {
                        w.raw(part.raw);
                    }
                }
            }),
            _ => w.raw(part.raw),
        }
    }
    if marks {
        w.attribute(field::span::ATTRIBUTES, MARK.as_bytes(), AnyValue::Bool(llmobs));
    }
}

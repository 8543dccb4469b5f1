//! The Trace API format `zipkin`, version 2: a flat list of Zipkin v2 spans whose tags are all strings.

use super::span::{Fields, push_span, resource};
use super::{Counts, Options, json, limits, reason};
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{AnyValue, ResourceItems, Scope, Span, SpanKind, text};

pub(super) fn encode(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.otlp().len() * 2);
    out.push(b'[');
    if batch.signal() == Signal::Traces {
        for items in batch.resources() {
            // Every span repeats the resource; its changes are counted once.
            let common = resource(items.resource, options, counts);
            for (scope, span) in items.scopes().flat_map(|s| s.spans().map(move |span| (s.scope, span))) {
                if !limits::has_ids(span) {
                    counts.drop(reason::NO_ID, 1);
                    continue;
                }
                if out.len() > 1 {
                    out.push(b',');
                }
                write_span(&mut out, &common, items, scope, span, options, counts);
            }
        }
    }
    out.push(b']');
    out
}

fn write_span(
    out: &mut Vec<u8>,
    common: &Fields<'_>,
    items: ResourceItems<'_>,
    scope: Scope<'_>,
    span: Span<'_>,
    options: &Options,
    counts: &mut Counts,
) {
    out.extend_from_slice(b"{\"traceId\":");
    json::string(out, &json::hex(span.trace_id));
    out.extend_from_slice(b",\"id\":");
    json::string(out, &json::hex(span.span_id));
    if limits::is_id(span.parent_span_id) {
        out.extend_from_slice(b",\"parentId\":");
        json::string(out, &json::hex(span.parent_span_id));
    }
    if let Some(kind) = kind(span.kind) {
        out.extend_from_slice(b",\"kind\":");
        json::string(out, kind);
    }
    out.extend_from_slice(b",\"name\":");
    let name = limits::cut(text(span.name), limits::VALUE_CHARS);
    counts.adjust(reason::VALUE_TRUNCATED, u64::from(name.len() < span.name.len()));
    json::string(out, &name.to_lowercase());
    out.extend_from_slice(b",\"timestamp\":");
    json::scalar(out, &(span.start / 1_000));
    out.extend_from_slice(b",\"duration\":");
    // Zipkin reads zero as "not finished".
    json::scalar(out, &(span.duration() / 1_000).max(1));
    if let Some(AnyValue::String(service)) = items.resource.attribute(b"service.name") {
        out.extend_from_slice(b",\"localEndpoint\":{\"serviceName\":");
        json::string(out, limits::cut(text(service), limits::VALUE_CHARS));
        out.push(b'}');
    }
    write_remote(out, span);
    out.extend_from_slice(b",\"tags\":{");
    let mut fields = Fields::default();
    push_span(&mut fields, span, scope, options, counts);
    for (key, value) in common.iter() {
        fields.push(key.clone(), value.clone());
    }
    let mut first = true;
    // New Relic makes `service.name` from the local endpoint.
    for (key, value) in fields.iter().filter(|(key, _)| key != "service.name") {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        json::string(out, key);
        out.push(b':');
        value.write_as_text(out);
    }
    out.extend_from_slice(b"}}");
}

/// Zipkin has no name for internal spans.
fn kind(kind: SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::Unspecified | SpanKind::Internal => None,
        SpanKind::Server => Some("SERVER"),
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
    }
}

/// Who was called: only of spans that call somebody.
fn write_remote(out: &mut Vec<u8>, span: Span<'_>) {
    if !matches!(span.kind, SpanKind::Client | SpanKind::Producer) {
        return;
    }
    let Some(AnyValue::String(address)) = span.attribute(b"server.address") else { return };
    out.extend_from_slice(b",\"remoteEndpoint\":{\"serviceName\":");
    json::string(out, limits::cut(text(address), limits::VALUE_CHARS));
    let port = span.attribute(b"server.port").and_then(|p| p.as_int());
    if let Some(port) = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0) {
        out.extend_from_slice(b",\"port\":");
        json::scalar(out, &port);
    }
    out.push(b'}');
}

//! The Trace API format `newrelic`, version 1: blocks of spans with common attributes.

use super::span::{Fields, Scalar, kind, push_span, resource};
use super::{Counts, Options, json, limits, reason};
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{Scope, Span, text};

pub(super) fn encode(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.otlp().len() * 2);
    out.push(b'[');
    if batch.signal() == Signal::Traces {
        for items in batch.resources() {
            let spans = items.scopes().flat_map(|s| s.spans().map(move |span| (s.scope, span)));
            let start = out.len();
            if start > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"common\":{\"attributes\":");
            resource(items.resource, options, counts).write(&mut out);
            out.extend_from_slice(b"},\"spans\":[");
            let mut written = 0;
            for (scope, span) in spans {
                if !limits::has_ids(span) {
                    counts.drop(reason::NO_ID, 1);
                    continue;
                }
                if written > 0 {
                    out.push(b',');
                }
                write_span(&mut out, scope, span, options, counts);
                written += 1;
            }
            out.extend_from_slice(b"]}");
            if written == 0 {
                out.truncate(start);
            }
        }
    }
    out.push(b']');
    out
}

fn write_span(out: &mut Vec<u8>, scope: Scope<'_>, span: Span<'_>, options: &Options, counts: &mut Counts) {
    out.extend_from_slice(b"{\"trace.id\":");
    json::string(out, &json::hex(span.trace_id));
    out.extend_from_slice(b",\"id\":");
    json::string(out, &json::hex(span.span_id));
    out.extend_from_slice(b",\"timestamp\":");
    json::scalar(out, &(span.start / 1_000_000));
    out.extend_from_slice(b",\"attributes\":");
    let mut fields = Fields::default();
    let name = limits::cut(text(span.name), limits::VALUE_CHARS);
    counts.adjust(reason::VALUE_TRUNCATED, u64::from(name.len() < span.name.len()));
    fields.push("name", Scalar::Text(name.into()));
    fields.push("duration.ms", Scalar::Double(span.duration() as f64 / 1e6));
    if limits::is_id(span.parent_span_id) {
        fields.push("parent.id", Scalar::Text(json::hex(span.parent_span_id).into()));
    }
    fields.push("span.kind", Scalar::Text(kind(span).into()));
    push_span(&mut fields, span, scope, options, counts);
    fields.write(out);
    out.push(b'}');
}

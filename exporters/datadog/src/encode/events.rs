//! The events and links of a span as JSON.

use super::hex;
use muxbridge_exporter_statsd::encode::value::{as_text, write_json_object, write_json_string};
use muxbridge_pdata::view::{Event, Span, text};
use std::fmt::Write;

const EXCEPTION: &[u8] = b"exception";

/// The last event that is an exception: the one that ended the span.
pub(super) fn last_exception<'a>(span: &Span<'a>) -> Option<Event<'a>> {
    span.events().filter(|e| e.name == EXCEPTION).last()
}

/// The events as a JSON list with typed attributes; false if there are none.
pub(super) fn events(out: &mut String, span: &Span<'_>) -> bool {
    out.clear();
    for event in span.events() {
        out.push(if out.is_empty() { '[' } else { ',' });
        // Writing to a string cannot fail.
        let _ = write!(out, "{{\"time_unix_nano\":{},\"name\":", event.time);
        write_json_string(out, text(event.name));
        if event.attributes().next().is_some() {
            out.push_str(",\"attributes\":");
            write_json_object(out, event.attributes());
        }
        dropped(out, event.dropped_attributes_count);
        out.push('}');
    }
    close(out)
}

/// The links as a JSON list with attributes as text; false if there are none.
pub(super) fn links(out: &mut String, span: &Span<'_>) -> bool {
    out.clear();
    for link in span.links() {
        out.push(if out.is_empty() { '[' } else { ',' });
        let _ =
            write!(out, "{{\"trace_id\":\"{}\",\"span_id\":\"{}\"", hex(link.trace_id), hex(link.span_id));
        if !link.trace_state.is_empty() {
            out.push_str(",\"tracestate\":");
            write_json_string(out, text(link.trace_state));
        }
        for (i, kv) in link.attributes().enumerate() {
            out.push_str(if i == 0 { ",\"attributes\":{" } else { "," });
            write_json_string(out, text(kv.key));
            out.push(':');
            write_json_string(out, &as_text(&kv.value));
        }
        if link.attributes().next().is_some() {
            out.push('}');
        }
        dropped(out, link.dropped_attributes_count);
        out.push('}');
    }
    close(out)
}

fn dropped(out: &mut String, count: u32) {
    if count > 0 {
        let _ = write!(out, ",\"dropped_attributes_count\":{count}");
    }
}

fn close(out: &mut String) -> bool {
    if out.is_empty() {
        return false;
    }
    out.push(']');
    true
}

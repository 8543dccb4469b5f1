//! The events and links of a span as JSON.

use super::content::is_content;
use super::hex;
use muxbridge_exporter_statsd::encode::value::{as_text, write_json_object, write_json_string};
use muxbridge_pdata::view::{AnyValue, Event, KeyValue, Span, text};
use std::fmt::Write;

const EXCEPTION: &[u8] = b"exception";

/// The last event that is an exception: the one that ended the span.
pub(super) fn last_exception<'e, 'a>(events: &'e [Event<'a>]) -> Option<&'e Event<'a>> {
    events.iter().rfind(|e| e.name == EXCEPTION)
}

/// The events as a JSON list with typed attributes; false if there are none.
pub(super) fn events(out: &mut String, events: &[Event<'_>], content: bool) -> bool {
    out.clear();
    for event in events {
        out.push_str(if out.is_empty() { "[{\"time_unix_nano\":" } else { ",{\"time_unix_nano\":" });
        out.push_str(itoa::Buffer::new().format(event.time));
        out.push_str(",\"name\":");
        write_json_string(out, text(event.name));
        if kept(event, content).next().is_some() {
            out.push_str(",\"attributes\":");
            write_json_object(out, kept(event, content));
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
        // Writing to a string cannot fail.
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

/// The attributes of an event that may leave.
fn kept<'a>(event: &Event<'a>, content: bool) -> impl Iterator<Item = KeyValue<'a>> + use<'a> {
    event.attributes().filter(move |kv| content || !is_content(kv.key))
}

/// The events as the list `span_events` of a span, for Agents that know it. Writing to memory cannot fail.
pub(super) fn native(out: &mut Vec<u8>, events: &[Event<'_>], content: bool) {
    let _ = rmp::encode::write_array_len(out, events.len() as u32);
    for event in events {
        let attributes: Vec<_> = kept(event, content).collect();
        let _ = rmp::encode::write_map_len(out, if attributes.is_empty() { 2 } else { 3 });
        let _ = rmp::encode::write_str(out, "time_unix_nano");
        let _ = rmp::encode::write_uint(out, event.time);
        let _ = rmp::encode::write_str(out, "name");
        let _ = rmp::encode::write_str(out, text(event.name));
        if attributes.is_empty() {
            continue;
        }
        let _ = rmp::encode::write_str(out, "attributes");
        let unique = |i: usize| !attributes[..i].iter().any(|kv| kv.key == attributes[i].key);
        let _ = rmp::encode::write_map_len(out, (0..attributes.len()).filter(|i| unique(*i)).count() as u32);
        for kv in (0..attributes.len()).filter(|i| unique(*i)).map(|i| attributes[i]) {
            let _ = rmp::encode::write_str(out, text(kv.key));
            native_value(out, &kv.value);
        }
    }
}

/// A value with its type. A list holds values of one scalar type; any other list, and every map, is JSON text.
fn native_value(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    if let AnyValue::Array(list) = value {
        let mut kinds = list.values().map(|v| scalar_kind(&v));
        if let Some(first) = kinds.next().flatten()
            && kinds.all(|kind| kind == Some(first))
        {
            let _ = rmp::encode::write_map_len(out, 2);
            kind(out, 4);
            let _ = rmp::encode::write_str(out, "array_value");
            let _ = rmp::encode::write_map_len(out, 1);
            let _ = rmp::encode::write_str(out, "values");
            let _ = rmp::encode::write_array_len(out, list.values().count() as u32);
            list.values().for_each(|v| scalar(out, &v));
            return;
        }
    }
    scalar(out, value);
}

fn scalar_kind(value: &AnyValue<'_>) -> Option<u8> {
    match value {
        AnyValue::String(_) => Some(0),
        AnyValue::Bool(_) => Some(1),
        AnyValue::Int(_) => Some(2),
        AnyValue::Double(_) => Some(3),
        _ => None,
    }
}

fn scalar(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    let _ = rmp::encode::write_map_len(out, 2);
    kind(out, scalar_kind(value).unwrap_or(0));
    let _ = match value {
        AnyValue::Bool(b) => {
            let _ = rmp::encode::write_str(out, "bool_value");
            rmp::encode::write_bool(out, *b).is_ok()
        }
        AnyValue::Int(i) => {
            let _ = rmp::encode::write_str(out, "int_value");
            rmp::encode::write_sint(out, *i).is_ok()
        }
        AnyValue::Double(d) => {
            let _ = rmp::encode::write_str(out, "double_value");
            rmp::encode::write_f64(out, *d).is_ok()
        }
        other => {
            let _ = rmp::encode::write_str(out, "string_value");
            rmp::encode::write_str(out, &as_text(other)).is_ok()
        }
    };
}

fn kind(out: &mut Vec<u8>, kind: u8) {
    let _ = rmp::encode::write_str(out, "type");
    let _ = rmp::encode::write_uint(out, kind.into());
}

//! Attribute values as text: scalars as they are, lists and maps as JSON, bytes as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use muxbridge_pdata::view::{AnyValue, KeyValue, text};
use std::borrow::Cow;
use std::fmt::Write;

/// The value as text. Empty for a value that is not set.
pub fn as_text<'a>(value: &AnyValue<'a>) -> Cow<'a, str> {
    match value {
        AnyValue::Empty => Cow::Borrowed(""),
        AnyValue::String(s) => Cow::Borrowed(text(s)),
        AnyValue::Bool(true) => Cow::Borrowed("true"),
        AnyValue::Bool(false) => Cow::Borrowed("false"),
        AnyValue::Int(i) => Cow::Owned(i.to_string()),
        AnyValue::Double(d) => Cow::Owned(d.to_string()),
        AnyValue::Bytes(b) => Cow::Owned(STANDARD.encode(b)),
        AnyValue::Array(_) | AnyValue::KvList(_) => {
            let mut out = String::new();
            write_json(&mut out, value);
            Cow::Owned(out)
        }
    }
}

/// Appends the value as JSON. A number that JSON cannot hold becomes text.
pub fn write_json(out: &mut String, value: &AnyValue<'_>) {
    // Writing to a string cannot fail.
    match value {
        AnyValue::Empty => out.push_str("null"),
        AnyValue::String(s) => write_json_string(out, text(s)),
        AnyValue::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        AnyValue::Int(i) => out.push_str(itoa::Buffer::new().format(*i)),
        AnyValue::Double(d) if d.is_finite() => out.push_str(ryu::Buffer::new().format_finite(*d)),
        AnyValue::Double(d) => write_json_string(out, &d.to_string()),
        AnyValue::Bytes(b) => write_json_string(out, &STANDARD.encode(b)),
        AnyValue::Array(array) => {
            out.push('[');
            for (i, value) in array.values().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(out, &value);
            }
            out.push(']');
        }
        AnyValue::KvList(list) => write_json_object(out, list.values()),
    }
}

/// Appends attributes as a JSON object.
pub fn write_json_object<'a>(out: &mut String, attributes: impl Iterator<Item = KeyValue<'a>>) {
    out.push('{');
    for (i, kv) in attributes.enumerate() {
        if i > 0 {
            out.push(',');
        }
        write_json_string(out, text(kv.key));
        out.push(':');
        write_json(out, &kv.value);
    }
    out.push('}');
}

/// Appends a JSON string with its quotes.
pub fn write_json_string(out: &mut String, text: &str) {
    out.push('"');
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    // Most text is copied as it is, and to look through it without an early end saves a third of the instructions.
    if !text.bytes().fold(false, |found, byte| found | special(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut from = 0;
    for (i, byte) in text.bytes().enumerate() {
        if !special(byte) {
            continue;
        }
        out.push_str(&text[from..i]);
        from = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                let _ = write!(out, "\\u{byte:04x}");
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

//! Wire bytes to OTLP/JSON.

use crate::MAX_DEPTH;
use crate::schema::{Field, Kind, Message, Presence};
use crate::view::{Numbers, text};
use crate::wire::{Fields, Value, zigzag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// More than any message of the schema has.
const MAX_FIELDS: usize = 32;

pub(super) fn encode(message: &'static Message, body: &[u8]) -> String {
    let mut out = String::with_capacity(body.len() * 2);
    object(&mut out, message, body, MAX_DEPTH);
    out
}

fn object(out: &mut String, message: &'static Message, body: &[u8], depth: u32) {
    out.push('{');
    if depth > 0 {
        members(out, message, body, depth - 1);
    }
    out.push('}');
}

fn members(out: &mut String, message: &'static Message, body: &[u8], depth: u32) {
    // One pass finds the last value of every field; only lists are walked again.
    let mut last: [Option<Value<'_>>; MAX_FIELDS] = [None; MAX_FIELDS];
    let mut chosen = 0;
    for found in Fields::new(body) {
        let Some(position) = message.fields.iter().position(|f| f.number == found.number) else { continue };
        if let Some(slot) = last.get_mut(position) {
            *slot = Some(found.value);
        }
        if message.fields[position].presence == Presence::Oneof {
            chosen = found.number;
        }
    }
    let mut first = true;
    for (field, value) in message.fields.iter().zip(last) {
        let Some(value) = value else { continue };
        let skip = match field.presence {
            Presence::Oneof => field.number != chosen,
            Presence::Optional => false,
            Presence::Implicit if field.repeated => is_empty_list(field, body),
            Presence::Implicit => is_default(field.kind, value),
        };
        if skip {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        out.push('"');
        out.push_str(field.json);
        out.push_str("\":");
        if field.repeated {
            list(out, field, body, depth);
        } else {
            single(out, field.kind, value, depth);
        }
    }
}

/// A packed list of no numbers is on the wire and yet nothing.
fn is_empty_list(field: &Field, body: &[u8]) -> bool {
    match numbers(field, body) {
        Some(mut numbers) => numbers.next().is_none(),
        None => false,
    }
}

fn is_default(kind: Kind, value: Value<'_>) -> bool {
    match (kind, value) {
        (Kind::Message(_), _) => false,
        (_, Value::Bytes(b)) => b.is_empty(),
        (_, number) => number.as_u64() == 0,
    }
}

fn numbers<'a>(field: &Field, body: &'a [u8]) -> Option<Numbers<'a>> {
    match field.kind {
        Kind::Double | Kind::Fixed64 => Some(Numbers::fixed64(body, field.number)),
        Kind::Uint64 => Some(Numbers::varints(body, field.number)),
        _ => None,
    }
}

fn list(out: &mut String, field: &Field, body: &[u8], depth: u32) {
    out.push('[');
    let mut first = true;
    let mut element = |value: Value<'_>| {
        if !first {
            out.push(',');
        }
        first = false;
        single(out, field.kind, value, depth);
    };
    match numbers(field, body) {
        Some(numbers) => numbers.for_each(|n| element(Value::Varint(n))),
        None => {
            Fields::new(body).filter(|f| f.number == field.number).for_each(|f| element(f.value));
        }
    }
    out.push(']');
}

fn single(out: &mut String, kind: Kind, value: Value<'_>, depth: u32) {
    let number = value.as_u64();
    match kind {
        Kind::Message(inner) => object(out, inner, value.as_bytes(), depth),
        Kind::String => string(out, text(value.as_bytes())),
        Kind::Bytes => {
            out.push('"');
            STANDARD.encode_string(value.as_bytes(), out);
            out.push('"');
        }
        Kind::TraceId | Kind::SpanId => hex(out, value.as_bytes()),
        Kind::Bool => out.push_str(if number != 0 { "true" } else { "false" }),
        Kind::Enum | Kind::Int32 => out.push_str(itoa::Buffer::new().format(number as i32)),
        Kind::Sint32 => out.push_str(itoa::Buffer::new().format(zigzag(number) as i32)),
        Kind::Uint32 | Kind::Fixed32 => out.push_str(itoa::Buffer::new().format(number as u32)),
        Kind::Int64 | Kind::Sfixed64 => quoted(out, itoa::Buffer::new().format(number as i64)),
        Kind::Uint64 | Kind::Fixed64 => quoted(out, itoa::Buffer::new().format(number)),
        Kind::Double => double(out, f64::from_bits(number)),
    }
}

fn quoted(out: &mut String, digits: &str) {
    out.push('"');
    out.push_str(digits);
    out.push('"');
}

fn double(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(ryu::Buffer::new().format_finite(value));
    } else if value.is_nan() {
        out.push_str("\"NaN\"");
    } else {
        out.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
}

fn hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push('"');
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out.push('"');
}

fn string(out: &mut String, value: &str) {
    out.push('"');
    let mut rest = value;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        escape(out, special.as_bytes()[0]);
        rest = &special[1..];
    }
    out.push_str(rest);
    out.push('"');
}

fn escape(out: &mut String, byte: u8) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        control => {
            out.push_str("\\u00");
            out.push(if control >= 0x10 { '1' } else { '0' });
            out.push(char::from_digit(u32::from(control & 15), 16).unwrap_or('0'));
        }
    }
}

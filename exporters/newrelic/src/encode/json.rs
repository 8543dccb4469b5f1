//! Writes JSON: the few forms that the Trace API needs.

use muxbridge_pdata::view::{AnyValue, text};
use std::fmt::Write;

/// A JSON string.
pub(crate) fn string(out: &mut Vec<u8>, value: &str) {
    scalar(out, &value);
}

/// A string, a bool or a finite number.
pub(crate) fn scalar(out: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Writing to a vector cannot fail, and none of these types fails to serialize.
    let _ = serde_json::to_writer(out, value);
}

/// Lower-case hex, as New Relic and Zipkin write ids.
pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().fold(String::with_capacity(id.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A value as text: strings as they are, everything else as JSON.
pub(crate) fn text_of(value: AnyValue<'_>) -> String {
    match value {
        AnyValue::String(s) => text(s).to_owned(),
        // JSON has no word for these two.
        AnyValue::Double(d) if !d.is_finite() => d.to_string(),
        other => to_json(other).to_string(),
    }
}

fn to_json(value: AnyValue<'_>) -> serde_json::Value {
    match value {
        AnyValue::Empty | AnyValue::Bytes(_) => serde_json::Value::Null,
        AnyValue::String(s) => text(s).into(),
        AnyValue::Bool(b) => b.into(),
        AnyValue::Int(i) => i.into(),
        AnyValue::Double(d) => d.into(),
        AnyValue::Array(array) => array.values().map(to_json).collect::<Vec<_>>().into(),
        AnyValue::KvList(map) => {
            let entries = map.values().map(|kv| (text(kv.key).to_owned(), to_json(kv.value)));
            serde_json::Value::Object(entries.collect())
        }
    }
}

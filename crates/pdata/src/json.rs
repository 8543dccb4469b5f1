//! OTLP/JSON: to and from the same wire bytes, driven by the tables of [`crate::schema`].
//!
//! The format is proto3 JSON with the exceptions that OTLP makes: ids are hex (either case), enumerations are numbers
//! and their names are refused, only lowerCamelCase keys are known, and unknown keys are ignored. 64-bit integers are
//! written as strings of decimal digits and read as strings or numbers. Doubles may be `"NaN"`, `"Infinity"` and
//! `"-Infinity"`. `null` stands for the default. Bytes are base64: written with the standard alphabet, read with
//! either, padded or not.

mod decode;
mod encode;
mod scalar;

use crate::{Signal, schema};
use bytes::Bytes;

/// Why text is not an OTLP/JSON request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct JsonError {
    /// Where in the request, for example `resourceSpans[0].scopeSpans[1].spans[2].traceId`; `request` is the whole.
    pub path: String,
    /// What is wrong there, with its line and column.
    pub problem: String,
}

/// Writes a valid request as OTLP/JSON on one line: fields in the order of the schema, defaults and unknown fields
/// left out. The same bytes always give the same text.
pub fn encode(signal: Signal, otlp: &[u8]) -> String {
    encode_message(signal.request(), otlp)
}

/// As [`encode`], for any one message, for example a single span with [`schema::SPAN`].
pub fn encode_message(message: &'static schema::Message, body: &[u8]) -> String {
    encode::encode(message, body)
}

/// Reads an OTLP/JSON request into wire bytes that [`crate::validate`] accepts.
///
/// Of several values for one key that holds a single value the last one counts; lists under one key are joined.
///
/// # Errors
/// The first problem: text that is no JSON, a value of the wrong type or out of range, an id of the wrong length, the
/// name of an enumeration value, or messages nested deeper than [`crate::MAX_DEPTH`].
pub fn decode(signal: Signal, json: &[u8]) -> Result<Bytes, JsonError> {
    decode_message(signal.request(), json)
}

/// As [`decode`], for any one message.
///
/// # Errors
/// As [`decode`].
pub fn decode_message(message: &'static schema::Message, json: &[u8]) -> Result<Bytes, JsonError> {
    decode::decode(message, json)
}

#[cfg(test)]
mod tests;

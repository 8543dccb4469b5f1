//! Spans to the msgpack of the trace Agent, version 0.4. Pure.
//!
//! A payload is a list of chunks, a chunk is a list of the spans of one trace, a span is a map: what the Agent's endpoint
//! `/v0.4/traces` reads. The translation of OpenTelemetry spans follows the rules of the Agent's own OTLP receiver.

pub mod agent_payload;
mod around;
mod attributes;
mod chunks;
pub mod content;
mod dictionary;
mod events;
mod fields;
mod json;
mod keys;
pub mod llmobs;
pub mod logs;
mod maps;
pub mod marked;
mod memo;
pub mod metrics;
mod msgpack;
mod normalize;
pub mod otlp;
pub mod parts;
pub mod read;
mod reader;
mod sampling;
mod semantics;
pub mod series_json;
mod shapes;
pub mod sketch;
mod span;
pub mod stats;
mod time;

pub use json::to_json;
pub use normalize::{MAX_RESOURCE, normalize_name, normalize_service, normalize_tag, normalize_tag_value};
use parts::{Frame, Limit, Parts};
pub use sampling::keeps;

use muxbridge_core::{Batch, Signal};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How operations are named. The names of the metrics that Datadog makes of spans begin with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationName {
    /// By what the span does, for example `http.server.request`: as the Agent does now.
    #[default]
    V2,
    /// The name of the span.
    SpanName,
}

/// How to encode.
#[derive(Clone, Debug)]
pub struct Options {
    /// How operations are named.
    pub operation_name: OperationName,
    /// The environment of spans that name none; empty for none.
    pub env: String,
    /// The host of spans whose resource names none; empty for none.
    pub hostname: String,
    /// The largest payload in bytes. A chunk that is longer is a payload of its own.
    pub max_payload: usize,
    /// The longest resource in bytes.
    pub max_resource: usize,
    /// Whether events are a list of their own instead of JSON text; only some Agents know it.
    pub native_events: bool,
    /// Whether prompts, answers and what tools took and gave are sent.
    pub content: bool,
    /// The rates that the Agent asked for, by `service:<service>,env:<env>`; empty to keep every trace.
    pub rates: BTreeMap<String, f64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            operation_name: OperationName::V2,
            env: String::new(),
            hostname: String::new(),
            max_payload: 10_000_000,
            max_resource: MAX_RESOURCE,
            native_events: false,
            content: false,
            rates: BTreeMap::new(),
        }
    }
}

/// One request body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// How many chunks it holds: what the header `X-Datadog-Trace-Count` must say.
    pub chunks: usize,
    /// The msgpack.
    pub body: Vec<u8>,
}

/// What was left out and changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Spans that were encoded.
    pub encoded: u64,
    /// Spans whose trace id or span id is missing or zero: an Agent rejects the chunk around them.
    pub no_id: u64,
    /// Names, services and resources changed to fit Datadog's limits.
    pub adjusted: u64,
    /// Attributes with content that were left out.
    pub content: u64,
}

impl Counts {
    /// The spans that were left out, by reason.
    pub fn dropped(&self) -> [(&'static str, u64); 1] {
        [("no_id", self.no_id)]
    }

    /// How many spans were left out.
    pub fn omitted(&self) -> u64 {
        self.no_id
    }

    /// What was changed, by reason.
    pub fn adjusted(&self) -> [(&'static str, u64); 2] {
        [("span_field", self.adjusted), ("content", self.content)]
    }
}

/// The payloads of a batch of traces; none for another signal. Spans with the same trace id are one chunk, in the order
/// in which they came.
pub fn traces(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<Payload> {
    let parts = trace_chunks(batch, options, counts);
    let limit = Limit { bytes: options.max_payload, pieces: usize::MAX };
    let ranges = parts.pack(0, &Frame::Msgpack, limit);
    ranges
        .into_iter()
        .map(|r| Payload { chunks: r.len(), body: parts.body(&Frame::Msgpack, r).joined().into() })
        .collect()
}

/// The same, as pieces of requests: one for each chunk.
pub fn trace_chunks(batch: &Batch, options: &Options, counts: &mut Counts) -> Parts {
    let mut parts = Parts::default();
    if batch.signal() == Signal::Traces {
        parts = chunks::chunks(batch, options, counts);
        parts.seal();
    }
    parts
}

/// Eight bytes, the highest first, as a number; 0 for anything else.
fn id(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Lowercase hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[digit as usize]))
        .collect()
}

/// The 32 digits of a trace id.
fn hex_digits(id: &[u8]) -> [u8; 32] {
    let mut digits = [b'0'; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&[DIGITS[(byte >> 4) as usize], DIGITS[(byte & 15) as usize]]);
    }
    digits
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

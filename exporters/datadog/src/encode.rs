//! Spans to the msgpack of the trace Agent, version 0.4. Pure.
//!
//! A payload is a list of chunks, a chunk is a list of the spans of one trace, a span is a map: what the Agent's endpoint
//! `/v0.4/traces` reads. The translation of OpenTelemetry spans follows the rules of the Agent's own OTLP receiver.

mod events;
mod json;
mod maps;
mod normalize;
mod sampling;
mod semantics;
mod span;

pub use json::to_json;
pub use normalize::{normalize_name, normalize_service, normalize_tag, normalize_tag_value};

use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::view::{KeyValue, Resource, Scope, Span};
use schemars::JsonSchema;
use serde::Deserialize;
use span::{Place, SpanEncoder};
use std::collections::{HashMap, HashSet};

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
}

impl Default for Options {
    fn default() -> Self {
        Options {
            operation_name: OperationName::V2,
            env: String::new(),
            hostname: String::new(),
            max_payload: 10_000_000,
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
}

impl Counts {
    /// The spans that were left out, by reason.
    pub fn dropped(&self) -> [(&'static str, u64); 1] {
        [("no_id", self.no_id)]
    }

    /// What was changed, by reason.
    pub fn adjusted(&self) -> [(&'static str, u64); 1] {
        [("span_field", self.adjusted)]
    }
}

/// A span and what stands around it.
struct Entry<'a> {
    chunk: usize,
    resource: usize,
    scope: Scope<'a>,
    span: Span<'a>,
}

/// A resource, read once for all of its spans.
struct ResourceEntry<'a> {
    attributes: Vec<KeyValue<'a>>,
    host: Option<String>,
}

/// The payloads of a batch of traces; none for another signal. Spans with the same trace id are one chunk, in the order
/// in which they came.
pub fn traces(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<Payload> {
    if batch.signal() != Signal::Traces {
        return Vec::new();
    }
    let mut resources = Vec::new();
    let mut entries = collect(batch, &mut resources, counts);
    // Stable: spans of a chunk keep their order.
    entries.sort_by_key(|e| e.chunk);
    let mut payloads = Payloads { limit: options.max_payload, ..Payloads::default() };
    let mut encoder = SpanEncoder::new(options, counts);
    let mut chunk = Vec::new();
    for spans in entries.chunk_by(|a, b| a.chunk == b.chunk) {
        chunk.clear();
        let ids: HashSet<&[u8]> = spans.iter().map(|e| e.span.span_id).collect();
        // A length cannot fail to be written to memory.
        let _ = rmp::encode::write_array_len(&mut chunk, spans.len() as u32);
        for (i, entry) in spans.iter().enumerate() {
            let place = Place { first: i == 0, chunk_root: !ids.contains(entry.span.parent_span_id) };
            let resource = &resources[entry.resource];
            encoder.span(&mut chunk, &entry.span, &entry.scope, resource, place);
        }
        payloads.add(&chunk);
    }
    payloads.finish()
}

fn collect<'a>(
    batch: &'a Batch,
    resources: &mut Vec<ResourceEntry<'a>>,
    counts: &mut Counts,
) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(batch.items());
    let mut chunks: HashMap<&[u8], usize> = HashMap::new();
    for items in batch.resources() {
        resources.push(ResourceEntry::read(&items.resource));
        for scope in items.scopes() {
            for span in scope.spans() {
                // The Agent sees the low half of a trace id.
                let trace = id(span.trace_id.get(8..).unwrap_or_default());
                if trace == 0 || id(span.span_id) == 0 {
                    counts.no_id += 1;
                    continue;
                }
                let next = chunks.len();
                let chunk = *chunks.entry(span.trace_id).or_insert(next);
                entries.push(Entry { chunk, resource: resources.len() - 1, scope: scope.scope, span });
            }
        }
    }
    entries
}

impl<'a> ResourceEntry<'a> {
    fn read(resource: &Resource<'a>) -> Self {
        ResourceEntry {
            attributes: resource.attributes().collect(),
            host: muxbridge_exporter_statsd::encode::host::resource_host(resource),
        }
    }
}

/// Eight bytes, the highest first, as a number; 0 for anything else.
fn id(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

/// Lowercase hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Collects chunks into payloads below a limit.
#[derive(Default)]
struct Payloads {
    limit: usize,
    chunks: usize,
    body: Vec<u8>,
    done: Vec<Payload>,
}

impl Payloads {
    fn add(&mut self, chunk: &[u8]) {
        // The length of a list takes up to five bytes.
        if self.chunks > 0 && self.body.len() + chunk.len() + 5 > self.limit {
            self.close();
        }
        self.chunks += 1;
        self.body.extend_from_slice(chunk);
    }

    fn close(&mut self) {
        let mut body = Vec::with_capacity(self.body.len() + 5);
        // A length cannot fail to be written to memory.
        let _ = rmp::encode::write_array_len(&mut body, self.chunks as u32);
        body.append(&mut self.body);
        self.done.push(Payload { chunks: self.chunks, body });
        self.chunks = 0;
    }

    fn finish(mut self) -> Vec<Payload> {
        if self.chunks > 0 {
            self.close();
        }
        self.done
    }
}

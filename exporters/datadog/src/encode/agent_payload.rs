//! Chunks as the protobuf that an Agent sends on: `AgentPayload`, the body of `/api/v0.2/traces`.
//!
//! Field numbers are those of `pb/agent_payload.proto`, `tracer_payload.proto` and `span.proto` in Datadog's Agent.

use super::normalize::truncate;
use super::parts::{Frame, Parts};
use super::read::{SpanView, spans};
use muxbridge_pdata::Writer;

/// The longest key and value that Datadog keeps; an Agent would cut them.
const MAX_KEY: usize = 200;
const MAX_VALUE: usize = 25_000;

/// What is said of the sender.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// The host of the bridge; empty for none.
    pub hostname: String,
    /// The environment of what names none; empty for none.
    pub env: String,
    /// The version of the bridge.
    pub version: &'static str,
}

/// What stands around the pieces of [`tracer_payloads`].
pub fn frame(sender: &Sender) -> Frame {
    let (mut before, mut after) = (Writer::new(), Writer::new());
    before.bytes_nonempty(1, sender.hostname.as_bytes());
    before.bytes_nonempty(2, sender.env.as_bytes());
    after.bytes_nonempty(7, sender.version.as_bytes());
    Frame::Fields { before: before.into_vec(), after: after.into_vec() }
}

/// One `TracerPayload` for each chunk of the msgpack of version 0.4.
pub fn tracer_payloads(chunks: &Parts, sender: &Sender) -> Parts {
    let mut parts = Parts::default();
    let mut out = Writer::new();
    for i in 0..chunks.len() {
        let spans = spans(chunks.piece(i));
        out.clear();
        out.message(5, |w| {
            w.bytes(2, b"rust");
            w.bytes_nonempty(4, sender.version.as_bytes());
            w.message(6, |w| {
                let priority = spans.iter().find_map(|s| s.number("_sampling_priority_v1"));
                w.varint_nonzero(1, priority.map_or(1, |p| p as i64) as u64);
                spans.iter().for_each(|s| w.message(3, |w| span(w, s)));
            });
            let first = |key| spans.iter().find_map(|s| s.text(key)).unwrap_or_default();
            w.bytes_nonempty(8, first("env").as_bytes());
            let host = first("_dd.hostname");
            if host != sender.hostname {
                w.bytes_nonempty(9, host.as_bytes());
            }
            w.bytes_nonempty(10, first("version").as_bytes());
        });
        parts.push(out.as_slice(), chunks.items(i..i + 1) as u32);
    }
    parts
}

fn span(w: &mut Writer, span: &SpanView<'_>) {
    w.bytes_nonempty(1, span.service.as_bytes());
    w.bytes_nonempty(2, span.name.as_bytes());
    w.bytes_nonempty(3, span.resource.as_bytes());
    w.varint_nonzero(4, span.trace_id);
    w.varint_nonzero(5, span.span_id);
    w.varint_nonzero(6, span.parent_id);
    w.varint_nonzero(7, span.start);
    w.varint_nonzero(8, span.duration);
    w.varint_nonzero(9, span.error.into());
    for (key, value) in span.meta() {
        w.message(10, |w| {
            w.bytes(1, truncate(key, MAX_KEY).as_bytes());
            w.bytes(2, truncate(value, MAX_VALUE).as_bytes());
        });
    }
    for (key, value) in span.metrics() {
        w.message(11, |w| {
            w.bytes(1, truncate(key, MAX_KEY).as_bytes());
            w.double(2, value);
        });
    }
    w.bytes_nonempty(12, span.kind.as_bytes());
}

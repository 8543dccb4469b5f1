//! The spans of a batch to chunks, one for each trace.

use super::around::{ResourceEntry, ScopeEntry};
use super::parts::Parts;
use super::reader::{Around, Read, Reader};
use super::span::{Place, SpanEncoder};
use super::{Counts, Options, hex_digits, id, msgpack, sampling};
use foldhash::fast::RandomState;
use muxbridge_core::Batch;
use muxbridge_pdata::view::{Resource, Scope, SpanIds};
use std::collections::{HashMap, HashSet};

/// The chunks of a batch. Spans with the same trace id are one, in the order in which they came.
pub(super) fn chunks(batch: &Batch, options: &Options, counts: &mut Counts) -> Parts {
    let before = counts.clone();
    if let Some(parts) = Chunks::new(batch, options, counts).in_order(batch) {
        return parts;
    }
    *counts = before;
    Chunks::new(batch, options, counts).grouped(batch)
}

struct Chunks<'a, 'o> {
    options: &'o Options,
    /// How many bytes and spans it has.
    batch: (usize, usize),
    resources: Vec<ResourceEntry<'a>>,
    scopes: Vec<ScopeEntry<'a>>,
    reader: Reader<'a>,
    encoder: SpanEncoder<'o, 'a>,
    /// The span ids of a chunk.
    ids: Vec<u64>,
    parts: Parts,
}

/// A span before it is read.
struct Entry<'a> {
    chunk: u32,
    around: Around,
    raw: &'a [u8],
}

impl<'a, 'o> Chunks<'a, 'o> {
    fn new(batch: &'a Batch, options: &'o Options, counts: &'o mut Counts) -> Self {
        Chunks {
            options,
            batch: (batch.otlp().len(), batch.items()),
            resources: Vec::new(),
            scopes: Vec::new(),
            // What the Agent's rates say is different for each trace.
            reader: Reader::new(options.content, options.rates.is_empty()),
            encoder: SpanEncoder::new(options, counts),
            ids: Vec::new(),
            parts: Parts::default(),
        }
    }

    /// Reads each span once and writes it with its neighbours: what assembles traces puts their spans side by side. `None`
    /// if those of a trace do not stand together.
    fn in_order(mut self, batch: &'a Batch) -> Option<Parts> {
        let mut seen: HashSet<&[u8], RandomState> = HashSet::default();
        let mut last: &[u8] = &[];
        for items in batch.resources() {
            let resource = self.resource(&items.resource);
            for scope in items.scopes() {
                let around = Around { resource, scope: self.scope(&scope.scope) };
                for raw in scope.items() {
                    let trace = SpanIds::first_trace_id(raw);
                    if trace != last {
                        if !seen.insert(trace) {
                            return None;
                        }
                        self.write();
                        last = trace;
                    }
                    let head = self.reader.read(raw, around);
                    if head.trace_id != trace {
                        return None;
                    }
                    if is_without_id(trace, head.span_id) {
                        self.reader.forget_last();
                        self.encoder.counts.no_id += 1;
                    }
                }
            }
        }
        self.write();
        Some(self.parts)
    }

    /// The same for spans in any order, which takes a pass more.
    fn grouped(mut self, batch: &'a Batch) -> Parts {
        let mut entries = Vec::with_capacity(batch.items());
        let mut chunks: HashMap<&[u8], u32, RandomState> = HashMap::default();
        for items in batch.resources() {
            let resource = self.resource(&items.resource);
            for scope in items.scopes() {
                let around = Around { resource, scope: self.scope(&scope.scope) };
                for raw in scope.items() {
                    let ids = SpanIds::read(raw);
                    if is_without_id(ids.trace_id, id(ids.span_id)) {
                        self.encoder.counts.no_id += 1;
                        continue;
                    }
                    let next = chunks.len() as u32;
                    let chunk = *chunks.entry(ids.trace_id).or_insert(next);
                    entries.push(Entry { chunk, around, raw });
                }
            }
        }
        // Stable: spans of a chunk keep their order.
        entries.sort_by_key(|e| e.chunk);
        for chunk in entries.chunk_by(|a, b| a.chunk == b.chunk) {
            for entry in chunk {
                self.reader.read(entry.raw, entry.around);
            }
            self.write();
        }
        self.parts
    }

    /// Writes the spans that were read as a chunk, and forgets them.
    fn write(&mut self) {
        let Chunks { options, resources, scopes, reader, encoder, ids, parts, .. } = self;
        let count = reader.spans().len();
        let Some(first) = reader.spans().first() else { return };
        let trace = hex_digits(first.head.trace_id);
        ids.clear();
        ids.extend(reader.spans().iter().map(|span| span.head.span_id));
        ids.sort_unstable();
        let is_root = |parent: u64| ids.binary_search(&parent).is_err();
        let mut decision = None;
        if !options.rates.is_empty() {
            let root = reader.spans().iter().position(|span| is_root(span.head.parent_span_id)).unwrap_or(0);
            let (around, trace) = (reader.spans()[root].around, low(reader.spans()[root].head.trace_id));
            decision = reader.own(root).and_then(|own| {
                let resource = &resources[around.resource as usize];
                let (service, env) = encoder.service_and_env(&own, resource);
                sampling::decide(&options.rates, &service, &env, trace)
            });
        }
        parts.build(count as u32, |out| {
            msgpack::array(out, count);
            for i in 0..count {
                let Read { head, around, .. } = &reader.spans()[i];
                let parent = head.parent_span_id;
                let (chunk_root, root) = (is_root(parent), parent == 0);
                let place = Place { first: i == 0, chunk_root, root, decision, trace };
                let around = (&scopes[around.scope as usize], &resources[around.resource as usize]);
                encoder.span(out, reader, i, around, &place);
            }
        });
        reader.forget();
    }

    /// The place of a resource. What assembles traces repeats it for each of them, and what joins batches those of several
    /// senders: it is read only once.
    fn resource(&mut self, resource: &Resource<'a>) -> u32 {
        let raw = resource.raw();
        if let Some(at) = lately(&self.resources, |entry| entry.raw == raw) {
            return at;
        }
        if self.resources.is_empty() {
            // Each span has its resource with it, and more text than before. What is too much costs nothing, but to
            // move what is written because there is too little costs a tenth.
            let (bytes, spans) = self.batch;
            self.parts.reserve(bytes + spans * (raw.len() + 384));
        }
        self.resources.push(ResourceEntry::read(resource, self.options, &mut self.reader.keys));
        self.resources.len() as u32 - 1
    }

    fn scope(&mut self, scope: &Scope<'a>) -> u32 {
        if let Some(at) = lately(&self.scopes, |entry| entry.raw == scope.raw()) {
            return at;
        }
        self.scopes.push(ScopeEntry::read(scope, &mut self.reader.keys));
        self.scopes.len() as u32 - 1
    }
}

/// The place of an entry that is what is looked for, if it is one of the last few.
fn lately<T>(entries: &[T], is_it: impl Fn(&T) -> bool) -> Option<u32> {
    const FEW: usize = 8;
    let first = entries.len().saturating_sub(FEW);
    entries[first..].iter().rposition(is_it).map(|at| (first + at) as u32)
}

/// Whether an Agent would reject the span: it sees the low half of a trace id.
fn is_without_id(trace: &[u8], span: u64) -> bool {
    low(trace) == 0 || span == 0
}

/// The low half of a trace id.
fn low(trace: &[u8]) -> u64 {
    id(trace.get(8..).unwrap_or_default())
}

//! The spans of a batch to chunks, one for each trace.

use super::around::{ResourceEntry, ScopeEntry};
use super::parts::Parts;
use super::reader::{Around, Reader};
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
            reader: Reader::new(options.content),
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
                    let span = self.reader.read(raw, around);
                    let (trace, span) = (span.trace_id, span.span_id);
                    if is_without_id(trace, span) {
                        self.reader.forget_last();
                        self.encoder.counts.no_id += 1;
                    } else if trace != last {
                        if !seen.insert(trace) {
                            return None;
                        }
                        last = trace;
                        self.write(self.reader.len() - 1);
                    }
                }
            }
        }
        self.write(self.reader.len());
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
                    if is_without_id(ids.trace_id, ids.span_id) {
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
            self.write(chunk.len());
        }
        self.parts
    }

    /// Writes the first spans that were read as a chunk, and forgets them.
    fn write(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        let Chunks { options, resources, scopes, reader, encoder, ids, parts, .. } = self;
        ids.clear();
        ids.extend(reader.spans().take(count).map(|span| id(span.span_id)));
        ids.sort_unstable();
        let is_root = |parent: &[u8]| ids.binary_search(&id(parent)).is_err();
        let root = reader.spans().take(count).position(|span| is_root(span.parent_span_id)).unwrap_or(0);
        let decision = if options.rates.is_empty() {
            None
        } else {
            let own = reader.own(root);
            let (service, env) = encoder.service_and_env(&own, &resources[own.around.resource as usize]);
            let trace = id(own.span.trace_id.get(8..).unwrap_or_default());
            sampling::decide(&options.rates, &service, &env, trace)
        };
        let trace = reader.spans().next().map_or([b'0'; 32], |first| hex_digits(first.trace_id));
        parts.build(count as u32, |out| {
            msgpack::array(out, count);
            for i in 0..count {
                let own = reader.own(i);
                let chunk_root = is_root(own.span.parent_span_id);
                let place = Place { first: i == 0, chunk_root, decision, trace };
                let around = (&scopes[own.around.scope as usize], &resources[own.around.resource as usize]);
                encoder.span(out, &own, &reader.keys, around, &place);
            }
        });
        reader.forget(count);
    }

    /// The place of a resource. What assembles traces repeats it for each of them: it is read only once in a row.
    fn resource(&mut self, resource: &Resource<'a>) -> u32 {
        if self.resources.last().is_none_or(|last| last.raw != resource.raw()) {
            if self.resources.is_empty() {
                // Each span has its resource with it, and more text than before. What is too much costs nothing, but to
                // move what is written because there is too little costs a tenth.
                let (bytes, spans) = self.batch;
                self.parts.reserve(bytes + spans * (resource.raw().len() + 384));
            }
            self.resources.push(ResourceEntry::read(resource, self.options, &mut self.reader.keys));
        }
        self.resources.len() as u32 - 1
    }

    fn scope(&mut self, scope: &Scope<'a>) -> u32 {
        if self.scopes.last().is_none_or(|last| last.raw != scope.raw()) {
            self.scopes.push(ScopeEntry::read(scope, &mut self.reader.keys));
        }
        self.scopes.len() as u32 - 1
    }
}

/// Whether an Agent would reject the span: it sees the low half of a trace id.
fn is_without_id(trace: &[u8], span: &[u8]) -> bool {
    id(trace.get(8..).unwrap_or_default()) == 0 || id(span) == 0
}

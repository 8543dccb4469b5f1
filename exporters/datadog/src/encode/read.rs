//! Reads back the spans that this encoder wrote: statistics and the protobuf of traces are made of exactly what an Agent
//! would read.

use rmp::decode::{read_array_len, read_f64, read_int, read_map_len, read_str_from_slice};

/// A span of a chunk.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpanView<'a> {
    /// The service.
    pub service: &'a str,
    /// The operation.
    pub name: &'a str,
    /// What the operation was done to.
    pub resource: &'a str,
    /// `web`, `http` and so on.
    pub kind: &'a str,
    /// The low half of the trace id.
    pub trace_id: u64,
    /// Its own id.
    pub span_id: u64,
    /// 0 for a root.
    pub parent_id: u64,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
    /// Whether it failed.
    pub error: bool,
    meta: &'a [u8],
    metrics: &'a [u8],
}

/// The spans of one chunk; those before the first that this encoder cannot have written.
pub fn spans(chunk: &[u8]) -> Vec<SpanView<'_>> {
    let mut rest = chunk;
    let count = read_array_len(&mut rest).unwrap_or(0);
    let mut spans = Vec::with_capacity((count as usize).min(chunk.len() / 16));
    for _ in 0..count {
        let Some(span) = span(&mut rest) else { break };
        spans.push(span);
    }
    spans
}

fn span<'a>(rest: &mut &'a [u8]) -> Option<SpanView<'a>> {
    let mut span = SpanView::default();
    for _ in 0..read_map_len(rest).ok()? {
        let key = string(rest)?;
        match key {
            "service" => span.service = string(rest)?,
            "name" => span.name = string(rest)?,
            "resource" => span.resource = string(rest)?,
            "type" => span.kind = string(rest)?,
            "trace_id" => span.trace_id = read_int(rest).ok()?,
            "span_id" => span.span_id = read_int(rest).ok()?,
            "parent_id" => span.parent_id = read_int(rest).ok()?,
            "start" => span.start = read_int(rest).ok()?,
            "duration" => span.duration = read_int(rest).ok()?,
            "error" => span.error = read_int::<u64, _>(rest).ok()? != 0,
            "meta" => {
                span.meta = rest;
                for _ in 0..read_map_len(rest).ok()? {
                    string(rest)?;
                    string(rest)?;
                }
            }
            "metrics" => {
                span.metrics = rest;
                for _ in 0..read_map_len(rest).ok()? {
                    string(rest)?;
                    read_f64(rest).ok()?;
                }
            }
            "span_events" => super::json::skip(rest)?,
            _ => return None,
        }
    }
    Some(span)
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let (text, tail) = read_str_from_slice(*rest).ok()?;
    *rest = tail;
    Some(text)
}

impl<'a> SpanView<'a> {
    /// The texts.
    pub fn meta(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.meta;
        let count = read_map_len(&mut rest).unwrap_or(0);
        (0..count).map_while(move |_| Some((string(&mut rest)?, string(&mut rest)?)))
    }

    /// The numbers.
    pub fn metrics(&self) -> impl Iterator<Item = (&'a str, f64)> + use<'a> {
        let mut rest = self.metrics;
        let count = read_map_len(&mut rest).unwrap_or(0);
        (0..count).map_while(move |_| Some((string(&mut rest)?, read_f64(&mut rest).ok()?)))
    }

    /// One text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.meta().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// One number.
    pub fn number(&self, key: &str) -> Option<f64> {
        self.metrics().find(|(k, _)| *k == key).map(|(_, v)| v)
    }
}

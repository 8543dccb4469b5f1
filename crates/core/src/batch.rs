//! The one data type: a request of telemetry, in wire form and validated.

use bytes::Bytes;
use muxbridge_pdata::{Limits, Signal, WireError, validate, view};
use std::sync::Arc;

/// Where a batch came in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The id of the receiver, for example `otlp` or `prometheus/router`.
    pub receiver: String,
}

/// One OTLP export request, still in wire form and already validated. A clone costs two reference counts.
#[derive(Clone, Debug)]
pub struct Batch {
    signal: Signal,
    otlp: Bytes,
    items: usize,
    origin: Arc<Origin>,
}

impl Batch {
    /// Checks a request of foreign bytes: framing, nesting, UTF-8, ids and limits.
    ///
    /// # Errors
    /// The first problem, with its offset in `otlp`.
    pub fn new(signal: Signal, otlp: Bytes, origin: Arc<Origin>, limits: Limits) -> Result<Self, WireError> {
        let items = validate(signal, &otlp, limits)?;
        Ok(Batch { signal, otlp, items, origin })
    }

    /// Takes bytes that this program has just written from a valid batch, without checking them again.
    pub fn from_valid(signal: Signal, otlp: Bytes, origin: Arc<Origin>) -> Self {
        let items = muxbridge_pdata::count_items(signal, &otlp);
        Self::from_counted(signal, otlp, items, origin)
    }

    /// As [`Batch::from_valid`], for who knows how many items there are.
    pub fn from_counted(signal: Signal, otlp: Bytes, items: usize, origin: Arc<Origin>) -> Self {
        debug_assert_eq!(
            validate(signal, &otlp, Limits { items: usize::MAX }),
            Ok(items),
            "a writer made an invalid request, or counted wrong"
        );
        Batch { signal, otlp, items, origin }
    }

    /// Spans, data points or log records.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The request: what an exporter that forwards it sends as it is.
    pub fn otlp(&self) -> &Bytes {
        &self.otlp
    }

    /// How many spans, data points or log records it holds.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Where it came in.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Its resources, with scopes and items below them.
    pub fn resources(&self) -> view::Repeated<'_, view::ResourceItems<'_>> {
        view::resources(&self.otlp)
    }
}

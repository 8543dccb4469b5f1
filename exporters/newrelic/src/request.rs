//! Batch to HTTP request: headers, compression, size. Pure.

use crate::config::TraceFormat;
use crate::encode::watch::Watch;
use crate::encode::{self, Counts, Options};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use muxbridge_core::{Batch, ExportError};
use muxbridge_kit::http::Compression;
use muxbridge_pdata::Writer;
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

/// New Relic answers 413 from here on, counted on the wire.
pub(crate) const MAX_WIRE_BYTES: usize = 1_000_000;
/// What the pipeline packs into one request before compression: far enough below the limit that the additions of this
/// exporter do not reach it even without compression.
pub(crate) const PACK_BYTES: usize = 900_000;

pub(crate) const AGENT: &str = concat!("muxbridge/", env!("CARGO_PKG_VERSION"));

/// What takes the requests of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// OTLP with protobuf over HTTP.
    Otlp,
    /// OTLP over gRPC.
    Grpc,
    /// The Trace API.
    Trace(TraceFormat),
    /// The Metric API.
    Metric,
    /// The Log API.
    Log,
    /// The Event API.
    Event,
}

/// How one signal travels.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) uri: Uri,
    pub(crate) api: Api,
    pub(crate) compression: Compression,
    pub(crate) options: Options,
    /// The license key, marked sensitive.
    pub(crate) key: HeaderValue,
}

thread_local! {
    /// Where OTLP is written that is compressed at once: a request of a mebibyte that waits for its answer would otherwise
    /// be in memory a second time.
    static OTLP: RefCell<Writer> = RefCell::default();
}

/// More than this is given back after each request; the pipeline packs less.
const KEPT_BYTES: usize = 2 << 20;

impl Api {
    /// Whether a batch is sent as OTLP.
    pub(crate) fn is_otlp(self) -> bool {
        matches!(self, Api::Otlp | Api::Grpc)
    }

    /// The body for a batch, before compression; `None` if nothing of the batch can be stored by New Relic. `watch` sees the
    /// spans of OTLP.
    pub(crate) fn body<'b>(
        self,
        batch: &'b Batch,
        options: &Options,
        watch: &mut Watch<'b>,
        counts: &mut Counts,
    ) -> Option<Bytes> {
        let body: Bytes = match self {
            Api::Otlp | Api::Grpc => {
                let mut w = Writer::new();
                if encode::write_otlp(batch, options, watch, &mut w, counts) {
                    w.into_bytes()
                } else {
                    batch.otlp().clone()
                }
            }
            Api::Trace(TraceFormat::Newrelic) => encode::trace_api(batch, options, counts).into(),
            Api::Trace(TraceFormat::Zipkin) => encode::zipkin(batch, options, counts).into(),
            Api::Metric => encode::metric_api(batch, options, counts).into(),
            Api::Log => encode::log_api(batch, options, counts).into(),
            Api::Event => encode::event_api(batch, options, counts).into(),
        };
        (counts.dropped_total() < batch.items() as u64).then_some(body)
    }
}

impl Route {
    /// The body for a batch, as [`Api::body`] says.
    pub(crate) fn body<'b>(
        &self,
        batch: &'b Batch,
        watch: &mut Watch<'b>,
        counts: &mut Counts,
    ) -> Option<Bytes> {
        self.api.body(batch, &self.options, watch, counts)
    }

    /// The same as it is on the wire.
    fn wire<'b>(
        &self,
        batch: &'b Batch,
        watch: &mut Watch<'b>,
        counts: &mut Counts,
    ) -> io::Result<Option<Bytes>> {
        if self.compression == Compression::None {
            return Ok(self.body(batch, watch, counts));
        }
        let compressed = |body: &[u8]| self.compression.encode(body).map(|body| Some(Bytes::from(body)));
        if !self.api.is_otlp() {
            return self.body(batch, watch, counts).map_or(Ok(None), |body| compressed(&body));
        }
        OTLP.with_borrow_mut(|w| {
            w.clear();
            let written = encode::write_otlp(batch, &self.options, watch, w, counts);
            if counts.dropped_total() >= batch.items() as u64 {
                return Ok(None);
            }
            let wire = compressed(if written { w.as_slice() } else { batch.otlp() });
            if w.len() > KEPT_BYTES {
                *w = Writer::new();
            }
            wire
        })
    }

    /// The request for a batch; `None` if nothing of the batch can be stored by New Relic.
    ///
    /// # Errors
    /// `TooLarge` if it is over the limit after compression, `Permanent` if it cannot be built.
    pub(crate) fn request<'b>(
        &self,
        batch: &'b Batch,
        watch: &mut Watch<'b>,
        counts: &mut Counts,
    ) -> Result<Option<Request<Bytes>>, ExportError> {
        let unencodable = |e| ExportError::Permanent { reason: "unencodable", source: e };
        let Some(wire) = self.wire(batch, watch, counts).map_err(|e| unencodable(e.into()))? else {
            return Ok(None);
        };
        check_size(wire.len())?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header("api-key", self.key.clone())
            .header(USER_AGENT, AGENT);
        if let Some(encoding) = self.compression.content_encoding() {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        request = match self.api {
            Api::Otlp | Api::Grpc => request.header(CONTENT_TYPE, "application/x-protobuf"),
            _ => request
                .header(CONTENT_TYPE, "application/json")
                .header("x-request-id", request_id(batch.otlp())),
        };
        if let Api::Trace(format) = self.api {
            let (format, version) = match format {
                TraceFormat::Newrelic => ("newrelic", "1"),
                TraceFormat::Zipkin => ("zipkin", "2"),
            };
            request = request.header("data-format", format).header("data-format-version", version);
        }
        request.body(wire).map(Some).map_err(|e| unencodable(e.into()))
    }
}

/// # Errors
/// `TooLarge` at the limit.
pub(crate) fn check_size(bytes: usize) -> Result<(), ExportError> {
    if bytes < MAX_WIRE_BYTES {
        return Ok(());
    }
    Err(ExportError::too_large(format!(
        "the request has {bytes} bytes on the wire, the limit of New Relic is {MAX_WIRE_BYTES}"
    )))
}

/// A version 4 UUID that a batch keeps over all its retries, and that no other batch has: its bits come from the bytes of
/// the batch. Parts of a split batch have other bytes.
pub(crate) fn request_id(otlp: &[u8]) -> String {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        otlp.hash(&mut hasher);
        hasher.finish()
    };
    encode::id::text(u128::from(half(0)) << 64 | u128::from(half(1)))
}

/// 64 bits that tell batches apart.
pub(crate) fn digest(otlp: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    otlp.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;

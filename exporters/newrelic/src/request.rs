//! Batch to HTTP request: headers, compression, size. Pure.

use crate::config::TraceFormat;
use crate::encode::{self, Counts, Options};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Method, Request, Uri};
use muxbridge_core::{Batch, ExportError};
use muxbridge_kit::http::Compression;
use std::hash::{DefaultHasher, Hash, Hasher};

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

impl Api {
    /// The body for a batch, before compression; `None` if nothing of the batch can be stored by New Relic.
    pub(crate) fn body(self, batch: &Batch, options: &Options, counts: &mut Counts) -> Option<Bytes> {
        let body: Bytes = match self {
            Api::Otlp | Api::Grpc => encode::otlp(batch, options, counts),
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
    pub(crate) fn body(&self, batch: &Batch, counts: &mut Counts) -> Option<Bytes> {
        self.api.body(batch, &self.options, counts)
    }

    /// The request for a batch; `None` if nothing of the batch can be stored by New Relic.
    ///
    /// # Errors
    /// `TooLarge` if it is over the limit after compression, `Permanent` if it cannot be built.
    pub(crate) fn request(
        &self,
        batch: &Batch,
        counts: &mut Counts,
    ) -> Result<Option<Request<Bytes>>, ExportError> {
        let Some(body) = self.body(batch, counts) else { return Ok(None) };
        let unencodable = |e| ExportError::Permanent { reason: "unencodable", source: e };
        let wire = match self.compression {
            Compression::None => body,
            other => other.encode(&body).map_err(|e| unencodable(e.into()))?.into(),
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

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

const AGENT: &str = concat!("muxbridge/", env!("CARGO_PKG_VERSION"));

/// How one signal travels.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) uri: Uri,
    /// The Trace API's format; OTLP if there is none.
    pub(crate) trace_api: Option<TraceFormat>,
    pub(crate) compression: Compression,
    pub(crate) options: Options,
    /// The license key, marked sensitive.
    pub(crate) key: HeaderValue,
}

impl Route {
    /// The request for a batch; `None` if nothing of the batch can be stored by New Relic.
    ///
    /// # Errors
    /// `TooLarge` if it is over the limit after compression, `Permanent` if it cannot be built.
    pub(crate) fn request(
        &self,
        batch: &Batch,
        counts: &mut Counts,
    ) -> Result<Option<Request<Bytes>>, ExportError> {
        let body = match self.trace_api {
            None => encode::otlp(batch, &self.options, counts),
            Some(TraceFormat::Newrelic) => encode::trace_api(batch, &self.options, counts).into(),
            Some(TraceFormat::Zipkin) => encode::zipkin(batch, &self.options, counts).into(),
        };
        if counts.dropped_total() >= batch.items() as u64 {
            return Ok(None);
        }
        let unencodable = |e| ExportError::Permanent { reason: "unencodable", source: e };
        let wire = match self.compression {
            Compression::None => body,
            other => other.encode(&body).map_err(|e| unencodable(e.into()))?.into(),
        };
        if wire.len() >= MAX_WIRE_BYTES {
            return Err(ExportError::too_large(format!(
                "the request has {} bytes on the wire, the limit of New Relic is {MAX_WIRE_BYTES}",
                wire.len()
            )));
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header("api-key", self.key.clone())
            .header(USER_AGENT, AGENT);
        if let Some(encoding) = self.compression.content_encoding() {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        request = match self.trace_api {
            None => request.header(CONTENT_TYPE, "application/x-protobuf"),
            Some(format) => {
                let (format, version) = match format {
                    TraceFormat::Newrelic => ("newrelic", "1"),
                    TraceFormat::Zipkin => ("zipkin", "2"),
                };
                request
                    .header(CONTENT_TYPE, "application/json")
                    .header("data-format", format)
                    .header("data-format-version", version)
                    .header("x-request-id", request_id(batch.otlp()))
            }
        };
        request.body(wire).map(Some).map_err(|e| unencodable(e.into()))
    }
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
    let mut bits = u128::from(half(0)) << 64 | u128::from(half(1));
    // Version 4, variant 1.
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests;

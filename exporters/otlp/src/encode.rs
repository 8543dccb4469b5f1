//! Batch to request body. Pure.

use crate::Encoding;
use bytes::Bytes;
use muxbridge_core::Batch;
use muxbridge_kit::http::Compression;
use std::io;

/// The body of an OTLP/HTTP request. Protobuf without compression is the bytes of the batch themselves.
pub(crate) fn body(batch: &Batch, encoding: Encoding, compression: Compression) -> io::Result<Bytes> {
    let plain = match encoding {
        Encoding::Proto => batch.otlp().clone(),
        Encoding::Json => muxbridge_pdata::json::encode(batch.signal(), batch.otlp()).into(),
    };
    match compression {
        Compression::None => Ok(plain),
        other => other.encode(&plain).map(Bytes::from),
    }
}

pub(crate) const fn content_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Proto => "application/x-protobuf",
        Encoding::Json => "application/json",
    }
}

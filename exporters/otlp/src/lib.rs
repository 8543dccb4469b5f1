//! OTLP to any backend that takes it: the kinds `otlp` (gRPC) and `otlphttp` (HTTP with protobuf or JSON).
//!
//! With gRPC, and with protobuf over HTTP, the bytes of a batch are sent as they are: what this program does not
//! understand of them arrives all the same.

mod config;
mod encode;
mod endpoint;
mod grpc;
mod http;
mod response;

pub use config::{Encoding, GrpcConfig, HttpConfig};
pub use grpc::{Otlp, OtlpExporter};
pub use http::{OtlpHttp, OtlpHttpExporter};
use muxbridge_core::{Batch, ExportError, ExporterFactory, Preview};

/// What the registry lists for gRPC.
pub const OTLP: ExporterFactory = ExporterFactory::of::<Otlp>();
/// What the registry lists for HTTP.
pub const OTLP_HTTP: ExporterFactory = ExporterFactory::of::<OtlpHttp>();

const USER_AGENT: &str = concat!("muxbridge/", env!("CARGO_PKG_VERSION"));

/// The largest request that the specification lets a client send when nothing else is configured. A batch that is one
/// huge item cannot be split; up to here it is sent all the same.
const MAX_ITEM_BYTES: usize = 64 << 20;

/// Requests as OTLP/JSON, one a line: what they say does not depend on the form in which they are sent.
fn preview(batches: &[Batch]) -> Preview {
    let mut preview = Preview::default();
    for batch in batches {
        preview.line(&muxbridge_pdata::json::encode(batch.signal(), batch.otlp()));
    }
    preview
}

/// A batch beyond every limit is not sent.
fn check_size(batch: &Batch, max_request_bytes: usize) -> Result<(), ExportError> {
    let (bytes, most) = (batch.otlp().len(), max_request_bytes.max(MAX_ITEM_BYTES));
    if bytes > most {
        return Err(ExportError::too_large(format!("a request of {bytes} bytes; at most {most} are sent")));
    }
    Ok(())
}

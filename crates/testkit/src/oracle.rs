//! An independent reader and writer of OTLP: the generated messages of `opentelemetry-proto`.

pub use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
pub use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
pub use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
pub use opentelemetry_proto::tonic::{common, logs, metrics, resource, trace};
pub use prost::Message;

use bytes::Bytes;

/// Reads a request with spans.
///
/// # Panics
/// If it is not one.
pub fn decode_traces(otlp: &[u8]) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(otlp).expect("a trace request")
}

/// Reads a request with metrics.
///
/// # Panics
/// If it is not one.
pub fn decode_metrics(otlp: &[u8]) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(otlp).expect("a metrics request")
}

/// Reads a request with log records.
///
/// # Panics
/// If it is not one.
pub fn decode_logs(otlp: &[u8]) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest::decode(otlp).expect("a logs request")
}

/// The wire form of any message.
pub fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

//! The kind `otlp`: OTLP over gRPC.

use crate::config::GrpcConfig;
use crate::{USER_AGENT, check_size, response};
use http::HeaderValue;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterKind, Needs, Preview, Signal,
};
use muxbridge_kit::grpc::{GrpcClient, GrpcOptions};
use muxbridge_kit::headers;
use muxbridge_kit::http::ClientOptions;

/// The kind `otlp`.
pub struct Otlp;

impl ExporterKind for Otlp {
    const NAME: &'static str = "otlp";
    const SUMMARY: &'static str = "OTLP over gRPC, to any OpenTelemetry backend or Collector";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = GrpcConfig;
    type Exporter = OtlpExporter;

    fn check(config: &GrpcConfig, problems: &mut Problems) {
        config.check(problems);
    }

    fn needs(config: &GrpcConfig) -> Needs {
        Needs { max_request_bytes: Some(config.max_request_bytes), ..Needs::default() }
    }

    fn preview(_config: &GrpcConfig, batches: &[Batch]) -> Option<Preview> {
        Some(crate::preview(batches))
    }

    fn build(config: GrpcConfig, cx: &BuildContext) -> Result<OtlpExporter, BuildError> {
        let endpoint = config.uri().map_err(|e| BuildError::new(format!("endpoint: {e}")))?;
        let client = GrpcClient::new(GrpcOptions {
            endpoint,
            client: ClientOptions { timeout: config.timeout.0, tls: config.tls, cx: Some(cx.clone()) },
            compression: config.compression,
            headers: headers::build(&config.headers)?,
            user_agent: HeaderValue::from_static(USER_AGENT),
        })?;
        Ok(OtlpExporter { client, max_request_bytes: config.max_request_bytes })
    }
}

/// Sends batches as unary calls.
pub struct OtlpExporter {
    client: GrpcClient,
    max_request_bytes: usize,
}

impl Exporter for OtlpExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        if batch.items() == 0 {
            return Ok(Delivered::default());
        }
        check_size(batch, self.max_request_bytes)?;
        let answer = self.client.unary(method(batch.signal()), batch.otlp()).await?;
        Ok(response::from_proto(batch, &answer))
    }
}

const fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

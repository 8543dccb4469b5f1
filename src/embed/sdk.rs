//! Exporters of the OpenTelemetry SDK that hand everything to a bridge in the same program.

use super::feed::Input;
use bytes::Bytes;
use muxbridge_core::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::logs::tonic::group_logs_by_resource_and_scope;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use prost::Message;
use std::time::Duration;

/// For `TracerProvider::with_batch_exporter`, `PeriodicReader` and `LoggerProvider::with_batch_exporter`. What it returns
/// is the acknowledgement of the bridge, which does the queueing and the retries; the SDK itself never tries again.
#[derive(Clone, Debug)]
pub struct SdkExporter {
    input: Input,
    resource: Resource,
}

impl SdkExporter {
    pub(super) fn new(input: Input) -> Self {
        SdkExporter { input, resource: Resource::builder_empty().build() }
    }

    async fn send(&self, signal: Signal, request: impl Message) -> OTelSdkResult {
        let otlp = Bytes::from(request.encode_to_vec());
        self.input.send(signal, otlp).await.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}

impl SpanExporter for SdkExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let resource_spans = group_spans_by_resource_and_scope(batch, &(&self.resource).into());
        self.send(Signal::Traces, ExportTraceServiceRequest { resource_spans }).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

impl LogExporter for SdkExporter {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let resource_logs = group_logs_by_resource_and_scope(&batch, &(&self.resource).into());
        self.send(Signal::Logs, ExportLogsServiceRequest { resource_logs }).await
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.clone();
    }
}

impl PushMetricExporter for SdkExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.send(Signal::Metrics, ExportMetricsServiceRequest::from(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        // Nothing is held here.
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    /// Cumulative: the bridge makes deltas for the destinations that need them.
    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

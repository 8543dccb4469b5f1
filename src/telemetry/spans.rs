//! Our own spans over OTLP, where asked for: one for a part of the requests to destinations.
//!
//! They leave through an exporter of the OpenTelemetry SDK with a runtime of its own, never through our own pipelines,
//! and only spans made in this program count, so that sending them makes no new ones.

use crate::config::Service;
use muxbridge_core::BuildError;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

/// The layer that turns `tracing` spans into OpenTelemetry spans.
pub(crate) type SpanLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Keeps the SDK alive; what it still holds is sent when it is shut down.
pub(crate) struct Spans {
    provider: SdkTracerProvider,
    runtime: tokio::runtime::Runtime,
}

impl Spans {
    /// The layer and what keeps it alive; `None` if no endpoint is configured.
    pub(crate) fn new(service: &Service) -> Result<Option<(SpanLayer, Self)>, BuildError> {
        let traces = &service.telemetry.traces;
        let Some(endpoint) = &traces.endpoint else { return Ok(None) };
        let fail = |e: &dyn std::fmt::Display| {
            BuildError::new(format!("service.telemetry.traces.endpoint: {endpoint}: {e}"))
        };
        // The SDK's batch thread blocks on the exporter, which needs a runtime that nobody else blocks.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("own-spans")
            .enable_all()
            .build()
            .map_err(|e| fail(&e))?;
        let _entered = runtime.enter();
        let exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).build().map_err(|e| fail(&e))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::TraceIdRatioBased(traces.sampling_ratio))
            .with_resource(Resource::builder().with_service_name("muxbridge").build())
            .build();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("muxbridge"))
            .with_filter(filter_fn(|metadata| metadata.target().starts_with("muxbridge")));
        drop(_entered);
        Ok(Some((Box::new(layer), Spans { provider, runtime })))
    }

    /// Sends what is left.
    pub(crate) fn shutdown(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::debug!(%error, "own spans not sent");
        }
        self.runtime.shutdown_background();
    }
}

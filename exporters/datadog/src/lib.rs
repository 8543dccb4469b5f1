//! Datadog through an Agent: traces to its trace endpoint, metrics to DogStatsD.

mod agent;
mod config;
pub mod encode;
mod progress;

use agent::Agent;
pub use config::Config;
use encode::{Counts, Options};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Signal, TemporalityNeed, names,
};
use muxbridge_exporter_statsd::encode::Dialect;
use muxbridge_exporter_statsd::transport::{Endpoint, Transport};
use muxbridge_exporter_statsd::{StatsdExporter, own_cgroup};
use progress::Progress;
use std::collections::BTreeMap;

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<Datadog>();

/// The kind `datadog`.
pub struct Datadog;

impl ExporterKind for Datadog {
    const NAME: &'static str = "datadog";
    const SUMMARY: &'static str = "sends traces and metrics to a Datadog Agent";
    const SIGNALS: &'static [Signal] = &[Signal::Traces, Signal::Metrics];
    type Config = Config;
    type Exporter = DatadogExporter;

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn needs(_config: &Config) -> Needs {
        Needs { temporality: TemporalityNeed::Delta, ..Needs::default() }
    }

    fn build(config: Config, cx: &BuildContext) -> Result<DatadogExporter, BuildError> {
        let endpoint = Endpoint::parse(&config.dogstatsd_url).map_err(BuildError::new)?;
        let max_packet = config.max_packet_size.unwrap_or(endpoint.default_packet_size());
        let transport = Transport::connect(&endpoint, config.queue_size, config.resolve_interval.0, cx)?;
        let container = config.metrics.container(own_cgroup);
        let mut lines = config.metrics.options(Dialect::Dogstatsd, max_packet, &container);
        if !config.env.is_empty() {
            // Tags of the points and of the resource come first, so that this is what it says: a default.
            lines.constant_tags.push(("env".to_owned(), config.env.clone()));
        }
        Ok(DatadogExporter {
            metrics: StatsdExporter::new(lines, transport, config.metrics.client_telemetry, cx),
            agent: Agent::new(&config.trace_agent_url, config.timeout.0, cx)?,
            options: Options {
                operation_name: config.operation_name,
                env: config.env,
                hostname: config.hostname,
                max_payload: config.max_payload_size,
            },
            progress: Progress::default(),
            cx: cx.clone(),
        })
    }
}

/// Encodes traces and metrics and sends them to the Agent.
pub struct DatadogExporter {
    metrics: StatsdExporter,
    agent: Agent,
    options: Options,
    progress: Progress,
    cx: BuildContext,
}

impl DatadogExporter {
    /// The sampling rates by `service:<service>,env:<env>` that the Agent last asked for. They are kept and not
    /// applied: who samples is whoever made the spans.
    pub fn rates(&self) -> BTreeMap<String, f64> {
        self.agent.rates()
    }

    async fn traces(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let mut counts = Counts::default();
        let payloads = encode::traces(batch, &self.options, &mut counts);
        let several = payloads.len() > 1;
        let done = if several { self.progress.done(batch.otlp()) } else { 0 };
        for (i, payload) in payloads.into_iter().enumerate().skip(done) {
            if let Err(error) = self.agent.send(payload).await {
                // What the Agent has already must not be sent again with the rest.
                if several && matches!(error, ExportError::Retryable { .. }) {
                    self.progress.remember(batch.otlp(), i);
                }
                return Err(error);
            }
        }
        // Counted only now: a batch that is tried again must not count twice.
        let mut omitted = 0;
        for (reason, n) in counts.dropped() {
            if n > 0 {
                self.cx.counter(names::DROPPED, &[("signal", "traces"), ("reason", reason)]).add(n);
                omitted += n;
            }
        }
        for (reason, n) in counts.adjusted() {
            if n > 0 {
                self.cx.counter(names::ADJUSTED, &[("reason", reason)]).add(n);
            }
        }
        Ok(Delivered { omitted, ..Delivered::default() })
    }
}

impl Exporter for DatadogExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        match batch.signal() {
            Signal::Traces => self.traces(batch).await,
            Signal::Metrics => self.metrics.export(batch).await,
            Signal::Logs => {
                Err(ExportError::permanent("unsupported", "an Agent takes no logs over these ports"))
            }
        }
    }

    async fn shutdown(&self) {
        self.metrics.shutdown().await;
    }
}

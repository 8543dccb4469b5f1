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
    Preview, Signal, TemporalityNeed, names,
};
use muxbridge_exporter_statsd::StatsdExporter;
use muxbridge_exporter_statsd::encode::{Dialect, Options as LineOptions};
use muxbridge_exporter_statsd::transport::{Endpoint, Transport};
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

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        let (lines, options) = (line_options(config).ok()?, trace_options(config));
        let mut preview = Preview::default();
        for batch in batches {
            let mut counts = Counts::default();
            for payload in encode::traces(batch, &options, &mut counts) {
                preview.line(&encode::to_json(&payload.body)?);
            }
            preview.dropped(counts.dropped());
            preview.adjusted(counts.adjusted());
            muxbridge_exporter_statsd::preview_lines(&lines, std::slice::from_ref(batch), &mut preview);
        }
        Some(preview)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<DatadogExporter, BuildError> {
        let endpoint = Endpoint::parse(&config.dogstatsd_url).map_err(BuildError::new)?;
        let transport = Transport::connect(&endpoint, config.queue_size, config.resolve_interval.0, cx)?;
        let lines = line_options(&config).map_err(BuildError::new)?;
        Ok(DatadogExporter {
            metrics: StatsdExporter::new(lines, transport, cx),
            agent: Agent::new(&config.trace_agent_url, config.timeout.0, cx)?,
            options: trace_options(&config),
            progress: Progress::default(),
            cx: cx.clone(),
        })
    }
}

fn trace_options(config: &Config) -> Options {
    Options {
        operation_name: config.operation_name,
        env: config.env.clone(),
        hostname: config.hostname.clone(),
        max_payload: config.max_payload_size,
    }
}

fn line_options(config: &Config) -> Result<LineOptions, String> {
    let endpoint = Endpoint::parse(&config.dogstatsd_url)?;
    let max_packet = config.max_packet_size.unwrap_or(endpoint.default_packet_size());
    let mut lines = config.metrics.options(Dialect::Dogstatsd, max_packet);
    if !config.env.is_empty() {
        // Tags of the points and of the resource come first, so that this is what it says: a default.
        lines.constant_tags.push(("env".to_owned(), config.env.clone()));
    }
    Ok(lines)
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

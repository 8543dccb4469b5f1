//! Datadog: through an Agent (traces to its trace endpoint, metrics to DogStatsD), or straight to its intakes.

mod agent;
mod config;
mod delivery;
pub mod encode;
mod endpoint;
mod intake;
mod local;
mod progress;
mod tally;

pub use config::{
    AgentlessConfig, BodyCompression, Config, LlmConfig, LogsConfig, Mode, Sampling, TraceIntake,
};
use encode::{Counts, Options};
use intake::Intakes;
use local::Local;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Preview, Signal, TemporalityNeed,
};
use muxbridge_exporter_statsd::encode::{Dialect, Options as LineOptions};
use muxbridge_exporter_statsd::transport::Endpoint;
use std::collections::BTreeMap;

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<Datadog>();

/// The largest batch without an Agent: its OTLP intake takes 3200000 bytes.
const AGENTLESS_BYTES: usize = 3_000_000;

/// The kind `datadog`.
pub struct Datadog;

impl ExporterKind for Datadog {
    const NAME: &'static str = "datadog";
    const SUMMARY: &'static str = "sends to Datadog, through an Agent or with an API key";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = Config;
    type Exporter = DatadogExporter;

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn needs(config: &Config) -> Needs {
        Needs {
            temporality: TemporalityNeed::Delta,
            max_request_bytes: (config.mode == Mode::Agentless).then_some(AGENTLESS_BYTES),
            max_request_items: None,
        }
    }

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        let (lines, options) = (line_options(config, String::new).ok()?, trace_options(config));
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
        let spans = trace_options(&config);
        let way = match config.mode {
            Mode::Agent => Way::Agent(Box::new(Local::new(config, spans, cx)?)),
            Mode::Agentless => Way::Agentless(Box::new(Intakes::new(&config, spans, cx)?)),
        };
        Ok(DatadogExporter { way })
    }
}

fn trace_options(config: &Config) -> Options {
    Options {
        operation_name: config.operation_name,
        env: config.env.clone(),
        hostname: config.hostname.clone(),
        max_payload: config.max_payload_size,
        content: config.content,
        ..Options::default()
    }
}

/// How metrics become lines for an Agent.
fn line_options(config: &Config, cgroup: impl FnOnce() -> String) -> Result<LineOptions, String> {
    let endpoint = Endpoint::parse(&config.dogstatsd_url)?;
    let max_packet = config.max_packet_size.unwrap_or(endpoint.default_packet_size());
    let container = config.metrics.container(cgroup);
    let mut lines = config.metrics.options(Dialect::Dogstatsd, max_packet, &container);
    if !config.env.is_empty() {
        // Tags of the points and of the resource come first, so that this is what it says: a default.
        lines.constant_tags.push(("env".to_owned(), config.env.clone()));
    }
    Ok(lines)
}

enum Way {
    Agent(Box<Local>),
    Agentless(Box<Intakes>),
}

/// Encodes telemetry and sends it to an Agent or to Datadog.
pub struct DatadogExporter {
    way: Way,
}

impl DatadogExporter {
    /// The sampling rates by `service:<service>,env:<env>` that the Agent last asked for; none without an Agent.
    pub fn rates(&self) -> BTreeMap<String, f64> {
        match &self.way {
            Way::Agent(local) => local.rates(),
            Way::Agentless(_) => BTreeMap::new(),
        }
    }
}

impl Exporter for DatadogExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        match (&self.way, batch.signal()) {
            (Way::Agent(local), Signal::Traces) => local.traces(batch).await,
            (Way::Agent(local), Signal::Metrics) => local.metrics(batch).await,
            (Way::Agent(local), Signal::Logs) => local.logs(batch),
            (Way::Agentless(intakes), Signal::Traces) => intakes.traces(batch).await,
            (Way::Agentless(intakes), Signal::Metrics) => intakes.metrics(batch).await,
            (Way::Agentless(intakes), Signal::Logs) => intakes.logs(batch).await,
        }
    }

    async fn shutdown(&self) {
        if let Way::Agent(local) = &self.way {
            local.shutdown().await;
        }
    }
}

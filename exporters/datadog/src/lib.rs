//! Datadog: through an Agent (traces to its trace endpoint, metrics to DogStatsD), or straight to its intakes.

mod agent;
mod config;
mod delivery;
pub mod encode;
mod endpoint;
mod intake;
mod local;
mod options;
mod preview;
mod progress;
mod tally;

pub use config::{
    AgentlessConfig, BodyCompression, Config, LlmConfig, LogsConfig, Mode, Sampling, TraceIntake,
};
use intake::Intakes;
use local::Local;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Preview, Signal, TemporalityNeed,
};
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
        preview::preview(config, batches)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<DatadogExporter, BuildError> {
        let way = match config.mode {
            Mode::Agent => Way::Agent(Box::new(Local::new(config, cx)?)),
            Mode::Agentless => Way::Agentless(Box::new(Intakes::new(&config, cx)?)),
        };
        Ok(DatadogExporter { way })
    }
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

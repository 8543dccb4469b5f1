//! What the user writes, and its check.

mod agentless;

use crate::encode::OperationName;
pub(crate) use agentless::Host;
pub use agentless::{AgentlessConfig, BodyCompression, TraceIntake};
use muxbridge_core::config::{GoDuration, Problems, Secret};
use muxbridge_exporter_statsd::{MetricsConfig, check_transport};
use muxbridge_kit::tls::TlsConfig;
use schemars::JsonSchema;
use serde::Deserialize;

/// What an Agent reads of one request unless it is told otherwise.
const AGENT_LIMIT: usize = 25 << 20;

/// Where to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// To a Datadog Agent close by, which holds the key.
    #[default]
    Agent,
    /// Straight to Datadog, with `api_key`.
    Agentless,
}

/// What becomes of the sampling rates that an Agent answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// Every trace is kept: whoever made the spans has sampled already.
    #[default]
    Keep,
    /// They are obeyed: a trace beyond the rate gets the priority 0, and the Agent lets it go after counting it.
    AgentRates,
}

/// Configuration of `datadog`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to. Default `agent`.
    pub mode: Mode,
    /// Where the Agent takes traces: `http://host:port`, `https://host:port` or `unix:///path`.
    /// Default `http://127.0.0.1:8126`.
    pub trace_agent_url: String,
    /// Where the Agent takes metrics: `udp://host:port`, `unixgram:///path`, `unix:///path` (the same) or
    /// `unixstream:///path`. Default `udp://127.0.0.1:8125`.
    pub dogstatsd_url: String,
    /// The key of the organisation (mode `agentless`), for example `${env:DD_API_KEY}`. Default empty.
    pub api_key: Secret,
    /// The site of the organisation (mode `agentless`), for example `datadoghq.eu`. Default `datadoghq.com`.
    pub site: String,
    /// The environment (`env`) of telemetry that names none. Default empty: the Agent's own.
    pub env: String,
    /// The host of telemetry whose resource names none. Default empty: the Agent's own, or none without an Agent.
    pub hostname: String,
    /// How operations are named. Default `v2`.
    pub operation_name: OperationName,
    /// For one HTTP request. Default `10s`.
    pub timeout: GoDuration,
    /// The largest request to the trace Agent in bytes; traces stay whole. Default 10000000.
    pub max_payload_size: usize,
    /// The largest packet of metrics in bytes. Default 1432 for UDP, 8192 for unix sockets.
    pub max_packet_size: Option<usize>,
    /// How many packets of metrics may wait for the socket. Default 4096.
    pub queue_size: usize,
    /// How often the host name of `dogstatsd_url` is looked up again; `0` looks it up at start only. Default `60s`.
    pub resolve_interval: GoDuration,
    /// Asks the Agent at `/info` what it can do, at the first traces and every five minutes. Default true.
    pub discovery: bool,
    /// Sends the statistics of spans too, instead of leaving them to the Agent; needs an Agent that takes them, which
    /// `discovery` tells. Default false.
    pub client_stats: bool,
    /// What becomes of the sampling rates that the Agent answers. Default `keep`.
    pub sampling: Sampling,
    /// Sends prompts, answers and what tools took and gave. Default false: they never leave.
    pub content: bool,
    /// Spans of models for LLM Observability.
    pub llm_observability: LlmConfig,
    /// How metrics become lines or series.
    pub metrics: MetricsConfig,
    /// Logs (mode `agentless`).
    pub logs: LogsConfig,
    /// Which intakes are used, and how (mode `agentless`).
    pub agentless: AgentlessConfig,
    /// How to talk TLS to Datadog or to a proxy before it (mode `agentless`).
    pub tls: TlsConfig,
}

/// Spans of models for LLM Observability.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LlmConfig {
    /// Sends them. Default false: then traces also ask not to be made into any.
    pub enabled: bool,
    /// The application that they belong to (`ml_app`). Default empty: the service of the spans.
    pub ml_app: String,
}

/// Logs straight to Datadog.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogsConfig {
    /// What Datadog chooses a log pipeline by (`ddsource`). Default `modelmuxer`.
    pub source: String,
}

impl Default for LogsConfig {
    fn default() -> Self {
        LogsConfig { source: "modelmuxer".to_owned() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mode: Mode::default(),
            trace_agent_url: "http://127.0.0.1:8126".to_owned(),
            dogstatsd_url: "udp://127.0.0.1:8125".to_owned(),
            api_key: Secret::default(),
            site: "datadoghq.com".to_owned(),
            env: String::new(),
            hostname: String::new(),
            operation_name: OperationName::default(),
            timeout: GoDuration::from_secs(10),
            max_payload_size: 10_000_000,
            max_packet_size: None,
            queue_size: 4096,
            resolve_interval: GoDuration::from_secs(60),
            discovery: true,
            client_stats: false,
            sampling: Sampling::default(),
            content: false,
            llm_observability: LlmConfig::default(),
            metrics: MetricsConfig::default(),
            logs: LogsConfig::default(),
            agentless: AgentlessConfig::default(),
            tls: TlsConfig::default(),
        }
    }
}

impl Config {
    /// Adds every mistake to `problems`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        match self.mode {
            Mode::Agent => self.check_agent(problems),
            Mode::Agentless => self.check_agentless(problems),
        }
        if self.timeout.0.is_zero() {
            problems.add("timeout", "must be longer than 0");
        }
        if !(100_000..=AGENT_LIMIT).contains(&self.max_payload_size) {
            let text = format!("{} is not between 100000 and {AGENT_LIMIT}", self.max_payload_size);
            problems.add("max_payload_size", text);
        }
        problems.at("metrics", |p| self.metrics.check(p));
        if !self.llm_observability.enabled && !self.llm_observability.ml_app.is_empty() {
            problems.add("llm_observability.ml_app", "does nothing while llm_observability.enabled is false");
        }
    }

    fn check_agent(&self, problems: &mut Problems) {
        if let Err(problem) = crate::agent::agent_uri(&self.trace_agent_url, "/") {
            problems.add("trace_agent_url", problem);
        }
        check_transport(
            "dogstatsd_url",
            &self.dogstatsd_url,
            self.max_packet_size,
            self.queue_size,
            problems,
        );
        if !self.api_key.is_empty() {
            let text =
                "is the Agent's in mode agent; remove it, or set mode: agentless to send without an Agent";
            problems.add("api_key", text);
        }
        if self.client_stats && !self.discovery {
            problems.add("client_stats", "needs discovery: only an Agent that says so takes statistics");
        }
    }

    fn check_agentless(&self, problems: &mut Problems) {
        if self.api_key.is_empty() {
            problems.add("api_key", "is missing; for example ${env:DD_API_KEY}");
        } else if let Err(problem) = muxbridge_kit::headers::secret_value(&self.api_key) {
            problems.add("api_key", problem);
        }
        let host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if self.site.is_empty() || !self.site.chars().all(host) {
            let text = format!("{:?} is not a site, for example datadoghq.com or datadoghq.eu", self.site);
            problems.add("site", text);
        }
        for (key, used) in [
            ("client_stats", self.client_stats),
            ("sampling", self.sampling == Sampling::AgentRates),
            ("metrics.timestamps", self.metrics.timestamps),
            ("metrics.container_id", !self.metrics.container_id.is_empty()),
            ("metrics.external_data", !self.metrics.external_data.is_empty()),
            ("metrics.cardinality", self.metrics.cardinality.is_some()),
        ] {
            if used {
                problems.add(key, "is a matter of an Agent, and mode is agentless; remove one of them");
            }
        }
        problems.at("tls", |p| self.tls.check(p));
        problems.at("agentless", |p| self.agentless.check(self, p));
    }
}

//! What the user writes, and its check.

use crate::encode::OperationName;
use muxbridge_core::config::{GoDuration, Problems};
use muxbridge_exporter_statsd::{MetricsConfig, check_transport};
use schemars::JsonSchema;
use serde::Deserialize;

/// What an Agent reads of one request unless it is told otherwise.
const AGENT_LIMIT: usize = 25 << 20;

/// Configuration of `datadog`: a Datadog Agent close by.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the Agent takes traces: `http://host:port`, `https://host:port` or `unix:///path`.
    /// Default `http://127.0.0.1:8126`.
    pub trace_agent_url: String,
    /// Where the Agent takes metrics: `udp://host:port`, `unixgram:///path`, `unix:///path` (the same) or
    /// `unixstream:///path`. Default `udp://127.0.0.1:8125`.
    pub dogstatsd_url: String,
    /// The environment (`env`) of telemetry that names none. Default empty: the Agent's own.
    pub env: String,
    /// The host of spans whose resource names none. Default empty: the Agent's own.
    pub hostname: String,
    /// How operations are named. Default `v2`.
    pub operation_name: OperationName,
    /// For one request to the trace Agent. Default `10s`.
    pub timeout: GoDuration,
    /// The largest request to the trace Agent in bytes; traces stay whole. Default 10000000.
    pub max_payload_size: usize,
    /// The largest packet of metrics in bytes. Default 1432 for UDP, 8192 for unix sockets.
    pub max_packet_size: Option<usize>,
    /// How many packets of metrics may wait for the socket. Default 4096.
    pub queue_size: usize,
    /// How often the host name of `dogstatsd_url` is looked up again; `0` looks it up at start only. Default `60s`.
    pub resolve_interval: GoDuration,
    /// How metrics become lines.
    pub metrics: MetricsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            trace_agent_url: "http://127.0.0.1:8126".to_owned(),
            dogstatsd_url: "udp://127.0.0.1:8125".to_owned(),
            env: String::new(),
            hostname: String::new(),
            operation_name: OperationName::default(),
            timeout: GoDuration::from_secs(10),
            max_payload_size: 10_000_000,
            max_packet_size: None,
            queue_size: 4096,
            resolve_interval: GoDuration::from_secs(60),
            metrics: MetricsConfig::default(),
        }
    }
}

impl Config {
    /// Adds every mistake to `problems`.
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(problem) = crate::agent::traces_uri(&self.trace_agent_url) {
            problems.add("trace_agent_url", problem);
        }
        check_transport(
            "dogstatsd_url",
            &self.dogstatsd_url,
            self.max_packet_size,
            self.queue_size,
            problems,
        );
        if self.timeout.0.is_zero() {
            problems.add("timeout", "must be longer than 0");
        }
        if !(100_000..=AGENT_LIMIT).contains(&self.max_payload_size) {
            let text = format!("{} is not between 100000 and {AGENT_LIMIT}", self.max_payload_size);
            problems.add("max_payload_size", text);
        }
        problems.at("metrics", |p| self.metrics.check(p));
    }
}

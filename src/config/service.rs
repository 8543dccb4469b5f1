//! The `service` section: the admin port, workers, shutdown and our own telemetry.

use crate::pipeline::settings::BatchSettings;
use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `service`, without its pipelines.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Service {
    /// Health, readiness and metrics over HTTP.
    pub(crate) admin: AdminSettings,
    /// Threads that receive and translate, each with listeners of its own. Default 0: one for each core.
    pub(crate) workers: usize,
    /// How long to deliver what is queued after SIGTERM, or for a destination that a reload removes. Default 10s.
    pub(crate) shutdown_timeout: GoDuration,
    /// What an acknowledgement means. Default: `fsync` where there is a data directory, else `memory`.
    pub(crate) durability: Option<Durability>,
    /// Where accepted data is kept until it is delivered. Default: STATE_DIRECTORY, which systemd sets, else
    /// /var/lib/muxbridge if it exists and can be written to.
    pub(crate) data_dir: Option<PathBuf>,
    /// How much the data directory may hold, and for how long.
    pub(crate) storage: Storage,
    /// Whether a change of the configuration file, or of a file that it refers to, reloads it as SIGHUP does. Default
    /// false.
    pub(crate) watch_config: bool,
    /// Our own logs and spans.
    pub(crate) telemetry: Telemetry,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Durability {
    /// Synced to the disk: survives a power cut.
    Fsync,
    /// Handed to the operating system: survives the death of the process.
    Os,
    /// In memory: lost with the process.
    Memory,
}

/// `service.storage`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// Mebibytes in the data directory, shared evenly by its logs (one for each signal, one for open traces). Default
    /// 10240.
    pub(crate) max_size_mib: u64,
    /// Age at which data that no destination took is given up. Default 0: never.
    pub(crate) max_age: GoDuration,
    /// Mebibytes of what destinations refused for good, kept as OTLP/JSON lines in the directory `dead-letters` of the data
    /// directory; the oldest go first. Default 64; 0: it is not kept.
    pub(crate) dead_letter_mib: u64,
    /// Exporters that were removed from the configuration while something waited for them on the disk, and whose data is
    /// now given up: it is counted as dropped. Default none: it stays until they are back or it expires.
    pub(crate) forget: Vec<String>,
}

impl Default for Storage {
    fn default() -> Self {
        let max_age = GoDuration::from_secs(0);
        Storage { max_size_mib: 10_240, max_age, dead_letter_mib: 64, forget: Vec::new() }
    }
}

impl Default for Service {
    fn default() -> Self {
        Service {
            admin: AdminSettings::default(),
            workers: 0,
            shutdown_timeout: GoDuration::from_secs(10),
            durability: None,
            data_dir: None,
            storage: Storage::default(),
            watch_config: false,
            telemetry: Telemetry::default(),
        }
    }
}

/// `service.admin`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AdminSettings {
    /// Whether to listen at all. Default true, or what ENABLE_METRICS says.
    pub(crate) enabled: Option<bool>,
    /// The address. Default 127.0.0.1 with the port in METRICS_PORT, or 9090.
    pub(crate) endpoint: Option<String>,
    /// Host names that requests may name besides localhost and addresses. A page in a browser on this host
    /// could otherwise read the metrics through a name of its own.
    pub(crate) allowed_hosts: Vec<String>,
    /// Whether `/metrics` shows the metrics of all pipelines, as they leave their processors, besides our own counters.
    /// Default true.
    pub(crate) pipeline_metrics: bool,
}

impl Default for AdminSettings {
    fn default() -> Self {
        AdminSettings { enabled: None, endpoint: None, allowed_hosts: Vec::new(), pipeline_metrics: true }
    }
}

/// `service.telemetry`.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// Our own log.
    pub(crate) logs: Logs,
    /// Our own spans.
    pub(crate) traces: Traces,
}

/// `service.telemetry.logs`.
#[derive(Clone, Debug, PartialEq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Logs {
    /// error, warn, info, debug or trace, or a filter such as `info,muxbridge=debug`. Default LOG_LEVEL, or info.
    pub(crate) level: Option<String>,
    /// text or json. Default LOG_FORMAT, or text.
    pub(crate) format: Option<LogFormat>,
    /// A file to append to, instead of standard error. Default LOG_FILE, or none.
    pub(crate) file: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `service.telemetry.traces`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Traces {
    /// An OTLP/gRPC endpoint for the bridge's own spans, for example http://127.0.0.1:5317. Not one of its own
    /// receivers. Default none: no spans are made.
    pub(crate) endpoint: Option<String>,
    /// Which part of the requests to destinations gets a span, 0 to 1. Default 0.01.
    pub(crate) sampling_ratio: f64,
}

impl Default for Traces {
    fn default() -> Self {
        Traces { endpoint: None, sampling_ratio: 0.01 }
    }
}

impl Service {
    /// The settings of `other` that a reload does not change: they wait for the next start.
    pub(crate) fn fixed(&self, other: &Service) -> Vec<&'static str> {
        [
            ("admin", self.admin == other.admin),
            ("workers", self.workers == other.workers),
            ("durability", self.durability == other.durability),
            ("data_dir", self.data_dir == other.data_dir),
            ("storage.max_size_mib", self.storage.max_size_mib == other.storage.max_size_mib),
            ("storage.max_age", self.storage.max_age == other.storage.max_age),
            ("storage.dead_letter_mib", self.storage.dead_letter_mib == other.storage.dead_letter_mib),
            ("telemetry", self.telemetry == other.telemetry),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }

    /// The bridge's own spans must not come back to it: each would make the next one.
    pub(crate) fn check_own_spans(&self, receivers: &Map<String, Value>, problems: &mut Problems) {
        let Some(endpoint) = &self.telemetry.traces.endpoint else { return };
        let authority = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
        let (host, port) = split_port(authority.split('/').next().unwrap_or_default());
        let here = |host: &str| ["localhost", "127.0.0.1", "[::1]", "0.0.0.0", "[::]"].contains(&host);
        for (id, receiver) in receivers.iter().filter(|(id, _)| id.split('/').next() == Some("otlp")) {
            let listen = receiver.pointer("/protocols/grpc/endpoint").and_then(Value::as_str);
            let (own, own_port) = split_port(listen.unwrap_or("127.0.0.1:4317"));
            if port == own_port && (host == own || (here(host) && here(own))) {
                problems.add(
                    "telemetry.traces.endpoint",
                    format!("{endpoint:?} is the bridge's own receiver {id:?}: each span would make another; send them elsewhere"),
                );
            }
        }
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Some(endpoint) = &self.admin.endpoint
            && endpoint.parse::<SocketAddr>().is_err()
        {
            problems.add(
                "admin.endpoint",
                format!("{endpoint:?} is not an address; write for example 127.0.0.1:9090"),
            );
        }
        if let Some(endpoint) = &self.telemetry.traces.endpoint
            && !endpoint.starts_with("http://")
            && !endpoint.starts_with("https://")
        {
            problems.add(
                "telemetry.traces.endpoint",
                format!("{endpoint:?} has no scheme; write http://host:port"),
            );
        }
        if !(0.0..=1.0).contains(&self.telemetry.traces.sampling_ratio) {
            let ratio = self.telemetry.traces.sampling_ratio;
            problems.add("telemetry.traces.sampling_ratio", format!("{ratio} is not between 0 and 1"));
        }
        if self.storage.max_size_mib == 0 {
            problems.add("storage.max_size_mib", "0 is not possible; write at least 1");
        }
        if self.durability == Some(Durability::Memory) && self.data_dir.is_some() {
            problems.add("data_dir", "is not used with durability: memory; delete one of the two");
        }
        if self.workers > 256 {
            problems.add("workers", format!("{} is more than 256", self.workers));
        }
    }
}

fn split_port(authority: &str) -> (&str, &str) {
    authority.rsplit_once(':').unwrap_or((authority, ""))
}

/// The Collector's `batch` processor.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BatchProcessor {
    /// How long a smaller batch waits. Default 200ms.
    timeout: GoDuration,
    /// Items that are sent at once. Default 8192.
    send_batch_size: usize,
    /// The most items in one request; 0 means `send_batch_size`. Default 0.
    send_batch_max_size: usize,
}

impl Default for BatchProcessor {
    fn default() -> Self {
        BatchProcessor {
            timeout: GoDuration::from_millis(200),
            send_batch_size: 8192,
            send_batch_max_size: 0,
        }
    }
}

impl From<BatchProcessor> for BatchSettings {
    fn from(batch: BatchProcessor) -> Self {
        BatchSettings {
            flush_timeout: batch.timeout,
            min_size: batch.send_batch_size,
            max_size: batch.send_batch_max_size.max(batch.send_batch_size).max(1),
        }
    }
}

//! What the user writes, and its check.

use crate::encode::origin::{self, Cardinality};
use crate::encode::{Dialect, HistogramMode, HostPolicy, Options};
use crate::transport::Endpoint;
use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;

/// The largest packet that a user may ask for: what fits one UDP datagram.
const MAX_PACKET: usize = 65_000;

/// Configuration of `statsd`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server listens: `udp://host:port`, `host:port`, `unixgram:///path` or `unixstream:///path`
    /// (`unix:///path` means `unixgram`). Default `udp://127.0.0.1:8125`.
    pub endpoint: String,
    /// What the server understands. Default `dogstatsd`.
    pub dialect: Dialect,
    /// The largest packet in bytes. Default 1432 for UDP, 8192 for unix sockets.
    pub max_packet_size: Option<usize>,
    /// How many packets may wait for the socket. Default 4096.
    pub queue_size: usize,
    /// How often the host name of a UDP endpoint is looked up again; `0` looks it up at start only. Default `60s`.
    pub resolve_interval: GoDuration,
    /// How metrics become lines.
    pub metrics: MetricsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: "udp://127.0.0.1:8125".to_owned(),
            dialect: Dialect::default(),
            max_packet_size: None,
            queue_size: 4096,
            resolve_interval: GoDuration::from_secs(60),
            metrics: MetricsConfig::default(),
        }
    }
}

impl Config {
    /// Adds every mistake to `problems`.
    pub fn check(&self, problems: &mut Problems) {
        check_transport("endpoint", &self.endpoint, self.max_packet_size, self.queue_size, problems);
        problems.at("metrics", |p| {
            self.metrics.check(p);
            if self.dialect != Dialect::Dogstatsd {
                self.metrics.check_other_dialect(p);
            }
        });
    }
}

/// Checks the options of the socket, for this exporter and for others that send the same lines.
pub fn check_transport(
    key: &str,
    endpoint: &str,
    max_packet_size: Option<usize>,
    queue_size: usize,
    problems: &mut Problems,
) {
    if let Err(problem) = Endpoint::parse(endpoint) {
        problems.add(key, problem);
    }
    if let Some(size) = max_packet_size
        && !(512..=MAX_PACKET).contains(&size)
    {
        problems.add("max_packet_size", format!("{size} is not between 512 and {MAX_PACKET}"));
    }
    if !(64..=1_000_000).contains(&queue_size) {
        problems.add("queue_size", format!("{queue_size} is not between 64 and 1000000"));
    }
}

/// How metrics become lines: names, tags and histograms.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Written before every metric name, for example `llm.`. Default empty.
    pub prefix: String,
    /// Tags that every line gets, each `key:value`. Default none.
    pub constant_tags: Vec<String>,
    /// The only point attributes that become tags; empty means all but `tags_deny`. Default empty.
    pub tags_allow: Vec<String>,
    /// Point attributes that never become tags. Default: attributes with a new value for each request (ids of users,
    /// sessions, requests, traces and conversations, and full URLs).
    pub tags_deny: Vec<String>,
    /// Turns every resource attribute into a tag, not only those that have a standard tag. Default false.
    pub resource_attributes_as_tags: bool,
    /// Whose host a metric belongs to (`dogstatsd` only). Default `agent`.
    pub host: HostPolicy,
    /// Makes one line of the numbers of one series in one batch: differences are added up, the last level wins. Two
    /// points are of one series if they differ only in attributes that do not become tags. Default true.
    pub aggregate: bool,
    /// Sends the time of each counter and gauge (`|T`), so that a minute's count lies where it was counted. The Agent
    /// (7.40 or later) takes such values as they are and does not aggregate them (`dogstatsd` only). Default false.
    pub timestamps: bool,
    /// The container that the Agent tags these metrics for (`|c:`): `auto` for this process's own, or `ci-<id>`. The
    /// Agent heeds it with `dogstatsd_origin_detection_client` (`dogstatsd` only). Default empty: none.
    pub container_id: String,
    /// What Kubernetes injected about this pod (`|e:`): the value of `DD_EXTERNAL_ENV` (`dogstatsd` only). Default empty.
    pub external_data: String,
    /// How many tags of its own the Agent adds (`|card:`, `dogstatsd` only). Default: the Agent decides.
    pub cardinality: Option<Cardinality>,
    /// Sends counts of what was sent and dropped as `datadog.dogstatsd.client.*`, as Datadog's own clients do, at most
    /// every ten seconds and with metrics only (`dogstatsd` only). Default true.
    pub client_telemetry: bool,
    /// How histograms are sent.
    pub histograms: HistogramsConfig,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        let deny = [
            "user_id",
            "user.id",
            "enduser.id",
            "session_id",
            "session.id",
            "request_id",
            "request.id",
            "trace_id",
            "span_id",
            "gen_ai.conversation.id",
            "gen_ai.response.id",
            "url.full",
        ];
        MetricsConfig {
            prefix: String::new(),
            constant_tags: Vec::new(),
            tags_allow: Vec::new(),
            tags_deny: deny.map(str::to_owned).to_vec(),
            resource_attributes_as_tags: false,
            host: HostPolicy::default(),
            aggregate: true,
            timestamps: false,
            container_id: String::new(),
            external_data: String::new(),
            cardinality: None,
            client_telemetry: true,
            histograms: HistogramsConfig::default(),
        }
    }
}

/// How histograms are sent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramsConfig {
    /// What a histogram becomes. Default `distributions`.
    pub mode: HistogramMode,
    /// Sends `.count`, `.sum`, `.min` and `.max` too. Mode `nobuckets` always does. Default false.
    pub send_aggregation_metrics: bool,
    /// How many values stand for a bucket in mode `distributions`, 1 to 64. Default 8.
    pub samples_per_bucket: usize,
}

impl Default for HistogramsConfig {
    fn default() -> Self {
        HistogramsConfig {
            mode: HistogramMode::default(),
            send_aggregation_metrics: false,
            samples_per_bucket: 8,
        }
    }
}

impl MetricsConfig {
    /// Adds every mistake to `problems`.
    pub fn check(&self, problems: &mut Problems) {
        for (i, tag) in self.constant_tags.iter().enumerate() {
            if tag.split_once(':').is_none_or(|(key, value)| key.is_empty() || value.is_empty()) {
                problems.add(&format!("constant_tags[{i}]"), format!("{tag:?} is not of the form key:value"));
            }
        }
        if !self.prefix.is_empty() && !self.prefix.starts_with(|c: char| c.is_ascii_alphabetic()) {
            problems.add("prefix", format!("{:?} does not start with a letter", self.prefix));
        }
        if self.prefix.len() > 100 {
            problems.add("prefix", "is longer than 100 bytes");
        }
        let samples = self.histograms.samples_per_bucket;
        if !(1..=64).contains(&samples) {
            problems.add("histograms.samples_per_bucket", format!("{samples} is not between 1 and 64"));
        }
        let id = &self.container_id;
        if !matches!(id.as_str(), "" | "auto") && !id.starts_with("ci-") && !id.starts_with("in-") {
            problems.add("container_id", format!("{id:?} is not \"auto\", ci-<container id> or in-<inode>"));
        }
        let harmful = |text: &str| text.contains('|') || text.chars().any(char::is_control);
        for (key, value) in [("container_id", id), ("external_data", &self.external_data)] {
            if harmful(value) {
                problems.add(key, "has a character that would end the line (`|` or a control character)");
            }
        }
    }

    /// Reports the options that mean nothing to servers other than Datadog's.
    fn check_other_dialect(&self, problems: &mut Problems) {
        for (key, used) in [
            ("timestamps", self.timestamps),
            ("container_id", !self.container_id.is_empty()),
            ("external_data", !self.external_data.is_empty()),
            ("cardinality", self.cardinality.is_some()),
        ] {
            if used {
                problems
                    .add(key, "is only understood with dialect dogstatsd; remove it or change the dialect");
            }
        }
    }

    /// The container to name: for `auto` the one in `cgroup`, the text of `/proc/self/cgroup`.
    pub fn container(&self, cgroup: impl FnOnce() -> String) -> String {
        if self.container_id == "auto" {
            origin::container(&cgroup()).unwrap_or_default()
        } else {
            self.container_id.clone()
        }
    }

    /// What the encoder needs to know, for packets of at most `max_packet` bytes, from the container that
    /// [`MetricsConfig::container`] names.
    pub fn options(&self, dialect: Dialect, max_packet: usize, container: &str) -> Options {
        Options {
            dialect,
            prefix: self.prefix.clone(),
            constant_tags: self
                .constant_tags
                .iter()
                .filter_map(|tag| tag.split_once(':'))
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
            tags_allow: self.tags_allow.clone(),
            tags_deny: self.tags_deny.clone(),
            resource_attributes_as_tags: self.resource_attributes_as_tags,
            host: self.host,
            histograms: self.histograms.mode,
            aggregates: self.histograms.send_aggregation_metrics,
            samples_per_bucket: self.histograms.samples_per_bucket,
            max_packet,
            aggregate: self.aggregate,
            timestamps: self.timestamps,
            origin: origin::fields(container, &self.external_data, self.cardinality),
        }
    }
}

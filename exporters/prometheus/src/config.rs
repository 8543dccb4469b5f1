//! What the user writes, and its check.

use crate::encode::{Options, is_label_name};
use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The largest `max_series` that a user may ask for: a page of about a gigabyte.
const MOST_SERIES: usize = 5_000_000;

/// Configuration of `prometheus`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address on which the page is served. Default `127.0.0.1:9464`, for this host only.
    pub endpoint: String,
    /// The path of the page. Default `/metrics`.
    pub path: String,
    /// Written before every metric name, with an underscore between. Default none.
    pub namespace: String,
    /// Labels that every series gets. Default none.
    pub const_labels: BTreeMap<String, String>,
    /// Writes the time of each point behind its value. Prometheus then does not mark a series as stale by itself.
    /// Default false.
    pub send_timestamps: bool,
    /// How long a series stays on the page without a new point. Default `5m`.
    pub metric_expiration: GoDuration,
    /// Whether clients that ask for OpenMetrics get it; otherwise all get the text format, which has no exemplars and no
    /// start times. Default true.
    pub enable_open_metrics: bool,
    /// Adds the unit, and `_total` or `_ratio`, to metric names. Default true.
    pub add_metric_suffixes: bool,
    /// Leaves out the labels that name the instrumentation scope. Default false.
    pub without_scope_info: bool,
    /// Whether attributes of the resource become labels of every series, not only of `target_info`.
    pub resource_to_telemetry_conversion: ResourceLabels,
    /// The most series on the page; points of further ones are dropped and counted. A histogram is one series.
    /// Default 50000.
    pub max_series: usize,
    /// The most requests that are answered at once. Default 32.
    pub max_connections: usize,
}

/// Whether attributes of the resource become labels.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResourceLabels {
    /// All of them become labels. Default false.
    pub enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoint: "127.0.0.1:9464".to_owned(),
            path: "/metrics".to_owned(),
            namespace: String::new(),
            const_labels: BTreeMap::new(),
            send_timestamps: false,
            metric_expiration: GoDuration::from_secs(300),
            enable_open_metrics: true,
            add_metric_suffixes: true,
            without_scope_info: false,
            resource_to_telemetry_conversion: ResourceLabels::default(),
            max_series: 50_000,
            max_connections: 32,
        }
    }
}

impl Config {
    /// Adds every mistake to `problems`.
    pub fn check(&self, problems: &mut Problems) {
        if let Err(problem) = self.address() {
            problems.add("endpoint", problem);
        }
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ']) {
            problems.add("path", format!("{:?} is not a path; write for example /metrics", self.path));
        }
        if !self.namespace.is_empty() && (!is_label_name(&self.namespace)) {
            let problem = "is not letters, digits and underscores that start with a letter";
            problems.add("namespace", format!("{:?} {problem}", self.namespace));
        }
        problems.at("const_labels", |problems| {
            for name in self.const_labels.keys() {
                let reserved =
                    name.starts_with("__") || ["job", "instance", "le", "quantile"].contains(&&**name);
                if !is_label_name(name) || reserved {
                    problems.add(
                        name,
                        "is not a name that a constant label can have; write for example `region`",
                    );
                }
            }
        });
        if self.metric_expiration.0.is_zero() {
            problems.add("metric_expiration", "0 would show nothing; write for example 5m");
        }
        if !(1..=MOST_SERIES).contains(&self.max_series) {
            problems.add("max_series", format!("{} is not between 1 and {MOST_SERIES}", self.max_series));
        }
        if !(1..=1000).contains(&self.max_connections) {
            problems.add("max_connections", format!("{} is not between 1 and 1000", self.max_connections));
        }
    }

    /// The address to bind; a host name is only taken if it is `localhost`, because looking one up is no check.
    ///
    /// # Errors
    /// What to write instead.
    pub fn address(&self) -> Result<SocketAddr, String> {
        let text = self.endpoint.replacen("localhost:", "127.0.0.1:", 1);
        text.parse().map_err(|_| {
            format!("{:?} is not an address; write for example 127.0.0.1:9464 or 0.0.0.0:9464", self.endpoint)
        })
    }

    /// What the encoder needs to know.
    pub fn options(&self) -> Options {
        Options {
            namespace: self.namespace.clone(),
            const_labels: self.const_labels.clone().into_iter().collect(),
            send_timestamps: self.send_timestamps,
            expiration: u64::try_from(self.metric_expiration.0.as_nanos()).unwrap_or(u64::MAX),
            add_suffixes: self.add_metric_suffixes,
            scope_labels: !self.without_scope_info,
            resource_labels: self.resource_to_telemetry_conversion.enabled,
            max_series: self.max_series,
            reserved_prefix: None,
        }
    }
}

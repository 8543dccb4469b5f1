//! What the user writes, and where it says to send.

use crate::encode::Options;
use crate::request::Api;
use http::Uri;
use muxbridge_core::Signal;
use muxbridge_core::config::{GoDuration, Problems, Secret};
use muxbridge_kit::http::{Compression, TlsConfig};
use schemars::JsonSchema;
use serde::Deserialize;

/// Configuration of `newrelic`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The ingest license key (required). A user key (`NRAK-...`) cannot send telemetry.
    pub license_key: Secret,
    /// The data center of the account. Default: the one that the key names (`eu01x...`), else `us`.
    pub region: Option<Region>,
    /// Sends to this base URL instead of the region's; empty is as if it were not there, here and in the other
    /// endpoints. The path is appended: for OTLP `/v1/traces`, `/v1/metrics` or
    /// `/v1/logs`, for the other APIs `/trace/v1`, `/metric/v1`, `/log/v1` or `/v1/accounts/events`.
    pub endpoint: Option<String>,
    /// Sends traces to exactly this URL.
    pub traces_endpoint: Option<String>,
    /// Sends metrics to exactly this URL.
    pub metrics_endpoint: Option<String>,
    /// Sends logs to exactly this URL.
    pub logs_endpoint: Option<String>,
    /// Sends custom events to exactly this URL; only with `mode: native`.
    pub events_endpoint: Option<String>,
    /// Which of New Relic's APIs are used. Default `otlp`.
    pub mode: Mode,
    /// How OTLP travels. Default `http`, which New Relic prefers.
    pub protocol: Protocol,
    /// The format of traces, only with `mode: trace_api` or `native`. Default `newrelic`.
    pub trace_format: Option<TraceFormat>,
    /// How requests are compressed. Only OTLP knows `zstd`; the other APIs get gzip for it. Default `gzip`.
    pub compression: Compression,
    /// How long one request may take; over HTTP three times that if it has more than 500000 bytes on the wire. Default
    /// `10s`.
    pub timeout: GoDuration,
    /// TLS of the connection.
    pub tls: TlsConfig,
    /// Marks the service for AI Monitoring (`aiEnabledApp`, `gen_ai.system`). Default `true`.
    pub ai_monitoring: bool,
    /// Derives `http.server.request.duration` and `http.client.request.duration` from ModelMuxer's spans: the APM pages
    /// are made of these metrics. Default `auto`: each of them until it comes in by itself.
    pub apm_metrics: ApmMetrics,
    /// Sends a custom event `LlmChatCompletionSummary` for each call of a model. Default `false`: New Relic reads the
    /// spans, and may count a call twice that has an event, too.
    pub llm_events: bool,
    /// `service.instance.id` of telemetry that has none. Default: an id made of `k8s.pod.uid`, `container.id`, `host.id`
    /// or `host.name`, if the telemetry has one of these.
    pub service_instance_id: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            license_key: Secret::default(),
            region: None,
            endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            events_endpoint: None,
            mode: Mode::default(),
            protocol: Protocol::default(),
            trace_format: None,
            compression: Compression::Gzip,
            timeout: GoDuration::from_secs(10),
            tls: TlsConfig::default(),
            ai_monitoring: true,
            apm_metrics: ApmMetrics::default(),
            llm_events: false,
            service_instance_id: None,
        }
    }
}

/// Which of New Relic's APIs are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// OTLP, as New Relic recommends.
    #[default]
    Otlp,
    /// The Trace API for traces, OTLP for metrics and logs.
    TraceApi,
    /// The Trace, Metric, Log and Event APIs.
    Native,
}

/// How OTLP travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Protobuf over HTTP.
    #[default]
    Http,
    /// gRPC. FedRAMP takes no metrics over it; they go over HTTP there.
    Grpc,
}

/// When metrics are derived from spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApmMetrics {
    /// Until a metric of the same name comes in by itself.
    #[default]
    Auto,
    /// In any case. Nothing else may send them, or every request counts twice.
    Always,
    /// Never.
    Never,
}

/// What has an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Signal(Signal),
    Events,
}

/// What a Trace API payload looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// New Relic's own format, version 1.
    #[default]
    Newrelic,
    /// Zipkin version 2.
    Zipkin,
}

/// A data center.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// The United States.
    Us,
    /// The European Union.
    Eu,
    /// Japan. Only its OTLP address is known.
    Jp,
    /// FedRAMP.
    Gov,
}

impl Region {
    /// The region that a license key names: what stands before its first `x`, without the number. Keys of the United
    /// States name none.
    pub(crate) fn of_key(key: &str) -> Region {
        let first = key.chars().next().map_or(0, char::len_utf8);
        let prefix = key[first..].find('x').map_or("", |x| &key[..first + x]);
        match prefix.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "eu" => Region::Eu,
            "jp" => Region::Jp,
            "gov" => Region::Gov,
            _ => Region::Us,
        }
    }

    fn otlp(self, protocol: Protocol) -> &'static str {
        match (self, protocol) {
            (Region::Us, Protocol::Http) => "https://otlp.nr-data.net",
            (Region::Eu, Protocol::Http) => "https://otlp.eu01.nr-data.net",
            (Region::Jp, Protocol::Http) => "https://otlp.jp.nr-data.net",
            // Its other ports take gRPC only.
            (Region::Gov, Protocol::Http) => "https://gov-otlp.nr-data.net:4318",
            (Region::Us, Protocol::Grpc) => "https://otlp.nr-data.net:4317",
            (Region::Eu, Protocol::Grpc) => "https://otlp.eu01.nr-data.net:4317",
            (Region::Jp, Protocol::Grpc) => "https://otlp.jp.nr-data.net:4317",
            (Region::Gov, Protocol::Grpc) => "https://gov-otlp.nr-data.net:4317",
        }
    }

    /// The host of one of New Relic's own APIs. Those of Japan are not documented.
    fn own(self, api: Api) -> Option<&'static str> {
        let [us, eu, gov] = match api {
            Api::Trace(_) => [
                "https://trace-api.newrelic.com",
                "https://trace-api.eu.newrelic.com",
                "https://gov-trace-api.newrelic.com",
            ],
            Api::Metric => [
                "https://metric-api.newrelic.com",
                "https://metric-api.eu.newrelic.com",
                "https://gov-metric-api.newrelic.com",
            ],
            Api::Log => [
                "https://log-api.newrelic.com",
                "https://log-api.eu.newrelic.com",
                "https://gov-log-api.newrelic.com",
            ],
            Api::Event => [
                "https://insights-collector.newrelic.com",
                "https://insights-collector.eu01.nr-data.net",
                "https://gov-insights-collector.newrelic.com",
            ],
            Api::Otlp => return Some(self.otlp(Protocol::Http)),
            Api::Grpc => return Some(self.otlp(Protocol::Grpc)),
        };
        match self {
            Region::Us => Some(us),
            Region::Eu => Some(eu),
            Region::Jp => None,
            Region::Gov => Some(gov),
        }
    }
}

/// A text that is not empty: `${env:NAME:-}` is how a file says that a variable may give it.
fn given(text: &Option<String>) -> Option<&String> {
    text.as_ref().filter(|text| !text.is_empty())
}

impl Config {
    /// The region in use.
    pub(crate) fn region(&self) -> Region {
        self.region.unwrap_or_else(|| Region::of_key(self.license_key.expose()))
    }

    /// The API that takes a signal, or custom events where they have one of their own.
    pub(crate) fn api(&self, target: Target) -> Api {
        match (self.mode, target) {
            (_, Target::Events) => Api::Event,
            (Mode::TraceApi | Mode::Native, Target::Signal(Signal::Traces)) => {
                Api::Trace(self.trace_format.unwrap_or_default())
            }
            (Mode::Native, Target::Signal(Signal::Metrics)) => Api::Metric,
            (Mode::Native, Target::Signal(Signal::Logs)) => Api::Log,
            (_, Target::Signal(signal)) => match self.protocol {
                Protocol::Grpc if self.region() == Region::Gov && signal == Signal::Metrics => Api::Otlp,
                Protocol::Grpc => Api::Grpc,
                Protocol::Http => Api::Otlp,
            },
        }
    }

    /// What concerns the encoding.
    pub(crate) fn options(&self) -> Options {
        Options {
            ai_monitoring: self.ai_monitoring,
            service_instance_id: given(&self.service_instance_id).cloned(),
        }
    }

    /// Where a signal goes: the key of the configuration that says so, and the URL.
    fn endpoint(&self, target: Target) -> (&'static str, Option<String>) {
        let (key, own) = match target {
            Target::Signal(Signal::Traces) => ("traces_endpoint", &self.traces_endpoint),
            Target::Signal(Signal::Metrics) => ("metrics_endpoint", &self.metrics_endpoint),
            Target::Signal(Signal::Logs) => ("logs_endpoint", &self.logs_endpoint),
            Target::Events => ("events_endpoint", &self.events_endpoint),
        };
        if let Some(url) = given(own) {
            return (key, Some(url.clone()));
        }
        let api = self.api(target);
        let path = match (api, target) {
            (Api::Otlp, Target::Signal(signal)) => format!("/v1/{signal}"),
            (Api::Grpc | Api::Otlp, _) => String::new(),
            (Api::Trace(_), _) => "/trace/v1".to_owned(),
            (Api::Metric, _) => "/metric/v1".to_owned(),
            (Api::Log, _) => "/log/v1".to_owned(),
            (Api::Event, _) => "/v1/accounts/events".to_owned(),
        };
        let (key, base) = match given(&self.endpoint) {
            Some(base) => ("endpoint", Some(base.trim_end_matches('/'))),
            None if matches!(api, Api::Otlp | Api::Grpc) => ("region", self.region().own(api)),
            None => (key, self.region().own(api)),
        };
        (key, base.map(|base| format!("{base}{path}")))
    }

    /// The URL for a signal, or for custom events.
    ///
    /// # Errors
    /// The key of the configuration to change, and what is wrong.
    pub(crate) fn uri(&self, target: Target) -> Result<Uri, (&'static str, String)> {
        let (key, url) = self.endpoint(target);
        let Some(url) = url else {
            return Err((key, "the address of this API in this region is not known; set it here".into()));
        };
        let uri: Uri = url.parse().map_err(|e| (key, format!("{url:?} is not a URL: {e}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https" | "unix")) || uri.host().is_none() {
            return Err((key, format!("{url:?} is not a URL; write for example https://host:4318")));
        }
        // New Relic would take the key there, and every proxy on the way would log it.
        if uri.query().is_some_and(|q| q.to_ascii_lowercase().contains("api-key")) {
            return Err((key, "a key in the URL ends up in logs; write it in license_key".into()));
        }
        if self.api(target) == Api::Grpc && !matches!(uri.path(), "" | "/") {
            return Err((key, format!("{url:?}: gRPC has no path; write https://host:port")));
        }
        Ok(uri)
    }

    /// Everything that has an address with this configuration.
    pub(crate) fn targets(&self) -> impl Iterator<Item = Target> {
        let events = (self.mode == Mode::Native).then_some(Target::Events);
        Signal::ALL.into_iter().map(Target::Signal).chain(events)
    }
}

pub(crate) fn check(config: &Config, problems: &mut Problems) {
    let key = config.license_key.expose();
    if key.is_empty() {
        problems.add("license_key", "is required; write for example ${env:NEW_RELIC_LICENSE_KEY}");
    } else if key.starts_with("NRAK-") {
        problems.add("license_key", "is a user key, which cannot send telemetry; use an ingest license key");
    } else if !key.bytes().all(|b| b.is_ascii_graphic()) {
        problems.add("license_key", "has a space or another character that no key has");
    }
    if config.trace_format.is_some() && config.mode == Mode::Otlp {
        problems.add("trace_format", "only has a meaning with mode: trace_api or native");
    }
    if config.protocol == Protocol::Grpc && config.mode == Mode::Native {
        problems.add("protocol", "has no meaning with mode: native, which uses no OTLP");
    }
    if given(&config.events_endpoint).is_some() && config.mode != Mode::Native {
        problems
            .add("events_endpoint", "only has a meaning with mode: native; otherwise events are log records");
    }
    problems.at("tls", |p| config.tls.check(p));
    if config.tls.insecure {
        problems
            .add("tls.insecure", "has no meaning here: the scheme of the endpoint says whether TLS is used");
    }
    if config.timeout.0.is_zero() {
        problems.add("timeout", "must be longer than 0s");
    }
    let mut known = Vec::new();
    for target in config.targets() {
        if let Err((key, problem)) = config.uri(target)
            && !known.contains(&key)
        {
            problems.add(key, problem);
            known.push(key);
        }
    }
}

#[cfg(test)]
mod tests;

//! What the user writes, and where it says to send.

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
    /// Sends to this base URL instead of the region's. `/v1/traces`, `/v1/metrics` or `/v1/logs` is appended, for the
    /// Trace API `/trace/v1`.
    pub endpoint: Option<String>,
    /// Sends traces to exactly this URL.
    pub traces_endpoint: Option<String>,
    /// Sends metrics to exactly this URL.
    pub metrics_endpoint: Option<String>,
    /// Sends logs to exactly this URL.
    pub logs_endpoint: Option<String>,
    /// How traces travel. Metrics and logs always go over OTLP. Default `otlp`.
    pub mode: Mode,
    /// The format of traces, only with `mode: trace_api`. Default `newrelic`.
    pub trace_format: Option<TraceFormat>,
    /// How requests are compressed. The Trace API knows gzip only and gets it for `zstd` too. Default `gzip`.
    pub compression: Compression,
    /// How long one request may take. Default `10s`.
    pub timeout: GoDuration,
    /// TLS of the connection.
    pub tls: TlsConfig,
    /// Marks the service for AI Monitoring (`aiEnabledApp`, `gen_ai.system`). Default `true`.
    pub ai_monitoring: bool,
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
            mode: Mode::default(),
            trace_format: None,
            compression: Compression::Gzip,
            timeout: GoDuration::from_secs(10),
            tls: TlsConfig::default(),
            ai_monitoring: true,
        }
    }
}

/// How traces travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// OTLP over HTTP, as New Relic recommends.
    #[default]
    Otlp,
    /// The Trace API.
    TraceApi,
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

    fn otlp(self) -> &'static str {
        match self {
            Region::Us => "https://otlp.nr-data.net",
            Region::Eu => "https://otlp.eu01.nr-data.net",
            Region::Jp => "https://otlp.jp.nr-data.net",
            // Its other ports take gRPC only.
            Region::Gov => "https://gov-otlp.nr-data.net:4318",
        }
    }

    fn trace_api(self) -> Option<&'static str> {
        match self {
            Region::Us => Some("https://trace-api.newrelic.com"),
            Region::Eu => Some("https://trace-api.eu.newrelic.com"),
            Region::Jp => None,
            Region::Gov => Some("https://gov-trace-api.newrelic.com"),
        }
    }
}

impl Config {
    /// The region in use.
    pub(crate) fn region(&self) -> Region {
        self.region.unwrap_or_else(|| Region::of_key(self.license_key.expose()))
    }

    /// The Trace API's format, if this signal goes there.
    pub(crate) fn trace_api(&self, signal: Signal) -> Option<TraceFormat> {
        (signal == Signal::Traces && self.mode == Mode::TraceApi)
            .then(|| self.trace_format.unwrap_or_default())
    }

    /// Where a signal goes: the key of the configuration that says so, and the URL.
    fn endpoint(&self, signal: Signal) -> (&'static str, Option<String>) {
        let (key, own) = match signal {
            Signal::Traces => ("traces_endpoint", &self.traces_endpoint),
            Signal::Metrics => ("metrics_endpoint", &self.metrics_endpoint),
            Signal::Logs => ("logs_endpoint", &self.logs_endpoint),
        };
        if let Some(url) = own {
            return (key, Some(url.clone()));
        }
        let over_trace_api = self.trace_api(signal).is_some();
        let path = if over_trace_api { "/trace/v1".to_owned() } else { format!("/v1/{signal}") };
        let region = self.region();
        let (key, base) = match &self.endpoint {
            Some(base) => ("endpoint", Some(base.trim_end_matches('/'))),
            None if over_trace_api => ("traces_endpoint", region.trace_api()),
            None => ("region", Some(region.otlp())),
        };
        (key, base.map(|base| format!("{base}{path}")))
    }

    /// The URL for a signal.
    ///
    /// # Errors
    /// The key of the configuration to change, and what is wrong.
    pub(crate) fn uri(&self, signal: Signal) -> Result<Uri, (&'static str, String)> {
        let (key, url) = self.endpoint(signal);
        let Some(url) = url else {
            return Err((
                key,
                "the address of the Trace API in this region is not known; set it here".into(),
            ));
        };
        let uri: Uri = url.parse().map_err(|e| (key, format!("{url:?} is not a URL: {e}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https" | "unix")) || uri.host().is_none() {
            return Err((key, format!("{url:?} is not a URL; write for example https://host:4318")));
        }
        // New Relic would take the key there, and every proxy on the way would log it.
        if uri.query().is_some_and(|q| q.to_ascii_lowercase().contains("api-key")) {
            return Err((key, "a key in the URL ends up in logs; write it in license_key".into()));
        }
        Ok(uri)
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
    if config.trace_format.is_some() && config.mode != Mode::TraceApi {
        problems.add("trace_format", "only has a meaning with mode: trace_api");
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
    for signal in Signal::ALL {
        if let Err((key, problem)) = config.uri(signal)
            && !known.contains(&key)
        {
            problems.add(key, problem);
            known.push(key);
        }
    }
}

#[cfg(test)]
mod tests;

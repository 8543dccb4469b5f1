//! What the user writes. Keys that the OpenTelemetry Collector has mean the same.

use crate::endpoint::{self, Protocol};
use http::Uri;
use muxbridge_core::Signal;
use muxbridge_core::config::{GoDuration, Problems};
use muxbridge_kit::headers::{self, Headers};
use muxbridge_kit::http::{Compression, TlsConfig};
use schemars::JsonSchema;
use serde::Deserialize;

/// Most gRPC servers refuse messages beyond 4 MiB unless told otherwise, those of the Collector included.
const DEFAULT_MAX_REQUEST_BYTES: usize = 4 << 20;

/// Configuration of `otlp`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Where to send to: `host:4317`, `http://host:4317` (plain text) or `https://host:4317`. Without a scheme the
    /// connection is encrypted unless `tls.insecure` is set. Required.
    pub endpoint: String,
    /// How to encrypt.
    pub tls: TlsConfig,
    /// Compression of requests: `none`, `gzip` or `zstd`. Default `gzip`.
    pub compression: Compression,
    /// Metadata of every request, for example an API key.
    pub headers: Headers,
    /// How long one attempt may take, from connecting to the end of the answer. Default `10s`.
    pub timeout: GoDuration,
    /// Batches are split to make requests of at most this many bytes before compression. One item alone may be larger.
    /// Default 4194304, what most servers take.
    pub max_request_bytes: usize,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        GrpcConfig {
            endpoint: String::new(),
            tls: TlsConfig::default(),
            compression: Compression::Gzip,
            headers: Headers::new(),
            timeout: GoDuration::from_secs(10),
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
        }
    }
}

impl GrpcConfig {
    pub(crate) fn check(&self, problems: &mut Problems) {
        if let Err(problem) = self.uri() {
            problems.add("endpoint", problem);
        }
        check_common(&self.tls, &self.headers, self.timeout, self.max_request_bytes, problems);
    }

    pub(crate) fn uri(&self) -> Result<Uri, String> {
        endpoint::parse(&self.endpoint, self.tls.insecure, Protocol::Grpc)
    }
}

/// Configuration of `otlphttp`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// The base URL, for example `https://host:4318`: `/v1/traces`, `/v1/metrics` and `/v1/logs` are added to its
    /// path. Required unless every signal that is sent has its own.
    pub endpoint: String,
    /// The whole URL for spans; nothing is added to it. Default: made from `endpoint`.
    pub traces_endpoint: Option<String>,
    /// The whole URL for metrics; nothing is added to it. Default: made from `endpoint`.
    pub metrics_endpoint: Option<String>,
    /// The whole URL for logs; nothing is added to it. Default: made from `endpoint`.
    pub logs_endpoint: Option<String>,
    /// How to encrypt.
    pub tls: TlsConfig,
    /// Compression of requests: `none`, `gzip` or `zstd`. Default `gzip`.
    pub compression: Compression,
    /// Headers of every request, for example an API key.
    pub headers: Headers,
    /// How long one attempt may take, from connecting to the end of the answer. Default `10s`.
    pub timeout: GoDuration,
    /// The form of the body: `proto` or `json`. Default `proto`.
    pub encoding: Encoding,
    /// Batches are split to make requests of at most this many bytes of protobuf before compression. One item alone
    /// may be larger. Default 4194304.
    pub max_request_bytes: usize,
}

/// The form of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Protobuf.
    #[default]
    Proto,
    /// OTLP/JSON.
    Json,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            endpoint: String::new(),
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            tls: TlsConfig::default(),
            compression: Compression::Gzip,
            headers: Headers::new(),
            timeout: GoDuration::from_secs(10),
            encoding: Encoding::Proto,
            max_request_bytes: DEFAULT_MAX_REQUEST_BYTES,
        }
    }
}

impl HttpConfig {
    pub(crate) fn check(&self, problems: &mut Problems) {
        let own = Signal::ALL.map(|signal| self.own_endpoint(signal));
        // With an endpoint for some signals alone, those are the signals that are sent.
        let needed = !self.endpoint.is_empty() || own.iter().all(|(_, url)| url.is_none());
        if needed && let Err(problem) = endpoint::parse(&self.endpoint, self.tls.insecure, Protocol::HttpBase)
        {
            problems.add("endpoint", problem);
        }
        for (key, url) in own {
            if let Some(url) = url
                && let Err(problem) = endpoint::parse(url, self.tls.insecure, Protocol::HttpWhole)
            {
                problems.add(key, problem);
            }
        }
        check_common(&self.tls, &self.headers, self.timeout, self.max_request_bytes, problems);
    }

    fn own_endpoint(&self, signal: Signal) -> (&'static str, Option<&str>) {
        match signal {
            Signal::Traces => ("traces_endpoint", self.traces_endpoint.as_deref()),
            Signal::Metrics => ("metrics_endpoint", self.metrics_endpoint.as_deref()),
            Signal::Logs => ("logs_endpoint", self.logs_endpoint.as_deref()),
        }
    }

    /// Where a signal is sent to: the URL of its own as it is, else the base with `/v1/<signal>`. `None` if there is
    /// neither.
    pub(crate) fn uri(&self, signal: Signal) -> Result<Option<Uri>, String> {
        let (_, own) = self.own_endpoint(signal);
        if let Some(url) = own {
            return endpoint::parse(url, self.tls.insecure, Protocol::HttpWhole).map(Some);
        }
        if self.endpoint.is_empty() {
            return Ok(None);
        }
        let base = endpoint::parse(&self.endpoint, self.tls.insecure, Protocol::HttpBase)?;
        endpoint::below(base, &format!("v1/{signal}")).map(Some)
    }
}

fn check_common(
    tls: &TlsConfig,
    headers: &Headers,
    timeout: GoDuration,
    max_request_bytes: usize,
    problems: &mut Problems,
) {
    problems.at("tls", |p| tls.check(p));
    problems.at("headers", |p| headers::check(headers, p));
    if timeout.0.is_zero() {
        problems.add("timeout", "0 would fail every request; write for example 10s");
    }
    if max_request_bytes == 0 {
        problems.add("max_request_bytes", "0 leaves no room for a request; the default is 4194304");
    }
}

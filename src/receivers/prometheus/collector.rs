//! The part of a Prometheus configuration that the receiver `prometheus` understands, as the Collector nests it.

use super::config::{Authorization, BasicAuth};
use muxbridge_core::config::{GoDuration, Problems, Secret, unknown_key};
use muxbridge_kit::tls::TlsConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A Prometheus configuration file as far as it says what to scrape.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Defaults for all scrapes.
    pub global: Global,
    /// What to scrape.
    pub scrape_configs: Vec<ScrapeConfig>,
}

/// Defaults for all scrapes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Global {
    /// How often to scrape. Default: `interval` of the receiver.
    pub scrape_interval: Option<GoDuration>,
    /// For one scrape. Default: `timeout` of the receiver.
    pub scrape_timeout: Option<GoDuration>,
}

/// Targets that are scraped alike. Keys of Prometheus that are not here are problems that say what to write instead.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScrapeConfig {
    /// The attribute `service.name` of what comes from here. Required, and each name once.
    pub job_name: String,
    /// The targets.
    pub static_configs: Vec<StaticConfig>,
    /// Default `/metrics`. ModelMuxer's page is `/metrics/prometheus`.
    pub metrics_path: String,
    /// `http` (default) or `https`.
    pub scheme: Scheme,
    /// How often to scrape. Default: that of `global`.
    pub scrape_interval: Option<GoDuration>,
    /// For one scrape. Default: that of `global`.
    pub scrape_timeout: Option<GoDuration>,
    /// User name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub authorization: Option<Authorization>,
    /// A token, as older configurations write it.
    pub bearer_token: Option<Secret>,
    /// A file with the token, as older configurations write it.
    pub bearer_token_file: Option<PathBuf>,
    /// How to talk TLS.
    pub tls_config: PrometheusTls,
    /// Not denied by serde, because `check_keys` has better words for most of them. Values are not kept.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub others: BTreeMap<String, IgnoredAny>,
}

impl Default for ScrapeConfig {
    fn default() -> Self {
        ScrapeConfig {
            job_name: String::new(),
            static_configs: Vec::new(),
            metrics_path: "/metrics".to_owned(),
            scheme: Scheme::Http,
            scrape_interval: None,
            scrape_timeout: None,
            basic_auth: None,
            authorization: None,
            bearer_token: None,
            bearer_token_file: None,
            tls_config: PrometheusTls::default(),
            others: BTreeMap::new(),
        }
    }
}

/// The scheme of all targets of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    #[default]
    Http,
    /// TLS.
    Https,
}

/// Targets with the same labels.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaticConfig {
    /// Each `host:port`.
    pub targets: Vec<String>,
    /// Attributes of the resource.
    pub labels: BTreeMap<String, String>,
}

/// TLS in the words of Prometheus.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusTls {
    /// PEM file with the authorities to trust instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with the client certificate and its chain. Needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key of the client certificate. Needs `cert_file`.
    pub key_file: Option<PathBuf>,
    /// The name that the certificate of the server must have, if it is not the host of the target.
    pub server_name: Option<String>,
    /// Accept any certificate of the server. Default `false`.
    pub insecure_skip_verify: bool,
}

impl From<&PrometheusTls> for TlsConfig {
    fn from(from: &PrometheusTls) -> TlsConfig {
        TlsConfig {
            ca_file: from.ca_file.clone(),
            cert_file: from.cert_file.clone(),
            key_file: from.key_file.clone(),
            server_name_override: from.server_name.clone(),
            insecure_skip_verify: from.insecure_skip_verify,
            ..TlsConfig::default()
        }
    }
}

const KNOWN: [&str; 11] = [
    "job_name",
    "static_configs",
    "metrics_path",
    "scheme",
    "scrape_interval",
    "scrape_timeout",
    "basic_auth",
    "authorization",
    "bearer_token",
    "bearer_token_file",
    "tls_config",
];

/// Says of each key that is not supported what to do instead.
pub(super) fn check_keys(scrape: &ScrapeConfig, problems: &mut Problems) {
    for key in scrape.others.keys() {
        let problem = match instead(key) {
            Some(text) => format!("is not supported: {text}"),
            None => unknown_key(key, KNOWN.into_iter()),
        };
        problems.add(key, problem);
    }
}

fn instead(key: &str) -> Option<&'static str> {
    Some(match key {
        "relabel_configs" => {
            "there is no relabelling; write the targets and labels as they shall be in static_configs"
        }
        "metric_relabel_configs" => {
            "there is no relabelling; drop or rename metrics at the backend or in a Collector behind"
        }
        "params" => "write the target in `targets` of the receiver, with the query in its endpoint",
        "honor_labels" => {
            "labels of a target become attributes of the resource and never meet those of a page; take it away"
        }
        "honor_timestamps" | "track_timestamps_staleness" => "times on a page are always kept; take it away",
        "follow_redirects" => {
            "redirects are never followed, because the headers may hold credentials; name the final address and take it away"
        }
        "enable_compression" => "gzip is always offered; take it away",
        "scrape_protocols" | "fallback_scrape_protocol" => {
            "OpenMetrics and both text formats are always offered; take it away"
        }
        "enable_http2" => "a scrape is one request over a connection of its own; take it away",
        "body_size_limit" => "set max_body_bytes of the receiver",
        "sample_limit" => "set max_samples of the receiver",
        "oauth2" | "sigv4" | "google_iam" | "azuread" => {
            "write basic_auth or authorization; a token that is renewed by another program can be in credentials_file"
        }
        "http_headers" => "write the target in `targets` of the receiver, with headers",
        "proxy_url" | "proxy_from_environment" | "no_proxy" | "proxy_connect_header" => {
            "there is no proxy; run the bridge where it reaches the target"
        }
        _ if key.ends_with("_sd_configs") => {
            "there is no service discovery; write the addresses in static_configs, or let a Collector discover and send OTLP"
        }
        _ => return None,
    })
}

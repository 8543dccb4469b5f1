//! What the user writes for the receiver `prometheus`.

use super::collector::PrometheusConfig;
use muxbridge_core::config::{GoDuration, Secret};
use muxbridge_kit::headers::Headers;
use muxbridge_kit::tls::TlsConfig;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Configuration of `prometheus`. Write `targets`, or `config` as the Collector's receiver of the same name has it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What to scrape: each a URL, or a map with a URL and more.
    pub targets: Vec<Target>,
    /// How often to scrape. Default `15s`.
    pub interval: GoDuration,
    /// For one scrape, from looking up the name to the last byte; at most the interval. Default `10s`, or the interval
    /// if that is shorter.
    pub timeout: Option<GoDuration>,
    /// The largest page in bytes, before and after decompression; a larger one is a failed scrape. Default 33554432
    /// (32 MiB).
    pub max_body_bytes: usize,
    /// The most samples on a page; a page with more is a failed scrape. Default 50000.
    pub max_samples: usize,
    /// A part of a Prometheus configuration, as the Collector's receiver takes it.
    pub config: Option<PrometheusConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            targets: Vec::new(),
            interval: GoDuration::from_secs(15),
            timeout: None,
            max_body_bytes: 32 << 20,
            max_samples: 50_000,
            config: None,
        }
    }
}

/// One address to scrape. A plain text is the `endpoint` alone.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetConfig {
    /// The URL of the page. Without a path it gets ModelMuxer's, `/metrics/prometheus`. Required.
    pub endpoint: String,
    /// The attribute `service.name` of what comes from here. Default `modelmuxer`.
    pub job: Option<String>,
    /// More attributes of the resource.
    pub labels: BTreeMap<String, String>,
    /// User name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub authorization: Option<Authorization>,
    /// More headers of the request.
    pub headers: Headers,
    /// As in the receiver, for this target alone.
    pub interval: Option<GoDuration>,
    /// As in the receiver, for this target alone.
    pub timeout: Option<GoDuration>,
    /// How to talk TLS to an `https://` endpoint.
    pub tls: TlsConfig,
    /// It is fine if nothing listens there: until it has answered once, a refused connection is one line in the log at
    /// level info and no `up` of 0. Default `false`.
    pub optional: bool,
}

/// User name and password for HTTP.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// The user name. Required.
    pub username: String,
    /// The password.
    pub password: Option<Secret>,
    /// A file with the password instead; it is read for each scrape, so that it may change.
    pub password_file: Option<PathBuf>,
}

/// A token for the header `Authorization`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// The word before the token. Default `Bearer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The token.
    pub credentials: Option<Secret>,
    /// A file with the token instead; it is read for each scrape, so that it may change.
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization { kind: "Bearer".to_owned(), credentials: None, credentials_file: None }
    }
}

/// A [`TargetConfig`] that may be written as a plain URL.
#[derive(Clone, Debug, Default)]
pub struct Target(pub TargetConfig);

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrMap;
        impl<'de> Visitor<'de> for UrlOrMap {
            type Value = Target;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or a map with endpoint")
            }
            fn visit_str<E: Error>(self, endpoint: &str) -> Result<Target, E> {
                Ok(Target(TargetConfig { endpoint: endpoint.to_owned(), ..TargetConfig::default() }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                TargetConfig::deserialize(MapAccessDeserializer::new(map)).map(Target)
            }
        }
        deserializer.deserialize_any(UrlOrMap)
    }
}

impl JsonSchema for Target {
    fn schema_name() -> Cow<'static, str> {
        "Target".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<TargetConfig>();
        json_schema!({ "anyOf": [{ "type": "string", "description": "The URL of the page." }, map] })
    }
}

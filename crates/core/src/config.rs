//! What configuration types share: problems with their path, durations, secrets, schemas.

mod check;

pub use check::{suggest, unknown_key};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConfigError {
    /// Where: `exporters.datadog.site`.
    pub path: String,
    /// What is wrong, with the value, and what to write instead.
    pub problem: String,
}

/// Collects every mistake, each with its path.
#[derive(Debug, Default)]
pub struct Problems {
    path: Vec<String>,
    found: Vec<ConfigError>,
}

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `inner` with `key` added to the path.
    pub fn at<T>(&mut self, key: impl Into<String>, inner: impl FnOnce(&mut Problems) -> T) -> T {
        self.path.push(key.into());
        let result = inner(self);
        self.path.pop();
        result
    }

    /// A mistake at `key` below the current path. Of several at one place the first is kept: the others often follow
    /// from it.
    pub fn add(&mut self, key: &str, problem: impl Into<String>) {
        let mut path = self.path.join(".");
        if !key.is_empty() {
            if !path.is_empty() && !key.starts_with('[') {
                path.push('.');
            }
            path.push_str(key);
        }
        if !self.found.iter().any(|e| e.path == path) {
            self.found.push(ConfigError { path, problem: problem.into() });
        }
    }

    /// How many were found.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether none were found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All that were found.
    pub fn into_vec(self) -> Vec<ConfigError> {
        self.found
    }

    /// All that were found.
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.found
    }
}

/// Turns a value into a configuration type, reporting every unknown key, wrong type and missing key.
///
/// What is wrong is left at its default, so that the caller can still check the rest for its meaning; `None` if there
/// is nothing left to check.
pub fn parse<C: DeserializeOwned + JsonSchema>(value: &Value, problems: &mut Problems) -> Option<C> {
    let mut value = value.clone();
    let before = problems.len();
    check::check(&schema::<C>(), &mut value, problems);
    // A component without a body has its defaults.
    if !value.is_object() {
        value = Value::Object(Default::default());
    }
    match serde_path_to_error::deserialize(value) {
        Ok(config) => Some(config),
        Err(error) => {
            // After a reported problem this one may only be its echo.
            if problems.len() == before {
                let path = error.path().to_string();
                problems.add(if path == "." { "" } else { &path }, error.inner().to_string());
            }
            None
        }
    }
}

/// The JSON Schema of a configuration type.
pub fn schema<C: JsonSchema>() -> Value {
    schemars::schema_for!(C).to_value()
}

/// A duration as the Collector writes it: `300ms`, `1.5s`, `1m30s`, `2h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

impl GoDuration {
    /// From milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        GoDuration(Duration::from_millis(ms))
    }

    /// From seconds.
    pub const fn from_secs(s: u64) -> Self {
        GoDuration(Duration::from_secs(s))
    }

    fn parse(text: &str) -> Option<Duration> {
        if text == "0" {
            return Some(Duration::ZERO);
        }
        let mut rest = text;
        let mut seconds = 0.0f64;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            seconds += number
                * match &rest[..unit_end] {
                    "ns" => 1e-9,
                    "us" | "µs" => 1e-6,
                    "ms" => 1e-3,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    _ => return None,
                };
            rest = &rest[unit_end..];
        }
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl fmt::Debug for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map(GoDuration).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is not a duration; write for example 500ms, 10s or 1m30s"))
        })
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "go-duration", "pattern": "^(0|([0-9.]+(ns|us|µs|ms|s|m|h))+)$" })
    }
}

/// A credential. It cannot be printed; [`Secret::expose`] is the one way to read it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a credential.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The credential itself: only for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "password", "writeOnly": true })
    }
}

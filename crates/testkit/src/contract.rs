//! What every exporter must do, as checks that a test calls with a kind and a configuration.
//!
//! [`exporter_contract`] is for every kind; [`http_contract`] is for those that speak HTTP.

use crate::{Reply, Server};
use muxbridge_core::config::{Problems, parse, schema};
use muxbridge_core::{
    Batch, BuildContext, Clock, Counters, Delivered, ExportError, Exporter, ExporterKind, Signal,
};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;

/// The checks that need no server. `config` is a configuration that [`ExporterKind::check`] accepts.
///
/// # Panics
/// If one of them fails, with its name.
pub async fn exporter_contract<K: ExporterKind>(config: Value) {
    name_is_plain::<K>();
    defaults_parse::<K>();
    unknown_keys_fail::<K>(&config);
    every_option_is_described::<K>();
    checks_find_nothing_wrong_with_a_right_configuration::<K>(&config);
    shutdown_can_be_called_twice::<K>(&config).await;
}

/// The checks for an exporter over HTTP. `config` makes a configuration that sends to a base URL such as
/// `http://127.0.0.1:1234`, and `batch` is something that the exporter sends.
///
/// # Panics
/// If one of them fails, with its name.
pub async fn http_contract<K: ExporterKind>(config: impl Fn(&str) -> Value, batch: &Batch) {
    a_dead_endpoint_is_retryable::<K>(config(&dead_endpoint()), batch).await;
    a_lost_connection_is_retryable::<K>(&config, batch).await;
    too_many_requests_waits_as_told::<K>(&config, batch).await;
    an_unavailable_server_is_retryable::<K>(&config, batch).await;
    redirects_are_not_followed::<K>(&config, batch).await;
}

/// Builds an exporter as the program would, from a configuration that must be right.
///
/// # Panics
/// If it is not.
pub fn build<K: ExporterKind>(config: Value, cx: &BuildContext) -> K::Exporter {
    K::build(parsed::<K>(&config), cx).unwrap_or_else(|e| panic!("{}: build: {e}", K::NAME))
}

/// A context with its own counters and a clock that stands at 2026-01-01 00:00:00 UTC.
pub fn context<K: ExporterKind>() -> BuildContext {
    BuildContext::new(K::NAME, Counters::new(), Clock::fixed(1_767_225_600_000_000_000))
}

/// What the checks of a kind find wrong with a configuration, as `path: problem`.
pub fn problems<K: ExporterKind>(config: &Value) -> Vec<String> {
    let mut problems = Problems::new();
    if let Some(config) = parse::<K::Config>(config, &mut problems) {
        K::check(&config, &mut problems);
    }
    problems.into_vec().iter().map(ToString::to_string).collect()
}

/// The URL of a port on which nobody listens.
///
/// # Panics
/// If the system has no free port.
pub fn dead_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    format!("http://{}", listener.local_addr().expect("an address"))
}

fn parsed<K: ExporterKind>(config: &Value) -> K::Config {
    let mut problems = Problems::new();
    let parsed = parse::<K::Config>(config, &mut problems);
    parsed.unwrap_or_else(|| panic!("{}: {:?}", K::NAME, problems.as_slice()))
}

fn name_is_plain<K: ExporterKind>() {
    let plain = K::NAME.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    assert!(plain && !K::NAME.is_empty(), "{:?} is not lower_snake_case", K::NAME);
    assert!(!K::SUMMARY.is_empty() && !K::SIGNALS.is_empty(), "{}: a summary and signals", K::NAME);
}

fn defaults_parse<K: ExporterKind>() {
    parsed::<K>(&Value::Null);
    parsed::<K>(&json!({}));
}

fn unknown_keys_fail<K: ExporterKind>(config: &Value) {
    let mut config = config.clone();
    config["no_such_option"] = json!(1);
    let found = problems::<K>(&config).join("\n");
    assert!(found.contains("no_such_option"), "{}: an unknown key is not reported: {found:?}", K::NAME);
}

fn every_option_is_described<K: ExporterKind>() {
    let mut missing = Vec::new();
    undescribed(&schema::<K::Config>(), "", &mut missing);
    assert!(missing.is_empty(), "{}: options without a description: {missing:?}", K::NAME);
}

fn undescribed(schema: &Value, path: &str, missing: &mut Vec<String>) {
    for (key, option) in schema["properties"].as_object().into_iter().flatten() {
        if option["description"].as_str().unwrap_or_default().is_empty() {
            missing.push(format!("{path}{key}"));
        }
        undescribed(option, &format!("{path}{key}."), missing);
    }
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        undescribed(definition, &format!("{name}."), missing);
    }
}

fn checks_find_nothing_wrong_with_a_right_configuration<K: ExporterKind>(config: &Value) {
    let found = problems::<K>(config);
    assert!(found.is_empty(), "{}: {found:?}", K::NAME);
}

async fn shutdown_can_be_called_twice<K: ExporterKind>(config: &Value) {
    let exporter = build::<K>(config.clone(), &context::<K>());
    exporter.shutdown().await;
    exporter.shutdown().await;
}

async fn send<K: ExporterKind>(config: Value, batch: &Batch) -> Result<Delivered, ExportError> {
    assert!(K::SIGNALS.contains(&batch.signal()), "{} does not send {}", K::NAME, batch.signal());
    build::<K>(config, &context::<K>()).export(batch).await
}

async fn a_dead_endpoint_is_retryable<K: ExporterKind>(config: Value, batch: &Batch) {
    let result = send::<K>(config, batch).await;
    assert!(matches!(result, Err(ExportError::Retryable { .. })), "{}: dead endpoint: {result:?}", K::NAME);
}

async fn a_lost_connection_is_retryable<K: ExporterKind>(config: impl Fn(&str) -> Value, batch: &Batch) {
    let server = Server::start(|_| Reply::status(Reply::HANGUP)).await;
    let result = send::<K>(config(&server.url()), batch).await;
    assert!(matches!(result, Err(ExportError::Retryable { .. })), "{}: hangup: {result:?}", K::NAME);
}

async fn too_many_requests_waits_as_told<K: ExporterKind>(config: impl Fn(&str) -> Value, batch: &Batch) {
    // In seconds, and as a date seven seconds after the clock of `context`.
    for value in ["7", "Thu, 01 Jan 2026 00:00:07 GMT"] {
        let server = Server::start(move |_| Reply::status(429).header("retry-after", value)).await;
        let result = send::<K>(config(&server.url()), batch).await;
        let after = match &result {
            Err(ExportError::Retryable { after, .. }) => *after,
            _ => None,
        };
        assert_eq!(after, Some(Duration::from_secs(7)), "{}: 429, {value}: {result:?}", K::NAME);
    }
}

async fn an_unavailable_server_is_retryable<K: ExporterKind>(config: impl Fn(&str) -> Value, batch: &Batch) {
    let server = Server::start(|_| Reply::status(503)).await;
    let result = send::<K>(config(&server.url()), batch).await;
    assert!(matches!(result, Err(ExportError::Retryable { .. })), "{}: 503: {result:?}", K::NAME);
}

async fn redirects_are_not_followed<K: ExporterKind>(config: impl Fn(&str) -> Value, batch: &Batch) {
    let other = Server::start(|_| Reply::status(200)).await;
    let to = other.url();
    let server = Server::start(move |_| Reply::status(307).header("location", &to)).await;
    let result = send::<K>(config(&server.url()), batch).await;
    assert!(matches!(result, Err(ExportError::Permanent { .. })), "{}: 307: {result:?}", K::NAME);
    assert!(other.requests().is_empty(), "{}: credentials followed a redirect", K::NAME);
}

/// Recorded spans, for exporters that send them.
pub fn any_traces() -> Batch {
    crate::batch(Signal::Traces, crate::corpus("scenario/traces.otlp.pb").into())
}

//! What `--to` names: an exporter of the configuration, a short name, or a kind of exporter with its defaults.

use crate::cli::{Failure, exit};
use crate::config::Config;
use crate::registry::Registry;
use muxbridge_core::config::{Problems, suggest};
use muxbridge_core::{Batch, ErasedExporter, Needs, Preview, Signal, TemporalityNeed};
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A name, the kind of exporter that it means, and what that must be told.
type ShortName = (&'static str, &'static str, Value);

/// Short names. Nothing is sent, so that a required endpoint or key may be anything.
fn short_names() -> Vec<ShortName> {
    let key = "not-a-key";
    let trace_api =
        |format| json!({ "license_key": key, "mode": "trace_api", "trace_format": format, "region": "us" });
    let agentless = json!({ "api_key": key, "mode": "agentless" });
    let models = json!({
        "api_key": key, "mode": "agentless",
        "agentless": { "traces": "llm_observability" }, "llm_observability": { "enabled": true },
    });
    vec![
        ("otlp", "otlphttp", json!({ "endpoint": "http://localhost" })),
        ("otlphttp", "otlphttp", json!({ "endpoint": "http://localhost" })),
        ("file", "file", json!({ "path": "otlp.json" })),
        ("newrelic", "newrelic", json!({ "license_key": key })),
        ("newrelic-trace", "newrelic", trace_api("newrelic")),
        ("zipkin", "newrelic", trace_api("zipkin")),
        ("datadog-series", "datadog", agentless.clone()),
        ("datadog-logs", "datadog", agentless),
        ("datadog-llmobs", "datadog", models),
    ]
}

/// What a short name shows if it is not all that the exporter takes.
fn part(name: &str) -> Option<&'static [Signal]> {
    match name {
        "datadog-series" => Some(&[Signal::Metrics]),
        "datadog-logs" => Some(&[Signal::Logs]),
        "datadog-llmobs" => Some(&[Signal::Traces]),
        _ => None,
    }
}

/// The exporter whose requests are shown.
pub(super) struct Destination {
    name: String,
    exporter: Box<dyn ErasedExporter>,
    signals: &'static [Signal],
}

/// What is left of some batches when they leave for the destination.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) preview: Preview,
    /// Items of signals that the destination does not take.
    pub(super) not_taken: BTreeMap<&'static str, usize>,
    /// Items that reach the exporter, by signal.
    pub(super) out: BTreeMap<&'static str, usize>,
}

impl Destination {
    /// Finds it.
    pub(super) fn find(
        name: &str,
        config: Option<&mut Config>,
        registry: &Registry,
    ) -> Result<Destination, Failure> {
        let mut ids: Vec<String> = Vec::new();
        if let Some(config) = config {
            if let Some(found) = config.exporters.remove(name) {
                return Ok(Destination {
                    name: name.to_owned(),
                    exporter: found.kind,
                    signals: found.signals,
                });
            }
            ids.extend(config.exporters.keys().cloned());
        }
        let short = short_names();
        let (kind, options) = short
            .iter()
            .find(|(short, ..)| *short == name)
            .map_or((name, json!({})), |(_, kind, options)| (*kind, options.clone()));
        let Some(factory) = registry.exporters().iter().find(|f| f.name == kind) else {
            let known = short.iter().map(|(short, ..)| *short).chain(ids.iter().map(String::as_str));
            let known: BTreeSet<&str> = known.chain(registry.exporters().iter().map(|f| f.name)).collect();
            let hint = suggest(name, known.into_iter());
            return Err(Failure::new(exit::USAGE, format!("--to: there is no destination {name:?}{hint}")));
        };
        let mut problems = Problems::new();
        let Some(exporter) = (factory.parse)(&options, &mut problems) else {
            let mut text =
                format!("--to {name}: needs options; write them in a file and name it with --config\n");
            for problem in problems.into_vec() {
                text.push_str(&format!("  {}: {}\n", problem.path, problem.problem));
            }
            return Err(Failure::new(exit::CONFIG, text));
        };
        let signals = part(name).unwrap_or(factory.signals);
        Ok(Destination { name: name.to_owned(), exporter, signals })
    }

    /// The requests for these batches.
    pub(super) fn show(&self, batches: Vec<Batch>, now: Instant) -> Result<Outcome, Failure> {
        let needs = self.exporter.needs();
        let mut outcome = Outcome::default();
        // The first value of a series is all that came since its start. A bridge that runs would take it for a baseline if
        // the series began before the bridge did; here that would leave nothing of a single page.
        let mut deltas = DeltaState::new(InitialValue::Keep, 0);
        let mut stats = DeltaStats::default();
        let mut ready = Vec::new();
        for batch in batches {
            let signal = batch.signal();
            if !self.signals.contains(&signal) {
                *outcome.not_taken.entry(signal.items()).or_default() += batch.items();
                continue;
            }
            let batch = if needs.temporality == TemporalityNeed::Delta {
                deltas.convert(&batch, now, &mut stats)
            } else {
                Some(batch)
            };
            let Some(batch) = batch else { continue };
            *outcome.out.entry(signal.items()).or_default() += batch.items();
            ready.extend(split(&needs, batch));
        }
        outcome.preview = self.exporter.preview(&ready).ok_or_else(|| {
            Failure::new(exit::USAGE, format!("--to {}: this exporter cannot show what it sends", self.name))
        })?;
        outcome.preview.dropped(stats.reasons());
        Ok(outcome)
    }
}

/// As the pipeline splits before it sends.
fn split(needs: &Needs, batch: Batch) -> Vec<Batch> {
    let items = needs.max_request_items.unwrap_or(usize::MAX);
    let bytes = needs.max_request_bytes.unwrap_or(usize::MAX);
    if batch.items() <= items && batch.otlp().len() <= bytes {
        return vec![batch];
    }
    muxbridge_pdata::split(batch.signal(), batch.otlp(), items, bytes)
        .into_iter()
        .map(|part| Batch::from_valid(batch.signal(), part, batch.origin().clone()))
        .collect()
}

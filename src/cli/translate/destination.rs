//! What `--to` names: an exporter of the configuration, a short name, or a kind of exporter with its defaults.

use crate::cli::{Failure, exit};
use crate::config::Config;
use crate::registry::Registry;
use muxbridge_core::config::{Problems, suggest};
use muxbridge_core::{Batch, ErasedExporter, Needs, Preview, Signal, TemporalityNeed};
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Names that mean a kind with what it must be told. Nothing is sent, so that a required endpoint or key may be anything.
fn short_names() -> Vec<ShortName> {
    use Signal::{Logs, Metrics, Traces};
    let key = "not-a-key";
    let new_relic = json!({ "license_key": key });
    // Only the format: without the metrics that the exporter derives from spans.
    let trace_api = |format| json!({ "license_key": key, "mode": "trace_api", "trace_format": format, "region": "us", "apm_metrics": "never" });
    let native = |llm_events: bool| json!({ "license_key": key, "mode": "native", "region": "us", "apm_metrics": "never", "llm_events": llm_events });
    let agentless = json!({ "api_key": key, "mode": "agentless" });
    let models = json!({
        "api_key": key, "mode": "agentless",
        "agentless": { "traces": "llm_observability" }, "llm_observability": { "enabled": true },
    });
    let all = |name, kind, options| ShortName { name, kind, options, signals: &Signal::ALL };
    let of = |name, kind, options, signals| ShortName { name, kind, options, signals };
    vec![
        all("otlp", "otlphttp", json!({ "endpoint": "http://localhost" })),
        all("otlphttp", "otlphttp", json!({ "endpoint": "http://localhost" })),
        all("file", "file", json!({ "path": "otlp.json" })),
        all("newrelic", "newrelic", new_relic.clone()),
        all("newrelic-otlp", "newrelic", new_relic),
        all("newrelic-trace", "newrelic", trace_api("newrelic")),
        of("newrelic-metric", "newrelic", native(false), &[Metrics]),
        of("newrelic-log", "newrelic", native(false), &[Logs]),
        of("newrelic-event", "newrelic", native(true), &[Traces, Logs]),
        all("zipkin", "newrelic", trace_api("zipkin")),
        of("datadog-series", "datadog", agentless.clone(), &[Metrics]),
        of("datadog-logs", "datadog", agentless, &[Logs]),
        of("datadog-llmobs", "datadog", models, &[Traces]),
    ]
}

/// A kind of exporter and the options that it requires.
struct ShortName {
    name: &'static str,
    kind: &'static str,
    options: Value,
    /// What is shown, of what the kind takes.
    signals: &'static [Signal],
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
        let (kind, options, signals) = short
            .iter()
            .find(|short| short.name == name)
            .map_or((name, json!({}), None), |s| (s.kind, s.options.clone(), Some(s.signals)));
        let Some(factory) = registry.exporters().iter().find(|f| f.name == kind) else {
            let known = short.iter().map(|short| short.name).chain(ids.iter().map(String::as_str));
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
        Ok(Destination { name: name.to_owned(), exporter, signals: signals.unwrap_or(factory.signals) })
    }

    /// The requests for these batches.
    pub(super) fn show(&self, batches: Vec<Batch>) -> Result<Outcome, Failure> {
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
                deltas.convert(&batch, 0, &mut stats)
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

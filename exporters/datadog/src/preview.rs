//! What would be sent, as JSON and lines for people. Pure.

use crate::config::{Config, Mode, TraceIntake};
use crate::encode::llmobs::{Format, llm_spans};
use crate::encode::logs::{LogCounts, logs};
use crate::encode::marked::{check_items, event_bodies, marked};
use crate::encode::metrics::{Distributions, intake};
use crate::encode::otlp::otlp_traces;
use crate::encode::parts::{Frame, Parts};
use crate::encode::series_json::series_json;
use crate::encode::{Counts, to_json, traces};
use muxbridge_core::{Batch, Preview, Signal};
use muxbridge_exporter_statsd::encode::Counts as LineCounts;
use muxbridge_exporter_statsd::preview_lines;

/// The time of what has none, which is that of sending: nothing is sent here.
const NOW: u64 = 0;

/// The bodies for these batches, each a line; lines of DogStatsD as they are. None if the configuration is wrong.
pub(crate) fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
    let mut shown = Preview::default();
    for batch in batches {
        match (config.mode, batch.signal()) {
            (_, Signal::Traces) => spans(config, batch, &mut shown)?,
            (Mode::Agent, Signal::Metrics) => {
                let lines = config.line_options(String::new).ok()?;
                preview_lines(&lines, std::slice::from_ref(batch), &mut shown);
            }
            (Mode::Agent, Signal::Logs) => marked_lines(config, batch, &mut shown)?,
            (Mode::Agentless, Signal::Metrics) => series(config, batch, &mut shown),
            (Mode::Agentless, Signal::Logs) => items(config, batch, &mut shown),
        }
    }
    Some(shown)
}

fn spans(config: &Config, batch: &Batch, shown: &mut Preview) -> Option<()> {
    let llm = config.llm_observability.enabled;
    let format = match (config.mode, config.agentless.traces) {
        (Mode::Agentless, TraceIntake::Otlp) => {
            let otlp = otlp_traces(batch, llm, config.content);
            shown.line(&muxbridge_pdata::json::encode(Signal::Traces, &otlp));
            return Some(());
        }
        (Mode::Agentless, _) => Format::Api,
        (Mode::Agent, _) => Format::Library,
    };
    let only_models =
        config.mode == Mode::Agentless && config.agentless.traces == TraceIntake::LlmObservability;
    if !only_models {
        let mut counts = Counts::default();
        for payload in traces(batch, &config.span_options(), &mut counts) {
            shown.line(&to_json(&payload.body)?);
        }
        shown.dropped(counts.dropped());
        shown.adjusted(counts.adjusted());
    }
    if llm {
        let mut sent = 0;
        for application in llm_spans(batch, &config.llm_options(format)) {
            sent += application.spans.items(0..application.spans.len());
            bodies(&application.spans, &application.frame(format), shown);
        }
        if only_models {
            shown.dropped([("not_of_a_model", batch.items() as u64 - sent)]);
        }
    }
    Some(())
}

/// All pieces as one body, if there are any.
fn bodies(parts: &Parts, frame: &Frame, shown: &mut Preview) {
    if !parts.is_empty() {
        shown.line(&String::from_utf8_lossy(&parts.body(frame, 0..parts.len()).joined()));
    }
}

fn marked_lines(config: &Config, batch: &Batch, shown: &mut Preview) -> Option<()> {
    let lines = config.line_options(String::new).ok()?;
    let found = marked(batch, &lines);
    found.events.iter().for_each(|event| shown.line(&event.line(&lines.origin)));
    found.checks.iter().for_each(|check| shown.line(&check.line(&lines.origin)));
    shown.dropped([("unsupported", found.others)]);
    Some(())
}

fn series(config: &Config, batch: &Batch, shown: &mut Preview) {
    let mut counts = LineCounts::default();
    // Sketches too are shown as points: a sketch is not for people.
    let options = config.series_options();
    let made = intake(batch, &options, Distributions::Points, &config.hostname, NOW, &mut counts);
    if !made.series.is_empty() {
        let all: Vec<String> = (0..made.series.len()).map(|i| series_json(made.series.piece(i))).collect();
        shown.line(&format!("{{\"series\":[{}]}}", all.join(",")));
    }
    bodies(&made.distributions, &Frame::distribution_points(), shown);
    shown.dropped(counts.dropped());
    shown.adjusted(counts.adjusted());
    shown.adjusted([("scaled_distribution", made.scaled)]);
}

fn items(config: &Config, batch: &Batch, shown: &mut Preview) {
    let mut counts = LogCounts::default();
    let options = config.log_options();
    bodies(&logs(batch, &options, NOW, &mut counts), &Frame::json_list(), shown);
    let found = marked(batch, &options.tags);
    let events = event_bodies(&found.events);
    (0..events.len()).for_each(|i| shown.line(&String::from_utf8_lossy(events.piece(i))));
    bodies(&check_items(&found.checks, &config.hostname), &Frame::json_list(), shown);
    shown.dropped([("too_large", counts.too_large)]);
    shown.adjusted([("log_message", counts.cut)]);
}

//! `muxbridge translate`: recorded telemetry in, what a destination would get out. Nothing is sent.

mod chain;
mod destination;
mod explain;
mod input;
mod notes;
mod pages;

use super::{ConfigArgument, Failure, print, say};
use crate::registry::Registry;
use chain::Chains;
use destination::Destination;
use explain::Explanation;
use input::Format;
use muxbridge_core::Counters;
use notes::Notes;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The arguments.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to show: newrelic-trace, zipkin, a kind of exporter (otlp, statsd, datadog, newrelic, prometheus, ...; see
    /// `muxbridge components`), or the id of an exporter in the configuration file.
    #[arg(long, value_name = "DESTINATION", default_value = "otlp")]
    to: String,
    /// What is in the files.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    from: Format,
    /// Takes the processors, and the options of the exporter, from its pipelines. Without it: `modelmuxer`, with its
    /// defaults.
    #[command(flatten)]
    config: ConfigArgument,
    /// How far apart Prometheus pages were scraped, for example 15s.
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    interval: Duration,
    /// Show what the translation changes, item by item and by which rule, instead of requests.
    #[arg(long)]
    explain: bool,
    /// Files and directories; `-` is standard input. Pages are taken for successive scrapes of one target.
    #[arg(required = true, value_name = "FILE")]
    inputs: Vec<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<muxbridge_core::config::GoDuration, _> = serde_json::from_value(text.into());
    parsed.map(|duration| duration.0).map_err(|e| e.to_string())
}

/// Reads, translates, prints.
pub(crate) fn run(arguments: &Arguments, registry: &Registry) -> Result<(), Failure> {
    let mut config = match &arguments.config.config {
        Some(path) => Some(super::load(path, registry)?),
        None => None,
    };
    let counters = Counters::new();
    let now = Instant::now();
    let mut chains = Chains::new(config.as_ref(), &arguments.to, registry, &counters, now)?;
    let destination = Destination::find(&arguments.to, config.as_mut(), registry)?;
    let explanation = Explanation::default();
    if arguments.explain {
        chains.explain(&explanation);
    }

    let batches = input::read(&arguments.inputs, arguments.from, arguments.interval)?;
    let mut notes = Notes::default();
    notes.read(&batches);
    let (translated, without_pipeline) = chains.run(batches);
    let outcome = destination.show(translated)?;
    print(&if arguments.explain { explanation.take() } else { outcome.preview.text.clone() })?;
    notes.counted(&counters);
    notes.sent(&arguments.to, &outcome, &without_pipeline);
    say(&notes.text());
    Ok(())
}

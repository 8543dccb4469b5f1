//! `muxbridge components`: what a configuration can name.

use super::{Failure, print};
use crate::config::{BATCH, BATCH_SUMMARY};
use crate::registry::Registry;
use muxbridge_core::Signal;
use serde_json::json;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, registry: &Registry) -> Result<(), Failure> {
    let all = list(registry);
    if arguments.json {
        let list: Vec<_> = all
            .iter()
            .map(|(kind, name, signals, summary)| {
                let signals: Vec<&str> = signals.iter().map(|s| s.as_str()).collect();
                json!({ "kind": kind, "name": name, "signals": signals, "summary": summary })
            })
            .collect();
        return print(&format!("{:#}\n", json!(list)));
    }
    let mut text = String::new();
    let mut last = "";
    for (kind, name, signals, summary) in all {
        if kind != last {
            text.push_str(&format!("{kind}:\n"));
            last = kind;
        }
        let signals: Vec<&str> = signals.iter().map(|s| s.as_str()).collect();
        text.push_str(&format!("  {name:<12} {:<22} {summary}\n", signals.join(" ")));
    }
    print(&text)
}

type Row = (&'static str, &'static str, &'static [Signal], &'static str);

fn list(registry: &Registry) -> Vec<Row> {
    let receivers = registry.receivers().iter().map(|f| ("receivers", f.name, f.signals, f.summary));
    let processors = registry.processors().iter().map(|f| ("processors", f.name, f.signals, f.summary));
    let exporters = registry.exporters().iter().map(|f| ("exporters", f.name, f.signals, f.summary));
    // The configuration reads this one itself, so no factory stands for it.
    let batch = ("processors", BATCH, &Signal::ALL[..], BATCH_SUMMARY);
    receivers.chain(processors).chain([batch]).chain(exporters).collect()
}

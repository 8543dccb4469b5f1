//! What is said next to the result: how many items went in and out, and which rules applied how often.

use super::destination::Outcome;
use muxbridge_core::{Batch, Counters, names};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Lines for standard error.
#[derive(Default)]
pub(super) struct Notes(String);

impl Notes {
    /// What was read.
    pub(super) fn read(&mut self, batches: &[Batch]) {
        let mut items: BTreeMap<&str, usize> = BTreeMap::new();
        for batch in batches {
            *items.entry(batch.signal().items()).or_default() += batch.items();
        }
        self.line("in", &list(&items));
    }

    /// What the processors did.
    pub(super) fn counted(&mut self, counters: &Counters) {
        for (name, title, label) in [
            (names::TRACES, "traces", "outcome"),
            (names::DERIVED, "derived", "rule"),
            (names::REPAIRED, "repaired", "rule"),
            (names::OMITTED, "omitted", "rule"),
            (names::SCRUBBED, "scrubbed", "kind"),
            (names::DROPPED, "dropped", "reason"),
        ] {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for sample in counters.samples().into_iter().filter(|s| s.name == name && s.value > 0) {
                let value = sample.labels.into_iter().find(|(key, _)| *key == label);
                *counts.entry(value.map(|(_, value)| value).unwrap_or_default()).or_default() += sample.value;
            }
            self.counts(title, &counts);
        }
    }

    /// What left, and what the destination does not take.
    pub(super) fn sent(
        &mut self,
        to: &str,
        outcome: &Outcome,
        without_pipeline: &BTreeMap<&'static str, usize>,
    ) {
        self.line(&format!("out to {to}"), &list(&outcome.out));
        for (title, items) in
            [("not taken by it", &outcome.not_taken), ("without a pipeline", without_pipeline)]
        {
            if !items.is_empty() {
                self.line(title, &list(items));
            }
        }
        self.counts("left out by it", &outcome.preview.dropped);
        self.counts("changed for it", &outcome.preview.adjusted);
    }

    fn counts(&mut self, title: &str, counts: &BTreeMap<String, u64>) {
        for (name, n) in counts {
            self.line(title, &format!("{n} {name}"));
        }
    }

    fn line(&mut self, title: &str, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{title}: {text}");
    }

    /// All lines.
    pub(super) fn text(self) -> String {
        self.0
    }
}

fn list(items: &BTreeMap<&'static str, usize>) -> String {
    if items.is_empty() {
        return "nothing".to_owned();
    }
    let parts: Vec<String> = items.iter().map(|(name, n)| format!("{n} {name}")).collect();
    parts.join(", ")
}

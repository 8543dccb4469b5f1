//! `--explain`: every change of the translation as text, by the item that it changed.

use crate::translate::explain::{Change, Explain};
use muxbridge_core::Signal;
use muxbridge_pdata::AnyValue;
use muxbridge_pdata::view::text;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Longer values are cut: an explanation is read on a screen.
const LONGEST: usize = 120;

/// Collects the changes. A clone writes to the same text.
#[derive(Clone, Default)]
pub(super) struct Explanation(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    text: String,
    /// The item of the last change.
    last: String,
}

impl Explanation {
    /// What was told so far.
    pub(super) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).text)
    }
}

impl Explain for Explanation {
    fn change(&mut self, change: &Change<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let item = head(change);
        // Writing to a string cannot fail.
        if state.last != item {
            let _ = writeln!(state.text, "{item}");
            state.last = item;
        }
        let (before, after) = (value(change.before), value(change.after));
        let rule = change.rule;
        let target = change.target;
        let _ = match (&change.before, &change.after) {
            (AnyValue::Empty, _) => writeln!(state.text, "  {rule:<28} + {target} = {after}"),
            (_, AnyValue::Empty) => writeln!(state.text, "  {rule:<28} - {target} = {before}"),
            // Under another name: most of what the translation does.
            _ if before == after => writeln!(state.text, "  {rule:<28} = {target} = {after}"),
            _ => writeln!(state.text, "  {rule:<28} ~ {target}: {before} -> {after}"),
        };
    }
}

/// The line that names an item.
fn head(change: &Change<'_>) -> String {
    let kind = match change.signal {
        Signal::Traces => "span",
        Signal::Metrics => "point",
        Signal::Logs => "log",
    };
    let mut head = format!("{kind} {}", change.span);
    for (title, id) in [("trace", change.trace_id), ("span", change.span_id)] {
        if !id.is_empty() {
            let _ = write!(head, " {title}={}", hex(id));
        }
    }
    head
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::with_capacity(id.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn value(value: AnyValue<'_>) -> String {
    let full = match value {
        AnyValue::Empty => "nothing".to_owned(),
        AnyValue::String(s) => format!("{:?}", text(s)),
        AnyValue::Bool(b) => b.to_string(),
        AnyValue::Int(i) => i.to_string(),
        AnyValue::Double(d) => format!("{d:?}"),
        AnyValue::Bytes(b) => format!("{} bytes", b.len()),
        AnyValue::Array(_) => "a list".to_owned(),
        AnyValue::KvList(_) => "a map".to_owned(),
    };
    match full.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", full.get(..end).unwrap_or_default()),
        None => full,
    }
}

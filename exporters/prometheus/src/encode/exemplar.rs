//! Exemplars: the measurements that stand behind a counter or bucket.

use super::labels::{push_label, value_text};
use muxbridge_pdata::view;

/// The most exemplars that are kept of one point: the latest of its list.
const MAX_EXEMPLARS: usize = 64;

/// The most characters of all names and values of an exemplar's labels together, by OpenMetrics.
const MAX_CHARACTERS: usize = 128;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub(super) value: f64,
    /// Nanoseconds since 1970; 0 if unknown.
    pub(super) time: u64,
    /// As they stand between the braces.
    pub(super) labels: String,
}

/// The exemplars of a point, without those that have no number.
pub(super) fn read<'a>(exemplars: impl Iterator<Item = view::Exemplar<'a>>) -> Vec<Exemplar> {
    let mut all: Vec<Exemplar> = exemplars.filter_map(|e| one(&e)).collect();
    all.sort_by_key(|e| e.time);
    all.drain(..all.len().saturating_sub(MAX_EXEMPLARS));
    all
}

fn one(exemplar: &view::Exemplar<'_>) -> Option<Exemplar> {
    let value = exemplar.value?.as_f64();
    if value.is_nan() {
        return None;
    }
    let mut labels = String::new();
    let mut left = MAX_CHARACTERS;
    let mut names = Vec::new();
    let mut put = |name: &str, value: &str| {
        let size = name.chars().count() + value.chars().count();
        // The ids come first; what does not fit is left out, as the standard asks.
        if !value.is_empty() && size <= left && !names.iter().any(|n| n == name) {
            left -= size;
            push_label(&mut labels, name, value);
            names.push(name.to_owned());
        }
    };
    for (name, id) in [("trace_id", exemplar.trace_id), ("span_id", exemplar.span_id)] {
        if id.iter().any(|byte| *byte != 0) {
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            put(name, &hex);
        }
    }
    for attribute in exemplar.attributes() {
        put(&super::names::label(view::text(attribute.key)), &value_text(&attribute.value));
    }
    Some(Exemplar { value, time: exemplar.time, labels })
}

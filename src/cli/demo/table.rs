//! The numbers of the demo as text.

use super::summary::{Durations, Model, Totals};
use std::fmt::Write;

/// A line about all requests, and one for each of the `most` models with the most calls.
pub(super) fn text(totals: &Totals, most: usize) -> String {
    let mut out = format!(
        "requests {} ({} refused, {} failed)   p50 {} ms   p95 {} ms\n",
        totals.requests,
        totals.refused,
        totals.failed,
        millis(&totals.durations, 50),
        millis(&totals.durations, 95),
    );
    if totals.models.is_empty() {
        return out;
    }
    let mut models: Vec<_> = totals.models.iter().collect();
    models.sort_by_key(|(key, model)| (std::cmp::Reverse(model.calls), *key));
    row(
        &mut out,
        ["provider", "model", "calls", "failed", "p50 ms", "p95 ms", "tokens in", "tokens out", "est. USD"],
    );
    for ((provider, name), model) in models.iter().take(most) {
        line(&mut out, provider, name, model);
    }
    let left = models.len().saturating_sub(most);
    if left > 0 {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  and {left} more");
    }
    out
}

fn line(out: &mut String, provider: &str, name: &str, model: &Model) {
    // What is not known is not zero.
    let tokens = |known: Option<u64>| known.map_or("-".to_owned(), |n| n.to_string());
    let cost = model.estimated_cost.map_or("-".to_owned(), |usd| format!("{usd:.6}"));
    row(
        out,
        [
            provider,
            name,
            &model.calls.to_string(),
            &model.failed.to_string(),
            &millis(&model.durations, 50),
            &millis(&model.durations, 95),
            &tokens(model.input_tokens),
            &tokens(model.output_tokens),
            &cost,
        ],
    );
}

fn row(out: &mut String, cells: [&str; 9]) {
    let [provider, model, rest @ ..] = cells;
    let _ = write!(out, "  {provider:<12} {model:<26}");
    for cell in rest {
        let _ = write!(out, " {cell:>10}");
    }
    out.push('\n');
}

fn millis(durations: &Durations, percent: usize) -> String {
    durations.percentile(percent).map_or("-".to_owned(), |nanos| format!("{:.1}", nanos as f64 / 1e6))
}

//! Batch to a line of OTLP/JSON. Pure.

use muxbridge_core::Batch;

/// One request on one line, with its line feed. The first key (`resourceSpans`, `resourceMetrics`, `resourceLogs`)
/// tells the signal.
pub fn line(batch: &Batch) -> String {
    let mut line = muxbridge_pdata::json::encode(batch.signal(), batch.otlp());
    debug_assert!(!line.contains('\n'), "OTLP/JSON is written on one line");
    line.push('\n');
    line
}

//! Receivers: each takes telemetry from one protocol and hands on batches.

pub mod otlp;
pub mod prometheus;

//! Our own telemetry: logs and spans. Counters and their names are in `muxbridge_core::names`.

pub(crate) mod admin;
pub(crate) mod logs;
pub(crate) mod spans;

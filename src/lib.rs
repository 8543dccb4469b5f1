//! Muxbridge: the telemetry bridge for ModelMuxer.

pub mod trace;
pub mod translate;

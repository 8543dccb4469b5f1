//! Muxbridge: the telemetry bridge for ModelMuxer.

pub mod translate;

//! The telemetry bridge for ModelMuxer, as a library.

pub mod receivers;

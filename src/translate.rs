//! ModelMuxer's telemetry to the semantic conventions of OpenTelemetry: pure, no I/O and no clock below here.

pub mod providers;
pub mod routes;

//! ModelMuxer's telemetry to the semantic conventions of OpenTelemetry: pure, no I/O and no clock below here.

pub mod errors;
pub mod explain;
pub mod logs;
pub mod metrics;
pub mod profile;
pub mod providers;
pub mod routes;
pub mod scrub;
mod short;
pub mod spans;
pub mod table;

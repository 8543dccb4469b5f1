//! ModelMuxer's telemetry to semantic conventions: pure and synchronous, no I/O below this.

pub mod providers;
pub mod routes;
pub mod scrub;

//! Muxbridge: ModelMuxer's metrics, spans and logs to OTLP, StatsD, Datadog, New Relic and Prometheus.
//!
//! The binary is `fn main() { muxbridge::main(Registry::builtin()) }`. A program with components of its own adds them to
//! the registry; everything a component is made of stands in `muxbridge_core`. A program that wants the pipelines without
//! the program starts an [`embed::Bridge`].

mod cli;
mod config;
pub mod embed;
mod pipeline;
pub mod processors;
pub mod prometheus;
pub mod receivers;
mod registry;
mod telemetry;
pub mod trace;
pub mod translate;

pub use cli::main;
pub use muxbridge_core as core;
pub use registry::Registry;

//! What the exporter promises, seen from outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod agent;
mod build;
mod corpus;
mod dashboards;
mod intakes;
mod llm;
mod local;
mod preview;
mod repeated;
mod requests;
mod spans;
mod standin;
mod vectors;

//! What the exporter promises, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod build;
mod endpoint;
mod golden;
mod parser;
mod random;
mod registry;

//! What the exporter promises, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accuracy;
mod build;
mod histograms;
mod lines;
mod parser;
mod random;
mod sockets;
mod vectors;

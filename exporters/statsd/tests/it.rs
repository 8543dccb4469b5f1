//! What the exporter promises, seen from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod build;
mod histograms;
mod lines;
mod parser;
mod random;
mod sockets;

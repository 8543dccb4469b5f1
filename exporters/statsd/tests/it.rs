//! What the exporter promises, seen from outside.

mod build;
mod histograms;
mod lines;
mod parser;
mod random;
mod sockets;

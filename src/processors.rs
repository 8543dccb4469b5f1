//! Processors: each changes batches between a receiver and the exporters.

pub mod modelmuxer;

//! The integration tests, in one binary.

#[path = "it/otlp_receiver.rs"]
mod otlp_receiver;

//! The tests of this crate against `opentelemetry-proto`, with random requests and mutated recordings.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../../../fuzz/src/bodies.rs"]
mod bodies;
#[path = "it/json.rs"]
mod json;
#[path = "it/mutation.rs"]
mod mutation;
#[path = "it/random.rs"]
mod random;
#[path = "it/schema.rs"]
mod schema;
#[path = "it/split.rs"]
mod split;
#[path = "it/views.rs"]
mod views;
#[path = "it/writer.rs"]
mod writer;

//! The one integration-test binary; a module for each subject.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod it {
    mod allocations;
    mod demo;
    mod deploy;
    mod doctor;
    mod durable;
    mod embed;
    mod examples;
    mod malformed;
    mod newrelic_command;
    mod newrelic_pipeline;
    mod own_spans;
    mod program;
    mod prometheus_page;
    mod prometheus_roundtrip;
    mod reload;
    mod scrape;
    mod security;
    mod structure;
    mod translate_command;
    mod translate_metrics;
    mod translate_spans;
}

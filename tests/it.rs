//! The one integration-test binary; a module for each subject.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod it {
    mod allocations;
    mod examples;
    mod malformed;
    mod program;
    mod structure;
    mod translate_spans;
}

//! The one integration-test binary; a module for each subject.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod it {
    mod program;
    mod prometheus_page;
    mod prometheus_roundtrip;
    mod structure;
    mod translate_spans;
}

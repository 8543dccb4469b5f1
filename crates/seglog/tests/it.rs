//! Tests of the segment log: on a modelled file system that loses power, fills up and fails, and on the real one.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

#[path = "it/basics.rs"]
mod basics;
#[path = "it/bits.rs"]
mod bits;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/direct.rs"]
mod direct;
#[path = "it/failures.rs"]
mod failures;
#[path = "it/golden.rs"]
mod golden;
#[path = "it/model.rs"]
mod model;
#[path = "it/recent.rs"]
mod recent;
#[path = "it/support.rs"]
mod support;
#[path = "it/survey.rs"]
mod survey;

//! What every exporter promises of its configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use muxbridge_core::config::Problems;
use muxbridge_exporter_debug::FACTORY;

#[test]
fn it_is_built_without_any_option_and_refuses_unknown_ones() {
    let mut problems = Problems::new();
    assert!((FACTORY.parse)(&serde_json::Value::Null, &mut problems).is_some());
    assert!(problems.is_empty());
    assert!((FACTORY.parse)(&serde_json::json!({ "verbose": true }), &mut problems).is_none());
    assert_eq!(problems.as_slice()[0].path, "verbose");
}

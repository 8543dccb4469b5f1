//! Counts what reading a request allocates: nothing. A binary of its own, because the count is an allocator.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "../../../fuzz/src/bodies.rs"]
#[allow(dead_code, reason = "the other bodies belong to other tests")]
mod bodies;

use muxbridge_pdata::{Limits, Signal, validate};

#[test]
fn validating_and_reading_every_field_of_a_request_allocates_nothing() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/corpus/run1/trace-0003.pb");
    let request = std::fs::read(path).unwrap();
    let mut seen = bodies::Seen::default();
    let counted = allocation_counter::measure(|| {
        assert!(validate(Signal::Traces, &request, Limits::default()).is_ok());
        seen = bodies::read_everything(Signal::Traces, &request);
    });
    assert_eq!(counted.count_total, 0);
    assert!(seen.items > 100 && seen.values > seen.items, "{seen:?}");
    let copied = allocation_counter::measure(|| drop(request.to_vec()));
    assert_eq!(copied.count_total, 1, "the counter counts");
}

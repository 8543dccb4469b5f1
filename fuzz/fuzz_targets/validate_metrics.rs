//! Foreign bytes as a request of metrics: validation and every view.
#![no_main]

#[path = "../src/bodies.rs"]
#[allow(dead_code, reason = "each target uses one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bodies::validate_and_read(muxbridge_pdata::Signal::Metrics, data);
});

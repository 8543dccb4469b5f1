//! Foreign text as OTLP/JSON of each signal.
#![no_main]

#[path = "../src/bodies.rs"]
#[allow(dead_code, reason = "each target uses one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for signal in muxbridge_pdata::Signal::ALL {
        bodies::json_decode(signal, data);
    }
});

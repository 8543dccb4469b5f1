//! Splits foreign requests: the first four bytes choose the limits.
#![no_main]

#[path = "../src/bodies.rs"]
#[allow(dead_code, reason = "each target uses one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((limits, request)) = data.split_first_chunk::<4>() else { return };
    let max_items = usize::from(limits[0]);
    let max_bytes = usize::from(u16::from_le_bytes([limits[1], limits[2]]));
    let signal = muxbridge_pdata::Signal::ALL[usize::from(limits[3]) % 3];
    bodies::split(signal, request, max_items, max_bytes);
});

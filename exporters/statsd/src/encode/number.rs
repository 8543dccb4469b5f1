//! Numbers as text, and sample rates with exact weights.

use std::fmt::Write;

/// Writes the shortest text that reads back as the same number. `value` must be finite.
pub(super) fn write(out: &mut String, value: f64) {
    let size = value.abs();
    // Rust writes doubles without exponents: 1e300 would take 301 bytes. Writing to a string cannot fail.
    let _ = if value == 0.0 {
        out.write_char('0')
    } else if (1e-5..1e16).contains(&size) {
        write!(out, "{value}")
    } else {
        write!(out, "{value:e}")
    };
}

/// Writes an integer.
pub(super) fn write_int(out: &mut String, value: i64) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// `value` with six significant digits: enough for a value that only stands for a bucket.
pub(super) fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The sample rate that gives a weight of exactly `weight` in the Datadog Agent, which truncates 1/rate to an integer.
///
/// Plain 1/weight loses one for thousands of weights (93 is the first), so the rate steps down until it does not.
pub fn rate(weight: u64) -> f64 {
    let weight = weight.max(1) as f64;
    let mut rate = 1.0 / weight;
    while (1.0 / rate).trunc() < weight {
        rate = rate.next_down();
    }
    rate
}

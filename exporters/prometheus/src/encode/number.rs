//! Numbers as text that reads back as the same number.

use std::fmt::Write;

/// Writes the shortest text that is the same double, with an exponent where it is short so. Not-a-number is `NaN`,
/// infinities are `+Inf` and `-Inf`.
pub(super) fn push_float(out: &mut String, value: f64) {
    push(out, value, 21);
}

/// A bound or quantile as OpenMetrics wants it in a label: `10.0`, `0.005`, `1e+06`.
pub(super) fn push_canonical(out: &mut String, value: f64) {
    let start = out.len();
    push(out, value, 6);
    if !out[start..].contains(['.', 'e', 'n', 'N']) {
        out.push_str(".0");
    }
}

fn push(out: &mut String, value: f64, exponent_from: i32) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_infinite() {
        return out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
    // Rust writes the shortest digits in both notations, but never chooses the exponent by itself.
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = if exponent < -4 || exponent >= exponent_from {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{mantissa}e{sign}{:02}", exponent.unsigned_abs())
    } else {
        write!(out, "{value}")
    };
}

/// Nanoseconds as seconds, exactly.
pub(super) fn push_seconds(out: &mut String, nanos: u64) {
    let _ = write!(out, "{}", nanos / 1_000_000_000);
    let rest = nanos % 1_000_000_000;
    if rest > 0 {
        let _ = write!(out, "{}", format!(".{rest:09}").trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: fn(&mut String, f64), value: f64) -> String {
        let mut out = String::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn values_read_back_as_the_same_double() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = f64::from_bits(state);
            if !value.is_nan() {
                for write in [push_float, push_canonical] {
                    assert_eq!(text(write, value).parse::<f64>().unwrap().to_bits(), value.to_bits());
                }
            }
        }
    }

    #[test]
    fn bounds_are_canonical_as_openmetrics_says() {
        for (value, expected) in [
            (10.0, "10.0"),
            (0.005, "0.005"),
            (1e6, "1e+06"),
            (123_456.0, "123456.0"),
            (1e-5, "1e-05"),
            (f64::INFINITY, "+Inf"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
        ] {
            assert_eq!(text(push_canonical, value), expected);
        }
        assert_eq!(text(push_float, 79634.0), "79634");
        assert_eq!(text(push_float, 1e300), "1e+300");
        assert_eq!(text(push_float, f64::NAN), "NaN");
    }

    #[test]
    fn times_keep_their_nanoseconds() {
        let mut out = String::new();
        push_seconds(&mut out, 1_767_225_600_000_000_001);
        out.push(' ');
        push_seconds(&mut out, 1_500_000_000);
        out.push(' ');
        push_seconds(&mut out, 2_000_000_000);
        assert_eq!(out, "1767225600.000000001 1.5 2");
    }
}

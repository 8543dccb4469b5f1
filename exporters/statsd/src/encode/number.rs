//! Numbers as text, and sample rates with exact weights.

/// Writes the shortest text that reads back as the same number. `value` must be finite.
pub(super) fn write(out: &mut String, value: f64) {
    if value == 0.0 {
        return out.push('0');
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    // A whole number needs no fraction.
    out.push_str(text.strip_suffix(".0").unwrap_or(text));
}

/// Writes an integer.
pub(super) fn write_int(out: &mut String, value: i64) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// `value` with six significant digits: enough for a value that only stands for a bucket.
pub(super) fn six_digits(value: f64) -> f64 {
    // Powers of ten up to the 22nd are exact, and so the results are those that reading the digits would give.
    const LARGEST: i32 = 22;
    const DIGITS: i32 = 5;
    let size = value.abs();
    let exponent = size.log10().floor();
    if !(-15.0..=15.0).contains(&exponent) {
        return format!("{value:.5e}").parse().unwrap_or(value);
    }
    let shift = DIGITS - exponent as i32;
    debug_assert!(shift.abs() <= LARGEST);
    if shift >= 0 {
        let power = POWERS[shift as usize];
        (value * power).round_ties_even() / power
    } else {
        let power = POWERS[-shift as usize];
        (value / power).round_ties_even() * power
    }
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(value: f64) -> String {
        let mut out = String::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn whole_numbers_have_no_fraction_and_large_ones_an_exponent() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (7.0, "7"),
            (-5.0, "-5"),
            (0.00123, "0.00123"),
            (1e-5, "0.00001"),
            (9.5e-6, "9.5e-6"),
            (1e15, "1000000000000000"),
            (1e16, "1e16"),
            (-1e300, "-1e300"),
        ] {
            assert_eq!(written(value), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_number_reads_back_and_is_short(value in proptest::num::f64::NORMAL) {
            let text = written(value);
            prop_assert_eq!(text.parse::<f64>().unwrap(), value);
            prop_assert!(text.len() <= 25, "{}", text);
        }

        #[test]
        fn six_digits_are_those_of_the_decimal_text(digits in 100_000u32..1_000_000, exponent in -18i32..18) {
            let exact: f64 = format!("{digits}e{exponent}").parse().unwrap();
            prop_assert_eq!(six_digits(exact), exact);
            prop_assert_eq!(six_digits(-exact), -exact);
            // A little beside it, which six digits do not show.
            prop_assert_eq!(six_digits(exact * (1.0 + 1e-9)), exact);
        }
    }
}

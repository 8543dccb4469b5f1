//! Times as text.

/// Nanoseconds since 1970 as `2006-01-02T15:04:05.000Z`.
pub(super) fn iso(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    // The civil calendar from days since 1970, counted in years that begin in March.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_709_210_096_789_000_000), "2024-02-29T12:34:56.789Z");
        assert_eq!(iso(1_700_000_000_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(iso(4_107_542_399_999_999_999), "2100-02-28T23:59:59.999Z");
        assert_eq!(iso(4_107_542_400_000_000_000), "2100-03-01T00:00:00.000Z");
    }
}

//! Names of metrics and labels, by the rules of OpenTelemetry's compatibility specification for Prometheus.

use std::borrow::Cow;

/// What a family is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MetricName {
    /// In the text format: of a counter with its `_total`.
    pub(super) text: String,
    /// In OpenMetrics: of a counter without it.
    pub(super) family: String,
    /// What OpenMetrics shows as the unit: empty, or what `family` ends in.
    pub(super) unit: String,
}

/// What of a metric decides its suffixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suffix {
    /// A sum that only grows: `_total`.
    Total,
    /// A gauge: `_ratio` if its unit is `1`.
    Gauge,
    /// All others.
    None,
}

/// The name of a metric with the OTLP name `raw` and this unit. `None` if it has no name.
pub(super) fn metric(
    raw: &str,
    unit: &str,
    suffix: Suffix,
    add: bool,
    namespace: &str,
) -> Option<MetricName> {
    if raw.is_empty() {
        return None;
    }
    let mut base = sanitized(raw);
    if !namespace.is_empty() {
        base = format!("{namespace}_{base}");
    }
    if base.starts_with(|c: char| c.is_ascii_digit()) {
        base.insert(0, '_');
    }
    let counter = suffix == Suffix::Total;
    let had_total = counter && base.len() > "_total".len() && base.ends_with("_total");
    if had_total {
        base.truncate(base.len() - "_total".len());
    }
    let mut shown = String::new();
    if add {
        let words = unit_words(unit, suffix);
        for (join, word) in &words {
            let has = base.split('_').any(|token| token == word);
            if !has {
                base.push_str(join);
                base.push_str(word);
            }
        }
        shown = words.iter().map(|(join, word)| format!("{join}{word}")).collect();
        shown = shown.trim_start_matches('_').to_owned();
    } else if let Some(unit) = Some(unit).filter(|u| is_label(u)) {
        // A page of another exporter had it in its name already.
        shown = unit.to_owned();
    }
    // OpenMetrics allows no unit that the name does not end in.
    let fits = base.len() > shown.len() + 1 && base.ends_with(&shown) && {
        let before = base.len() - shown.len() - 1;
        base.as_bytes()[before] == b'_'
    };
    let unit = if fits { shown } else { String::new() };
    let text = if counter && (add || had_total) { format!("{base}_total") } else { base.clone() };
    Some(MetricName { text, family: base, unit })
}

/// The words of a UCUM unit, each with what joins it to the name.
fn unit_words(unit: &str, suffix: Suffix) -> Vec<(&'static str, Cow<'static, str>)> {
    let unit = unit.trim();
    if unit == "1" {
        return if suffix == Suffix::Gauge { vec![("_", "ratio".into())] } else { Vec::new() };
    }
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let word = |part: &str, table: fn(&str) -> Option<&'static str>| {
        // What stands in braces is a note, not a unit.
        if part.contains(['{', '}']) {
            return None;
        }
        let word = table(part).map_or_else(|| Cow::Owned(trimmed(&sanitized_unit(part))), Cow::Borrowed);
        (!word.is_empty()).then_some(word)
    };
    let main = word(main.trim(), full_word).map(|w| ("_", w));
    let per = word(per.trim(), singular).map(|w| ("_per_", w));
    main.into_iter().chain(per).collect()
}

fn full_word(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        "1" => "",
        _ => return None,
    })
}

fn singular(unit: &str) -> Option<&'static str> {
    Some(match unit {
        "s" => "second",
        "m" | "min" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        "1" => "",
        _ => return None,
    })
}

/// Every run of characters that a name cannot have, and every run of underscores, becomes one underscore.
fn sanitized(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        if c.is_ascii_alphanumeric() || c == ':' {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out
}

fn sanitized_unit(raw: &str) -> String {
    sanitized(&raw.replace(':', "_"))
}

fn trimmed(text: &str) -> String {
    text.trim_matches('_').to_owned()
}

/// The name of a label. Names that start with two underscores belong to Prometheus itself.
pub(super) fn label(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        out.push(if c.is_ascii_alphanumeric() { c } else { '_' });
    }
    if out.is_empty() || out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert_str(0, "key_");
    } else if out.starts_with("__") {
        out.insert_str(0, "key");
    }
    out
}

/// Whether a text is a name that a label can have: letters, digits and underscores that do not start with a digit.
pub fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OTLP name and unit, what it is, name in the text format, name and unit in OpenMetrics.
    #[test]
    fn names_and_units_follow_the_compatibility_specification() {
        for (raw, unit, suffix, text, family, shown) in [
            (
                "http.server.duration",
                "s",
                Suffix::None,
                "http_server_duration_seconds",
                "http_server_duration_seconds",
                "seconds",
            ),
            (
                "http.server.duration",
                "ms",
                Suffix::None,
                "http_server_duration_milliseconds",
                "http_server_duration_milliseconds",
                "milliseconds",
            ),
            ("tokens", "{token}", Suffix::Total, "tokens_total", "tokens", ""),
            ("tokens_total", "", Suffix::Total, "tokens_total", "tokens", ""),
            ("net.io", "By", Suffix::Total, "net_io_bytes_total", "net_io_bytes", "bytes"),
            ("net.io.bytes_total", "By", Suffix::Total, "net_io_bytes_total", "net_io_bytes", "bytes"),
            (
                "speed",
                "By/s",
                Suffix::Gauge,
                "speed_bytes_per_second",
                "speed_bytes_per_second",
                "bytes_per_second",
            ),
            (
                "speed",
                "m/s",
                Suffix::Gauge,
                "speed_meters_per_second",
                "speed_meters_per_second",
                "meters_per_second",
            ),
            ("rate", "{request}/s", Suffix::Gauge, "rate_per_second", "rate_per_second", "per_second"),
            ("load", "1", Suffix::Gauge, "load_ratio", "load_ratio", "ratio"),
            ("hits", "1", Suffix::Total, "hits_total", "hits", ""),
            ("cpu.seconds.used", "s", Suffix::None, "cpu_seconds_used", "cpu_seconds_used", ""),
            ("cost", "usd", Suffix::Total, "cost_usd_total", "cost_usd", "usd"),
            ("1st.value", "", Suffix::Gauge, "_1st_value", "_1st_value", ""),
            ("a..b--c", "", Suffix::Gauge, "a_b_c", "a_b_c", ""),
            ("größe", "", Suffix::Gauge, "gr_e", "gr_e", ""),
            ("total", "", Suffix::Total, "total_total", "total", ""),
            ("a:b", "", Suffix::Gauge, "a:b", "a:b", ""),
            ("free", "%", Suffix::Gauge, "free_percent", "free_percent", "percent"),
        ] {
            let name = metric(raw, unit, suffix, true, "").unwrap();
            assert_eq!((&*name.text, &*name.family, &*name.unit), (text, family, shown), "{raw} in {unit}");
        }
    }

    #[test]
    fn without_suffixes_a_name_is_only_made_legal() {
        let name = |raw, unit, suffix| metric(raw, unit, suffix, false, "").unwrap();
        assert_eq!(name("net.io", "By", Suffix::Total).text, "net_io");
        assert_eq!(name("load", "1", Suffix::Gauge).text, "load");
        assert_eq!(name("x_total", "", Suffix::Total).family, "x");
        assert_eq!(name("uptime_seconds", "seconds", Suffix::Gauge).unit, "seconds");
    }

    #[test]
    fn a_namespace_comes_first_and_a_metric_without_a_name_is_none() {
        assert_eq!(metric("9lives", "", Suffix::Gauge, true, "cat").unwrap().text, "cat_9lives");
        assert_eq!(metric("", "s", Suffix::Gauge, true, "cat"), None);
    }

    #[test]
    fn label_names_are_legal_and_not_those_of_prometheus() {
        for (raw, expected) in [
            ("gen_ai.request.model", "gen_ai_request_model"),
            ("2xx", "key_2xx"),
            ("__name__", "key__name__"),
            ("_private", "_private"),
            ("", "key_"),
            ("a:b", "a_b"),
        ] {
            assert_eq!(label(raw), expected);
            assert!(is_label(&label(raw)));
        }
    }
}

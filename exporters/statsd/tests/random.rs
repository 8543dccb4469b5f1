//! Whatever names and tags come in, every packet stays readable.

use crate::build::*;
use crate::parser::packet;
use muxbridge_exporter_statsd::encode::{Counts, Dialect, Options, encode, pack};
use proptest::prelude::*;

/// Text with the characters that have a meaning in a line, more often than chance would give them.
fn hostile() -> impl Strategy<Value = String> {
    let special = prop::sample::select(":|#@,;=\n\r\0 ~é_.-/a1T".chars().collect::<Vec<_>>());
    prop::collection::vec(prop_oneof![4 => special, 1 => any::<char>()], 0..24)
        .prop_map(|chars| chars.into_iter().collect())
}

/// Options that keep each number on a line of its own, so that lines can be counted.
fn apart(dialect: Dialect) -> Options {
    Options { aggregate: false, ..options(dialect) }
}

proptest! {
    // 1000 cases of 100 names and tags each.
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_name_and_no_tag_breaks_a_packet(
        parts in prop::collection::vec((hostile(), hostile(), hostile()), 100),
        value in any::<f64>(),
    ) {
        let metrics: Vec<_> =
            parts.iter().map(|(name, k, v)| counter(name, double(value, &[(k, v)]))).collect();
        let sent = metrics.len() as u64;
        let batch = batch(&[("service.name", &parts[0].2)], metrics);
        let mut counts = Counts::default();
        let messages = encode(&batch, &apart(Dialect::Dogstatsd), &mut counts);
        let dropped: u64 = counts.dropped().iter().map(|(_, n)| n).sum();
        prop_assert_eq!(counts.encoded + dropped, sent);
        let mut read = 0;
        for text in pack(&messages, 1432) {
            prop_assert!(text.len() <= 1432);
            let lines = packet(&text).map_err(TestCaseError::fail)?;
            prop_assert!(lines.iter().all(|l| l.kind == "c" && l.values == [value]));
            read += lines.len() as u64;
        }
        prop_assert_eq!(read, counts.encoded);

        for dialect in [Dialect::Etsy, Dialect::Graphite, Dialect::Influx] {
            let mut counts = Counts::default();
            let messages = encode(&batch, &apart(dialect), &mut counts);
            for line in messages.iter() {
                let name = line.split(':').next().unwrap_or_default();
                prop_assert!(!line.contains(['\n', ' ', '\0']), "{line:?}");
                if dialect != Dialect::Etsy {
                    prop_assert_eq!(line.matches(':').count(), 1);
                    prop_assert_eq!(line.matches('|').count(), 1);
                    let mark = if dialect == Dialect::Graphite { ';' } else { ',' };
                    prop_assert_eq!(name.matches(mark).count(), name.matches('=').count());
                }
            }
        }
    }
}

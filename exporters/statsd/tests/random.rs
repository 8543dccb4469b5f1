//! Whatever names and tags come in, every packet stays readable.

use crate::build::*;
use crate::parser::packet;
use muxbridge_exporter_statsd::encode::events::{Event, ServiceCheck};
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

    #[test]
    fn no_text_breaks_an_event_or_a_service_check(parts in prop::collection::vec(hostile(), 7)) {
        let [title, text, host, key, source, tag, message] = &parts[..] else { unreachable!() };
        let event = Event {
            title: title.clone(),
            text: text.clone(),
            host: host.clone(),
            aggregation_key: key.clone(),
            source: source.clone(),
            tags: vec![tag.clone(), "a:b".into()],
            ..Event::default()
        };
        let line = event.line("");
        prop_assert!(!line.contains(char::is_control), "{line:?}");
        // The lengths are what the Agent cuts by.
        let (lengths, rest) = line.strip_prefix("_e{").and_then(|l| l.split_once("}:")).unwrap();
        let (title, text) = lengths.split_once(',').unwrap();
        let (title, text): (usize, usize) = (title.parse().unwrap(), text.parse().unwrap());
        prop_assert_eq!(rest.as_bytes().get(title), Some(&b'|'));
        let fields = &rest[title + 1 + text..];
        let known = |f: &str| ["h:", "k:", "s:", "#"].iter().any(|p| f.starts_with(p));
        prop_assert!(fields.is_empty() || fields.starts_with('|'));
        prop_assert!(fields.split('|').skip(1).all(known), "{fields:?}");
        let check = ServiceCheck {
            name: key.clone(),
            host: host.clone(),
            tags: vec![tag.clone()],
            message: message.clone(),
            ..ServiceCheck::default()
        };
        let line = check.line("");
        prop_assert!(!line.contains(char::is_control), "{line:?}");
        prop_assert_eq!(line.split('|').nth(2), Some("0"));
    }
}

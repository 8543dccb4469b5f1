//! Recorded pages, read into OTLP and written again: the same series with the same values.

use muxbridge::core::Signal;
use muxbridge::prometheus::{PageLimits, Scraper, TargetInfo};
use muxbridge_exporter_prometheus::encode::{Format, Options, Registry};
use muxbridge_testkit::{batch, corpus};
use std::collections::BTreeMap;

const NOW: u64 = 1_795_462_000_000_000_000;

/// Values by name and sorted labels, and types by name. Times, `_created` as gauges of their own and the labels that
/// name the instance are no part of it.
#[derive(Debug, PartialEq)]
struct Content {
    values: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
    help: BTreeMap<String, String>,
}

fn content(page: &str) -> Content {
    let mut content = Content { values: BTreeMap::new(), types: BTreeMap::new(), help: BTreeMap::new() };
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (keyword, name, text) =
                (words.next(), words.next().unwrap_or(""), words.next().unwrap_or(""));
            // In OpenMetrics the name of a counter has no suffix.
            let name = name.strip_suffix("_total").unwrap_or(name).to_owned();
            match keyword {
                Some("TYPE") => drop(content.types.insert(name, text.to_owned())),
                Some("HELP") => drop(content.help.insert(name, text.to_owned())),
                _ => {}
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let mut labels: Vec<&str> =
            labels.trim_end_matches('}').split("\",").map(|l| l.trim_end_matches('"')).collect();
        labels
            .retain(|l| !l.starts_with("instance=") && !l.starts_with("exported_instance=") && !l.is_empty());
        labels.sort_unstable();
        let value = value.parse().expect("a number");
        let before = content.values.insert(format!("{name} {labels:?}"), value);
        assert_eq!(before, None, "{series} is there twice");
    }
    content
}

/// Without what says when series began, and without metrics that have no series: they have no place in OTLP.
fn timeless(mut content: Content) -> Content {
    content.values.retain(|series, _| !series.split(' ').next().unwrap_or("").ends_with("_created"));
    let values = &content.values;
    let alive = |name: &String| values.keys().any(|series| series.starts_with(name.as_str()));
    content.types.retain(|name, _| alive(name) && !name.ends_with("_created"));
    content.help.retain(|name, _| alive(name) && !name.ends_with("_created"));
    content
}

fn written(otlp: bytes::Bytes, format: Format) -> String {
    let mut registry = Registry::new(Options::default());
    let batch = batch(Signal::Metrics, otlp);
    let ingested = registry.ingest(&batch, NOW);
    assert_eq!(ingested.kept, batch.items() as u64, "{:?}", ingested.dropped().collect::<Vec<_>>());
    assert_eq!(ingested.adjusted().count(), 0, "the recorded names fit OpenMetrics");
    String::from_utf8(registry.render(format, NOW)).expect("UTF-8")
}

fn read(page: &str) -> bytes::Bytes {
    let mut scraper = Scraper::new(TargetInfo::default(), PageLimits::default());
    scraper.page(page.as_bytes(), None, NOW).expect("a page")
}

fn pages() -> Vec<(String, String)> {
    let names = [
        "run1/prom_a_00_text.txt",
        "run1/prom_a_06_text.txt",
        "run1/prom_a_final_text.txt",
        "workers2/prom_w2_11_text.txt",
        "scenario/metrics_prometheus.txt",
    ];
    names.map(|n| (n.to_owned(), String::from_utf8(corpus(n)).expect("UTF-8"))).to_vec()
}

#[test]
fn a_recorded_page_comes_back_with_the_same_series_types_and_help() {
    for (name, page) in pages() {
        let back = written(read(&page), Format::Text);
        let (expected, found) = (timeless(content(&page)), timeless(content(&back)));
        assert!(expected.values.len() > 10, "{name} has something to lose");
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn an_openmetrics_page_comes_back_with_its_start_times() {
    let micros = |c: &Content| -> BTreeMap<String, i64> {
        c.values.iter().map(|(k, v)| (k.clone(), (v * 1e6).round() as i64)).collect()
    };
    for (name, page) in pages() {
        let once = written(read(&page), Format::OpenMetrics);
        let twice = written(read(&once), Format::OpenMetrics);
        let (once, twice) = (content(&once), content(&twice));
        let created = once.values.keys().filter(|k| k.split(' ').next().unwrap_or("").ends_with("_created"));
        assert!(created.count() > 0, "{name} has start times");
        assert_eq!(
            (micros(&twice), &twice.types, &twice.help),
            (micros(&once), &once.types, &once.help),
            "{name}"
        );
    }
}

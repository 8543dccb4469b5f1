//! Whole recorded runs: nothing is lost or doubled, sums never fall, what is foreign stays as it is.

use super::kit::*;
use muxbridge::trace::TraceOptions;
use muxbridge::translate::metrics::{MetricOptions, table};
use muxbridge_kit::delta::{DeltaState, DeltaStats, InitialValue};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_point_of_every_recorded_page_is_sent_omitted_or_dropped() {
    for (directory, options) in [
        ("run1", MetricOptions::default()),
        ("workers2", MetricOptions::default()),
        ("scenario", MetricOptions::default()),
        ("run1", MetricOptions { candidates: true, process: true, ..MetricOptions::default() }),
    ] {
        let pages = pages(directory);
        let mut bench = Bench::new(options, TraceOptions::default());
        let (mut before, mut after) = (0, 0);
        for batch in scrape(pages.iter().map(Vec::as_slice)) {
            before += batch.items() as u64;
            after += bench.take(batch).unwrap().items() as u64;
        }
        let sum = |counter: &str| bench.counters.sum(counter, &[("signal", "metrics")]);
        let omitted = sum("muxbridge_omitted_total");
        assert_eq!(before + sum("muxbridge_derived_total"), after + omitted, "{directory}");
        assert_eq!(sum("muxbridge_dropped_total"), 0, "{directory}");
        assert!(omitted > 0);
    }
}

#[test]
fn dead_and_never_set_metrics_are_left_out_and_counted() {
    let mut bench = Bench::plain();
    let page = corpus(RUN1_END);
    let out = items(&bench.take(scrape([page.as_slice()]).remove(0)).unwrap());
    assert!(out.iter().all(|i| !i.name.starts_with("modelmuxer_")), "a family of ModelMuxer was left");
    // modelmuxer_active_connections and modelmuxer_memory_usage_bytes; the others have no samples.
    assert_eq!(bench.rule("M.fake_zero"), 2);
    // budget_exceeded; there was no no_pricing.
    assert_eq!(bench.rule("M.budget_counted_twice"), 1);
    // 11 series of latencies.
    assert_eq!(bench.rule("M.provider_latency_milliseconds"), 11);
    // Two series of estimated costs.
    assert_eq!(bench.rule("M.estimated_cost"), 2);
    // /dashboard/ and three threads, as counts and as durations.
    assert_eq!(bench.rule("M.http_route"), 8);
    // Three threads are one, as counts and as durations.
    assert_eq!(bench.rule("M.merged"), 4);
    assert_eq!(bench.rule("M.budget_rejections_from_402"), 2);
}

#[test]
fn no_sum_falls_and_no_start_moves_while_a_process_lives() {
    for directory in ["run1", "workers2"] {
        let pages = pages(directory);
        let mut bench = Bench::plain();
        let mut last: BTreeMap<(String, String, String), (u64, f64)> = BTreeMap::new();
        for batch in scrape(pages.iter().map(Vec::as_slice)) {
            for item in items(&bench.take(batch).unwrap()) {
                if item.temporality != 2 || item.gone {
                    continue;
                }
                let value = item.histogram.map_or(item.value.unwrap(), |(count, ..)| count as f64);
                let key = (item.instance, item.name, item.attributes.to_string());
                if let Some((start, before)) = last.get(&key) {
                    assert_eq!(*start, item.start, "{key:?}");
                    assert!(value >= *before, "{key:?}: {before} then {value}");
                }
                last.insert(key, (item.start, value));
            }
        }
        assert!(last.len() > 20);
    }
}

#[test]
fn workers_behind_one_address_are_not_added_up() {
    let pages = pages("workers2");
    let mut bench = Bench::plain();
    let mut requests: BTreeMap<String, f64> = BTreeMap::new();
    for batch in scrape(pages.iter().map(Vec::as_slice)) {
        let mut of_page: BTreeMap<String, f64> = BTreeMap::new();
        for item in items(&bench.take(batch).unwrap()) {
            if item.name == "modelmuxer.http.requests" && !item.gone {
                *of_page.entry(item.instance).or_default() += item.value.unwrap();
            }
        }
        assert_eq!(of_page.len(), 1, "a page comes from one worker");
        requests.extend(of_page);
    }
    // The last pages of the two workers: 81 and 57 requests.
    let found: BTreeSet<u64> = requests.into_values().map(|v| v as u64).collect();
    assert_eq!(found, BTreeSet::from([57, 81]));
}

#[test]
fn every_family_on_the_recorded_pages_is_in_the_table_or_foreign() {
    let mut families = BTreeSet::new();
    for page in ["run1", "workers2", "scenario"].into_iter().flat_map(pages) {
        for line in String::from_utf8(page).unwrap().lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                families.insert(family.split(' ').next().unwrap().to_owned());
            }
        }
    }
    assert!(families.len() > 36);
    for family in families.iter().filter(|f| !f.ends_with("_created")) {
        assert!(family == "python_info" || table::row(family.as_bytes()).is_some(), "{family}");
    }
    for row in table::ROWS {
        assert!(families.contains(row.source), "{} is on no recorded page", row.source);
    }
}

#[test]
fn a_page_of_another_program_passes_byte_for_byte() {
    // All that the Python client adds, and names that ModelMuxer has, too, but no ModelMuxer.
    let page = "# TYPE http_requests_total counter\n\
         http_requests_total{method=\"GET\",route=\"/a/1\",status=\"200\"} 3\n\
         # TYPE http_request_duration_milliseconds histogram\n\
         http_request_duration_milliseconds_bucket{le=\"+Inf\",method=\"GET\",route=\"/a/1\"} 3\n\
         http_request_duration_milliseconds_count{method=\"GET\",route=\"/a/1\"} 3\n\
         http_request_duration_milliseconds_sum{method=\"GET\",route=\"/a/1\"} 9\n\
         # TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.79546145052e+09\n\
         # TYPE process_open_fds gauge\nprocess_open_fds 7\n\
         # TYPE python_gc_collections_total counter\npython_gc_collections_total{generation=\"0\"} 5\n";
    let options = MetricOptions { process: true, candidates: true, ..MetricOptions::default() };
    let mut bench = Bench::new(options, TraceOptions::default());
    let batch = scrape([page.as_bytes()]).remove(0);
    let out = bench.take(batch.clone()).unwrap();
    assert_eq!(out.otlp().as_ptr(), batch.otlp().as_ptr(), "the same bytes, not a copy");
    assert_eq!(out.otlp(), batch.otlp());
}

#[test]
fn foreign_families_on_a_page_of_modelmuxer_are_copied_byte_for_byte() {
    let mut bench = Bench::plain();
    let batch = scrape([corpus(RUN1_END).as_slice()]).remove(0);
    let foreign = |batch: &muxbridge_core::Batch| -> Vec<Vec<u8>> {
        let metrics = batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics());
        metrics
            .filter(|m| m.name.starts_with(b"process_") || m.name.starts_with(b"python_"))
            .map(|m| m.raw().to_vec())
            .collect()
    };
    let before = foreign(&batch);
    assert_eq!(before.len(), 10);
    assert_eq!(foreign(&bench.take(batch).unwrap()), before);
}

#[test]
fn deltas_of_a_translated_run_add_up_to_what_its_last_page_says() {
    for directory in ["run1", "workers2"] {
        let pages = pages(directory);
        let mut bench = Bench::plain();
        let mut state = DeltaState::new(InitialValue::Keep, 0);
        let mut stats = DeltaStats::default();
        let mut last: BTreeMap<(String, String, String), f64> = BTreeMap::new();
        let mut added: BTreeMap<(String, String, String), f64> = BTreeMap::new();
        let amounts = |batch: &muxbridge_core::Batch, temporality| -> Vec<_> {
            let items = items(batch).into_iter().filter(move |i| i.temporality == temporality);
            let live = items.filter(|i| !i.gone && i.kind != "sum");
            live.map(|i| ((i.instance, i.name, i.attributes.to_string()), i.value.unwrap())).collect()
        };
        for batch in scrape(pages.iter().map(Vec::as_slice)) {
            let batch = bench.take(batch).unwrap();
            last.extend(amounts(&batch, 2));
            let deltas = state.convert(&batch, 0, &mut stats).unwrap();
            for (key, value) in amounts(&deltas, 1) {
                assert!(value >= 0.0, "{key:?}");
                *added.entry(key).or_default() += value;
            }
        }
        assert_eq!(stats, DeltaStats::default());
        assert!(last.len() > 100, "{}", last.len());
        assert_eq!(last.keys().collect::<Vec<_>>(), added.keys().collect::<Vec<_>>());
        for (key, total) in last {
            assert!(close(total, added[&key]), "{key:?}: {total} and {}", added[&key]);
        }
    }
}

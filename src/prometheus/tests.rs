//! Pages of recorded processes and of nobody.
use super::{PageError, PageLimits, Scraper, TargetInfo};
use bytes::Bytes;
use muxbridge_pdata::view::{self, MetricData, Number, Temporality, text};
use muxbridge_pdata::{Limits, Signal, validate};
use std::collections::{BTreeMap, BTreeSet};

const T: u64 = 1_795_462_200_000_000_000;

fn corpus(path: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    std::fs::read(format!("{root}/{path}")).unwrap()
}

fn pages(dir: &str) -> Vec<Vec<u8>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let mut names: Vec<_> = std::fs::read_dir(format!("{root}/{dir}"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with("prom_"))
        .collect();
    names.sort();
    names.iter().map(|n| corpus(&format!("{dir}/{n}"))).collect()
}

fn scraper() -> Scraper {
    let identity = "http://127.0.0.1:8000/metrics/prometheus".to_owned();
    Scraper::new(TargetInfo { identity, attributes: vec![] }, PageLimits::default())
}

fn read(page: &str) -> Vec<Row> {
    rows(&scraper().page(page.as_bytes(), None, T).unwrap())
}

fn error(page: &str) -> PageError {
    scraper().page(page.as_bytes(), None, T).unwrap_err()
}

/// A point in a form that tests compare: everything but the description.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    instance: String,
    series: String,
    kind: String,
    start: u64,
    time: u64,
    value: String,
    progress: f64,
    stale: bool,
}

#[allow(clippy::too_many_lines, reason = "one arm for each kind of metric")]
fn rows(otlp: &Bytes) -> Vec<Row> {
    validate(Signal::Metrics, otlp, Limits::default()).unwrap();
    let mut rows = Vec::new();
    for resource in view::resources(otlp) {
        let id = resource.resource.attribute(b"service.instance.id").unwrap();
        for metric in resource.scopes().flat_map(|s| s.metrics()) {
            let mut add = |labels: view::Repeated<'_, view::KeyValue<'_>>,
                           kind: &str,
                           start,
                           time,
                           value: String,
                           progress,
                           stale| {
                let labels: Vec<_> =
                    labels.map(|kv| format!("{}={}", text(kv.key), kv.value.as_str().unwrap())).collect();
                rows.push(Row {
                    instance: id.as_str().unwrap().to_owned(),
                    series: format!("{}{{{}}}", text(metric.name), labels.join(",")),
                    kind: kind.to_owned(),
                    start,
                    time,
                    value,
                    progress,
                    stale,
                });
            };
            let number = |n: Option<Number>| n.map_or(f64::NAN, Number::as_f64);
            match metric.data.unwrap() {
                MetricData::Gauge { points } => points.for_each(|p| {
                    add(
                        p.attributes(),
                        "gauge",
                        p.start,
                        p.time,
                        format!("{:?}", number(p.value)),
                        0.0,
                        p.no_recorded_value,
                    );
                }),
                MetricData::Sum { points, temporality, monotonic } => points.for_each(|p| {
                    assert_eq!(temporality, Temporality::Cumulative);
                    let kind = if monotonic { "counter" } else { "sum" };
                    let v = number(p.value);
                    add(p.attributes(), kind, p.start, p.time, format!("{v:?}"), v, p.no_recorded_value);
                }),
                MetricData::Histogram { points, .. } => points.for_each(|p| {
                    let counts: Vec<_> = p.bucket_counts().collect();
                    let bounds: Vec<_> = p.explicit_bounds().collect();
                    let value = format!("{counts:?} {bounds:?} sum {:?} count {}", p.sum, p.count);
                    add(
                        p.attributes(),
                        "histogram",
                        p.start,
                        p.time,
                        value,
                        p.count as f64,
                        p.no_recorded_value,
                    );
                }),
                MetricData::Summary { points } => points.for_each(|p| {
                    let quantiles: Vec<_> = p.quantiles().map(|q| (q.quantile, q.value)).collect();
                    let value = format!("{quantiles:?} sum {:?} count {}", p.sum, p.count);
                    add(
                        p.attributes(),
                        "summary",
                        p.start,
                        p.time,
                        value,
                        p.count as f64,
                        p.no_recorded_value,
                    );
                }),
                MetricData::ExponentialHistogram { .. } => unreachable!(),
            }
        }
    }
    rows
}

fn find<'a>(rows: &'a [Row], series: &str) -> &'a Row {
    rows.iter().find(|r| r.series == series).unwrap_or_else(|| panic!("no {series} in {rows:#?}"))
}

/// Feeds pages in order and checks that no cumulative series of one instance ever falls under one start time.
fn feed_monotonic(pages: &[Vec<u8>]) -> BTreeMap<String, Vec<usize>> {
    let mut scraper = scraper();
    let mut last: BTreeMap<(String, String), Row> = BTreeMap::new();
    let mut instances: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, page) in pages.iter().enumerate() {
        let rows = rows(&scraper.page(page, None, T + at as u64 * 1_000_000_000).unwrap());
        let ids: BTreeSet<_> = rows.iter().map(|r| r.instance.clone()).collect();
        assert_eq!(ids.len(), 1, "page {at} is of one process");
        instances.entry(ids.into_iter().next().unwrap()).or_default().push(at);
        for row in rows.into_iter().filter(|r| r.kind == "counter" || r.kind == "histogram") {
            assert!(!row.stale, "{row:?}");
            let key = (row.instance.clone(), row.series.clone());
            if let Some(before) = last.get(&key) {
                assert!(row.progress >= before.progress, "page {at}: {before:?} then {row:?}");
                assert_eq!(row.start, before.start, "page {at}: {row:?}");
            }
            last.insert(key, row);
        }
    }
    instances
}

#[test]
fn two_workers_behind_one_port_are_told_apart_and_each_counts_upwards() {
    let instances = feed_monotonic(&pages("workers2"));
    // By hand: the pages with `/health` created at ..144.34468 are of one worker, those with `/metrics/prometheus`
    // created at ..147.17389 of the other. The files are 00-11, 18, 21, 22, 23.
    let mut by_hand = vec![vec![0, 2, 3, 6, 7, 12, 14], vec![1, 4, 5, 8, 9, 10, 11, 13, 15]];
    let mut found: Vec<_> = instances.into_values().collect();
    found.sort();
    by_hand.sort();
    assert_eq!(found, by_hand);
}

#[test]
fn one_process_is_one_instance_over_all_its_pages() {
    let instances = feed_monotonic(&pages("run1"));
    assert_eq!(instances.len(), 1);
    assert_eq!(instances.into_values().next().unwrap().len(), pages("run1").len());
}

#[test]
fn an_instance_id_is_the_same_in_every_run() {
    let page = corpus("run1/prom_a_05_text.txt");
    let ids: BTreeSet<_> =
        (0..2).map(|_| rows(&scraper().page(&page, None, T).unwrap())[0].instance.clone()).collect();
    assert_eq!(ids.len(), 1);
}

#[test]
fn created_gauges_become_start_times_and_are_not_exported() {
    let rows = rows(&scraper().page(&corpus("workers2/prom_w2_01_text.txt"), None, T).unwrap());
    assert!(rows.iter().all(|r| !r.series.contains("_created{")));
    let row = find(&rows, "http_requests_total{method=GET,route=/metrics/prometheus,status=200}");
    // 1.7954621471738994e+09 seconds.
    assert_eq!(row.start / 1000, 1_795_462_147_173_899);
    assert_eq!(row.kind, "counter");
}

#[test]
fn names_that_end_like_reserved_suffixes_are_decided_by_their_type() {
    let rows = rows(&scraper().page(&corpus("run1/prom_a_final_text.txt"), None, T).unwrap());
    let kinds: BTreeSet<_> =
        rows.iter().map(|r| (r.series.split('{').next().unwrap(), r.kind.as_str())).collect();
    assert!(kinds.contains(&("modelmuxer_router_eta_ms_bucket", "histogram")));
    assert!(kinds.contains(&("modelmuxer_router_cost_estimate_usd_sum_total", "counter")));
    assert!(!kinds.iter().any(|(name, _)| name.ends_with("_bucket_bucket") || name.ends_with("_sum_sum")));
    assert!(!kinds.iter().any(|(_, kind)| *kind == "summary"));
}

#[test]
fn the_json_string_of_the_metrics_path_reads_like_the_page_in_it() {
    let wrapped = corpus("run1/metrics_raw_body.txt");
    let plain: String = serde_json::from_slice(&wrapped).unwrap();
    let (a, b) = (
        scraper().page(&wrapped, Some("text/plain; version=0.0.4"), T),
        scraper().page(plain.as_bytes(), None, T),
    );
    assert_eq!(a.unwrap(), b.unwrap());
}

#[test]
fn cumulative_buckets_become_counts_of_each_bucket() {
    let page = "# TYPE h histogram\nh_bucket{le=\"1\",a=\"x\"} 2\nh_bucket{le=\"2.5\",a=\"x\"} 2\n\
                h_bucket{a=\"x\",le=\"+Inf\"} 7\nh_sum{a=\"x\"} 31.5\nh_count{a=\"x\"} 7\n";
    let rows = read(page);
    assert_eq!(rows.len(), 1);
    assert_eq!(find(&rows, "h{a=x}").value, "[2, 0, 5] [1.0, 2.5] sum Some(31.5) count 7");
}

#[test]
fn a_histogram_that_contradicts_itself_is_left_out_and_counted() {
    for lines in [
        "h_bucket{le=\"1\"} 2\nh_sum 3\nh_count 2\n",
        "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\n",
        "h_bucket{le=\"1\"} 1\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 1\n",
        "h_bucket{le=\"+Inf\"} -1\n",
        "h_bucket{le=\"+Inf\"} 1.5\n",
        "h_bucket 1\n",
        "h_bucket{le=\"+Inf\"} NaN\n",
        "h_sum 1\n",
    ] {
        let mut scraper = scraper();
        let page = format!("# TYPE h histogram\n{lines}# TYPE g gauge\ng 1\n");
        let rows = rows(&scraper.page(page.as_bytes(), None, T).unwrap());
        assert_eq!(rows.iter().map(|r| &*r.series).collect::<Vec<_>>(), ["g{}"], "{lines}");
        assert_eq!(scraper.stats().malformed, 1, "{lines}");
    }
}

#[test]
fn open_metrics_is_read_with_units_start_times_exemplars_and_its_own_types() {
    let page = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Time \\\"spent\\\".\n\
        a_seconds_total{x=\"1\"} 5 1700000000.5 # {trace_id=\"0102030405060708090a0b0c0d0e0f10\",k=\"v\"} 0.5 1700000000.25\n\
        a_seconds_created{x=\"1\"} 1690000000.25\n# TYPE b info\nb_info{v=\"1\"} 1\n# TYPE s stateset\ns{s=\"on\"} 1\n\
        # TYPE g gaugehistogram\ng_bucket{le=\"+Inf\"} 3\ng_gcount 3\ng_gsum 4\n# TYPE q summary\n\
        q{quantile=\"0.5\"} 2\nq_count 9\nq_sum 12\n# TYPE u unknown\nu 1\n# EOF\n";
    let otlp =
        scraper().page(page.as_bytes(), Some("application/openmetrics-text; version=1.0.0"), T).unwrap();
    let rows = rows(&otlp);
    let counter = find(&rows, "a_seconds_total{x=1}");
    assert_eq!((counter.start, counter.time), (1_690_000_000_250_000_000, 1_700_000_000_500_000_000));
    assert_eq!(find(&rows, "b_info{v=1}").kind, "sum");
    assert_eq!(find(&rows, "s{s=on}").kind, "sum");
    assert_eq!(find(&rows, "g_bucket{le=+Inf}").kind, "gauge");
    assert_eq!(find(&rows, "g_gcount{}").value, "3.0");
    assert_eq!(find(&rows, "q{}").value, "[(0.5, 2.0)] sum 12.0 count 9");
    assert_eq!(find(&rows, "u{}").kind, "gauge");
    let first = view::resources(&otlp).next().unwrap().scopes().next().unwrap().metrics().next().unwrap();
    assert_eq!(text(first.unit), "seconds");
    assert_eq!(text(first.metadata().next().unwrap().key), "prometheus.type");
    let Some(MetricData::Sum { mut points, .. }) = first.data else { panic!() };
    let exemplar = points.next().unwrap().exemplars().next().unwrap();
    assert_eq!(exemplar.trace_id, (1..=16).collect::<Vec<u8>>());
    assert_eq!(exemplar.time, 1_700_000_000_250_000_000);
    assert_eq!(exemplar.attributes().count(), 1);
}

#[test]
fn quoted_names_of_text_format_1_0_0_are_read() {
    let rows = read("# TYPE \"my.metric\" counter\n{\"my.metric\",\"a.b\"=\"c\\\\d\\\"e\\nf\"} 3\n");
    assert_eq!(find(&rows, "my.metric{a.b=c\\d\"e\nf}").kind, "counter");
}

#[test]
fn a_bad_line_refuses_the_page_and_is_named() {
    for (line, problem) in [
        ("x", "a value is missing"),
        ("x abc", "\"abc\" is not a number"),
        ("x{a=\"1\" 2", "a comma or } is missing after a label"),
        ("x{a=1} 2", "the value of label \"a\" is not quoted"),
        ("x{a=\"1} 2", "a quote is not closed"),
        ("x{a=\"1\",a=\"2\"} 2", "label \"a\" is there twice"),
        ("9x 1", "the name \"9x\" starts with a digit"),
        ("x 1 2 3", "unexpected \"3\" after the sample"),
        ("x 1 1.5", "\"1.5\" is not a timestamp"),
        ("# TYPE x counters", "\"counters\" is not a metric type"),
        ("{} 1", "a metric name is missing"),
    ] {
        let found = error(&format!("# HELP y ok\ny 1\n{line}\nz 1\n"));
        assert_eq!((found.line, found.problem.as_str(), found.too_large), (3, problem, false), "{line}");
    }
    assert_eq!(error("x 1\ny 12").to_string(), "line 2: the page is cut off: its last line does not end");
    let cut = scraper().page(b"x 1\n", Some("application/openmetrics-text"), T).unwrap_err();
    assert_eq!(cut.to_string(), "line 1: the page is cut off: # EOF is missing");
    assert_eq!(scraper().page(b"x 1\n\xff 1\n", None, T).unwrap_err().line, 2);
}

#[test]
fn every_limit_names_the_line_that_exceeds_it() {
    let limits = PageLimits { body: 200, line: 60, samples: 3, labels: 2, name: 10, value: 5 };
    for (page, line) in [
        ("a 1\nb 1\nc 1\nd 1\n".to_owned(), 4),
        ("a{x=\"1\",y=\"2\",z=\"3\"} 1\n".to_owned(), 1),
        ("\nabcdefghijk 1\n".to_owned(), 2),
        ("a{abcdefghijk=\"1\"} 1\n".to_owned(), 1),
        ("a{x=\"123456\"} 1\n".to_owned(), 1),
        (format!("a 1\n# {}\n", "x".repeat(60)), 2),
        (format!("a 1\n{}", "# 345678\n".repeat(30)), 23),
    ] {
        let target = TargetInfo::default();
        let found = Scraper::new(target, limits).page(page.as_bytes(), None, T).unwrap_err();
        assert!(found.too_large, "{found}");
        assert_eq!(found.line, line, "{page}");
    }
}

#[test]
fn a_series_that_vanishes_says_so_once() {
    let mut scraper = scraper();
    let both = b"# TYPE g gauge\ng{a=\"1\"} 1\ng{a=\"2\"} 2\n";
    let one = b"# TYPE g gauge\ng{a=\"1\"} 1\n";
    scraper.page(both, None, T).unwrap();
    let second = rows(&scraper.page(one, None, T + 1).unwrap());
    assert!(find(&second, "g{a=2}").stale);
    assert_eq!((second.len(), scraper.stats().stale), (2, 1));
    assert_eq!(rows(&scraper.page(one, None, T + 2).unwrap()).len(), 1);
}

#[test]
fn a_counter_without_a_start_time_starts_anew_when_it_falls() {
    let mut scraper = scraper();
    let mut at = |value: u32, time: u64| {
        let page = format!("# TYPE c counter\nc {value}\n");
        rows(&scraper.page(page.as_bytes(), None, time).unwrap())[0].start
    };
    assert_eq!([at(5, 100), at(7, 200), at(1, 300), at(4, 400)], [100, 100, 200, 200]);
}

#[test]
fn a_new_process_start_time_is_a_new_start_even_if_no_counter_fell() {
    let mut scraper = scraper();
    let mut at = |started: u32, time: u64| {
        let page = format!("process_start_time_seconds {started}\n# TYPE c counter\nc 5\n");
        let rows = rows(&scraper.page(page.as_bytes(), None, time * 1_000_000_000).unwrap());
        find(&rows, "c{}").start / 1_000_000_000
    };
    assert_eq!([at(100, 110), at(100, 120), at(125, 130), at(125, 140)], [100, 100, 125, 125]);
}

#[test]
fn a_series_that_first_appears_on_a_later_page_began_after_the_page_before() {
    // So its whole first value is new, and no destination of deltas takes it for a baseline.
    let mut scraper = scraper();
    let mut at = |more: &str, time: u64| {
        let page = format!("process_start_time_seconds 100\n# TYPE c counter\nc{{k=\"a\"}} 5\n{more}");
        rows(&scraper.page(page.as_bytes(), None, time * 1_000_000_000).unwrap())
    };
    at("", 110);
    at("", 120);
    let third = at("c{k=\"b\"} 3\n", 130);
    assert_eq!(find(&third, "c{k=a}").start, 100_000_000_000);
    assert_eq!(find(&third, "c{k=b}").start, 120_000_000_000);
    assert_eq!(find(&at("c{k=\"b\"} 4\n", 140), "c{k=b}").start, 120_000_000_000);
}

#[test]
fn a_restart_is_a_new_instance_and_the_old_series_end() {
    let page = |started: u32, created: u32, value: u32| {
        format!(
            "process_start_time_seconds {started}\n# TYPE c_total counter\nc_total {value}\n\
             # TYPE c_created gauge\nc_created {created}\n"
        )
    };
    let mut scraper = scraper();
    let first = rows(&scraper.page(page(100, 101, 9).as_bytes(), None, T).unwrap());
    let second = rows(&scraper.page(page(200, 201, 1).as_bytes(), None, T + 1).unwrap());
    assert_eq!(find(&second, "c_total{}").start, 201_000_000_000);
    let (new, old): (Vec<_>, Vec<_>) = second.iter().partition(|r| r.instance != first[0].instance);
    assert!(new.iter().all(|r| !r.stale) && old.iter().all(|r| r.stale));
    assert_eq!((new.len(), old.len()), (2, 2));
}

#[test]
fn a_series_that_is_there_twice_counts_once() {
    let mut scraper = scraper();
    let rows = rows(&scraper.page(b"a{x=\"1\"} 1\na{x=\"1\"} 2\n", None, T).unwrap());
    assert_eq!((rows.len(), rows[0].value.as_str(), scraper.stats().duplicates), (1, "1.0", 1));
}

#[test]
fn no_cut_of_a_real_page_panics() {
    let page = corpus("scenario/metrics_prometheus.txt");
    for end in 0..page.len().min(6000) {
        let _ = scraper().page(&page[..end], None, T);
    }
}

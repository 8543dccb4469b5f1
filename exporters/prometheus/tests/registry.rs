//! What is remembered from batch to batch, and what is dropped with which reason.

use crate::build::*;
use muxbridge_exporter_prometheus::encode::{Format, Ingested, Options, Registry};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};

const NOW: u64 = T0 + 10 * SECOND;

fn dropped(ingested: &Ingested) -> Vec<(&'static str, u64)> {
    ingested.dropped().collect()
}

fn line(registry: &mut Registry, format: Format, name: &str) -> Option<String> {
    let page = text(registry, format);
    page.lines().find(|l| l.starts_with(name)).map(str::to_owned)
}

fn delta(start: u64, end: u64, value: i64) -> Metric {
    counter("c", DELTA, during(start, end, int(value, &[])))
}

#[test]
fn deltas_add_up_to_a_total_since_their_first_start() {
    let mut registry = Registry::new(options());
    for (start, end, value) in [(0, 10, 5), (10, 20, 7), (30, 40, 1)] {
        assert_eq!(registry.ingest(&batch(vec![delta(start, end, value)]), NOW).kept, 1);
    }
    assert_eq!(line(&mut registry, Format::Text, "c_total").unwrap(), "c_total 13");
    assert_eq!(line(&mut registry, Format::OpenMetrics, "c_created").unwrap(), "c_created 1767225600");
}

#[test]
fn a_delta_that_was_overtaken_counts_and_one_that_comes_twice_does_not() {
    let mut registry = Registry::new(options());
    for (start, end, value) in [(10, 20, 5), (0, 10, 2), (30, 40, 100), (20, 30, 20)] {
        let ingested = registry.ingest(&batch(vec![delta(start, end, value)]), NOW);
        assert_eq!((ingested.kept, dropped(&ingested)), (1, vec![]), "{start} to {end}");
    }
    for (start, end, value) in [(20, 30, 20), (30, 40, 100), (0, 10, 2)] {
        let ingested = registry.ingest(&batch(vec![delta(start, end, value)]), NOW);
        assert_eq!(dropped(&ingested), [("out_of_order", 1)], "{start} to {end}");
    }
    assert_eq!(line(&mut registry, Format::Text, "c_total").unwrap(), "c_total 127");
}

#[test]
fn deltas_of_histograms_add_up_by_bucket_and_start_anew_with_other_bounds() {
    let mut registry = Registry::new(options());
    let mut point = buckets(&[1.0, 2.0], &[1, 0, 2], Some(9.0));
    registry.ingest(&batch(vec![histogram("h", DELTA, point.clone())]), NOW);
    point.start_time_unix_nano = point.time_unix_nano;
    point.time_unix_nano += SECOND;
    registry.ingest(&batch(vec![histogram("h", DELTA, point.clone())]), NOW);
    assert_eq!(
        text(&mut registry, Format::Text),
        "# TYPE h histogram\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"2.0\"} 2\nh_bucket{le=\"+Inf\"} 6\nh_sum 18\nh_count 6\n"
    );
    point.start_time_unix_nano = point.time_unix_nano;
    point.time_unix_nano += SECOND;
    point.explicit_bounds = vec![1.0, 3.0];
    registry.ingest(&batch(vec![histogram("h", DELTA, point)]), NOW);
    assert_eq!(line(&mut registry, Format::Text, "h_count").unwrap(), "h_count 3");
    assert_eq!(line(&mut registry, Format::OpenMetrics, "h_created").unwrap(), "h_created 1767225602");
}

#[test]
fn deltas_of_exponential_histograms_add_up_at_the_coarser_scale() {
    let mut registry = Registry::new(options());
    let mut point = exponential(1, 1, (0, &[1, 1]), (0, &[]));
    registry.ingest(&batch(vec![exponential_metric("h", DELTA, point.clone())]), NOW);
    point.start_time_unix_nano = point.time_unix_nano;
    point.time_unix_nano += SECOND;
    point.scale = 0;
    registry.ingest(&batch(vec![exponential_metric("h", DELTA, point)]), NOW);
    // At scale 0 the first point has both values in index 0, up to 2; the second has one there and one up to 4.
    assert_eq!(
        text(&mut registry, Format::Text),
        "# TYPE h histogram\nh_bucket{le=\"0.0\"} 2\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"2.0\"} 5\n\
         h_bucket{le=\"4.0\"} 6\nh_bucket{le=\"+Inf\"} 6\nh_sum 3\nh_count 6\n"
    );
}

#[test]
fn a_cumulative_value_replaces_the_one_before_unless_it_is_older() {
    let mut registry = Registry::new(options());
    let at = |end, value| batch(vec![counter("c", CUMULATIVE, during(0, end, int(value, &[])))]);
    registry.ingest(&at(20, 9), NOW);
    assert_eq!(registry.ingest(&at(20, 9), NOW).kept, 1, "the same point again is no mistake");
    assert_eq!(dropped(&registry.ingest(&at(10, 4), NOW)), [("out_of_order", 1)]);
    assert_eq!(line(&mut registry, Format::Text, "c_total").unwrap(), "c_total 9");
    registry.ingest(&at(30, 1), NOW);
    assert_eq!(
        line(&mut registry, Format::Text, "c_total").unwrap(),
        "c_total 1",
        "a restart is shown as it is"
    );
}

#[test]
fn a_series_leaves_when_it_expires_or_says_that_it_has_no_value() {
    let mut registry = Registry::new(options());
    let resource = [("service.name", "a"), ("host", "h")];
    registry.ingest(
        &scoped(&resource, None, vec![gauge("g", vec![int(1, &[("k", "1")]), int(2, &[("k", "2")])])]),
        NOW,
    );
    let gone = NumberDataPoint { flags: 1, value: None, ..int(0, &[("k", "1")]) };
    let ingested = registry.ingest(&scoped(&resource, None, vec![gauge("g", vec![gone])]), NOW);
    assert_eq!((ingested.kept, registry.series()), (1, 1));
    let five_minutes = 300 * SECOND;
    let page = |registry: &mut Registry, at| String::from_utf8(registry.render(Format::Text, at)).unwrap();
    assert!(page(&mut registry, NOW + five_minutes).contains("g{job=\"a\",k=\"2\"} 2"));
    assert_eq!(page(&mut registry, NOW + five_minutes + 1), "", "and target_info with it");
    assert_eq!(registry.series(), 0);
    // Its name is free for another type again.
    assert_eq!(registry.ingest(&batch(vec![summary("g", 1, 1.0, &[])]), NOW).kept, 1);
}

#[test]
fn one_name_has_one_type_and_the_later_metric_is_dropped_and_counted() {
    let mut registry = Registry::new(options());
    let ingested = registry.ingest(
        &batch(vec![
            gauge("a", vec![int(1, &[])]),
            summary("a", 2, 2.0, &[]),
            histogram("h", CUMULATIVE, buckets(&[], &[1], None)),
            gauge("h.count", vec![int(3, &[])]),
            gauge("target.info", vec![int(4, &[])]),
        ]),
        NOW,
    );
    assert_eq!((ingested.kept, dropped(&ingested)), (2, vec![("name_conflict", 3)]));
    assert_eq!(
        text(&mut registry, Format::Text),
        "# TYPE a gauge\na 1\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\n"
    );
}

#[test]
fn what_only_openmetrics_cannot_hold_stays_in_the_text_format_and_is_counted() {
    let mut registry = Registry::new(options());
    let metrics = vec![gauge("x", vec![int(1, &[])]), counter("x", CUMULATIVE, int(2, &[]))];
    let ingested = registry.ingest(&batch(metrics), NOW);
    assert_eq!(ingested.adjusted().collect::<Vec<_>>(), [("only_in_text", 1)]);
    assert_eq!(text(&mut registry, Format::Text), "# TYPE x gauge\nx 1\n# TYPE x_total counter\nx_total 2\n");
    assert_eq!(text(&mut registry, Format::OpenMetrics), "# TYPE x gauge\nx 1\n# EOF\n");
}

#[test]
fn series_beyond_the_limit_are_dropped_and_counted_and_known_ones_go_on() {
    let mut registry = Registry::new(Options { max_series: 2, ..options() });
    let points = |value| ["1", "2", "3"].map(|k| int(value, &[("k", k)])).to_vec();
    let ingested = registry.ingest(&batch(vec![gauge("g", points(1))]), NOW);
    assert_eq!((ingested.kept, dropped(&ingested)), (2, vec![("series_limit", 1)]));
    let ingested =
        registry.ingest(&batch(vec![gauge("g", points(5)), gauge("other", vec![int(1, &[])])]), NOW);
    assert_eq!((ingested.kept, dropped(&ingested)), (2, vec![("series_limit", 2)]));
    assert_eq!(text(&mut registry, Format::Text), "# TYPE g gauge\ng{k=\"1\"} 5\ng{k=\"2\"} 5\n");
}

#[test]
fn what_has_no_place_on_a_page_is_dropped_with_its_reason() {
    let none = NumberDataPoint::default();
    let mut short = buckets(&[1.0], &[1, 2], None);
    short.bucket_counts.pop();
    let mut lying = buckets(&[1.0], &[1, 2], None);
    lying.count = 7;
    let falling = buckets(&[2.0, 1.0], &[1, 1, 1], None);
    let many: Vec<f64> = (0..1025).map(f64::from).collect();
    let many = buckets(&many, &vec![1; 1026], None);
    let cases = vec![
        ("malformed", counter("c", CUMULATIVE, int(-1, &[]))),
        ("malformed", counter("c", CUMULATIVE, double(f64::NAN, &[]))),
        ("malformed", gauge("", vec![int(1, &[])])),
        ("malformed", histogram("h", CUMULATIVE, short)),
        ("malformed", histogram("h", CUMULATIVE, lying)),
        ("malformed", histogram("h", CUMULATIVE, falling)),
        ("malformed", summary("s", 1, 1.0, &[(1.5, 1.0)])),
        ("too_many_buckets", histogram("h", CUMULATIVE, many)),
        ("no_value", gauge("g", vec![none])),
        ("no_temporality", counter("c", 0, int(1, &[]))),
        ("no_temporality", histogram("h", 0, buckets(&[], &[1], None))),
        ("delta_not_monotonic", metric("d", "", "", sum_data(DELTA, false, vec![int(1, &[])]))),
        ("labels_too_large", gauge("g", vec![int(1, &[("k", &"x".repeat(16 << 10))])])),
    ];
    for (reason, metric) in cases {
        let mut registry = Registry::new(options());
        let ingested = registry.ingest(&batch(vec![metric.clone()]), NOW);
        assert_eq!((ingested.kept, dropped(&ingested)), (0, vec![(reason, 1)]), "{metric:?}");
        assert_eq!(text(&mut registry, Format::OpenMetrics), "# EOF\n", "{metric:?}");
    }
}

#[test]
fn types_that_a_page_of_another_exporter_had_come_back() {
    let typed =
        |kind: &str, metric: Metric| Metric { metadata: attributes(&[("prometheus.type", kind)]), ..metric };
    let build = metric("build_info", "", "", sum_data(CUMULATIVE, false, vec![int(1, &[("version", "1")])]));
    let batch = batch(vec![typed("info", build), typed("unknown", gauge("u", vec![int(3, &[])]))]);
    assert_eq!(
        page(options(), &batch, Format::OpenMetrics),
        "# TYPE build info\nbuild_info{version=\"1\"} 1\n# TYPE u unknown\nu 3\n# EOF\n"
    );
    assert_eq!(
        page(options(), &batch, Format::Text),
        "# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n# TYPE u untyped\nu 3\n"
    );
}

#[test]
fn names_that_belong_to_somebody_else_on_the_page_are_dropped() {
    let mut registry = Registry::new(Options { reserved_prefix: Some("muxbridge_"), ..options() });
    let ingested = registry.ingest(&batch(vec![gauge("muxbridge.dropped", vec![int(1, &[])])]), NOW);
    assert_eq!(dropped(&ingested), [("name_conflict", 1)]);
}

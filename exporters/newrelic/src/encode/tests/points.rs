//! Metrics and data points.

use super::*;
use muxbridge_testkit::oracle::metrics::v1::metric::Data;
use muxbridge_testkit::oracle::metrics::v1::summary_data_point::ValueAtQuantile;
use muxbridge_testkit::oracle::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, NumberDataPoint, Sum, Summary, SummaryDataPoint, number_data_point,
};

const NAME: &str = "modelmuxer_tokens_total";

fn point(value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        start_time_unix_nano: T0,
        time_unix_nano: T0 + 10_000_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        attributes,
        ..NumberDataPoint::default()
    }
}

fn metric(data: Data) -> Metric {
    Metric { name: NAME.into(), unit: "{token}".into(), data: Some(data), ..Metric::default() }
}

fn sum(temporality: i32, monotonic: bool, points: Vec<NumberDataPoint>) -> Metric {
    metric(Data::Sum(Sum {
        data_points: points,
        aggregation_temporality: temporality,
        is_monotonic: monotonic,
    }))
}

fn metrics(mut request: oracle::ExportMetricsServiceRequest) -> Vec<Metric> {
    request.resource_metrics.remove(0).scope_metrics.remove(0).metrics
}

fn dropped(counts: &Counts) -> Vec<(&'static str, u64)> {
    counts.dropped().collect()
}

// V23
#[test]
fn attributes_named_like_a_column_or_the_metric_are_renamed() {
    let list = vec![text("timestamp", "1"), text("entity.guid", "2"), text(NAME, "3"), text("a-b", "4")];
    let (out, counts) = limited_metric(vec![text(NAME, "r")], sum(1, true, vec![point(1.0, list)]));
    let resource = out.resource_metrics[0].resource.clone().unwrap();
    assert_eq!(resource.attributes, [text("mm.modelmuxer_tokens_total", "r")]);
    let Some(Data::Sum(out)) = metrics(out).remove(0).data else { panic!() };
    let expected = [text("mm.timestamp", "1"), text("mm.modelmuxer_tokens_total", "3"), text("a_b", "4")];
    assert_eq!(out.data_points[0].attributes, expected);
    let expected = [("key_characters", 1), ("reserved_removed", 1), ("reserved_renamed", 3)];
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), expected);
}

#[test]
fn what_new_relic_refuses_is_dropped_and_counted() {
    let summary = Summary { data_points: vec![SummaryDataPoint::default(); 2] };
    for (metric, reason, n) in [
        (metric(Data::Summary(summary)), "no_time", 2),
        (sum(1, false, vec![point(1.0, vec![])]), "delta_non_monotonic", 1),
        (sum(0, true, vec![point(1.0, vec![])]), "no_temporality", 1),
        (sum(1, true, vec![point(f64::NAN, vec![])]), "not_finite", 1),
        (sum(2, false, vec![NumberDataPoint { value: None, ..point(1.0, vec![]) }]), "no_value", 1),
        (sum(2, false, vec![NumberDataPoint { flags: 1, ..point(1.0, vec![]) }]), "no_value", 1),
        (sum(2, false, vec![NumberDataPoint { time_unix_nano: 0, ..point(1.0, vec![]) }]), "no_time", 1),
        (Metric { name: String::new(), ..sum(1, true, vec![point(1.0, vec![])]) }, "no_name", 1),
    ] {
        let (out, counts) = limited_metric(vec![], metric);
        assert_eq!(metrics(out), [], "{reason}");
        assert_eq!(dropped(&counts), [(reason, n)]);
    }
}

#[test]
fn a_summary_becomes_two_sums_and_a_gauge_over_otlp_and_is_left_out_of_the_metric_api() {
    let quantile = |quantile, value| ValueAtQuantile { quantile, value };
    let point = SummaryDataPoint {
        attributes: vec![text("route", "chat"), text("timestamp", "1")],
        start_time_unix_nano: T0 - 60_000_000_000,
        time_unix_nano: T0,
        count: 7,
        sum: 1.5,
        quantile_values: vec![quantile(0.5, 0.2), quantile(0.99, 0.4), quantile(1.0, f64::NAN)],
        ..SummaryDataPoint::default()
    };
    let gone = SummaryDataPoint { flags: 1, ..point.clone() };
    let summary = metric(Data::Summary(Summary { data_points: vec![point, gone] }));
    let (out, counts) = limited_metric(vec![], summary.clone());
    let [count, sum, gauge] = metrics(out).try_into().unwrap();
    let names = [&count, &sum, &gauge].map(|m| m.name.clone());
    assert_eq!(names, [format!("{NAME}_count"), format!("{NAME}_sum"), NAME.to_owned()]);
    for (metric, value) in
        [(count, number_data_point::Value::AsInt(7)), (sum, number_data_point::Value::AsDouble(1.5))]
    {
        let Some(Data::Sum(sum)) = metric.data else { panic!() };
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
        let [point] = sum.data_points.try_into().unwrap();
        assert_eq!((point.value, point.start_time_unix_nano), (Some(value), T0 - 60_000_000_000));
        assert_eq!(point.attributes, [text("route", "chat"), text("mm.timestamp", "1")]);
    }
    let Some(Data::Gauge(gauge)) = gauge.data else { panic!() };
    let of = |p: &NumberDataPoint| (p.attributes[2].clone(), p.value);
    let expected = [("0.5", 0.2), ("0.99", 0.4)];
    let expected = expected.map(|(q, v)| (text("quantile", q), Some(number_data_point::Value::AsDouble(v))));
    assert_eq!(gauge.data_points.iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(dropped(&counts), [("no_value", 1)]);
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("reserved_renamed", 1), ("summary_to_sums", 1)]);
    // The Metric API knows nothing that is cumulative.
    let mut counts = Counts::default();
    let batch = batch_of_metric(vec![], summary);
    assert_eq!(crate::encode::metric_api(&batch, &PLAIN, &mut counts), b"[]");
    assert_eq!(dropped(&counts), [("summary", 2)]);
}

#[test]
fn one_bad_point_does_not_take_the_good_ones_with_it() {
    let gauge = Gauge { data_points: vec![point(f64::INFINITY, vec![]), point(3.0, vec![])] };
    let (out, counts) = limited_metric(vec![], metric(Data::Gauge(gauge)));
    let expected = metric(Data::Gauge(Gauge { data_points: vec![point(3.0, vec![])] }));
    assert_eq!(metrics(out), [expected]);
    assert_eq!(dropped(&counts), [("not_finite", 1)]);
}

#[test]
fn a_delta_always_has_a_window() {
    let without = NumberDataPoint { start_time_unix_nano: 0, ..point(1.0, vec![]) };
    let (out, counts) = limited_metric(vec![], sum(1, true, vec![without.clone()]));
    let Some(Data::Sum(sum_out)) = metrics(out).remove(0).data else { panic!() };
    assert_eq!(sum_out.data_points[0].start_time_unix_nano, T0 + 9_999_000_000);
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), [("start_time", 1)]);
    // A sum that also falls is a gauge: it needs none.
    let (_, counts) = limited_metric(vec![], sum(2, false, vec![without]));
    assert_eq!(counts, Counts::default());
}

#[test]
fn a_row_has_at_most_100_attributes_of_point_scope_and_resource_and_names_254_characters() {
    let many =
        |n: usize, prefix: &str| (0..n).map(|i| text(&format!("{prefix}{i}"), "v")).collect::<Vec<_>>();
    let mut input = sum(1, true, vec![point(1.0, many(70, "p"))]);
    input.name = "n".repeat(300);
    let (out, counts) = limited_metric(many(10, "r"), input.clone());
    let Some(Data::Sum(sum_out)) = metrics(out.clone()).remove(0).data else { panic!() };
    assert_eq!(sum_out.data_points[0].attributes.len(), 64);
    assert_eq!(metrics(out)[0].name, "n".repeat(254));
    let expected = [("attribute_pruned", 6), ("name_truncated", 1)];
    assert_eq!(counts.adjusted().collect::<Vec<_>>(), expected);
    let (out, _) = limited_metric(many(64, "r"), input);
    let Some(Data::Sum(sum_out)) = metrics(out).remove(0).data else { panic!() };
    assert_eq!(sum_out.data_points[0].attributes.len(), 36);
}

#[test]
fn a_histogram_keeps_everything_when_one_attribute_changes() {
    let histogram = |attributes| {
        metric(Data::Histogram(Histogram {
            aggregation_temporality: 1,
            data_points: vec![HistogramDataPoint {
                attributes,
                start_time_unix_nano: T0,
                time_unix_nano: T0 + 10_000_000_000,
                count: 3,
                sum: Some(1.062),
                explicit_bounds: vec![0.1, 1.0],
                bucket_counts: vec![1, 1, 1],
                min: Some(0.05),
                max: Some(2.0),
                ..HistogramDataPoint::default()
            }],
        }))
    };
    let (out, _) = limited_metric(vec![], histogram(vec![text("count", "x")]));
    assert_eq!(metrics(out), [histogram(vec![text("mm.count", "x")])]);
}

#[test]
fn the_unit_and_the_description_have_the_limit_of_values() {
    let good = || sum(1, true, vec![point(1.0, vec![])]);
    let (out, _) = limited_metric(vec![], Metric { unit: "u".repeat(5000), ..good() });
    assert_eq!(metrics(out), [Metric { unit: "u".repeat(4095), ..good() }]);
    let (out, _) = limited_metric(vec![], Metric { description: "d".repeat(5000), ..good() });
    assert_eq!(metrics(out), [Metric { description: "d".repeat(4095), ..good() }]);
}

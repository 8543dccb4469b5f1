//! Histograms: exact weights, honest bounds, every mode and dialect.

use crate::build::*;
use crate::parser::{Parsed, message};
use muxbridge_exporter_statsd::encode::{Dialect, HistogramMode};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, HistogramDataPoint, metric::Data,
};

fn example() -> HistogramDataPoint {
    HistogramDataPoint {
        explicit_bounds: vec![0.64, 1.28, 2.56],
        bucket_counts: vec![0, 3, 10, 1],
        count: 14,
        sum: Some(22.5),
        min: Some(0.7),
        max: Some(3.1),
        attributes: attributes(&[("service", "mm")]),
        ..Default::default()
    }
}

fn parse(lines: &[String]) -> Vec<Parsed> {
    lines.iter().map(|l| message(l).unwrap()).collect()
}

/// The sum of the weights of all values.
fn weight(lines: &[Parsed]) -> u64 {
    lines.iter().map(|l| l.weight() * l.values.len() as u64).sum()
}

#[test]
fn buckets_become_values_spread_over_them_with_their_exact_weight() {
    let mut options = options(Dialect::Dogstatsd);
    options.samples_per_bucket = 4;
    let (lines, counts) = lines(&options, vec![histogram("lat", example())]);
    assert_eq!(
        lines,
        [
            "lat:0.774076:0.946573:1.15751|d|#service:mm",
            "lat:1.39585:1.65995|d|@0.3333333333333333|#service:mm",
            "lat:1.97403:2.34753|d|@0.5|#service:mm",
            "lat:2.81709|d|#service:mm",
        ]
    );
    assert_eq!(weight(&parse(&lines)), 14);
    assert_eq!(counts.encoded, 1);
}

#[test]
fn no_count_is_lost_or_invented_whatever_its_size() {
    for count in [1, 7, 8, 9, 93, 744, 99_999, 799_999, 800_001, 5_000_000, 123_456_789, 10_000_000_000] {
        let point = HistogramDataPoint {
            explicit_bounds: vec![1.0, 2.0],
            bucket_counts: vec![0, count, 0],
            count,
            ..Default::default()
        };
        let (lines, _) = lines(&options(Dialect::Dogstatsd), vec![histogram("h", point)]);
        let parsed = parse(&lines);
        assert_eq!(weight(&parsed), count);
        assert!(parsed.iter().flat_map(|l| &l.values).all(|v| (1.0..=2.0).contains(v)));
    }
}

#[test]
fn other_servers_get_timers_with_one_value_in_a_line() {
    let mut options = options(Dialect::Etsy);
    options.samples_per_bucket = 1;
    let (lines, _) = lines(&options, vec![histogram("lat", example())]);
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|l| l.contains("|ms") && l.split('|').next().unwrap().split(':').count() == 2));
    options.samples_per_bucket = 8;
    let (many, _) = crate::build::lines(&options, vec![histogram("lat", example())]);
    assert_eq!(many.len(), 3 + 8 + 1);
    assert!(!many.concat().contains("|d"), "etsy counts d as a counter");
}

#[test]
fn a_value_is_a_timer_for_etsy_and_a_distribution_for_the_agent() {
    let point = || HistogramDataPoint { count: 1, min: Some(12.25), max: Some(12.25), ..Default::default() };
    let one = |dialect| lines(&options(dialect), vec![histogram("lat", point())]).0;
    assert_eq!(one(Dialect::Etsy), ["lat:12.25|ms"]);
    assert_eq!(one(Dialect::Dogstatsd), ["lat:12.25|d"]);
}

#[test]
fn counters_carry_the_bounds_of_their_bucket() {
    let mut options = options(Dialect::Dogstatsd);
    options.histograms = HistogramMode::Counters;
    let point = HistogramDataPoint {
        explicit_bounds: vec![0.0, 0.25, 5.0],
        bucket_counts: vec![1, 2, 0, 4],
        count: 7,
        ..Default::default()
    };
    let (lines, _) = lines(&options, vec![histogram("h", point)]);
    assert_eq!(
        lines,
        [
            "h.bucket:1|c|#lower_bound:-inf,upper_bound:0",
            "h.bucket:2|c|#lower_bound:0,upper_bound:0.25",
            "h.bucket:4|c|#lower_bound:5.0,upper_bound:inf",
        ]
    );
}

#[test]
fn aggregates_are_exact() {
    let mut options = options(Dialect::Dogstatsd);
    options.histograms = HistogramMode::Nobuckets;
    let (lines, _) = lines(&options, vec![histogram("h", example())]);
    assert_eq!(
        lines,
        [
            "h.count:14|c|#service:mm",
            "h.sum:22.5|c|#service:mm",
            "h.min:0.7|g|#service:mm",
            "h.max:3.1|g|#service:mm"
        ]
    );
}

#[test]
fn a_histogram_without_buckets_uses_what_it_knows() {
    let one = |point| lines(&options(Dialect::Dogstatsd), vec![histogram("h", point)]).0;
    let mean = HistogramDataPoint { count: 4, sum: Some(10.0), ..Default::default() };
    assert_eq!(one(mean), ["h:2.5|d|@0.25"]);
    let range = HistogramDataPoint { count: 2, min: Some(1.0), max: Some(16.0), ..Default::default() };
    assert_eq!(one(range), ["h:2:8|d"]);
    assert!(one(HistogramDataPoint::default()).is_empty());
}

#[test]
fn open_buckets_get_an_end_when_the_extremes_are_unknown() {
    let point = |counts: &[u64], bounds: &[f64]| HistogramDataPoint {
        explicit_bounds: bounds.to_vec(),
        bucket_counts: counts.to_vec(),
        count: counts.iter().sum(),
        ..Default::default()
    };
    let one = |p| lines(&options(Dialect::Dogstatsd), vec![histogram("h", p)]).0;
    // sqrt(5 * 10) and sqrt(20 * 40).
    assert_eq!(one(point(&[1, 0, 1], &[10.0, 20.0])), ["h:7.07107|d", "h:28.2843|d"]);
    assert_eq!(one(point(&[1, 1], &[0.0])), ["h:0|d", "h:0|d"]);
    // Up to a bound from zero the values are spread evenly.
    assert_eq!(one(point(&[0, 2, 0], &[0.0, 8.0])), ["h:2:6|d"]);
}

#[test]
fn contradicting_buckets_are_left_out_and_counted() {
    let bad = [
        (vec![1.0, 2.0], vec![1, 1]),
        (vec![2.0, 1.0], vec![1, 1, 1]),
        (vec![f64::NAN], vec![1, 1]),
        (vec![], vec![1, 1]),
    ];
    let metrics = bad.map(|(explicit_bounds, bucket_counts)| {
        histogram("h", HistogramDataPoint { explicit_bounds, bucket_counts, count: 2, ..Default::default() })
    });
    let (lines, counts) = lines(&options(Dialect::Dogstatsd), metrics.to_vec());
    assert!(lines.is_empty());
    assert_eq!(counts.malformed, 4);
}

fn exponential(point: ExponentialHistogramDataPoint) -> (Vec<String>, u64) {
    let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: DELTA };
    let metric = metric("e", Data::ExponentialHistogram(data));
    let (lines, counts) = lines(&options(Dialect::Dogstatsd), vec![metric]);
    (lines, counts.malformed)
}

#[test]
fn exponential_buckets_are_replayed_by_their_bounds() {
    let (lines, _) = exponential(ExponentialHistogramDataPoint {
        scale: 0,
        count: 7,
        zero_count: 2,
        positive: Some(Buckets { offset: 1, bucket_counts: vec![1, 0, 3] }),
        negative: Some(Buckets { offset: 0, bucket_counts: vec![1] }),
        ..Default::default()
    });
    let parsed = parse(&lines);
    assert_eq!(weight(&parsed), 7);
    // -sqrt(1*2); zero, twice; sqrt(2*4); three values between 8 and 16.
    assert_eq!(lines[..3], ["e:-1.41421|d", "e:0|d|@0.5", "e:2.82843|d"]);
    assert!(parsed[3].values.iter().all(|v| (8.0..=16.0).contains(v)) && parsed[3].values.len() == 3);
}

#[test]
fn exponential_buckets_outside_of_all_doubles_are_left_out_and_counted() {
    let point = |scale, offset| ExponentialHistogramDataPoint {
        scale,
        count: 1,
        positive: Some(Buckets { offset, bucket_counts: vec![1] }),
        ..Default::default()
    };
    assert_eq!(exponential(point(-10, 1000)), (vec![], 1));
    assert_eq!(exponential(point(i32::MIN, 1)), (vec![], 1));
    assert_eq!(exponential(point(20, 0)), (vec!["e:1|d".to_owned()], 0));
}

//! Every view against what `opentelemetry-proto` reads from the same bytes.

use crate::random::Random;
use muxbridge_pdata::view::{self, AnyValue, MetricData, Number, text};
use muxbridge_pdata::wire::Fields;
use muxbridge_pdata::{Limits, Signal, validate};
use opentelemetry_proto::tonic::common::v1 as proto;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::{exemplar, metric::Data, number_data_point};
use prost::Message;

/// Checks that two sequences are equal element by element, and equally long.
fn zip<A, B>(ours: impl Iterator<Item = A>, theirs: &[B], check: impl Fn(A, &B)) {
    let ours: Vec<A> = ours.collect();
    assert_eq!(ours.len(), theirs.len());
    ours.into_iter().zip(theirs).for_each(|(a, b)| check(a, b));
}

fn value(ours: AnyValue<'_>, theirs: Option<&proto::AnyValue>) {
    match (ours, theirs.and_then(|v| v.value.as_ref())) {
        // References into a string table exist only in profiles.
        (AnyValue::Empty, None | Some(Value::StringValueStrindex(_))) => {}
        (AnyValue::String(a), Some(Value::StringValue(b))) => assert_eq!(text(a), b),
        (AnyValue::Bool(a), Some(Value::BoolValue(b))) => assert_eq!(a, *b),
        (AnyValue::Int(a), Some(Value::IntValue(b))) => assert_eq!(a, *b),
        (AnyValue::Double(a), Some(Value::DoubleValue(b))) => assert_eq!(a.to_bits(), b.to_bits()),
        (AnyValue::Bytes(a), Some(Value::BytesValue(b))) => assert_eq!(a, b),
        (AnyValue::Array(a), Some(Value::ArrayValue(b))) => {
            zip(a.values(), &b.values, |a, b| value(a, Some(b)));
        }
        (AnyValue::KvList(a), Some(Value::KvlistValue(b))) => attributes(a.values(), &b.values),
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

fn attributes<'a>(ours: impl Iterator<Item = view::KeyValue<'a>>, theirs: &[proto::KeyValue]) {
    zip(ours, theirs, |a, b| {
        assert_eq!(text(a.key), b.key);
        value(a.value, b.value.as_ref());
    });
}

fn around(
    resource: &view::ResourceItems<'_>,
    theirs: Option<&opentelemetry_proto::tonic::resource::v1::Resource>,
    schema_url: &str,
) {
    assert_eq!(text(resource.schema_url), schema_url);
    attributes(resource.resource.attributes(), theirs.map_or(&[], |r| &r.attributes));
}

fn scope(ours: &view::ScopeItems<'_>, theirs: Option<&proto::InstrumentationScope>, schema_url: &str) {
    assert_eq!(text(ours.schema_url()), schema_url);
    let theirs = theirs.cloned().unwrap_or_default();
    assert_eq!(text(ours.scope.name), theirs.name);
    assert_eq!(text(ours.scope.version), theirs.version);
    attributes(ours.scope.attributes(), &theirs.attributes);
}

#[test]
fn views_of_spans_read_what_protobuf_reads() {
    for seed in 0..1000 {
        let theirs = Random::new(seed, seed % 5 == 0).traces();
        let wire = theirs.encode_to_vec();
        let count = theirs.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
        assert_eq!(validate(Signal::Traces, &wire, Limits::default()), Ok(count));
        zip(view::resources(&wire), &theirs.resource_spans, |a, b| {
            around(&a, b.resource.as_ref(), &b.schema_url);
            zip(a.scopes(), &b.scope_spans, |a, b| {
                scope(&a, b.scope.as_ref(), &b.schema_url);
                zip(a.spans(), &b.spans, |a, b| {
                    assert_eq!((a.trace_id, a.span_id), (&b.trace_id[..], &b.span_id[..]));
                    assert_eq!(a.parent_span_id, b.parent_span_id);
                    assert_eq!((text(a.trace_state), text(a.name)), (&b.trace_state[..], &b.name[..]));
                    assert_eq!(a.kind as i32, if b.kind > 5 { 0 } else { b.kind });
                    assert_eq!((a.start, a.end), (b.start_time_unix_nano, b.end_time_unix_nano));
                    assert_eq!(a.dropped_attributes_count, b.dropped_attributes_count);
                    assert_eq!(a.dropped_events_count, b.dropped_events_count);
                    assert_eq!(a.dropped_links_count, b.dropped_links_count);
                    assert_eq!(a.flags, b.flags);
                    let status = b.status.clone().unwrap_or_default();
                    assert_eq!(
                        (text(a.status.message), a.status.code as i32),
                        (&status.message[..], status.code)
                    );
                    attributes(a.attributes(), &b.attributes);
                    zip(a.events(), &b.events, |a, b| {
                        assert_eq!((a.time, text(a.name)), (b.time_unix_nano, &b.name[..]));
                        assert_eq!(a.dropped_attributes_count, b.dropped_attributes_count);
                        attributes(a.attributes(), &b.attributes);
                    });
                    zip(a.links(), &b.links, |a, b| {
                        assert_eq!((a.trace_id, a.span_id), (&b.trace_id[..], &b.span_id[..]));
                        assert_eq!((text(a.trace_state), a.flags), (&b.trace_state[..], b.flags));
                        assert_eq!(a.dropped_attributes_count, b.dropped_attributes_count);
                        attributes(a.attributes(), &b.attributes);
                    });
                });
            });
        });
    }
}

#[test]
fn views_of_log_records_read_what_protobuf_reads() {
    for seed in 0..1000 {
        let theirs = Random::new(seed, seed % 5 == 0).logs();
        let wire = theirs.encode_to_vec();
        let count =
            theirs.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum();
        assert_eq!(validate(Signal::Logs, &wire, Limits::default()), Ok(count));
        zip(view::resources(&wire), &theirs.resource_logs, |a, b| {
            around(&a, b.resource.as_ref(), &b.schema_url);
            zip(a.scopes(), &b.scope_logs, |a, b| {
                scope(&a, b.scope.as_ref(), &b.schema_url);
                zip(a.logs(), &b.log_records, |a, b| {
                    assert_eq!((a.time, a.observed_time), (b.time_unix_nano, b.observed_time_unix_nano));
                    assert_eq!(
                        (a.severity_number, text(a.severity_text)),
                        (b.severity_number, &b.severity_text[..])
                    );
                    assert_eq!((a.trace_id, a.span_id), (&b.trace_id[..], &b.span_id[..]));
                    assert_eq!(a.dropped_attributes_count, b.dropped_attributes_count);
                    assert_eq!((a.flags, text(a.event_name)), (b.flags, &b.event_name[..]));
                    value(a.body, b.body.as_ref());
                    attributes(a.attributes(), &b.attributes);
                });
            });
        });
    }
}

#[test]
fn views_of_data_points_read_what_protobuf_reads() {
    for seed in 0..1000 {
        let theirs = Random::new(seed, seed % 5 == 0).metrics();
        let wire = theirs.encode_to_vec();
        assert!(validate(Signal::Metrics, &wire, Limits::default()).is_ok());
        zip(view::resources(&wire), &theirs.resource_metrics, |a, b| {
            around(&a, b.resource.as_ref(), &b.schema_url);
            zip(a.scopes(), &b.scope_metrics, |a, b| {
                scope(&a, b.scope.as_ref(), &b.schema_url);
                zip(a.metrics(), &b.metrics, metric);
            });
        });
    }
}

fn metric(ours: view::Metric<'_>, theirs: &metrics::Metric) {
    assert_eq!(text(ours.name), theirs.name);
    assert_eq!(text(ours.description), theirs.description);
    assert_eq!(text(ours.unit), theirs.unit);
    attributes(ours.metadata(), &theirs.metadata);
    let known = |temporality: i32| if temporality > 2 { 0 } else { temporality };
    match (ours.data, &theirs.data) {
        (None, None) => {}
        (Some(MetricData::Gauge { points }), Some(Data::Gauge(b))) => {
            zip(points, &b.data_points, number_point)
        }
        (Some(MetricData::Sum { points, temporality, monotonic }), Some(Data::Sum(b))) => {
            assert_eq!((temporality as i32, monotonic), (known(b.aggregation_temporality), b.is_monotonic));
            zip(points, &b.data_points, number_point);
        }
        (Some(MetricData::Histogram { points, temporality }), Some(Data::Histogram(b))) => {
            assert_eq!(temporality as i32, known(b.aggregation_temporality));
            zip(points, &b.data_points, histogram_point);
        }
        (
            Some(MetricData::ExponentialHistogram { points, temporality }),
            Some(Data::ExponentialHistogram(b)),
        ) => {
            assert_eq!(temporality as i32, known(b.aggregation_temporality));
            zip(points, &b.data_points, exponential_point);
        }
        (Some(MetricData::Summary { points }), Some(Data::Summary(b))) => {
            zip(points, &b.data_points, summary_point);
        }
        (ours, theirs) => panic!("{ours:?} is not {theirs:?}"),
    }
}

fn same_value(ours: Option<Number>, int: Option<i64>, double: Option<f64>) {
    match ours {
        None => assert_eq!((int, double), (None, None)),
        Some(Number::Int(a)) => assert_eq!(Some(a), int),
        Some(Number::Double(a)) => assert_eq!(Some(a.to_bits()), double.map(f64::to_bits)),
    }
}

/// The attributes of a point as bytes, if nothing stands between them, and some that it does not have.
fn expectations(fields: &[u8], number: u32) -> impl Iterator<Item = Vec<u8>> {
    let whole = Fields::new(fields).all(|field| field.number == number);
    let first = Fields::new(fields).next().filter(|_| whole).map(|field| field.raw.to_vec());
    let mut other = muxbridge_pdata::Writer::new();
    other.attribute_str(number, "of", "another");
    let all = whole.then(|| fields.to_vec());
    all.into_iter().chain(first).chain([other.into_vec()])
}

fn number_point(a: view::NumberPoint<'_>, b: &metrics::NumberDataPoint) {
    let fields = a.attribute_fields();
    for expected in expectations(fields, muxbridge_pdata::schema::field::number_point::ATTRIBUTES) {
        let read = view::NumberPoint::read_expecting(a.raw(), &expected);
        assert_eq!(read.as_expected(), !fields.is_empty() && expected == fields);
        assert_eq!(read.attribute_fields(), fields);
        number_point_read(read, b);
    }
    number_point_read(a, b);
}

fn number_point_read(a: view::NumberPoint<'_>, b: &metrics::NumberDataPoint) {
    use number_data_point::Value::{AsDouble, AsInt};
    assert_eq!((a.start, a.time), (b.start_time_unix_nano, b.time_unix_nano));
    assert_eq!(a.no_recorded_value, b.flags & 1 == 1);
    match b.value {
        None => same_value(a.value, None, None),
        Some(AsInt(i)) => same_value(a.value, Some(i), None),
        Some(AsDouble(d)) => same_value(a.value, None, Some(d)),
    }
    attributes(a.attributes(), &b.attributes);
    zip(a.exemplars(), &b.exemplars, same_exemplar);
}

fn same_exemplar(a: view::Exemplar<'_>, b: &metrics::Exemplar) {
    assert_eq!(a.time, b.time_unix_nano);
    assert_eq!((a.trace_id, a.span_id), (&b.trace_id[..], &b.span_id[..]));
    match b.value {
        None => same_value(a.value, None, None),
        Some(exemplar::Value::AsInt(i)) => same_value(a.value, Some(i), None),
        Some(exemplar::Value::AsDouble(d)) => same_value(a.value, None, Some(d)),
    }
    attributes(a.attributes(), &b.filtered_attributes);
}

fn histogram_point(a: view::HistogramPoint<'_>, b: &metrics::HistogramDataPoint) {
    let fields = a.attribute_fields();
    for expected in expectations(fields, muxbridge_pdata::schema::field::histogram_point::ATTRIBUTES) {
        let read = view::HistogramPoint::read_expecting(a.raw(), &expected);
        assert_eq!(read.as_expected(), !fields.is_empty() && expected == fields);
        assert_eq!(read.attribute_fields(), fields);
        histogram_point_read(read, b);
    }
    histogram_point_read(a, b);
}

fn histogram_point_read(a: view::HistogramPoint<'_>, b: &metrics::HistogramDataPoint) {
    let packed = a.packed_buckets().expect("prost packs lists");
    assert_eq!(packed[0], b.bucket_counts.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
    assert_eq!(packed[1], b.explicit_bounds.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
    assert_eq!((a.start, a.time, a.count), (b.start_time_unix_nano, b.time_unix_nano, b.count));
    assert_eq!((a.sum, a.min, a.max), (b.sum, b.min, b.max));
    assert_eq!(a.no_recorded_value, b.flags & 1 == 1);
    assert_eq!(a.bucket_counts().collect::<Vec<_>>(), b.bucket_counts);
    assert_eq!(a.explicit_bounds().collect::<Vec<_>>(), b.explicit_bounds);
    attributes(a.attributes(), &b.attributes);
    zip(a.exemplars(), &b.exemplars, same_exemplar);
}

fn exponential_point(a: view::ExponentialPoint<'_>, b: &metrics::ExponentialHistogramDataPoint) {
    let fields = a.attribute_fields();
    for expected in expectations(fields, muxbridge_pdata::schema::field::exponential_point::ATTRIBUTES) {
        let read = view::ExponentialPoint::read_expecting(a.raw(), &expected);
        assert_eq!(read.as_expected(), !fields.is_empty() && expected == fields);
        assert_eq!(read.attribute_fields(), fields);
        exponential_point_read(read, b);
    }
    exponential_point_read(a, b);
}

fn exponential_point_read(a: view::ExponentialPoint<'_>, b: &metrics::ExponentialHistogramDataPoint) {
    assert_eq!((a.start, a.time, a.count), (b.start_time_unix_nano, b.time_unix_nano, b.count));
    assert_eq!((a.sum, a.min, a.max), (b.sum, b.min, b.max));
    assert_eq!((a.scale, a.zero_count, a.zero_threshold), (b.scale, b.zero_count, b.zero_threshold));
    assert_eq!(a.no_recorded_value, b.flags & 1 == 1);
    for (a, b) in [(a.positive, &b.positive), (a.negative, &b.negative)] {
        let b = b.clone().unwrap_or_default();
        assert_eq!((a.offset, a.counts().collect::<Vec<_>>()), (b.offset, b.bucket_counts));
    }
    attributes(a.attributes(), &b.attributes);
    zip(a.exemplars(), &b.exemplars, same_exemplar);
}

fn summary_point(a: view::SummaryPoint<'_>, b: &metrics::SummaryDataPoint) {
    assert_eq!((a.start, a.time, a.count), (b.start_time_unix_nano, b.time_unix_nano, b.count));
    assert_eq!((a.sum, a.no_recorded_value), (b.sum, b.flags & 1 == 1));
    zip(a.quantiles(), &b.quantile_values, |a, b| {
        assert_eq!((a.quantile, a.value), (b.quantile, b.value));
    });
    attributes(a.attributes(), &b.attributes);
}

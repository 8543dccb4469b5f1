//! Builds batches of metrics with the reference implementation of OTLP.

use muxbridge_core::{Batch, Limits, Origin, Signal};
use muxbridge_exporter_prometheus::encode::{Format, Options, Registry};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    metric::Data, number_data_point::Value, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::sync::Arc;

pub(crate) const DELTA: i32 = 1;
pub(crate) const CUMULATIVE: i32 = 2;
/// 2026-01-01 00:00:00 UTC.
pub(crate) const T0: u64 = 1_767_225_600_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    pairs
        .iter()
        .map(|(k, v)| KeyValue {
            key: (*k).to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue((*v).to_owned())) }),
            ..Default::default()
        })
        .collect()
}

pub(crate) fn int(value: i64, tags: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint { value: Some(Value::AsInt(value)), attributes: attributes(tags), ..Default::default() }
}

pub(crate) fn double(value: f64, tags: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        value: Some(Value::AsDouble(value)),
        attributes: attributes(tags),
        ..Default::default()
    }
}

/// A point of the time from `start` to `end` seconds after [`T0`].
pub(crate) fn during(start: u64, end: u64, point: NumberDataPoint) -> NumberDataPoint {
    NumberDataPoint { start_time_unix_nano: T0 + start * SECOND, time_unix_nano: T0 + end * SECOND, ..point }
}

pub(crate) fn metric(name: &str, unit: &str, description: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

pub(crate) fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    metric(name, "", "", Data::Gauge(Gauge { data_points: points }))
}

pub(crate) fn sum_data(temporality: i32, monotonic: bool, points: Vec<NumberDataPoint>) -> Data {
    Data::Sum(Sum { data_points: points, aggregation_temporality: temporality, is_monotonic: monotonic })
}

pub(crate) fn counter(name: &str, temporality: i32, point: NumberDataPoint) -> Metric {
    metric(name, "", "", sum_data(temporality, true, vec![point]))
}

pub(crate) fn buckets(bounds: &[f64], counts: &[u64], sum: Option<f64>) -> HistogramDataPoint {
    HistogramDataPoint {
        count: counts.iter().sum(),
        sum,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        start_time_unix_nano: T0,
        time_unix_nano: T0 + SECOND,
        ..Default::default()
    }
}

pub(crate) fn histogram(name: &str, temporality: i32, point: HistogramDataPoint) -> Metric {
    let data = Histogram { data_points: vec![point], aggregation_temporality: temporality };
    metric(name, "", "", Data::Histogram(data))
}

pub(crate) fn exponential(
    scale: i32,
    zero: u64,
    positive: (i32, &[u64]),
    negative: (i32, &[u64]),
) -> ExponentialHistogramDataPoint {
    let side = |(offset, counts): (i32, &[u64])| Some(Buckets { offset, bucket_counts: counts.to_vec() });
    ExponentialHistogramDataPoint {
        scale,
        zero_count: zero,
        count: zero + positive.1.iter().sum::<u64>() + negative.1.iter().sum::<u64>(),
        sum: Some(1.5),
        positive: side(positive),
        negative: side(negative),
        start_time_unix_nano: T0,
        time_unix_nano: T0 + SECOND,
        ..Default::default()
    }
}

pub(crate) fn exponential_metric(
    name: &str,
    temporality: i32,
    point: ExponentialHistogramDataPoint,
) -> Metric {
    let data = ExponentialHistogram { data_points: vec![point], aggregation_temporality: temporality };
    metric(name, "", "", Data::ExponentialHistogram(data))
}

pub(crate) fn summary(name: &str, count: u64, sum: f64, quantiles: &[(f64, f64)]) -> Metric {
    let quantile_values = quantiles
        .iter()
        .map(|(quantile, value)| ValueAtQuantile { quantile: *quantile, value: *value })
        .collect();
    let point = SummaryDataPoint { count, sum, quantile_values, ..Default::default() };
    metric(name, "", "", Data::Summary(Summary { data_points: vec![point] }))
}

pub(crate) fn exemplar(value: f64, at: u64, trace: &[u8], span: &[u8], tags: &[(&str, &str)]) -> Exemplar {
    Exemplar {
        value: Some(exemplar::Value::AsDouble(value)),
        time_unix_nano: at,
        trace_id: trace.to_vec(),
        span_id: span.to_vec(),
        filtered_attributes: attributes(tags),
    }
}

pub(crate) fn scope(name: &str, version: &str) -> InstrumentationScope {
    InstrumentationScope { name: name.to_owned(), version: version.to_owned(), ..Default::default() }
}

pub(crate) fn scoped(
    resource: &[(&str, &str)],
    scope: Option<InstrumentationScope>,
    metrics: Vec<Metric>,
) -> Batch {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: attributes(resource), ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { scope, metrics, ..Default::default() }],
            ..Default::default()
        }],
    };
    let limits = Limits { items: usize::MAX };
    Batch::new(Signal::Metrics, request.encode_to_vec().into(), Arc::new(Origin::default()), limits).unwrap()
}

pub(crate) fn batch(metrics: Vec<Metric>) -> Batch {
    scoped(&[], None, metrics)
}

pub(crate) fn options() -> Options {
    Options::default()
}

pub(crate) fn text(registry: &mut Registry, format: Format) -> String {
    String::from_utf8(registry.render(format, T0 + 10 * SECOND)).unwrap()
}

/// The page of one batch.
pub(crate) fn page(options: Options, batch: &Batch, format: Format) -> String {
    let mut registry = Registry::new(options);
    registry.ingest(batch, T0 + 10 * SECOND);
    text(&mut registry, format)
}

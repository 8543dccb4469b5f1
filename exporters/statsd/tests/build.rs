//! Builds batches of metrics with the reference implementation of OTLP.

use muxbridge_core::{Batch, Limits, Origin, Signal};
use muxbridge_exporter_statsd::MetricsConfig;
use muxbridge_exporter_statsd::encode::{Counts, Dialect, Messages, Options, encode};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::sync::Arc;

pub(crate) const DELTA: i32 = 1;
pub(crate) const CUMULATIVE: i32 = 2;

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

pub(crate) fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Default::default() }
}

pub(crate) fn gauge(name: &str, point: NumberDataPoint) -> Metric {
    metric(name, Data::Gauge(Gauge { data_points: vec![point] }))
}

pub(crate) fn sum(name: &str, temporality: i32, monotonic: bool, point: NumberDataPoint) -> Metric {
    metric(
        name,
        Data::Sum(Sum {
            data_points: vec![point],
            aggregation_temporality: temporality,
            is_monotonic: monotonic,
        }),
    )
}

pub(crate) fn counter(name: &str, point: NumberDataPoint) -> Metric {
    sum(name, DELTA, true, point)
}

pub(crate) fn histogram(name: &str, point: HistogramDataPoint) -> Metric {
    metric(name, Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: DELTA }))
}

pub(crate) fn batch(resource: &[(&str, &str)], metrics: Vec<Metric>) -> Batch {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes: attributes(resource), ..Default::default() }),
            scope_metrics: vec![ScopeMetrics { metrics, ..Default::default() }],
            ..Default::default()
        }],
    };
    let otlp = request.encode_to_vec().into();
    let limits = Limits { items: usize::MAX };
    Batch::new(Signal::Metrics, otlp, Arc::new(Origin::default()), limits).unwrap()
}

pub(crate) fn options(dialect: Dialect) -> Options {
    MetricsConfig::default().options(dialect, 1432, "")
}

pub(crate) fn list(messages: &Messages) -> Vec<String> {
    messages.iter().map(str::to_owned).collect()
}

/// The lines of metrics without a resource.
pub(crate) fn lines(options: &Options, metrics: Vec<Metric>) -> (Vec<String>, Counts) {
    let mut counts = Counts::default();
    let messages = encode(&batch(&[], metrics), options, &mut counts);
    (list(&messages), counts)
}

//! Random OTLP requests that use every field of every message, made from a seed.

use fastrand::Rng;
use muxbridge_pdata::Signal;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{any_value::Value, *};
use opentelemetry_proto::tonic::logs::v1::*;
use opentelemetry_proto::tonic::metrics::v1::{
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::*, *,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{span::*, *};
use prost::Message;

/// Makes messages. A full one sets every field and never to its default.
pub(crate) struct Random {
    rng: Rng,
    full: bool,
}

/// The wire bytes of a random request.
pub(crate) fn request(signal: Signal, seed: u64) -> Vec<u8> {
    let mut random = Random { rng: Rng::with_seed(seed), full: seed.is_multiple_of(8) };
    match signal {
        Signal::Traces => random.traces().encode_to_vec(),
        Signal::Metrics => random.metrics().encode_to_vec(),
        Signal::Logs => random.logs().encode_to_vec(),
    }
}

impl Random {
    pub(crate) fn new(seed: u64, full: bool) -> Self {
        Random { rng: Rng::with_seed(seed), full }
    }

    fn many<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.rng.usize(usize::from(self.full)..=max);
        (0..count).map(|_| make(self)).collect()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.full || self.rng.u8(..4) > 0).then(|| make(self))
    }

    fn u64(&mut self) -> u64 {
        match self.rng.u8(u8::from(self.full)..5) {
            0 => 0,
            1 => self.rng.u64(1..200),
            2 => u64::MAX,
            3 => 1_700_000_000_000_000_000 + self.rng.u64(..1_000_000_000),
            _ => self.rng.u64(1..),
        }
    }

    fn u32(&mut self) -> u32 {
        (self.u64() as u32).max(self.full.into())
    }

    fn i32(&mut self) -> i32 {
        self.u32() as i32
    }

    fn double(&mut self) -> f64 {
        match self.rng.u8(u8::from(self.full)..6) {
            0 => 0.0,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => f64::from_bits(self.rng.u64(1..)),
            4 => self.rng.f64() + 0.5,
            _ => -(self.rng.u16(1..) as f64),
        }
        .clamp(f64::NEG_INFINITY, f64::INFINITY)
        .max(f64::NEG_INFINITY)
    }

    fn string(&mut self) -> String {
        const PIECES: [&str; 8] =
            ["a", "gen_ai.", "\"", "\\", "\u{1}\n", "\u{e9}\u{4e2d}", "\u{1f980}", "long "];
        let pieces = match self.rng.u8(..20) {
            0 => self.rng.usize(10..60),
            _ => self.rng.usize(usize::from(self.full)..4),
        };
        (0..pieces).map(|_| PIECES[self.rng.usize(..PIECES.len())]).collect()
    }

    fn id(&mut self, length: usize) -> Vec<u8> {
        self.maybe(|r| (0..length).map(|_| r.rng.u8(..)).collect()).unwrap_or_default()
    }

    fn value(&mut self, depth: u32) -> AnyValue {
        let choices = if depth == 0 { 6 } else { 8 };
        AnyValue {
            value: self.maybe(|r| match r.rng.u8(..choices) {
                0 => Value::StringValue(r.string()),
                1 => Value::BoolValue(r.rng.bool()),
                2 => Value::IntValue(r.u64() as i64),
                3 => Value::DoubleValue(r.double()),
                4 => Value::BytesValue(r.string().into_bytes()),
                5 => Value::StringValueStrindex(r.i32()),
                6 => Value::ArrayValue(ArrayValue { values: r.many(3, |r| r.value(depth - 1)) }),
                _ => Value::KvlistValue(KeyValueList { values: r.attributes(depth - 1) }),
            }),
        }
    }

    fn attributes(&mut self, depth: u32) -> Vec<KeyValue> {
        self.many(3, |r| KeyValue {
            key: r.string(),
            value: r.maybe(|r| r.value(depth)),
            key_strindex: r.i32(),
        })
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(3),
            dropped_attributes_count: self.u32(),
            entity_refs: self.many(2, |r| EntityRef {
                schema_url: r.string(),
                r#type: r.string(),
                id_keys: r.many(2, Self::string),
                description_keys: r.many(2, Self::string),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.string(),
            version: self.string(),
            attributes: self.attributes(1),
            dropped_attributes_count: self.u32(),
        }
    }

    pub(crate) fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = self.many(3, |r| ResourceSpans {
            resource: r.maybe(Self::resource),
            scope_spans: r.many(3, |r| ScopeSpans {
                scope: r.maybe(Self::scope),
                spans: r.many(4, Self::span),
                schema_url: r.string(),
            }),
            schema_url: r.string(),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.string(),
            parent_span_id: self.id(8),
            flags: self.u32(),
            name: self.string(),
            kind: self.rng.i32(i32::from(self.full)..7),
            start_time_unix_nano: self.u64(),
            end_time_unix_nano: self.u64(),
            attributes: self.attributes(2),
            dropped_attributes_count: self.u32(),
            events: self.many(2, |r| Event {
                time_unix_nano: r.u64(),
                name: r.string(),
                attributes: r.attributes(1),
                dropped_attributes_count: r.u32(),
            }),
            dropped_events_count: self.u32(),
            links: self.many(2, |r| Link {
                trace_id: r.id(16),
                span_id: r.id(8),
                trace_state: r.string(),
                attributes: r.attributes(1),
                dropped_attributes_count: r.u32(),
                flags: r.u32(),
            }),
            dropped_links_count: self.u32(),
            status: self.maybe(|r| Status { message: r.string(), code: r.rng.i32(i32::from(r.full)..3) }),
        }
    }

    pub(crate) fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = self.many(3, |r| ResourceLogs {
            resource: r.maybe(Self::resource),
            scope_logs: r.many(3, |r| ScopeLogs {
                scope: r.maybe(Self::scope),
                log_records: r.many(4, Self::log),
                schema_url: r.string(),
            }),
            schema_url: r.string(),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    fn log(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.u64(),
            observed_time_unix_nano: self.u64(),
            severity_number: self.i32(),
            severity_text: self.string(),
            body: self.maybe(|r| r.value(3)),
            attributes: self.attributes(2),
            dropped_attributes_count: self.u32(),
            flags: self.u32(),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.string(),
        }
    }

    pub(crate) fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = self.many(3, |r| ResourceMetrics {
            resource: r.maybe(Self::resource),
            scope_metrics: r.many(3, |r| ScopeMetrics {
                scope: r.maybe(Self::scope),
                metrics: r.many(if r.full { 12 } else { 4 }, Self::metric),
                schema_url: r.string(),
            }),
            schema_url: r.string(),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }

    fn metric(&mut self) -> Metric {
        Metric {
            name: self.string(),
            description: self.string(),
            unit: self.string(),
            metadata: self.attributes(1),
            data: self.maybe(|r| {
                let aggregation_temporality = r.rng.i32(i32::from(r.full)..4);
                match r.rng.u8(..5) {
                    0 => Data::Gauge(Gauge { data_points: r.many(4, Self::number_point) }),
                    1 => Data::Sum(Sum {
                        data_points: r.many(4, Self::number_point),
                        aggregation_temporality,
                        is_monotonic: r.full || r.rng.bool(),
                    }),
                    2 => Data::Histogram(Histogram {
                        data_points: r.many(4, Self::histogram_point),
                        aggregation_temporality,
                    }),
                    3 => Data::ExponentialHistogram(ExponentialHistogram {
                        data_points: r.many(4, Self::exponential_point),
                        aggregation_temporality,
                    }),
                    _ => Data::Summary(Summary { data_points: r.many(4, Self::summary_point) }),
                }
            }),
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            exemplars: self.many(2, Self::exemplar),
            flags: self.u32(),
            value: self.maybe(|r| match r.rng.bool() {
                true => number_data_point::Value::AsInt(r.u64() as i64),
                false => number_data_point::Value::AsDouble(r.double()),
            }),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(1),
            time_unix_nano: self.u64(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: self.maybe(|r| match r.rng.bool() {
                true => exemplar::Value::AsInt(r.u64() as i64),
                false => exemplar::Value::AsDouble(r.double()),
            }),
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Self::double),
            bucket_counts: self.many(5, Self::u64),
            explicit_bounds: self.many(5, Self::double),
            exemplars: self.many(2, Self::exemplar),
            flags: self.u32(),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.i32(), bucket_counts: self.many(5, Self::u64) }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.maybe(Self::double),
            scale: self.i32(),
            zero_count: self.u64(),
            positive: self.maybe(Self::buckets),
            negative: self.maybe(Self::buckets),
            flags: self.u32(),
            exemplars: self.many(2, Self::exemplar),
            min: self.maybe(Self::double),
            max: self.maybe(Self::double),
            zero_threshold: self.double(),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(1),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.double(),
            quantile_values: self.many(3, |r| ValueAtQuantile { quantile: r.double(), value: r.double() }),
            flags: self.u32(),
        }
    }
}

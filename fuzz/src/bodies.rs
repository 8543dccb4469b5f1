//! What the fuzz targets do, as plain functions that ordinary tests call too.

use bytes::Bytes;
use muxbridge_pdata::view::{self, AnyValue, MetricData};
use muxbridge_pdata::{Limits, Signal, count_items, json, validate};

/// Validation and views must not panic on any bytes, and a valid request must have as many items as were counted.
/// Returns whether the bytes are valid.
pub(crate) fn validate_and_read(signal: Signal, data: &[u8]) -> bool {
    let valid = validate(signal, data, Limits::default());
    let read = read_everything(signal, data);
    match valid {
        Ok(items) => {
            assert_eq!(items, read.items);
            true
        }
        Err(error) => {
            assert!(error.offset <= data.len());
            false
        }
    }
}

/// What decodes must be valid, and must encode to text that decodes to the same text.
pub(crate) fn json_decode(signal: Signal, text: &[u8]) -> bool {
    let Ok(wire) = json::decode(signal, text) else { return false };
    assert!(validate(signal, &wire, Limits { items: usize::MAX }).is_ok());
    let once = json::encode(signal, &wire);
    let twice = json::decode(signal, once.as_bytes()).map(|wire| json::encode(signal, &wire));
    assert_eq!(Ok(once), twice);
    true
}

/// Encoding must not panic on any bytes, and the text of a valid request must decode.
pub(crate) fn json_encode(signal: Signal, data: &[u8]) {
    let text = json::encode(signal, data);
    if validate(signal, data, Limits::default()).is_ok() {
        assert!(json_decode(signal, text.as_bytes()));
    }
}

/// The parts of a valid request must be valid and have all items.
pub(crate) fn split(signal: Signal, data: &[u8], max_items: usize, max_bytes: usize) {
    // Headers are repeated in every part: without a floor a small input may ask for gigabytes.
    let (max_items, max_bytes) = (max_items.max(1), max_bytes.max(64));
    let Ok(items) = validate(signal, data, Limits::default()) else { return };
    let parts = muxbridge_pdata::split(signal, &Bytes::copy_from_slice(data), max_items, max_bytes);
    assert!(!parts.is_empty());
    let mut total = 0;
    for part in &parts {
        let validated = validate(signal, part, Limits::default());
        assert!(validated.is_ok(), "{validated:?}");
        total += count_items(signal, part);
    }
    assert_eq!(items, total);
}

/// What a walk over a request has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Spans, data points or log records.
    pub(crate) items: usize,
    /// Attributes and values at any level.
    pub(crate) values: usize,
    /// All bytes and numbers, mixed, so that no read is optimised away.
    pub(crate) mix: u64,
}

/// Reads every field of every view.
pub(crate) fn read_everything(signal: Signal, request: &[u8]) -> Seen {
    let mut seen = Seen::default();
    for resource in view::resources(request) {
        seen.bytes(resource.schema_url);
        seen.attributes(resource.resource.attributes());
        for scope in resource.scopes() {
            seen.bytes(scope.schema_url());
            seen.bytes(scope.scope.name);
            seen.bytes(scope.scope.version);
            seen.attributes(scope.scope.attributes());
            match signal {
                Signal::Traces => scope.spans().for_each(|span| seen.span(&span)),
                Signal::Metrics => scope.metrics().for_each(|metric| seen.metric(&metric)),
                Signal::Logs => scope.logs().for_each(|log| seen.log(&log)),
            }
        }
    }
    seen
}

impl Seen {
    fn number(&mut self, number: u64) {
        self.mix = self.mix.rotate_left(5) ^ number;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        bytes.iter().for_each(|b| self.number(u64::from(*b)));
    }

    fn attributes<'a>(&mut self, attributes: impl Iterator<Item = view::KeyValue<'a>>) {
        for attribute in attributes {
            self.bytes(attribute.key);
            self.value(attribute.value, 100);
        }
    }

    fn value(&mut self, value: AnyValue<'_>, depth: u32) {
        self.values += 1;
        match value {
            AnyValue::Empty => {}
            AnyValue::String(s) | AnyValue::Bytes(s) => self.bytes(s),
            AnyValue::Bool(b) => self.number(b.into()),
            AnyValue::Int(i) => self.number(i as u64),
            AnyValue::Double(d) => self.number(d.to_bits()),
            _ if depth == 0 => {}
            AnyValue::Array(list) => list.values().for_each(|v| self.value(v, depth - 1)),
            AnyValue::KvList(map) => {
                for entry in map.values() {
                    self.bytes(entry.key);
                    self.value(entry.value, depth - 1);
                }
            }
        }
    }

    fn span(&mut self, span: &view::Span<'_>) {
        self.items += 1;
        for bytes in [span.trace_id, span.span_id, span.trace_state, span.parent_span_id, span.name] {
            self.bytes(bytes);
        }
        let counts = [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count];
        counts.iter().for_each(|n| self.number(u64::from(*n)));
        for number in [span.kind as u64, span.start, span.end, span.duration(), span.flags.into()] {
            self.number(number);
        }
        self.bytes(span.status.message);
        self.number(span.status.code as u64);
        self.attributes(span.attributes());
        for event in span.events() {
            self.number(event.time);
            self.bytes(event.name);
            self.number(event.dropped_attributes_count.into());
            self.attributes(event.attributes());
        }
        for link in span.links() {
            self.bytes(link.trace_id);
            self.bytes(link.span_id);
            self.bytes(link.trace_state);
            self.number((u64::from(link.dropped_attributes_count) << 32) | u64::from(link.flags));
            self.attributes(link.attributes());
        }
    }

    fn log(&mut self, log: &view::LogRecord<'_>) {
        self.items += 1;
        for bytes in [log.severity_text, log.trace_id, log.span_id, log.event_name] {
            self.bytes(bytes);
        }
        for number in [log.time, log.observed_time, log.severity_number as u64, log.flags.into()] {
            self.number(number);
        }
        self.number(log.dropped_attributes_count.into());
        self.value(log.body, 100);
        self.attributes(log.attributes());
    }

    fn metric(&mut self, metric: &view::Metric<'_>) {
        self.bytes(metric.name);
        self.bytes(metric.description);
        self.bytes(metric.unit);
        self.attributes(metric.metadata());
        match metric.data {
            None => {}
            Some(MetricData::Gauge { points } | MetricData::Sum { points, .. }) => {
                points.for_each(|point| self.number_point(&point));
            }
            Some(MetricData::Histogram { points, .. }) => points.for_each(|point| self.histogram(&point)),
            Some(MetricData::ExponentialHistogram { points, .. }) => {
                points.for_each(|point| self.exponential(&point));
            }
            Some(MetricData::Summary { points }) => points.for_each(|point| self.summary(&point)),
        }
    }

    fn number_point(&mut self, point: &view::NumberPoint<'_>) {
        self.items += 1;
        self.number(point.start ^ point.time ^ u64::from(point.no_recorded_value));
        self.number(point.value.map_or(0, |v| v.as_f64().to_bits()));
        self.attributes(point.attributes());
        self.exemplars(point.exemplars());
    }

    fn histogram(&mut self, point: &view::HistogramPoint<'_>) {
        self.items += 1;
        self.number(point.start ^ point.time ^ point.count ^ u64::from(point.no_recorded_value));
        [point.sum, point.min, point.max].iter().flatten().for_each(|d| self.number(d.to_bits()));
        point.bucket_counts().for_each(|n| self.number(n));
        point.explicit_bounds().for_each(|d| self.number(d.to_bits()));
        self.attributes(point.attributes());
        self.exemplars(point.exemplars());
    }

    fn exponential(&mut self, point: &view::ExponentialPoint<'_>) {
        self.items += 1;
        self.number(point.start ^ point.time ^ point.count ^ u64::from(point.no_recorded_value));
        self.number(point.zero_count ^ point.zero_threshold.to_bits() ^ point.scale as u64);
        [point.sum, point.min, point.max].iter().flatten().for_each(|d| self.number(d.to_bits()));
        for buckets in [point.positive, point.negative] {
            self.number(buckets.offset as u64);
            buckets.counts().for_each(|n| self.number(n));
        }
        self.attributes(point.attributes());
        self.exemplars(point.exemplars());
    }

    fn summary(&mut self, point: &view::SummaryPoint<'_>) {
        self.items += 1;
        self.number(point.start ^ point.time ^ point.count ^ u64::from(point.no_recorded_value));
        self.number(point.sum.to_bits());
        point.quantiles().for_each(|q| self.number(q.quantile.to_bits() ^ q.value.to_bits()));
        self.attributes(point.attributes());
    }

    fn exemplars<'a>(&mut self, exemplars: impl Iterator<Item = view::Exemplar<'a>>) {
        for exemplar in exemplars {
            self.number(exemplar.time);
            self.number(exemplar.value.map_or(0, |v| v.as_f64().to_bits()));
            self.bytes(exemplar.trace_id);
            self.bytes(exemplar.span_id);
            self.attributes(exemplar.attributes());
        }
    }
}

//! The OTLP messages as data: field numbers, JSON names and kinds of every field of opentelemetry-proto 1.10.
//!
//! Validation and the JSON codec walk these tables; views and writers use the field numbers in [`field`].

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `string`: UTF-8.
    String,
    /// `bytes`: base64 in JSON.
    Bytes,
    /// A trace id: 16 bytes or none, hex in JSON.
    TraceId,
    /// A span id: 8 bytes or none, hex in JSON.
    SpanId,
    /// `bool`.
    Bool,
    /// An enumeration: an integer, in JSON too.
    Enum,
    /// `int64`: a varint, a decimal string in JSON.
    Int64,
    /// `int32`: a varint.
    Int32,
    /// `uint32`: a varint.
    Uint32,
    /// `uint64`: a varint, a decimal string in JSON.
    Uint64,
    /// `sint32`: a zigzag varint.
    Sint32,
    /// `fixed32`.
    Fixed32,
    /// `fixed64`: a decimal string in JSON.
    Fixed64,
    /// `sfixed64`: a decimal string in JSON.
    Sfixed64,
    /// `double`.
    Double,
    /// A message.
    Message(&'static Message),
}

/// How a message tells a missing value of a singular field from a default one. Messages always can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It cannot: 0 and the empty string are left out.
    Implicit,
    /// `optional`: what was set is written, whatever it is.
    Optional,
    /// A member of the message's only oneof: written even if 0, and the last member that was set counts.
    Oneof,
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field number.
    pub number: u32,
    /// The lowerCamelCase name of OTLP/JSON.
    pub json: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may occur several times (numbers may be packed).
    pub repeated: bool,
    /// Whether 0 differs from nothing.
    pub presence: Presence,
}

/// One message type.
#[derive(Debug)]
pub struct Message {
    /// Its name in the proto files.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
    /// Position in `fields` plus one by field number; 0 is an unknown field.
    index: [u8; 32],
    /// Of a data point.
    pub(crate) point: Option<PointFields>,
}

/// What stands behind each tag of one byte in a data point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointFields([PointField; 128]);

/// What a field of a data point holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PointField {
    /// Something else, or not as it should be.
    Other,
    /// Eight bytes.
    Fixed64,
    /// Numbers of eight bytes each.
    Packed64,
    /// A varint.
    Varint,
    /// An attribute.
    Attribute,
}

impl PointFields {
    #[inline(always)]
    pub(crate) fn behind(&self, tag: u8) -> PointField {
        self.0.get(usize::from(tag)).copied().unwrap_or(PointField::Other)
    }
}

impl Message {
    const fn new(name: &'static str, fields: &'static [Field]) -> Message {
        let mut index = [0u8; 32];
        let mut i = 0;
        while i < fields.len() {
            index[fields[i].number as usize] = i as u8 + 1;
            i += 1;
        }
        Message { name, fields, index, point: None }
    }

    /// A data point with its attributes in this field.
    const fn point(name: &'static str, attributes: u32, fields: &'static [Field]) -> Message {
        let mut tags = [PointField::Other; 128];
        tags[(attributes << 3 | 2) as usize] = PointField::Attribute;
        let mut i = 0;
        while i < fields.len() {
            let tag = (fields[i].number << 3) as usize;
            match (fields[i].kind, fields[i].repeated) {
                (Fixed64 | Sfixed64 | Double, false) => tags[tag | 1] = PointField::Fixed64,
                (Fixed64 | Double, true) => tags[tag | 2] = PointField::Packed64,
                (Uint32 | Sint32, false) => tags[tag] = PointField::Varint,
                _ => {}
            }
            i += 1;
        }
        let point = PointFields(tags);
        Message { point: Some(point), ..Message::new(name, fields) }
    }

    /// The field with this number, if the schema knows it.
    #[inline]
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        let position = *self.index.get(number as usize)?;
        self.fields.get((position as usize).checked_sub(1)?)
    }

    /// The field with this JSON name.
    pub fn field_by_json(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.json == name)
    }
}

const fn one(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, repeated: false, presence: Presence::Implicit }
}

const fn optional(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, repeated: false, presence: Presence::Optional }
}

const fn choice(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, repeated: false, presence: Presence::Oneof }
}

const fn many(number: u32, json: &'static str, kind: Kind) -> Field {
    Field { number, json, kind, repeated: true, presence: Presence::Implicit }
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Int32, Int64, Sfixed64, Sint32, SpanId, String, TraceId,
    Uint32, Uint64,
};

/// `ExportTraceServiceRequest`, which has the layout of `TracesData`.
pub static TRACES: Message =
    Message::new("ExportTraceServiceRequest", &[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))]);
/// `ExportMetricsServiceRequest`.
pub static METRICS: Message = Message::new(
    "ExportMetricsServiceRequest",
    &[many(1, "resourceMetrics", Kind::Message(&RESOURCE_METRICS))],
);
/// `ExportLogsServiceRequest`.
pub static LOGS: Message =
    Message::new("ExportLogsServiceRequest", &[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))]);

static RESOURCE_SPANS: Message = Message::new(
    "ResourceSpans",
    &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        one(3, "schemaUrl", String),
    ],
);
static SCOPE_SPANS: Message = Message::new(
    "ScopeSpans",
    &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "spans", Kind::Message(&SPAN)),
        one(3, "schemaUrl", String),
    ],
);
static RESOURCE_METRICS: Message = Message::new(
    "ResourceMetrics",
    &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeMetrics", Kind::Message(&SCOPE_METRICS)),
        one(3, "schemaUrl", String),
    ],
);
static SCOPE_METRICS: Message = Message::new(
    "ScopeMetrics",
    &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "metrics", Kind::Message(&METRIC)),
        one(3, "schemaUrl", String),
    ],
);
static RESOURCE_LOGS: Message = Message::new(
    "ResourceLogs",
    &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        one(3, "schemaUrl", String),
    ],
);
static SCOPE_LOGS: Message = Message::new(
    "ScopeLogs",
    &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "logRecords", Kind::Message(&LOG_RECORD)),
        one(3, "schemaUrl", String),
    ],
);

/// `Resource`.
pub static RESOURCE: Message = Message::new(
    "Resource",
    &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Uint32),
        many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
);
static ENTITY_REF: Message = Message::new(
    "EntityRef",
    &[
        one(1, "schemaUrl", String),
        one(2, "type", String),
        many(3, "idKeys", String),
        many(4, "descriptionKeys", String),
    ],
);
/// `InstrumentationScope`.
pub static SCOPE: Message = Message::new(
    "InstrumentationScope",
    &[
        one(1, "name", String),
        one(2, "version", String),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Uint32),
    ],
);
/// `KeyValue`.
pub static KEY_VALUE: Message = Message::new(
    "KeyValue",
    &[one(1, "key", String), one(2, "value", Kind::Message(&ANY_VALUE)), one(3, "keyStrindex", Int32)],
);
/// `AnyValue`: a oneof.
pub static ANY_VALUE: Message = Message::new(
    "AnyValue",
    &[
        choice(1, "stringValue", String),
        choice(2, "boolValue", Bool),
        choice(3, "intValue", Int64),
        choice(4, "doubleValue", Double),
        choice(5, "arrayValue", Kind::Message(&ARRAY_VALUE)),
        choice(6, "kvlistValue", Kind::Message(&KEY_VALUE_LIST)),
        choice(7, "bytesValue", Bytes),
        choice(8, "stringValueStrindex", Int32),
    ],
);
static ARRAY_VALUE: Message = Message::new("ArrayValue", &[many(1, "values", Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message =
    Message::new("KeyValueList", &[many(1, "values", Kind::Message(&KEY_VALUE))]);

/// `Span`.
pub static SPAN: Message = Message::new(
    "Span",
    &[
        one(1, "traceId", TraceId),
        one(2, "spanId", SpanId),
        one(3, "traceState", String),
        one(4, "parentSpanId", SpanId),
        one(5, "name", String),
        one(6, "kind", Enum),
        one(7, "startTimeUnixNano", Fixed64),
        one(8, "endTimeUnixNano", Fixed64),
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(10, "droppedAttributesCount", Uint32),
        many(11, "events", Kind::Message(&EVENT)),
        one(12, "droppedEventsCount", Uint32),
        many(13, "links", Kind::Message(&LINK)),
        one(14, "droppedLinksCount", Uint32),
        one(15, "status", Kind::Message(&STATUS)),
        one(16, "flags", Fixed32),
    ],
);
static EVENT: Message = Message::new(
    "Event",
    &[
        one(1, "timeUnixNano", Fixed64),
        one(2, "name", String),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Uint32),
    ],
);
static LINK: Message = Message::new(
    "Link",
    &[
        one(1, "traceId", TraceId),
        one(2, "spanId", SpanId),
        one(3, "traceState", String),
        many(4, "attributes", Kind::Message(&KEY_VALUE)),
        one(5, "droppedAttributesCount", Uint32),
        one(6, "flags", Fixed32),
    ],
);
static STATUS: Message = Message::new("Status", &[one(2, "message", String), one(3, "code", Enum)]);

/// `Metric`.
pub static METRIC: Message = Message::new(
    "Metric",
    &[
        one(1, "name", String),
        one(2, "description", String),
        one(3, "unit", String),
        choice(5, "gauge", Kind::Message(&GAUGE)),
        choice(7, "sum", Kind::Message(&SUM)),
        choice(9, "histogram", Kind::Message(&HISTOGRAM)),
        choice(10, "exponentialHistogram", Kind::Message(&EXPONENTIAL_HISTOGRAM)),
        choice(11, "summary", Kind::Message(&SUMMARY)),
        many(12, "metadata", Kind::Message(&KEY_VALUE)),
    ],
);
static GAUGE: Message = Message::new("Gauge", &[many(1, "dataPoints", Kind::Message(&NUMBER_POINT))]);
static SUM: Message = Message::new(
    "Sum",
    &[
        many(1, "dataPoints", Kind::Message(&NUMBER_POINT)),
        one(2, "aggregationTemporality", Enum),
        one(3, "isMonotonic", Bool),
    ],
);
static HISTOGRAM: Message = Message::new(
    "Histogram",
    &[many(1, "dataPoints", Kind::Message(&HISTOGRAM_POINT)), one(2, "aggregationTemporality", Enum)],
);
static EXPONENTIAL_HISTOGRAM: Message = Message::new(
    "ExponentialHistogram",
    &[many(1, "dataPoints", Kind::Message(&EXPONENTIAL_POINT)), one(2, "aggregationTemporality", Enum)],
);
static SUMMARY: Message = Message::new("Summary", &[many(1, "dataPoints", Kind::Message(&SUMMARY_POINT))]);
static NUMBER_POINT: Message = Message::point(
    "NumberDataPoint",
    field::number_point::ATTRIBUTES,
    &[
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        choice(4, "asDouble", Double),
        choice(6, "asInt", Sfixed64),
        many(5, "exemplars", Kind::Message(&EXEMPLAR)),
        one(8, "flags", Uint32),
    ],
);
static HISTOGRAM_POINT: Message = Message::point(
    "HistogramDataPoint",
    field::histogram_point::ATTRIBUTES,
    &[
        many(9, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        optional(5, "sum", Double),
        many(6, "bucketCounts", Fixed64),
        many(7, "explicitBounds", Double),
        many(8, "exemplars", Kind::Message(&EXEMPLAR)),
        one(10, "flags", Uint32),
        optional(11, "min", Double),
        optional(12, "max", Double),
    ],
);
static EXPONENTIAL_POINT: Message = Message::point(
    "ExponentialHistogramDataPoint",
    field::exponential_point::ATTRIBUTES,
    &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        optional(5, "sum", Double),
        one(6, "scale", Sint32),
        one(7, "zeroCount", Fixed64),
        one(8, "positive", Kind::Message(&BUCKETS)),
        one(9, "negative", Kind::Message(&BUCKETS)),
        one(10, "flags", Uint32),
        many(11, "exemplars", Kind::Message(&EXEMPLAR)),
        optional(12, "min", Double),
        optional(13, "max", Double),
        one(14, "zeroThreshold", Double),
    ],
);
static BUCKETS: Message =
    Message::new("Buckets", &[one(1, "offset", Sint32), many(2, "bucketCounts", Uint64)]);
static SUMMARY_POINT: Message = Message::point(
    "SummaryDataPoint",
    field::summary_point::ATTRIBUTES,
    &[
        many(7, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "startTimeUnixNano", Fixed64),
        one(3, "timeUnixNano", Fixed64),
        one(4, "count", Fixed64),
        one(5, "sum", Double),
        many(6, "quantileValues", Kind::Message(&VALUE_AT_QUANTILE)),
        one(8, "flags", Uint32),
    ],
);
static VALUE_AT_QUANTILE: Message =
    Message::new("ValueAtQuantile", &[one(1, "quantile", Double), one(2, "value", Double)]);
static EXEMPLAR: Message = Message::new(
    "Exemplar",
    &[
        many(7, "filteredAttributes", Kind::Message(&KEY_VALUE)),
        one(2, "timeUnixNano", Fixed64),
        choice(3, "asDouble", Double),
        choice(6, "asInt", Sfixed64),
        one(4, "spanId", SpanId),
        one(5, "traceId", TraceId),
    ],
);

/// `LogRecord`.
pub static LOG_RECORD: Message = Message::new(
    "LogRecord",
    &[
        one(1, "timeUnixNano", Fixed64),
        one(11, "observedTimeUnixNano", Fixed64),
        one(2, "severityNumber", Enum),
        one(3, "severityText", String),
        one(5, "body", Kind::Message(&ANY_VALUE)),
        many(6, "attributes", Kind::Message(&KEY_VALUE)),
        one(7, "droppedAttributesCount", Uint32),
        one(8, "flags", Fixed32),
        one(9, "traceId", TraceId),
        one(10, "spanId", SpanId),
        one(12, "eventName", String),
    ],
);

/// Field numbers by message, for views and writers. The tables above say what each one holds.
pub mod field {
    /// `ExportTraceServiceRequest.resource_spans` and its counterparts for metrics and logs.
    pub const REQUEST_RESOURCE: u32 = 1;
    /// `ResourceSpans`, `ResourceMetrics` and `ResourceLogs` have one layout.
    pub mod resource_items {
        /// `resource`.
        pub const RESOURCE: u32 = 1;
        /// `scope_spans`, `scope_metrics`, `scope_logs`.
        pub const SCOPES: u32 = 2;
        /// `schema_url`.
        pub const SCHEMA_URL: u32 = 3;
    }
    /// `ScopeSpans`, `ScopeMetrics` and `ScopeLogs` have one layout.
    pub mod scope_items {
        /// `scope`.
        pub const SCOPE: u32 = 1;
        /// `spans`, `metrics`, `log_records`.
        pub const ITEMS: u32 = 2;
        /// `schema_url`.
        pub const SCHEMA_URL: u32 = 3;
    }
    #[allow(missing_docs, reason = "the names are the fields' own, documented in the proto files")]
    pub mod resource {
        pub const ATTRIBUTES: u32 = 1;
        pub const DROPPED_ATTRIBUTES_COUNT: u32 = 2;
        pub const ENTITY_REFS: u32 = 3;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod scope {
        pub const NAME: u32 = 1;
        pub const VERSION: u32 = 2;
        pub const ATTRIBUTES: u32 = 3;
        pub const DROPPED_ATTRIBUTES_COUNT: u32 = 4;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod key_value {
        pub const KEY: u32 = 1;
        pub const VALUE: u32 = 2;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod any_value {
        pub const STRING: u32 = 1;
        pub const BOOL: u32 = 2;
        pub const INT: u32 = 3;
        pub const DOUBLE: u32 = 4;
        pub const ARRAY: u32 = 5;
        pub const KVLIST: u32 = 6;
        pub const BYTES: u32 = 7;
        /// `ArrayValue.values` and `KeyValueList.values`.
        pub const VALUES: u32 = 1;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod span {
        pub const TRACE_ID: u32 = 1;
        pub const SPAN_ID: u32 = 2;
        pub const TRACE_STATE: u32 = 3;
        pub const PARENT_SPAN_ID: u32 = 4;
        pub const NAME: u32 = 5;
        pub const KIND: u32 = 6;
        pub const START_TIME: u32 = 7;
        pub const END_TIME: u32 = 8;
        pub const ATTRIBUTES: u32 = 9;
        pub const DROPPED_ATTRIBUTES_COUNT: u32 = 10;
        pub const EVENTS: u32 = 11;
        pub const DROPPED_EVENTS_COUNT: u32 = 12;
        pub const LINKS: u32 = 13;
        pub const DROPPED_LINKS_COUNT: u32 = 14;
        pub const STATUS: u32 = 15;
        pub const FLAGS: u32 = 16;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod event {
        pub const TIME: u32 = 1;
        pub const NAME: u32 = 2;
        pub const ATTRIBUTES: u32 = 3;
        pub const DROPPED_ATTRIBUTES_COUNT: u32 = 4;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod link {
        pub const TRACE_ID: u32 = 1;
        pub const SPAN_ID: u32 = 2;
        pub const TRACE_STATE: u32 = 3;
        pub const ATTRIBUTES: u32 = 4;
        pub const DROPPED_ATTRIBUTES_COUNT: u32 = 5;
        pub const FLAGS: u32 = 6;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod status {
        pub const MESSAGE: u32 = 2;
        pub const CODE: u32 = 3;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod metric {
        pub const NAME: u32 = 1;
        pub const DESCRIPTION: u32 = 2;
        pub const UNIT: u32 = 3;
        pub const GAUGE: u32 = 5;
        pub const SUM: u32 = 7;
        pub const HISTOGRAM: u32 = 9;
        pub const EXPONENTIAL_HISTOGRAM: u32 = 10;
        pub const SUMMARY: u32 = 11;
        pub const METADATA: u32 = 12;
        /// `data_points` in each of the five kinds of data.
        pub const DATA_POINTS: u32 = 1;
        /// `aggregation_temporality` in sums and both kinds of histograms.
        pub const TEMPORALITY: u32 = 2;
        /// `Sum.is_monotonic`.
        pub const IS_MONOTONIC: u32 = 3;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod point {
        /// In every kind of data point.
        pub const START_TIME: u32 = 2;
        /// In every kind of data point.
        pub const TIME: u32 = 3;
        /// `count` of histograms, exponential histograms and summaries.
        pub const COUNT: u32 = 4;
        /// `sum` of histograms, exponential histograms and summaries.
        pub const SUM: u32 = 5;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod number_point {
        pub const AS_DOUBLE: u32 = 4;
        pub const EXEMPLARS: u32 = 5;
        pub const AS_INT: u32 = 6;
        pub const ATTRIBUTES: u32 = 7;
        pub const FLAGS: u32 = 8;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod histogram_point {
        pub const BUCKET_COUNTS: u32 = 6;
        pub const EXPLICIT_BOUNDS: u32 = 7;
        pub const EXEMPLARS: u32 = 8;
        pub const ATTRIBUTES: u32 = 9;
        pub const FLAGS: u32 = 10;
        pub const MIN: u32 = 11;
        pub const MAX: u32 = 12;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod exponential_point {
        pub const ATTRIBUTES: u32 = 1;
        pub const SCALE: u32 = 6;
        pub const ZERO_COUNT: u32 = 7;
        pub const POSITIVE: u32 = 8;
        pub const NEGATIVE: u32 = 9;
        pub const FLAGS: u32 = 10;
        pub const EXEMPLARS: u32 = 11;
        pub const MIN: u32 = 12;
        pub const MAX: u32 = 13;
        pub const ZERO_THRESHOLD: u32 = 14;
        /// `Buckets.offset`.
        pub const BUCKETS_OFFSET: u32 = 1;
        /// `Buckets.bucket_counts`.
        pub const BUCKETS_COUNTS: u32 = 2;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod summary_point {
        pub const QUANTILES: u32 = 6;
        pub const ATTRIBUTES: u32 = 7;
        pub const FLAGS: u32 = 8;
        /// `ValueAtQuantile.quantile`.
        pub const QUANTILE: u32 = 1;
        /// `ValueAtQuantile.value`.
        pub const VALUE: u32 = 2;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod exemplar {
        pub const TIME: u32 = 2;
        pub const AS_DOUBLE: u32 = 3;
        pub const SPAN_ID: u32 = 4;
        pub const TRACE_ID: u32 = 5;
        pub const AS_INT: u32 = 6;
        pub const ATTRIBUTES: u32 = 7;
    }
    #[allow(missing_docs, reason = "as above")]
    pub mod log {
        pub const TIME: u32 = 1;
        pub const SEVERITY_NUMBER: u32 = 2;
        pub const SEVERITY_TEXT: u32 = 3;
        pub const BODY: u32 = 5;
        pub const ATTRIBUTES: u32 = 6;
        pub const DROPPED_ATTRIBUTES_COUNT: u32 = 7;
        pub const FLAGS: u32 = 8;
        pub const TRACE_ID: u32 = 9;
        pub const SPAN_ID: u32 = 10;
        pub const OBSERVED_TIME: u32 = 11;
        pub const EVENT_NAME: u32 = 12;
    }
}

//! Metrics and their data points.

mod point;
mod summary;

use super::common::KeyValue;
use super::{Numbers, Repeated};
use crate::schema::field;
use crate::wire::{Fields, Value};
pub use point::{HistogramPoint, NumberPoint};
use point::{NO_RECORDED_VALUE, Span};
pub use summary::{QuantileValue, SummaryPoint};

/// `AggregationTemporality`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum Temporality {
    #[default]
    Unspecified = 0,
    Delta = 1,
    Cumulative = 2,
}

impl Temporality {
    fn read(number: u64) -> Self {
        match number {
            1 => Temporality::Delta,
            2 => Temporality::Cumulative,
            _ => Temporality::Unspecified,
        }
    }
}

/// `Metric`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metric<'a> {
    raw: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// What it means.
    pub description: &'a [u8],
    /// A UCUM unit.
    pub unit: &'a [u8],
    /// Its kind and data points; `None` if it has none of a kind that this version knows.
    pub data: Option<MetricData<'a>>,
}

/// The kind of a metric, its temporality and its data points.
#[derive(Clone, Copy, Debug)]
pub enum MetricData<'a> {
    /// `Gauge`.
    Gauge {
        /// The current values.
        points: Repeated<'a, NumberPoint<'a>>,
    },
    /// `Sum`.
    Sum {
        /// The sums.
        points: Repeated<'a, NumberPoint<'a>>,
        /// Since the start of the series, or since the previous point.
        temporality: Temporality,
        /// Whether it only grows: a counter.
        monotonic: bool,
    },
    /// `Histogram` with explicit bounds.
    Histogram {
        /// The histograms.
        points: Repeated<'a, HistogramPoint<'a>>,
        /// As in `Sum`.
        temporality: Temporality,
    },
    /// `ExponentialHistogram`.
    ExponentialHistogram {
        /// The histograms.
        points: Repeated<'a, ExponentialPoint<'a>>,
        /// As in `Sum`.
        temporality: Temporality,
    },
    /// `Summary`: quantiles computed by the source.
    Summary {
        /// The summaries.
        points: Repeated<'a, SummaryPoint<'a>>,
    },
}

impl<'a> Metric<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Metric { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::metric::NAME => view.name = f.value.as_bytes(),
                field::metric::DESCRIPTION => view.description = f.value.as_bytes(),
                field::metric::UNIT => view.unit = f.value.as_bytes(),
                _ => view.data = MetricData::read(f.number, f.value.as_bytes()).or(view.data),
            }
        }
        view
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Facts about the metric that are no part of a series' identity.
    pub fn metadata(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::metric::METADATA, KeyValue::read)
    }

    /// How many data points it has, of whatever kind.
    pub fn point_count(&self) -> usize {
        match self.data {
            None => 0,
            Some(MetricData::Gauge { points } | MetricData::Sum { points, .. }) => points.count(),
            Some(MetricData::Histogram { points, .. }) => points.count(),
            Some(MetricData::ExponentialHistogram { points, .. }) => points.count(),
            Some(MetricData::Summary { points }) => points.count(),
        }
    }
}

impl<'a> MetricData<'a> {
    fn read(number: u32, raw: &'a [u8]) -> Option<Self> {
        let mut temporality = Temporality::Unspecified;
        let mut monotonic = false;
        if !matches!(
            number,
            field::metric::GAUGE
                | field::metric::SUM
                | field::metric::HISTOGRAM
                | field::metric::EXPONENTIAL_HISTOGRAM
                | field::metric::SUMMARY
        ) {
            return None;
        }
        let mut fields = Fields::new(raw);
        loop {
            // Most of what stands here are points.
            while fields.next_body(field::metric::DATA_POINTS).is_some() {}
            let Some(f) = fields.next() else { break };
            match f.number {
                field::metric::TEMPORALITY => temporality = Temporality::read(f.value.as_u64()),
                field::metric::IS_MONOTONIC => monotonic = f.value.as_u64() != 0,
                _ => {}
            }
        }
        let points = field::metric::DATA_POINTS;
        Some(match number {
            field::metric::GAUGE => {
                MetricData::Gauge { points: Repeated::new(raw, points, NumberPoint::read) }
            }
            field::metric::SUM => MetricData::Sum {
                points: Repeated::new(raw, points, NumberPoint::read),
                temporality,
                monotonic,
            },
            field::metric::HISTOGRAM => MetricData::Histogram {
                points: Repeated::new(raw, points, HistogramPoint::read),
                temporality,
            },
            field::metric::EXPONENTIAL_HISTOGRAM => MetricData::ExponentialHistogram {
                points: Repeated::new(raw, points, ExponentialPoint::read),
                temporality,
            },
            _ => MetricData::Summary { points: Repeated::new(raw, points, SummaryPoint::read) },
        })
    }
}

/// The value of a number point or exemplar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A signed integer.
    Int(i64),
    /// A double.
    Double(f64),
}

impl Number {
    /// The value as a double.
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Double(d) => d,
        }
    }
}

/// `ExponentialHistogramDataPoint`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExponentialPoint<'a> {
    raw: &'a [u8],
    attributes: Span,
    /// Nanoseconds since 1970; 0 if unknown.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// How many values it holds.
    pub count: u64,
    /// Their sum, if known.
    pub sum: Option<f64>,
    /// The smallest, if known.
    pub min: Option<f64>,
    /// The largest, if known.
    pub max: Option<f64>,
    /// The base of the buckets is 2 to the power 2^-scale.
    pub scale: i32,
    /// How many values are within the zero threshold.
    pub zero_count: u64,
    /// The largest value that counts as zero.
    pub zero_threshold: f64,
    /// The buckets above zero.
    pub positive: Buckets<'a>,
    /// The buckets below zero, mirrored.
    pub negative: Buckets<'a>,
    /// The series has no value any more.
    pub no_recorded_value: bool,
}

/// `ExponentialHistogramDataPoint.Buckets`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Buckets<'a> {
    raw: &'a [u8],
    /// The index of the first bucket: bucket i holds (base^i, base^(i+1)].
    pub offset: i32,
}

impl<'a> Buckets<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Buckets { raw, offset: 0 };
        for f in Fields::new(raw) {
            if f.number == field::exponential_point::BUCKETS_OFFSET {
                view.offset = crate::wire::zigzag(f.value.as_u64()) as i32;
            }
        }
        view
    }

    /// How many values each bucket holds, from `offset` up.
    pub fn counts(&self) -> Numbers<'a> {
        Numbers::varints(self.raw, field::exponential_point::BUCKETS_COUNTS)
    }
}

impl<'a> ExponentialPoint<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        Self::read_expecting(raw, &[])
    }

    /// The same, faster for a point that has these attributes: whole fields of a point of this kind.
    pub fn read_expecting(raw: &'a [u8], attributes: &[u8]) -> Self {
        use field::exponential_point as f_;
        let mut view = ExponentialPoint { raw, ..Default::default() };
        let mut fields = Fields::new(raw);
        loop {
            view.attributes.pass(&mut fields, raw, attributes);
            let Some(f) = fields.next() else { break };
            match f.number {
                f_::ATTRIBUTES => view.attributes.add(&f, &fields, raw),
                field::point::START_TIME => view.start = f.value.as_u64(),
                field::point::TIME => view.time = f.value.as_u64(),
                field::point::COUNT => view.count = f.value.as_u64(),
                field::point::SUM => view.sum = Some(double(f.value)),
                f_::SCALE => view.scale = crate::wire::zigzag(f.value.as_u64()) as i32,
                f_::ZERO_COUNT => view.zero_count = f.value.as_u64(),
                f_::POSITIVE => view.positive = Buckets::read(f.value.as_bytes()),
                f_::NEGATIVE => view.negative = Buckets::read(f.value.as_bytes()),
                f_::FLAGS => view.no_recorded_value = f.value.as_u64() & NO_RECORDED_VALUE != 0,
                f_::MIN => view.min = Some(double(f.value)),
                f_::MAX => view.max = Some(double(f.value)),
                f_::ZERO_THRESHOLD => view.zero_threshold = double(f.value),
                _ => {}
            }
        }
        view
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Its attributes as they stand in the message, from the first to the end of the last. If something stands between them,
    /// that is in it too; points with the same bytes here have the same attributes.
    pub fn attribute_fields(&self) -> &'a [u8] {
        self.attributes.of(self.raw)
    }

    /// Whether its attributes are those that were expected, and nothing else.
    pub fn as_expected(&self) -> bool {
        self.attributes.expected
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::exponential_point::ATTRIBUTES, KeyValue::read)
    }

    /// Its exemplars.
    pub fn exemplars(&self) -> Repeated<'a, Exemplar<'a>> {
        Repeated::new(self.raw, field::exponential_point::EXEMPLARS, Exemplar::read)
    }
}

/// `Exemplar`: one measurement, often with the span that made it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exemplar<'a> {
    raw: &'a [u8],
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What was measured.
    pub value: Option<Number>,
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
}

impl<'a> Exemplar<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Exemplar { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::exemplar::TIME => view.time = f.value.as_u64(),
                field::exemplar::AS_DOUBLE => view.value = Some(Number::Double(double(f.value))),
                field::exemplar::AS_INT => view.value = Some(Number::Int(f.value.as_u64() as i64)),
                field::exemplar::TRACE_ID => view.trace_id = f.value.as_bytes(),
                field::exemplar::SPAN_ID => view.span_id = f.value.as_bytes(),
                _ => {}
            }
        }
        view
    }

    /// Attributes that are no part of the series.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::exemplar::ATTRIBUTES, KeyValue::read)
    }
}

fn double(value: Value<'_>) -> f64 {
    f64::from_bits(value.as_u64())
}

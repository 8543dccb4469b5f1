//! Data points between a family and its target: read, scaled, added up, written.

use super::attributes::Attributes;
use super::table::{Instrument, Target};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{
    Exemplar, HistogramPoint, KeyValue, Metric, MetricData, Number, NumberPoint, Repeated, Temporality,
};
use muxbridge_pdata::wire::Fields;

const NO_RECORDED_VALUE: u64 = 1;

/// The value of a point.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// The series has no value any more.
    Gone,
    Number(Number),
    Histogram(Histogram),
}

/// The value of a histogram point. Without buckets both lists are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Histogram {
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
}

/// One point on its way.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) attributes: Attributes,
    /// The labels that it was made from: which part of a sum it is.
    pub(super) part: Vec<u8>,
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) value: Value,
    /// Exemplars and fields that this version does not know, as they are written.
    pub(super) rest: Vec<u8>,
}

/// A source point of either kind.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Number(NumberPoint<'a>),
    Histogram(HistogramPoint<'a>),
}

impl<'a> Source<'a> {
    /// The points of a metric; nothing for kinds that ModelMuxer's page cannot have.
    pub(super) fn points(data: Option<MetricData<'a>>) -> impl Iterator<Item = Source<'a>> {
        let (numbers, histograms) = match data {
            Some(MetricData::Gauge { points } | MetricData::Sum { points, .. }) => (Some(points), None),
            Some(MetricData::Histogram { points, .. }) => (None, Some(points)),
            _ => (None, None),
        };
        let numbers = numbers.into_iter().flatten().map(Source::Number);
        numbers.chain(histograms.into_iter().flatten().map(Source::Histogram))
    }

    pub(super) fn labels(&self) -> Repeated<'a, KeyValue<'a>> {
        match self {
            Source::Number(p) => p.attributes(),
            Source::Histogram(p) => p.attributes(),
        }
    }

    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        self.labels().find(|l| l.key == key.as_bytes()).and_then(|l| l.value.as_str())
    }

    /// Start and time, in nanoseconds since 1970.
    pub(super) fn times(&self) -> (u64, u64) {
        match self {
            Source::Number(p) => (p.start, p.time),
            Source::Histogram(p) => (p.start, p.time),
        }
    }

    /// Its value; `None` if there is none, or one that no amount can have: NaN, an infinity, less than nothing.
    pub(super) fn value(&self) -> Option<Value> {
        Some(match self {
            Source::Number(p) if p.no_recorded_value => Value::Gone,
            Source::Number(p) => {
                let amount = p.value.filter(|v| v.as_f64().is_finite() && v.as_f64() >= 0.0);
                Value::Number(amount?)
            }
            Source::Histogram(p) if p.no_recorded_value => Value::Gone,
            Source::Histogram(p) => Value::Histogram(Histogram {
                count: p.count,
                sum: p.sum.filter(|sum| sum.is_finite()),
                min: p.min.filter(|min| min.is_finite()),
                max: p.max.filter(|max| max.is_finite()),
                bounds: p.explicit_bounds().collect(),
                counts: p.bucket_counts().collect(),
            }),
        })
    }

    /// The labels as one key.
    pub(super) fn part(&self) -> Vec<u8> {
        let mut sorted: Vec<&[u8]> = self.labels().map(|kv| kv.raw()).collect();
        sorted.sort_unstable();
        let mut key = Vec::new();
        for label in sorted {
            key.extend_from_slice(&(label.len() as u64).to_le_bytes());
            key.extend_from_slice(label);
        }
        key
    }

    /// Exemplars times `factor`, and fields that this version does not know. Nothing where a number becomes a
    /// histogram: there the field numbers mean something else.
    pub(super) fn rest(&self, to: Instrument, factor: f64) -> Vec<u8> {
        let (raw, exemplars, known): (_, _, fn(u32) -> bool) = match (self, to) {
            (Source::Number(_), Instrument::Histogram) => return Vec::new(),
            (Source::Number(p), _) => {
                (p.raw(), field::number_point::EXEMPLARS, |n| matches!(n, 2 | 3 | 4 | 6 | 7 | 8))
            }
            (Source::Histogram(p), _) => (p.raw(), field::histogram_point::EXEMPLARS, |n| n != 8 && n <= 12),
        };
        let mut w = Writer::new();
        for f in Fields::new(raw) {
            if f.number == exemplars {
                w.message(exemplars, |w| exemplar(w, f.value.as_bytes(), factor));
            } else if !known(f.number) {
                w.raw(f.raw);
            }
        }
        w.into_vec()
    }
}

fn exemplar(w: &mut Writer, raw: &[u8], factor: f64) {
    let scaled = Exemplar::read(raw).value.filter(|_| factor != 1.0).map(|v| v.as_f64() * factor);
    for f in Fields::new(raw) {
        match (f.number, scaled) {
            (field::exemplar::AS_DOUBLE | field::exemplar::AS_INT, Some(value)) => {
                w.double(field::exemplar::AS_DOUBLE, value);
            }
            _ => w.raw(f.raw),
        }
    }
}

/// Milliseconds to seconds. Division is exact where a product with 0.001 is not: 2500 becomes 2.5.
pub(super) fn seconds(milliseconds: f64) -> f64 {
    milliseconds / 1000.0
}

impl Histogram {
    /// Applies `f` to everything that is measured in the unit.
    pub(super) fn scale(&mut self, f: impl Fn(f64) -> f64) {
        for v in [&mut self.sum, &mut self.min, &mut self.max].into_iter().flatten() {
            *v = f(*v);
        }
        self.bounds.iter_mut().for_each(|b| *b = f(*b));
    }

    pub(super) fn without_buckets(&mut self) {
        self.bounds.clear();
        self.counts.clear();
    }

    fn add(&mut self, other: &Histogram) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        self.min = self.min.zip(other.min).map(|(a, b)| a.min(b));
        self.max = self.max.zip(other.max).map(|(a, b)| a.max(b));
        if self.bounds == other.bounds && self.counts.len() == other.counts.len() {
            self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a = a.saturating_add(*b));
        } else {
            self.without_buckets();
        }
    }
}

impl Value {
    /// Adds another value of the same kind; one of another kind, or none, adds nothing.
    pub(super) fn add(&mut self, other: &Value) {
        match (self, other) {
            (Value::Number(Number::Int(a)), Value::Number(Number::Int(b))) => *a = a.saturating_add(*b),
            (Value::Number(a), Value::Number(b)) => *a = Number::Double(a.as_f64() + b.as_f64()),
            (Value::Histogram(a), Value::Histogram(b)) => a.add(b),
            _ => {}
        }
    }

    /// Whether it is less than `before` was: then the series was counted from zero again.
    pub(super) fn fell(&self, before: &Value) -> bool {
        match (self, before) {
            (Value::Number(a), Value::Number(b)) => a.as_f64() < b.as_f64(),
            (Value::Histogram(a), Value::Histogram(b)) => a.count < b.count,
            _ => true,
        }
    }

    /// Takes back what rounding alone took away since `before`: a sum that is smaller by its last bit would read as
    /// a restart.
    pub(super) fn not_below(&mut self, before: &Value) {
        let restore = |now: f64, before: f64| now < before && before - now <= before.abs() * 1e-9;
        match (self, before) {
            (Value::Number(now @ Number::Double(_)), Value::Number(b))
                if restore(now.as_f64(), b.as_f64()) =>
            {
                *now = *b;
            }
            (Value::Histogram(now), Value::Histogram(b)) => {
                if let (Some(sum), Some(b)) = (&mut now.sum, b.sum)
                    && restore(*sum, b)
                {
                    *sum = b;
                }
            }
            _ => {}
        }
    }
}

impl Point {
    fn write(&self, w: &mut Writer, histogram: bool) {
        let attributes =
            if histogram { field::histogram_point::ATTRIBUTES } else { field::number_point::ATTRIBUTES };
        w.fixed64_nonzero(field::point::START_TIME, self.start);
        w.fixed64(field::point::TIME, self.time);
        match &self.value {
            Value::Gone => {
                let flags =
                    if histogram { field::histogram_point::FLAGS } else { field::number_point::FLAGS };
                w.varint(flags, NO_RECORDED_VALUE);
            }
            Value::Number(Number::Int(i)) => w.fixed64(field::number_point::AS_INT, *i as u64),
            Value::Number(Number::Double(d)) => w.double(field::number_point::AS_DOUBLE, *d),
            Value::Histogram(h) => {
                w.fixed64(field::point::COUNT, h.count);
                h.sum.into_iter().for_each(|v| w.double(field::point::SUM, v));
                w.packed_fixed64(field::histogram_point::BUCKET_COUNTS, h.counts.iter().copied());
                w.packed_double(field::histogram_point::EXPLICIT_BOUNDS, h.bounds.iter().copied());
                h.min.into_iter().for_each(|v| w.double(field::histogram_point::MIN, v));
                h.max.into_iter().for_each(|v| w.double(field::histogram_point::MAX, v));
            }
        }
        self.attributes.write(w, attributes);
        w.raw(&self.rest);
    }
}

/// The temporality of a metric's points. A gauge that becomes a sum holds the whole amount.
pub(super) fn temporality(data: Option<&MetricData<'_>>) -> Temporality {
    match data {
        Some(MetricData::Sum { temporality, .. } | MetricData::Histogram { temporality, .. }) => *temporality,
        _ => Temporality::Cumulative,
    }
}

/// Writes the body of a `Metric`: the target's header, the points, and whatever else the source metric had.
pub(super) fn write_metric(
    w: &mut Writer,
    source: &Metric<'_>,
    name: &str,
    target: &Target,
    points: &[Point],
) {
    use field::metric as m;
    w.bytes(m::NAME, name.as_bytes());
    w.bytes_nonempty(m::DESCRIPTION, target.description.as_bytes());
    w.bytes_nonempty(m::UNIT, target.unit.as_bytes());
    let histogram = target.instrument == Instrument::Histogram;
    let kind = match target.instrument {
        Instrument::Gauge => m::GAUGE,
        Instrument::Histogram => m::HISTOGRAM,
        Instrument::Counter | Instrument::UpDownCounter => m::SUM,
    };
    w.message(kind, |w| {
        points.iter().for_each(|p| w.message(m::DATA_POINTS, |w| p.write(w, histogram)));
        if kind != m::GAUGE {
            w.varint(m::TEMPORALITY, temporality(source.data.as_ref()) as u64);
        }
        if target.instrument == Instrument::Counter {
            w.varint(m::IS_MONOTONIC, 1);
        }
    });
    // What the page called it (`prometheus.type`) is no longer true of a metric of another kind.
    let same_kind = Fields::new(source.raw()).any(|f| f.number == kind);
    for f in Fields::new(source.raw()) {
        let known = [m::NAME, m::DESCRIPTION, m::UNIT, m::GAUGE, m::SUM, m::HISTOGRAM];
        if !known.contains(&f.number) && (same_kind || f.number != m::METADATA) {
            w.raw(f.raw);
        }
    }
}

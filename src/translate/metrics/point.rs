//! Data points between a family and its target: read, scaled, added up where they become one series, written.

use super::attributes::Attributes;
use super::table::{Instrument, Target};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{Exemplar, HistogramPoint, Metric, MetricData, Number, NumberPoint, Temporality};
use muxbridge_pdata::wire::Fields;
use std::collections::HashMap;

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
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) value: Value,
    /// Exemplars, flags and fields that this version does not know, as they are written.
    pub(super) rest: Vec<u8>,
}

/// The attributes, start, time and fields of a source point of either kind.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Number(NumberPoint<'a>),
    Histogram(HistogramPoint<'a>),
}

impl<'a> Source<'a> {
    /// The points of a metric; nothing for kinds that ModelMuxer's page cannot have.
    pub(super) fn points(data: Option<MetricData<'a>>) -> Vec<Source<'a>> {
        match data {
            Some(MetricData::Gauge { points } | MetricData::Sum { points, .. }) => {
                points.map(Source::Number).collect()
            }
            Some(MetricData::Histogram { points, .. }) => points.map(Source::Histogram).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn labels(&self) -> muxbridge_pdata::view::Repeated<'a, muxbridge_pdata::view::KeyValue<'a>> {
        match self {
            Source::Number(p) => p.attributes(),
            Source::Histogram(p) => p.attributes(),
        }
    }

    pub(super) fn label(&self, key: &str) -> Option<&'a str> {
        self.labels().find(|l| l.key == key.as_bytes()).and_then(|l| l.value.as_str())
    }

    pub(super) fn times(&self) -> (u64, u64) {
        match self {
            Source::Number(p) => (p.start, p.time),
            Source::Histogram(p) => (p.start, p.time),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Source::Number(p) if p.no_recorded_value => Value::Gone,
            Source::Number(p) => p.value.map_or(Value::Gone, Value::Number),
            Source::Histogram(p) if p.no_recorded_value => Value::Gone,
            Source::Histogram(p) => Value::Histogram(Histogram {
                count: p.count,
                sum: p.sum,
                min: p.min,
                max: p.max,
                bounds: p.explicit_bounds().collect(),
                counts: p.bucket_counts().collect(),
            }),
        }
    }

    /// Exemplars with `scale` applied, and fields that this version does not know. They are dropped where a number
    /// becomes a histogram: there the field numbers mean something else.
    pub(super) fn rest(&self, to: Instrument, scale: impl Fn(f64) -> f64) -> Vec<u8> {
        let (raw, exemplars, known): (_, _, fn(u32) -> bool) = match (self, to) {
            (Source::Number(p), Instrument::Histogram) => {
                let _ = p;
                return Vec::new();
            }
            (Source::Number(p), _) => {
                (p.raw(), field::number_point::EXEMPLARS, |n| matches!(n, 2 | 3 | 4 | 6 | 7 | 8))
            }
            (Source::Histogram(p), _) => (p.raw(), field::histogram_point::EXEMPLARS, |n| n != 8 && n <= 12),
        };
        let mut w = Writer::new();
        for f in Fields::new(raw) {
            if f.number == exemplars {
                w.message(exemplars, |w| exemplar(w, f.value.as_bytes(), &scale));
            } else if !known(f.number) {
                w.raw(f.raw);
            }
        }
        w.into_vec()
    }
}

fn exemplar(w: &mut Writer, raw: &[u8], scale: &impl Fn(f64) -> f64) {
    let value = Exemplar::read(raw).value.map(Number::as_f64);
    let scaled = value.map(|v| (v, scale(v))).filter(|(before, after)| before != after);
    for f in Fields::new(raw) {
        match (f.number, scaled) {
            (field::exemplar::AS_DOUBLE | field::exemplar::AS_INT, Some((_, after))) => {
                w.double(field::exemplar::AS_DOUBLE, after);
            }
            _ => w.raw(f.raw),
        }
    }
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

    fn add(&mut self, other: Histogram) {
        self.count += other.count;
        self.sum = self.sum.zip(other.sum).map(|(a, b)| a + b);
        self.min = self.min.zip(other.min).map(|(a, b)| a.min(b));
        self.max = self.max.zip(other.max).map(|(a, b)| a.max(b));
        if self.bounds == other.bounds && self.counts.len() == other.counts.len() {
            self.counts.iter_mut().zip(other.counts).for_each(|(a, b)| *a += b);
        } else {
            self.without_buckets();
        }
    }
}

/// Adds up the points that became one series at one time; how many disappeared that way.
///
/// Cumulative sums of one process add: the sum starts when its first part did, and a part that appears later is an
/// increase from 0 at that moment. A part whose series has ended adds nothing.
pub(super) fn merge(points: Vec<Point>) -> (Vec<Point>, u64) {
    let before = points.len();
    let mut index: HashMap<(Attributes, u64), usize> = HashMap::new();
    let mut merged: Vec<Point> = Vec::with_capacity(before);
    for point in points {
        let key = (point.attributes.clone(), point.time);
        let at = *index.entry(key).or_insert(merged.len());
        match merged.get_mut(at) {
            Some(first) => first.add(point),
            None => merged.push(point),
        }
    }
    let gone = (before - merged.len()) as u64;
    (merged, gone)
}

impl Point {
    fn add(&mut self, other: Point) {
        if other.value == Value::Gone {
            return;
        }
        self.rest.extend_from_slice(&other.rest);
        // 0 is "unknown", not the earliest time.
        self.start = match (self.start, other.start) {
            (0, start) | (start, 0) => start,
            (a, b) if self.value != Value::Gone => a.min(b),
            (_, b) => b,
        };
        match (&mut self.value, other.value) {
            (Value::Number(Number::Int(a)), Value::Number(Number::Int(b))) => *a = a.saturating_add(b),
            (Value::Number(a), Value::Number(b)) => *a = Number::Double(a.as_f64() + b.as_f64()),
            (Value::Histogram(a), Value::Histogram(b)) => a.add(b),
            (value, other) => *value = other,
        }
    }

    fn write(&self, w: &mut Writer, histogram: bool) {
        let attributes =
            if histogram { field::histogram_point::ATTRIBUTES } else { field::number_point::ATTRIBUTES };
        w.fixed64_nonzero(field::point::START_TIME, self.start);
        w.fixed64(field::point::TIME, self.time);
        match &self.value {
            Value::Gone => {
                let flags = if histogram { field::histogram_point::FLAGS } else { field::number_point::FLAGS };
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

/// Writes the body of a `Metric`: the target's header, the points, and whatever else the source metric had.
pub(super) fn write_metric(w: &mut Writer, source: &Metric<'_>, name: &str, target: &Target, points: &[Point]) {
    use field::metric as m;
    w.bytes(m::NAME, name.as_bytes());
    w.bytes_nonempty(m::DESCRIPTION, target.description.as_bytes());
    w.bytes_nonempty(m::UNIT, target.unit.as_bytes());
    let temporality = match source.data {
        Some(MetricData::Sum { temporality, .. } | MetricData::Histogram { temporality, .. }) => temporality,
        // A gauge that becomes a sum holds the whole amount.
        _ => Temporality::Cumulative,
    };
    let histogram = target.instrument == Instrument::Histogram;
    let kind = match target.instrument {
        Instrument::Gauge => m::GAUGE,
        Instrument::Histogram => m::HISTOGRAM,
        Instrument::Counter | Instrument::UpDownCounter => m::SUM,
    };
    w.message(kind, |w| {
        points.iter().for_each(|p| w.message(m::DATA_POINTS, |w| p.write(w, histogram)));
        if kind != m::GAUGE {
            w.varint(m::TEMPORALITY, temporality as u64);
        }
        if target.instrument == Instrument::Counter {
            w.varint(m::IS_MONOTONIC, 1);
        }
    });
    for f in Fields::new(source.raw()) {
        let known = [m::NAME, m::DESCRIPTION, m::UNIT, m::GAUGE, m::SUM, m::HISTOGRAM];
        if !known.contains(&f.number) {
            w.raw(f.raw);
        }
    }
}

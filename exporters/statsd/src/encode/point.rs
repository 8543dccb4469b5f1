//! Metrics and points: the part of the walk over a batch that all instruments share.

use super::histogram::Bounds;
use super::labels::{Attributes, Labels};
use super::number;
use super::output::{Kind, Output, Series, Totals};
use super::replay::Bucket;
use super::{Counts, Options};
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{
    ExponentialPoint, HistogramPoint, Metric, MetricData, Number, NumberPoint, Repeated, Resource,
    SummaryPoint, Temporality, text,
};

/// The longest metric name that Datadog keeps, less the longest suffix that histograms add.
const MAX_NAME: usize = 190;

/// Why a point did not become lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    NonFinite,
    NoValue,
    NotDelta,
    Malformed,
}

/// Walks over the metrics of one batch.
pub(super) struct Encoder<'o, O> {
    pub(super) options: &'o Options,
    counts: &'o mut Counts,
    out: O,
    name: String,
    /// Which metric of the batch it is.
    metric: u32,
    unit: String,
    times: (u64, u64),
    labels: &'o mut Labels,
    /// The tags of the current point.
    tags: u32,
    pub(super) buckets: Vec<Bucket>,
    /// The bounds of histograms.
    pub(super) bounds: Bounds,
}

impl<'o, O: Output> Encoder<'o, O> {
    pub(super) fn new(labels: &'o mut Labels, options: &'o Options, counts: &'o mut Counts, out: O) -> Self {
        labels.begin(options, counts);
        Encoder {
            options,
            counts,
            out,
            name: String::new(),
            metric: 0,
            unit: String::new(),
            times: (0, 0),
            labels,
            tags: 0,
            buckets: Vec::new(),
            bounds: Bounds::default(),
        }
    }

    pub(super) fn finish(self) -> O {
        self.out
    }

    pub(super) fn resource(&mut self, resource: &Resource<'_>) {
        self.labels.resource(resource, self.options, self.counts);
    }

    pub(super) fn metric(&mut self, metric: &Metric<'_>) {
        if !self.set_name(text(metric.name)) {
            self.counts.malformed += metric.point_count() as u64;
            return;
        }
        self.unit.clear();
        self.unit.push_str(text(metric.unit));
        let fits = |t: Temporality| t == Temporality::Delta;
        match metric.data {
            None => {}
            Some(MetricData::Gauge { points }) => self.numbers(points, Ok(true)),
            Some(MetricData::Sum { points, temporality, monotonic }) => {
                // A total that also falls has no differences worth counting: it is a level.
                let gauge = temporality == Temporality::Cumulative && !monotonic;
                self.numbers(
                    points,
                    if gauge || fits(temporality) { Ok(gauge) } else { Err(Drop::NotDelta) },
                );
            }
            Some(MetricData::Histogram { points, temporality }) => {
                for raw in points.raw() {
                    let expected = self.labels.expected(field::histogram_point::ATTRIBUTES);
                    let p = HistogramPoint::read_expecting(raw, expected);
                    self.point(
                        Attributes {
                            as_expected: p.as_expected(),
                            fields: p.attribute_fields(),
                            all: p.attributes(),
                        },
                        (p.start, p.time),
                        |e| {
                            if fits(temporality) { e.histogram(&p) } else { Err(Drop::NotDelta) }
                        },
                    );
                }
            }
            Some(MetricData::ExponentialHistogram { points, temporality }) => {
                for raw in points.raw() {
                    let expected = self.labels.expected(field::exponential_point::ATTRIBUTES);
                    let p = ExponentialPoint::read_expecting(raw, expected);
                    self.point(
                        Attributes {
                            as_expected: p.as_expected(),
                            fields: p.attribute_fields(),
                            all: p.attributes(),
                        },
                        (p.start, p.time),
                        |e| {
                            if fits(temporality) { e.exponential(&p) } else { Err(Drop::NotDelta) }
                        },
                    );
                }
            }
            Some(MetricData::Summary { points }) => {
                for p in points {
                    let (fields, all) = (p.attribute_fields(), p.attributes());
                    let attributes = Attributes { as_expected: false, fields, all };
                    self.point(attributes, (p.start, p.time), |e| e.summary(&p));
                }
            }
        }
    }

    /// Numbers: levels, differences, or none of both.
    fn numbers(&mut self, points: Repeated<'_, NumberPoint<'_>>, gauge: Result<bool, Drop>) {
        for raw in points.raw() {
            let expected = self.labels.expected(field::number_point::ATTRIBUTES);
            let p = NumberPoint::read_expecting(raw, expected);
            self.point(
                Attributes {
                    as_expected: p.as_expected(),
                    fields: p.attribute_fields(),
                    all: p.attributes(),
                },
                (p.start, p.time),
                |e| e.number(&p, gauge?),
            );
        }
    }

    /// Renders the tags of a point, hands out its values and counts what became of it.
    #[inline]
    fn point(
        &mut self,
        attributes: Attributes<'_>,
        times: (u64, u64),
        write: impl FnOnce(&mut Self) -> Result<(), Drop>,
    ) {
        self.tags = self.labels.point(attributes, self.options, self.counts);
        self.times = times;
        let written = write(self);
        let fitted = self.out.end_point();
        let counter = match written {
            Ok(()) if !fitted => &mut self.counts.too_large,
            Ok(()) => &mut self.counts.encoded,
            Err(Drop::NonFinite) => &mut self.counts.non_finite,
            Err(Drop::NoValue) => &mut self.counts.no_value,
            Err(Drop::NotDelta) => &mut self.counts.not_delta,
            Err(Drop::Malformed) => &mut self.counts.malformed,
        };
        *counter += 1;
    }

    fn number(&mut self, point: &NumberPoint<'_>, gauge: bool) -> Result<(), Drop> {
        let value = match point.value {
            Some(value) if !point.no_recorded_value => value,
            _ => return Err(Drop::NoValue),
        };
        if !value.as_f64().is_finite() {
            return Err(Drop::NonFinite);
        }
        if gauge {
            self.gauge("", None, value);
        } else {
            self.count("", None, value);
        }
        Ok(())
    }

    /// Summaries hold totals since the start, and nothing says when they began again: they are sent as levels.
    fn summary(&mut self, point: &SummaryPoint<'_>) -> Result<(), Drop> {
        if point.no_recorded_value {
            return Err(Drop::NoValue);
        }
        self.gauge(".count", None, Number::Int(i64::try_from(point.count).unwrap_or(i64::MAX)));
        if point.sum.is_finite() {
            self.gauge(".sum", None, Number::Double(point.sum));
        }
        for q in point.quantiles() {
            // A quantile of nothing is NaN.
            if q.value.is_finite() && q.quantile.is_finite() {
                let mut quantile = String::new();
                number::write(&mut quantile, q.quantile);
                self.gauge(".quantile", Some(("quantile", &quantile)), Number::Double(q.value));
            }
        }
        Ok(())
    }

    /// Hands out a level.
    pub(super) fn gauge(&mut self, suffix: &'static str, extra: Option<(&str, &str)>, value: Number) {
        self.number_out(suffix, extra, value, Kind::Gauge);
    }

    /// Hands out a difference.
    pub(super) fn count(&mut self, suffix: &'static str, extra: Option<(&str, &str)>, value: Number) {
        self.number_out(suffix, extra, value, Kind::Count);
    }

    fn number_out(&mut self, suffix: &'static str, extra: Option<(&str, &str)>, value: Number, kind: Kind) {
        let series = Series {
            name: &self.name,
            metric: self.metric,
            suffix,
            tags: self.labels.text(self.tags),
            tags_id: self.tags,
            extra,
            unit: &self.unit,
            start: self.times.0,
            time: self.times.1,
        };
        self.out.number(&series, value, kind);
    }

    /// Hands out a distribution.
    pub(super) fn distribution_out(&mut self, totals: &Totals, buckets: &[Bucket]) {
        let series = Series {
            name: &self.name,
            metric: self.metric,
            suffix: "",
            tags: self.labels.text(self.tags),
            tags_id: self.tags,
            extra: None,
            unit: &self.unit,
            start: self.times.0,
            time: self.times.1,
        };
        self.out.distribution(&series, totals, buckets);
    }

    /// Takes the name of the next metric; false if nothing of it is left.
    fn set_name(&mut self, raw: &str) -> bool {
        self.name.clear();
        self.metric += 1;
        self.name.push_str(&self.options.prefix);
        let start = self.name.len();
        if start == 0 && !raw.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.name.push_str("mm.");
        }
        let mut any = false;
        for byte in raw.bytes() {
            let keep = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
            any |= byte.is_ascii_alphanumeric();
            let c = if keep { char::from(byte) } else { '_' };
            if (c != '_' || !self.name.ends_with('_')) && self.name.len() < MAX_NAME {
                self.name.push(c);
            }
        }
        if any && self.name[start..] != *raw {
            self.counts.adjusted_names += 1;
        }
        any
    }
}

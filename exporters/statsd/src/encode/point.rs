//! Metrics, points and lines: the part of the encoder that all instruments share.

use super::number;
use super::replay::Bucket;
use super::tags::{self, Tags};
use super::{Counts, Dialect, Messages, Options};
use muxbridge_pdata::view::{
    KeyValue, Metric, MetricData, Number, NumberPoint, Repeated, Resource, SummaryPoint, Temporality, text,
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

/// Encodes the metrics of one batch.
pub(super) struct Encoder<'o> {
    pub(super) options: &'o Options,
    counts: &'o mut Counts,
    out: Messages,
    name: String,
    tags: Tags,
    /// The message that is being written.
    line: String,
    /// Whether a message of the current point was longer than a packet.
    too_large: bool,
    pub(super) buckets: Vec<Bucket>,
}

impl<'o> Encoder<'o> {
    pub(super) fn new(options: &'o Options, counts: &'o mut Counts) -> Self {
        let tags = Tags::new(options, counts);
        Encoder {
            options,
            counts,
            out: Messages::default(),
            name: String::new(),
            tags,
            line: String::new(),
            too_large: false,
            buckets: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Messages {
        self.out
    }

    pub(super) fn resource(&mut self, resource: &Resource<'_>) {
        self.tags.resource(resource, self.options, self.counts);
    }

    pub(super) fn metric(&mut self, metric: &Metric<'_>) {
        if !self.set_name(text(metric.name)) {
            self.counts.malformed += metric.point_count() as u64;
            return;
        }
        let fits = |t: Temporality| t == Temporality::Delta;
        match metric.data {
            None => {}
            Some(MetricData::Gauge { points }) => {
                for p in points {
                    self.point(p.attributes(), |e| e.number(&p, true));
                }
            }
            Some(MetricData::Sum { points, temporality, monotonic }) => {
                // A total that also falls has no differences worth counting: it is a level.
                let gauge = temporality == Temporality::Cumulative && !monotonic;
                for p in points {
                    self.point(p.attributes(), |e| {
                        if gauge || fits(temporality) { e.number(&p, gauge) } else { Err(Drop::NotDelta) }
                    });
                }
            }
            Some(MetricData::Histogram { points, temporality }) => {
                for p in points {
                    self.point(p.attributes(), |e| {
                        if fits(temporality) { e.histogram(&p) } else { Err(Drop::NotDelta) }
                    });
                }
            }
            Some(MetricData::ExponentialHistogram { points, temporality }) => {
                for p in points {
                    self.point(p.attributes(), |e| {
                        if fits(temporality) { e.exponential(&p) } else { Err(Drop::NotDelta) }
                    });
                }
            }
            Some(MetricData::Summary { points }) => {
                for p in points {
                    self.point(p.attributes(), |e| e.summary(&p));
                }
            }
        }
    }

    /// Renders the tags of a point, writes its lines and counts what became of it.
    fn point<'a>(
        &mut self,
        attributes: Repeated<'a, KeyValue<'a>>,
        write: impl FnOnce(&mut Self) -> Result<(), Drop>,
    ) {
        self.tags.point(attributes, self.options, self.counts);
        self.too_large = false;
        let counter = match write(self) {
            Ok(()) if self.too_large => &mut self.counts.too_large,
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
            self.value("", None, value, "c");
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

    /// Writes a level. A sign makes a change of it for every server but Datadog's, so that a negative level goes there
    /// as a zero and the change, in one message.
    pub(super) fn gauge(&mut self, suffix: &str, extra: Option<(&str, &str)>, value: Number) {
        self.line.clear();
        if value.as_f64() < 0.0 && self.options.dialect != Dialect::Dogstatsd {
            self.head(suffix, extra);
            self.line.push('0');
            self.tail("g", 1, extra);
            self.line.push('\n');
        }
        self.head(suffix, extra);
        write_number(&mut self.line, value);
        self.tail("g", 1, extra);
        self.commit();
    }

    /// Writes one line with one value.
    pub(super) fn value(&mut self, suffix: &str, extra: Option<(&str, &str)>, value: Number, kind: &str) {
        self.line.clear();
        self.head(suffix, extra);
        write_number(&mut self.line, value);
        self.tail(kind, 1, extra);
        self.commit();
    }

    /// Writes measured values that each stand for `weight` measurements.
    pub(super) fn samples(&mut self, values: impl Iterator<Item = f64>, weight: u64) {
        // One line holds so many values, so that it stays far below any packet.
        const PACKED: usize = 32;
        let packs = self.options.dialect == Dialect::Dogstatsd;
        let kind = if packs { "d" } else { "ms" };
        let mut open = 0;
        for value in values {
            if open > 0 && (!packs || open == PACKED) {
                self.tail(kind, weight, None);
                self.commit();
                open = 0;
            }
            if open == 0 {
                self.line.clear();
                self.head("", None);
            } else {
                self.line.push(':');
            }
            number::write(&mut self.line, number::six_digits(value));
            open += 1;
        }
        if open > 0 {
            self.tail(kind, weight, None);
            self.commit();
        }
    }

    /// Everything up to the value.
    fn head(&mut self, suffix: &str, extra: Option<(&str, &str)>) {
        self.line.push_str(&self.name);
        self.line.push_str(suffix);
        if matches!(self.options.dialect, Dialect::Graphite | Dialect::Influx) {
            self.line.push_str(&self.tags.text);
            self.extra(extra);
        }
        self.line.push(':');
    }

    /// Everything after the value.
    fn tail(&mut self, kind: &str, weight: u64, extra: Option<(&str, &str)>) {
        self.line.push('|');
        self.line.push_str(kind);
        if weight > 1 {
            self.line.push_str("|@");
            number::write(&mut self.line, number::rate(weight));
        }
        let hash = matches!(self.options.dialect, Dialect::Dogstatsd | Dialect::Etsy);
        if hash && (!self.tags.text.is_empty() || extra.is_some()) {
            self.line.push_str("|#");
            self.line.push_str(&self.tags.text);
            self.extra(extra);
        }
    }

    fn extra(&mut self, extra: Option<(&str, &str)>) {
        let Some((key, value)) = extra else { return };
        let dialect = self.options.dialect;
        if self.tags.text.is_empty() && tags::assign(dialect) == ':' {
            self.line.push_str(key);
        } else {
            tags::append(dialect, &mut self.line, key);
        }
        self.line.push(tags::assign(dialect));
        self.line.push_str(value);
    }

    fn commit(&mut self) {
        // The line feed counts.
        if self.line.len() < self.options.max_packet {
            self.out.push(&self.line);
        } else {
            self.too_large = true;
        }
    }

    /// Takes the name of the next metric; false if nothing of it is left.
    fn set_name(&mut self, raw: &str) -> bool {
        self.name.clear();
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

fn write_number(out: &mut String, value: Number) {
    match value {
        Number::Int(i) => number::write_int(out, i),
        Number::Double(d) => number::write(out, d),
    }
}

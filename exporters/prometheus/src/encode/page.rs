//! Writes a page: families with their samples, in either format.

use super::Format;
use super::exemplar::Exemplar;
use super::number::{push_canonical, push_float, push_seconds};
use super::value::{Histogram, Value};
use muxbridge_pdata::view::Number;
use std::fmt::Write;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Can fall.
    Gauge,
    /// Counts by bucket.
    Histogram,
    /// Quantiles that the source has computed.
    Summary,
    /// Nobody knows.
    Unknown,
    /// Labels that describe something; the value is 1.
    Info,
}

impl Kind {
    fn as_str(self, format: Format) -> &'static str {
        match (self, format) {
            (Kind::Counter, _) => "counter",
            (Kind::Gauge, _) | (Kind::Info, Format::Text) => "gauge",
            (Kind::Histogram, _) => "histogram",
            (Kind::Summary, _) => "summary",
            (Kind::Unknown, Format::Text) => "untyped",
            (Kind::Unknown, Format::OpenMetrics) => "unknown",
            (Kind::Info, Format::OpenMetrics) => "info",
        }
    }
}

/// What stands above the samples of a family.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The name in the text format: of a counter with `_total`, of an info with `_info`.
    pub text: &'a str,
    /// The name in OpenMetrics: without them.
    pub family: &'a str,
    /// The type.
    pub kind: Kind,
    /// What it means; may be empty.
    pub help: &'a str,
    /// Empty, or what `family` ends in after an underscore.
    pub unit: &'a str,
}

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    format: Format,
    timestamps: bool,
    out: String,
    /// The stem of the sample names of the current family.
    stem: String,
    kind: Kind,
}

/// What a series shows besides its value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extra<'a> {
    /// Nanoseconds since 1970; 0 if unknown.
    pub(super) start: u64,
    /// Nanoseconds since 1970; 0 if unknown.
    pub(super) time: u64,
    pub(super) exemplars: &'a [Exemplar],
}

impl Page {
    /// An empty page.
    pub fn new(format: Format) -> Self {
        Page { format, timestamps: false, out: String::new(), stem: String::new(), kind: Kind::Unknown }
    }

    /// The format that it is written in.
    pub fn format(&self) -> Format {
        self.format
    }

    pub(super) fn timestamps(&mut self, on: bool) {
        self.timestamps = on;
    }

    /// Begins a family. All its samples must follow.
    pub fn family(&mut self, head: &Head<'_>) {
        let open = self.format == Format::OpenMetrics;
        let name = if open { head.family } else { head.text };
        self.stem.clear();
        self.stem.push_str(name);
        self.kind = head.kind;
        if !head.help.is_empty() {
            let _ = write!(self.out, "# HELP {name} ");
            for c in head.help.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '\n' => self.out.push_str("\\n"),
                    '"' if open => self.out.push_str("\\\""),
                    c => self.out.push(c),
                }
            }
            self.out.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "# TYPE {name} {}", head.kind.as_str(self.format));
        if open && !head.unit.is_empty() {
            let _ = writeln!(self.out, "# UNIT {name} {}", head.unit);
        }
    }

    /// A series of the current family, which is a counter or a gauge, with whole numbers. `labels` stand as they are
    /// between the braces.
    pub fn whole(&mut self, labels: &str, value: u64) {
        let suffix = self.suffix();
        self.head(suffix, labels, "", None);
        let _ = write!(self.out, "{value}");
        self.end(0, None);
    }

    fn suffix(&self) -> &'static str {
        match (self.format, self.kind) {
            (Format::OpenMetrics, Kind::Counter) => "_total",
            (Format::OpenMetrics, Kind::Info) => "_info",
            _ => "",
        }
    }

    /// A series of the current family.
    pub(super) fn series(&mut self, labels: &str, value: &Value, extra: Extra<'_>) {
        let created = match value {
            Value::Number(number) => {
                let suffix = self.suffix();
                self.head(suffix, labels, "", None);
                self.number(*number);
                let exemplar = extra.exemplars.last().filter(|_| self.kind == Kind::Counter);
                self.end(extra.time, exemplar);
                self.kind == Kind::Counter
            }
            Value::Histogram(histogram) => {
                self.histogram(labels, histogram, extra);
                true
            }
            Value::Exponential(exponential) => {
                self.histogram(labels, &exponential.classic(), extra);
                true
            }
            Value::Summary { count, sum, quantiles } => {
                self.summary(labels, *count, *sum, quantiles, extra.time);
                true
            }
        };
        if created && self.format == Format::OpenMetrics && extra.start > 0 {
            self.head("_created", labels, "", None);
            push_seconds(&mut self.out, extra.start);
            self.end(extra.time, None);
        }
    }

    fn histogram(&mut self, labels: &str, histogram: &Histogram, extra: Extra<'_>) {
        let (mut below, mut lower) = (0u64, f64::NEG_INFINITY);
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, n) in bounds.zip(&histogram.counts) {
            below = below.saturating_add(*n);
            self.head("_bucket", labels, "le", Some(bound));
            let _ = write!(self.out, "{below}");
            let inside = |e: &&Exemplar| e.value > lower && e.value <= bound;
            self.end(extra.time, extra.exemplars.iter().rfind(inside));
            lower = bound;
        }
        let negative = histogram.bounds.first().is_some_and(|bound| *bound < 0.0);
        // OpenMetrics has no sum that can fall, and no count without a sum.
        let sum = histogram.sum.filter(|sum| self.format == Format::Text || (*sum >= 0.0 && !negative));
        if let Some(sum) = sum {
            self.head("_sum", labels, "", None);
            push_float(&mut self.out, sum);
            self.end(extra.time, None);
        }
        if sum.is_some() || self.format == Format::Text {
            self.head("_count", labels, "", None);
            let _ = write!(self.out, "{}", histogram.count);
            self.end(extra.time, None);
        }
    }

    fn summary(&mut self, labels: &str, count: u64, sum: f64, quantiles: &[(f64, f64)], time: u64) {
        let open = self.format == Format::OpenMetrics;
        // Values below zero are not allowed there; not-a-number means that there were none of late.
        for (quantile, value) in
            quantiles.iter().filter(|(_, value)| !open || value.is_nan() || *value >= 0.0)
        {
            self.head("", labels, "quantile", Some(*quantile));
            push_float(&mut self.out, *value);
            self.end(time, None);
        }
        if !sum.is_nan() && (!open || sum >= 0.0) {
            self.head("_sum", labels, "", None);
            push_float(&mut self.out, sum);
            self.end(time, None);
        }
        self.head("_count", labels, "", None);
        let _ = write!(self.out, "{count}");
        self.end(time, None);
    }

    fn number(&mut self, number: Number) {
        match number {
            Number::Int(i) => {
                let _ = write!(self.out, "{i}");
            }
            Number::Double(d) => push_float(&mut self.out, d),
        }
    }

    /// The name and labels of a sample, with one more label that holds a number if `value` says so.
    fn head(&mut self, suffix: &str, labels: &str, name: &str, value: Option<f64>) {
        self.out.push_str(&self.stem);
        self.out.push_str(suffix);
        if !labels.is_empty() || value.is_some() {
            self.out.push('{');
            self.out.push_str(labels);
            if let Some(value) = value {
                if !labels.is_empty() {
                    self.out.push(',');
                }
                self.out.push_str(name);
                self.out.push_str("=\"");
                push_canonical(&mut self.out, value);
                self.out.push('"');
            }
            self.out.push('}');
        }
        self.out.push(' ');
    }

    fn end(&mut self, time: u64, exemplar: Option<&Exemplar>) {
        if self.timestamps && time > 0 {
            self.out.push(' ');
            match self.format {
                Format::Text => {
                    let _ = write!(self.out, "{}", time / 1_000_000);
                }
                Format::OpenMetrics => push_seconds(&mut self.out, time),
            }
        }
        if let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics) {
            let _ = write!(self.out, " # {{{}}} ", exemplar.labels);
            push_float(&mut self.out, exemplar.value);
            if exemplar.time > 0 {
                self.out.push(' ');
                push_seconds(&mut self.out, exemplar.time);
            }
        }
        self.out.push('\n');
    }

    /// The finished page.
    pub fn finish(mut self) -> Vec<u8> {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out.into_bytes()
    }
}

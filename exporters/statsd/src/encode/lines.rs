//! Lines: how each dialect writes numbers and distributions.

use super::number;
use super::output::{Kind, Output, Series, Totals};
use super::replay::Bucket;
use super::tags;
use super::{Dialect, Messages, Options};
use muxbridge_pdata::view::Number;
use std::collections::HashMap;

const NANOS: u64 = 1_000_000_000;

/// Writes the lines of one batch.
pub(super) struct Lines<'o> {
    options: &'o Options,
    out: Messages,
    /// The message that is being written.
    line: String,
    /// Whether a message of the current point was longer than a packet.
    too_large: bool,
    merged: Merged,
}

/// Numbers that are held back, so that those of one series are one line.
#[derive(Default)]
struct Merged {
    index: HashMap<(Kind, String), usize>,
    values: Vec<(Number, Kind)>,
}

impl<'o> Lines<'o> {
    pub(super) fn new(options: &'o Options) -> Self {
        Lines {
            options,
            out: Messages::default(),
            line: String::new(),
            too_large: false,
            merged: Merged::default(),
        }
    }

    pub(super) fn finish(mut self) -> Messages {
        let mut held: Vec<(usize, String)> =
            std::mem::take(&mut self.merged.index).into_iter().map(|((_, key), i)| (i, key)).collect();
        held.sort_unstable();
        let values = std::mem::take(&mut self.merged.values);
        for ((value, kind), (_, key)) in values.into_iter().zip(held) {
            // The head and the tail of the line, with nothing between them.
            let (head, tail) = key.split_once('\n').unwrap_or((&key, ""));
            self.number_line(head, tail, value, kind);
        }
        self.out
    }

    /// Writes a number between its head and its tail. A sign makes a change of a level for every server but Datadog's,
    /// so that a negative level goes there as a zero and the change, in one message.
    fn number_line(&mut self, head: &str, tail: &str, value: Number, kind: Kind) {
        self.line.clear();
        let level = kind == Kind::Gauge;
        if level && value.as_f64() < 0.0 && self.options.dialect != Dialect::Dogstatsd {
            self.line.push_str(head);
            self.line.push_str("0|g");
            self.line.push_str(tail);
            self.line.push('\n');
        }
        self.line.push_str(head);
        match value {
            Number::Int(i) => number::write_int(&mut self.line, i),
            Number::Double(d) => number::write(&mut self.line, d),
        }
        self.line.push_str(if level { "|g" } else { "|c" });
        self.line.push_str(tail);
        self.commit();
    }

    /// Writes measured values that each stand for `weight` measurements.
    fn samples(&mut self, series: &Series<'_>, values: impl Iterator<Item = f64>, weight: u64) {
        // One line holds so many values, so that it stays far below any packet.
        const PACKED: usize = 32;
        let packs = self.options.dialect == Dialect::Dogstatsd;
        let mut open = 0;
        for value in values {
            if open > 0 && (!packs || open == PACKED) {
                self.end_samples(series, weight);
                open = 0;
            }
            if open == 0 {
                self.line.clear();
                head(&mut self.line, self.options, series);
            } else {
                self.line.push(':');
            }
            number::write(&mut self.line, number::six_digits(value));
            open += 1;
        }
        if open > 0 {
            self.end_samples(series, weight);
        }
    }

    fn end_samples(&mut self, series: &Series<'_>, weight: u64) {
        self.line.push_str(if self.options.dialect == Dialect::Dogstatsd { "|d" } else { "|ms" });
        if weight > 1 {
            self.line.push_str("|@");
            number::write(&mut self.line, number::rate(weight));
        }
        tail(&mut self.line, self.options, series, false);
        self.commit();
    }

    fn commit(&mut self) {
        // The line feed counts.
        if self.line.len() < self.options.max_packet {
            self.out.push(&self.line);
        } else {
            self.too_large = true;
        }
    }
}

impl Output for Lines<'_> {
    fn number(&mut self, series: &Series<'_>, value: Number, kind: Kind) {
        let mut key = String::new();
        head(&mut key, self.options, series);
        key.push('\n');
        let dated = tail(&mut key, self.options, series, true);
        // A point with its own time is final for the Agent.
        if dated || !self.options.aggregate {
            let (head, tail) = key.split_once('\n').unwrap_or((&key, ""));
            return self.number_line(head, tail, value, kind);
        }
        // The value is at most 24 bytes, its type 2; a negative level of an older server is two lines.
        let lines = if kind == Kind::Gauge && self.options.dialect != Dialect::Dogstatsd { 2 } else { 1 };
        if (key.len() + 26) * lines >= self.options.max_packet {
            self.too_large = true;
            return;
        }
        let merged = &mut self.merged;
        let next = merged.values.len();
        let i = *merged.index.entry((kind, key)).or_insert(next);
        match merged.values.get_mut(i) {
            Some((held, Kind::Count)) => *held = add(*held, value),
            Some((held, Kind::Gauge)) => *held = value,
            None => merged.values.push((value, kind)),
        }
    }

    fn distribution(&mut self, series: &Series<'_>, _totals: &Totals, buckets: &[Bucket]) {
        for bucket in buckets {
            let values = bucket.values(self.options.samples_per_bucket);
            let (weight, heavier) = (bucket.count / values, bucket.count % values);
            self.samples(series, (0..heavier).map(|j| bucket.value(j, values)), weight + 1);
            self.samples(series, (heavier..values).map(|j| bucket.value(j, values)), weight);
        }
    }

    fn end_point(&mut self) -> bool {
        !std::mem::take(&mut self.too_large)
    }
}

/// The sum, as a whole number as long as it is one.
fn add(a: Number, b: Number) -> Number {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) if a.checked_add(b).is_some() => Number::Int(a + b),
        _ => {
            let sum = a.as_f64() + b.as_f64();
            // Two finite numbers may add up to more than a double holds.
            Number::Double(sum.clamp(f64::MIN, f64::MAX))
        }
    }
}

/// Everything up to the value.
fn head(out: &mut String, options: &Options, series: &Series<'_>) {
    out.push_str(series.name);
    out.push_str(series.suffix);
    if matches!(options.dialect, Dialect::Graphite | Dialect::Influx) {
        out.push_str(series.tags);
        extra(out, options.dialect, series);
    }
    out.push(':');
}

/// Everything after the type and the rate. Whether the line has a time.
fn tail(out: &mut String, options: &Options, series: &Series<'_>, may_be_dated: bool) -> bool {
    let hash = matches!(options.dialect, Dialect::Dogstatsd | Dialect::Etsy);
    if hash && (!series.tags.is_empty() || series.extra.is_some()) {
        out.push_str("|#");
        out.push_str(series.tags);
        extra(out, options.dialect, series);
    }
    if options.dialect != Dialect::Dogstatsd {
        return false;
    }
    out.push_str(&options.origin);
    let seconds = series.time / NANOS;
    let dated = may_be_dated && options.timestamps && seconds > 0;
    if dated {
        out.push_str("|T");
        out.push_str(itoa::Buffer::new().format(seconds));
    }
    dated
}

fn extra(out: &mut String, dialect: Dialect, series: &Series<'_>) {
    let Some((key, value)) = series.extra else { return };
    if series.tags.is_empty() && tags::assign(dialect) == ':' {
        out.push_str(key);
    } else {
        tags::append(dialect, out, key);
    }
    out.push(tags::assign(dialect));
    out.push_str(value);
}

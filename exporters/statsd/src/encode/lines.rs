//! Lines: how each dialect writes numbers and distributions.

use super::number;
use super::output::{Kind, Output, Series, Totals};
use super::replay::Bucket;
use super::tags;
use super::{Dialect, Messages, Options};
use muxbridge_pdata::view::Number;
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

const NANOS: u64 = 1_000_000_000;

/// Writes the lines of one batch.
pub(super) struct Lines<'o> {
    options: &'o Options,
    /// The messages, and behind the last one what is being written.
    out: Messages,
    /// Whether a message of the current point was longer than a packet.
    too_large: bool,
    merged: Merged,
}

/// Numbers that are held back, so that those of one series are one line.
#[derive(Default)]
struct Merged {
    /// The heads and the tails of their lines, one behind the other.
    text: String,
    held: Vec<Held>,
    /// Which one it is, by the hash of its text.
    index: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    random: RandomState,
}

struct Held {
    /// Where its head, its tail and its text begin and end.
    start: usize,
    split: usize,
    end: usize,
    value: Number,
    kind: Kind,
}

impl Merged {
    /// Adds a value to those of its series. `start` and `split` are where its head and its tail begin.
    fn add(&mut self, start: usize, split: usize, value: Number, kind: Kind) {
        let next = self.held.len() as u32;
        let hash = self.random.hash_one((&self.text[start..], kind));
        let i = *self.index.entry(hash).or_insert(next);
        match self.held.get_mut(i as usize) {
            // Two texts with one hash would be two lines: as rare as it is harmless.
            Some(held) if held.kind == kind && self.text[held.start..held.end] == self.text[start..] => {
                held.value = if kind == Kind::Count { add(held.value, value) } else { value };
                self.text.truncate(start);
            }
            _ => self.held.push(Held { start, split, end: self.text.len(), value, kind }),
        }
    }
}

/// Hands on what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<'o> Lines<'o> {
    /// Lines for about `items` points.
    pub(super) fn new(options: &'o Options, items: usize) -> Self {
        let mut out = Messages::default();
        out.ends.reserve(items);
        Lines { options, out, too_large: false, merged: Merged::default() }
    }

    pub(super) fn finish(mut self) -> Messages {
        let merged = std::mem::take(&mut self.merged);
        for held in &merged.held {
            let (head, tail) = (&merged.text[held.start..held.split], &merged.text[held.split..held.end]);
            self.number_line(head, tail, held.value, held.kind);
        }
        self.out
    }

    /// Writes a number between its head and its tail. A sign makes a change of a level for every server but Datadog's,
    /// so that a negative level goes there as a zero and the change, in one message.
    fn number_line(&mut self, head: &str, tail: &str, value: Number, kind: Kind) {
        let line = &mut self.out.text;
        let level = kind == Kind::Gauge;
        if level && value.as_f64() < 0.0 && self.options.dialect != Dialect::Dogstatsd {
            line.push_str(head);
            line.push_str("0|g");
            line.push_str(tail);
            line.push('\n');
        }
        line.push_str(head);
        match value {
            Number::Int(i) => number::write_int(line, i),
            Number::Double(d) => number::write(line, d),
        }
        line.push_str(if level { "|g" } else { "|c" });
        line.push_str(tail);
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
                head(&mut self.out.text, self.options, series);
            } else {
                self.out.text.push(':');
            }
            number::write(&mut self.out.text, number::six_digits(value));
            open += 1;
        }
        if open > 0 {
            self.end_samples(series, weight);
        }
    }

    fn end_samples(&mut self, series: &Series<'_>, weight: u64) {
        let line = &mut self.out.text;
        line.push_str(if self.options.dialect == Dialect::Dogstatsd { "|d" } else { "|ms" });
        if weight > 1 {
            line.push_str("|@");
            number::write(line, number::rate(weight));
        }
        tail(line, self.options, series, false);
        self.commit();
    }

    /// Ends the message that is being written.
    fn commit(&mut self) {
        // The line feed counts.
        if self.out.open() < self.options.max_packet {
            self.out.end();
        } else {
            self.out.discard();
            self.too_large = true;
        }
    }
}

impl Output for Lines<'_> {
    fn number(&mut self, series: &Series<'_>, value: Number, kind: Kind) {
        let start = self.merged.text.len();
        head(&mut self.merged.text, self.options, series);
        let split = self.merged.text.len();
        let dated = tail(&mut self.merged.text, self.options, series, true);
        // A point with its own time is final for the Agent.
        if dated || !self.options.aggregate {
            let text = std::mem::take(&mut self.merged.text);
            self.number_line(&text[start..split], &text[split..], value, kind);
            self.merged.text = text;
            return self.merged.text.truncate(start);
        }
        // The value is at most 24 bytes, its type 2; a negative level of an older server is two lines.
        let lines = if kind == Kind::Gauge && self.options.dialect != Dialect::Dogstatsd { 2 } else { 1 };
        if (self.merged.text.len() - start + 27) * lines >= self.options.max_packet {
            self.merged.text.truncate(start);
            self.too_large = true;
            return;
        }
        self.merged.add(start, split, value, kind);
    }

    fn distribution(&mut self, series: &Series<'_>, _totals: &Totals, buckets: &[Bucket]) {
        for bucket in buckets {
            let values = bucket.values(self.options.samples_per_bucket);
            let (weight, heavier) = (bucket.count / values, bucket.count % values);
            let mut spread = bucket.spread(values);
            self.samples(series, spread.by_ref().take(heavier as usize), weight + 1);
            self.samples(series, spread.take((values - heavier) as usize), weight);
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

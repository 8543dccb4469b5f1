//! Lines: how each dialect writes numbers and distributions.

use super::held::{Held, HeldNumbers, OWN, Places};
use super::labels::Labels;
use super::number;
use super::output::{Kind, Output, Series, Totals};
use super::replay::Bucket;
use super::samples::Samples;
use super::tags;
use super::{Dialect, Messages, Options};
use foldhash::fast::RandomState;
use muxbridge_pdata::view::Number;
use std::collections::HashMap;

const NANOS: u64 = 1_000_000_000;

/// Writes the lines of one batch.
pub(super) struct Lines<'o> {
    samples: &'o mut Samples,
    out: Out<'o>,
    names: Texts,
    /// The metric and the suffix of the last name, and its place: few points have another name than the one before.
    name: (u32, &'static str, u32),
    /// The tags of values that have one more than their point.
    own: Texts,
    held: HeldNumbers<'o>,
}

/// The messages, and behind the last one what is being written.
struct Out<'o> {
    options: &'o Options,
    messages: Messages,
    /// Whether a message of the current point was longer than a packet.
    too_large: bool,
}

/// Texts, each once.
#[derive(Default)]
struct Texts {
    all: Vec<Box<str>>,
    index: HashMap<Box<str>, u32, RandomState>,
    last: u32,
}

impl Texts {
    /// The place of the text that consists of these parts.
    fn place(&mut self, parts: [&str; 2]) -> u32 {
        let last = self.all.get(self.last as usize);
        if last.is_some_and(|text| text.strip_prefix(parts[0]) == Some(parts[1])) {
            return self.last;
        }
        let text = parts.concat().into_boxed_str();
        let next = self.all.len() as u32;
        self.last = *self.index.entry(text.clone()).or_insert(next);
        if self.last == next {
            self.all.push(text);
        }
        self.last
    }

    fn get(&self, place: u32) -> &str {
        self.all.get(place as usize).map_or("", |text| text)
    }
}

impl<'o> Lines<'o> {
    /// Lines for about `items` points, of about `length` bytes.
    pub(super) fn new(
        options: &'o Options,
        samples: &'o mut Samples,
        places: &'o mut Places,
        items: usize,
        length: usize,
    ) -> Self {
        let mut messages = Messages::default();
        messages.ends.reserve(items);
        messages.text.reserve(length);
        Lines {
            samples,
            out: Out { options, messages, too_large: false },
            names: Texts::default(),
            name: (0, "", 0),
            own: Texts::default(),
            held: HeldNumbers::new(places, items),
        }
    }

    /// The messages. The tags of the series are in `labels`.
    pub(super) fn finish(mut self, labels: &Labels) -> Messages {
        for held in self.held.all() {
            let tags = if held.tags < OWN { labels.text(held.tags) } else { self.own.get(held.tags - OWN) };
            self.out.number(self.names.get(held.name), tags, 0, held.value, held.kind);
        }
        self.out.messages
    }

    /// The place of the name of a series.
    fn name(&mut self, series: &Series<'_>) -> u32 {
        let (metric, suffix, place) = self.name;
        if metric == series.metric && std::ptr::eq(suffix, series.suffix) {
            return place;
        }
        let place = self.names.place([series.name, series.suffix]);
        self.name = (series.metric, series.suffix, place);
        place
    }
}

impl Out<'_> {
    fn dialect(&self) -> Dialect {
        self.options.dialect
    }

    /// Writes a number. A sign makes a change of a level for every server but Datadog's, so that a negative level goes there
    /// as a zero and the change, in one message. `seconds` is its time, 0 if it goes without one.
    fn number(&mut self, name: &str, tags: &str, seconds: u64, value: Number, kind: Kind) {
        let level = kind == Kind::Gauge;
        if level && value.as_f64() < 0.0 && self.dialect() != Dialect::Dogstatsd {
            self.head(name, tags);
            self.messages.text.push_str("0|g");
            self.tail(tags, seconds);
            self.messages.text.push('\n');
        }
        self.head(name, tags);
        let line = &mut self.messages.text;
        match value {
            Number::Int(i) => number::write_int(line, i),
            Number::Double(d) => number::write(line, d),
        }
        line.push_str(if level { "|g" } else { "|c" });
        self.tail(tags, seconds);
        self.commit();
    }

    /// The most bytes that a number without a time takes, with its line feed: the value is at most 24 bytes, its type 2. A
    /// negative level of an older server is two lines.
    fn number_len(&self, name: &str, tags: &str, kind: Kind) -> usize {
        let around = if tags.is_empty() { 1 } else { 3 };
        let origin = if self.dialect() == Dialect::Dogstatsd { self.options.origin.len() } else { 0 };
        let graphite = matches!(self.dialect(), Dialect::Graphite | Dialect::Influx);
        let around = if graphite { 1 } else { around };
        let lines = if kind == Kind::Gauge && self.dialect() != Dialect::Dogstatsd { 2 } else { 1 };
        (name.len() + tags.len() + around + origin + 27) * lines
    }

    /// Writes measured values, with colons between them, that each stand for `weight` measurements.
    fn samples(&mut self, series: &Series<'_>, values: &str, weight: u64) {
        self.head(series.name, series.tags);
        let line = &mut self.messages.text;
        line.push_str(values);
        line.push_str(if self.options.dialect == Dialect::Dogstatsd { "|d" } else { "|ms" });
        if weight > 1 {
            line.push_str("|@");
            number::write(line, number::rate(weight));
        }
        self.tail(series.tags, 0);
        self.commit();
    }

    /// Everything up to the value.
    #[inline]
    fn head(&mut self, name: &str, tags: &str) {
        let line = &mut self.messages.text;
        line.push_str(name);
        if matches!(self.options.dialect, Dialect::Graphite | Dialect::Influx) {
            line.push_str(tags);
        }
        line.push(':');
    }

    /// Everything after the type and the rate.
    #[inline]
    fn tail(&mut self, tags: &str, seconds: u64) {
        let line = &mut self.messages.text;
        let dialect = self.options.dialect;
        if matches!(dialect, Dialect::Dogstatsd | Dialect::Etsy) && !tags.is_empty() {
            line.push_str("|#");
            line.push_str(tags);
        }
        if dialect != Dialect::Dogstatsd {
            return;
        }
        // Mostly there is none.
        if !self.options.origin.is_empty() {
            line.push_str(&self.options.origin);
        }
        if seconds > 0 {
            line.push_str("|T");
            line.push_str(itoa::Buffer::new().format(seconds));
        }
    }

    /// Ends the message that is being written.
    #[inline]
    fn commit(&mut self) {
        // The line feed counts.
        if self.messages.open() < self.options.max_packet {
            self.messages.end();
        } else {
            self.messages.discard();
            self.too_large = true;
        }
    }
}

impl Output for Lines<'_> {
    fn number(&mut self, series: &Series<'_>, value: Number, kind: Kind) {
        let options = self.out.options;
        let place = self.name(series);
        let with_extra = series.extra.map(|(key, tag)| with_extra(options.dialect, series.tags, key, tag));
        let tags = with_extra.as_deref().unwrap_or(series.tags);
        let name = self.names.get(place);
        let dated = options.dialect == Dialect::Dogstatsd && options.timestamps;
        let seconds = if dated { series.time / NANOS } else { 0 };
        // A point with its own time is final for the Agent.
        if seconds > 0 || !options.aggregate {
            return self.out.number(name, tags, seconds, value, kind);
        }
        if self.out.number_len(name, tags, kind) >= options.max_packet {
            self.out.too_large = true;
            return;
        }
        let tags = match &with_extra {
            Some(tags) => OWN + self.own.place([tags, ""]),
            None => series.tags_id,
        };
        self.held.hold(Held { name: place, tags, value, kind });
    }

    fn distribution(&mut self, series: &Series<'_>, _totals: &Totals, buckets: &[Bucket]) {
        // One line holds so many values, so that it stays far below any packet.
        let packed = if self.out.dialect() == Dialect::Dogstatsd { 32 } else { 1 };
        for bucket in buckets {
            let values = bucket.values(self.out.options.samples_per_bucket);
            let (weight, heavier) = (bucket.count / values, (bucket.count % values) as usize);
            let row = self.samples.of(bucket, values);
            for (mut at, to, weight) in [(0, heavier, weight + 1), (heavier, values as usize, weight)] {
                while at < to {
                    let end = to.min(at + packed);
                    self.out.samples(series, row.values(at, end), weight);
                    at = end;
                }
            }
        }
    }

    fn end_point(&mut self) -> bool {
        !std::mem::take(&mut self.out.too_large)
    }
}

/// The tags with one more.
fn with_extra(dialect: Dialect, tags: &str, key: &str, value: &str) -> String {
    let mut all = String::with_capacity(tags.len() + key.len() + value.len() + 2);
    all.push_str(tags);
    tags::append(dialect, &mut all, key);
    all.push(tags::assign(dialect));
    all.push_str(value);
    all
}

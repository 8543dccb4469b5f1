//! Metrics for Datadog's own intakes: series (v2), distribution points (v1) and sketches.
//!
//! Field numbers of series are those of `MetricPayload` in Datadog's `agent_payload.proto`.

use super::parts::Parts;
use super::sketch::Sketch;
use muxbridge_core::Batch;
use muxbridge_exporter_statsd::encode::output::{Kind, Output, Series, Totals};
use muxbridge_exporter_statsd::encode::value::write_json_string;
use muxbridge_exporter_statsd::encode::{Bucket, Counts, Labels, Options, walk};
use muxbridge_pdata::Writer;
use muxbridge_pdata::view::Number;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashMap;
use std::fmt::Write;

const NANOS: u64 = 1_000_000_000;
/// The seconds of a count that does not say since when: what an Agent flushes in.
const FLUSH: u64 = 10;
/// The share of the Agent's bins that one bucket is spread over.
const SKETCH_SAMPLES: usize = 64;
/// The most values that one histogram may become as distribution points; weights do not exist there.
const MAX_POINTS: u64 = 100_000;

/// Where distributions go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distributions {
    /// The public intake `/api/v1/distribution_points`: each value by itself.
    #[default]
    Points,
    /// `/api/beta/sketches`, which Agents use: exact totals and far smaller. Not a public API.
    Sketches,
}

/// The bodies of a batch of metrics, in pieces. An item counts for the first piece that was made of it.
#[derive(Clone, Debug, Default)]
pub struct Intake {
    /// Entries of a `MetricPayload`.
    pub series: Parts,
    /// Entries of `series` in the JSON of distribution points, or of a `SketchPayload`.
    pub distributions: Parts,
    /// Histograms of more values than distribution points can hold: fewer stand for them, and the counts are short.
    pub scaled: u64,
}

/// What Datadog's intakes need for a batch of metrics. `now` in nanoseconds is the time of points that have none.
pub fn intake(
    batch: &Batch,
    options: &Options,
    to: Distributions,
    host: &str,
    now: u64,
    counts: &mut Counts,
) -> Intake {
    let output = Collect { to, host, now, ..Collect::default() };
    walk(&mut Labels::default(), batch, options, counts, output).finish()
}

/// One series of numbers in one second.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    name: String,
    tags: String,
    kind: Kind,
    seconds: u64,
}

struct Held {
    value: f64,
    interval: u64,
    unit: String,
    items: u32,
}

#[derive(Default)]
struct Collect<'o> {
    to: Distributions,
    host: &'o str,
    now: u64,
    index: HashMap<Key, usize>,
    held: Vec<Held>,
    /// Whether the current point was counted for a piece.
    counted: bool,
    distributions: Parts,
    scaled: u64,
}

impl Collect<'_> {
    fn seconds(&self, series: &Series<'_>) -> u64 {
        let time = if series.time == 0 { self.now } else { series.time };
        time / NANOS
    }

    fn items(&mut self) -> u32 {
        u32::from(!std::mem::replace(&mut self.counted, true))
    }

    fn finish(self) -> Intake {
        let mut series = Parts::default();
        let mut w = Writer::new();
        let mut keys: Vec<(usize, Key)> = self.index.into_iter().map(|(key, i)| (i, key)).collect();
        keys.sort_unstable_by_key(|(i, _)| *i);
        for ((_, key), held) in keys.iter().zip(&self.held) {
            w.clear();
            write_series(&mut w, key, held, self.host);
            series.push(w.as_slice(), held.items);
        }
        Intake { series, distributions: self.distributions, scaled: self.scaled }
    }

    fn points(&mut self, seconds: u64, name: &str, tags: &[&str], host: &str, buckets: &[Bucket]) -> String {
        let count: u64 = buckets.iter().map(|b| b.count).sum();
        let scale = count.div_ceil(MAX_POINTS).max(1);
        self.scaled += u64::from(scale > 1);
        let mut out = String::from("{\"metric\":");
        write_json_string(&mut out, name);
        // Writing to a string cannot fail.
        let _ = write!(out, ",\"points\":[[{seconds},[");
        let mut first = true;
        for bucket in buckets {
            let values = bucket.count.div_ceil(scale);
            for j in 0..values {
                if !std::mem::replace(&mut first, false) {
                    out.push(',');
                }
                let _ = write!(out, "{:e}", short(bucket.value(j, values)));
            }
        }
        out.push_str("]]],\"tags\":[");
        for (i, tag) in tags.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            write_json_string(&mut out, tag);
        }
        out.push(']');
        if !host.is_empty() {
            out.push_str(",\"host\":");
            write_json_string(&mut out, host);
        }
        out.push_str(",\"type\":\"distribution\"}");
        out
    }
}

/// Six digits: enough for a value that only stands for a bucket.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

impl Output for Collect<'_> {
    fn number(&mut self, series: &Series<'_>, value: Number, kind: Kind) {
        let mut tags = series.tags.to_owned();
        if let Some((key, value)) = series.extra {
            let comma = if tags.is_empty() { "" } else { "," };
            let _ = write!(tags, "{comma}{key}:{value}");
        }
        let name = format!("{}{}", series.name, series.suffix);
        let key = Key { name, tags, kind, seconds: self.seconds(series) };
        let items = self.items();
        let next = self.held.len();
        let i = *self.index.entry(key).or_insert(next);
        let value = value.as_f64();
        match self.held.get_mut(i) {
            // Of two points of one series in one second the intake would keep the last.
            Some(held) => {
                held.value = match kind {
                    Kind::Count => (held.value + value).clamp(f64::MIN, f64::MAX),
                    Kind::Gauge => value,
                };
                held.items += items;
            }
            None => {
                let span = series.time.saturating_sub(series.start);
                let known = kind == Kind::Count && series.start > 0;
                let interval = if known { span.div_ceil(NANOS) } else { FLUSH };
                self.held.push(Held { value, interval, unit: series.unit.to_owned(), items });
            }
        }
    }

    fn distribution(&mut self, series: &Series<'_>, totals: &Totals, buckets: &[Bucket]) {
        if buckets.is_empty() {
            return;
        }
        let (tags, host) = split_host(series.tags, self.host);
        let name = format!("{}{}", series.name, series.suffix);
        let seconds = self.seconds(series);
        let items = self.items();
        match self.to {
            Distributions::Points => {
                let piece = self.points(seconds, &name, &tags, host, buckets);
                self.distributions.push(piece.as_bytes(), items);
            }
            Distributions::Sketches => {
                let mut w = Writer::new();
                Sketch::of(totals, buckets, SKETCH_SAMPLES).write(&mut w, &name, host, &tags, seconds);
                self.distributions.push(w.as_slice(), items);
            }
        }
    }

    fn end_point(&mut self) -> bool {
        self.counted = false;
        true
    }
}

fn write_series(w: &mut Writer, key: &Key, held: &Held, host: &str) {
    let (tags, host) = split_host(&key.tags, host);
    w.message(1, |w| {
        if !host.is_empty() {
            w.message(1, |w| {
                w.bytes(1, b"host");
                w.bytes(2, host.as_bytes());
            });
        }
        w.bytes(2, key.name.as_bytes());
        tags.iter().for_each(|tag| w.bytes(3, tag.as_bytes()));
        w.message(4, |w| {
            w.double(1, held.value);
            w.varint(2, key.seconds);
        });
        w.varint(5, if key.kind == Kind::Count { 1 } else { 3 });
        w.bytes_nonempty(6, unit(&held.unit).as_bytes());
        // Rates are made of it; without one the intake takes a count for a rate of one second.
        w.varint_nonzero(8, if key.kind == Kind::Count { held.interval.clamp(1, 3600) } else { 0 });
    });
}

/// Datadog's name of a unit of OpenTelemetry; empty if it has none.
fn unit(unit: &str) -> &'static str {
    match unit {
        "s" => "second",
        "ms" => "millisecond",
        "us" => "microsecond",
        "ns" => "nanosecond",
        "By" => "byte",
        "KiBy" => "kibibyte",
        "MiBy" => "mebibyte",
        "%" => "percent",
        "USD" | "{USD}" => "dollar",
        "{request}" => "request",
        "{error}" => "error",
        _ => "",
    }
}

/// The tags without `host:`, and the host: the one of that tag, else the general one.
fn split_host<'a>(tags: &'a str, general: &'a str) -> (Vec<&'a str>, &'a str) {
    let mut host = general;
    let mut list = Vec::new();
    for tag in tags.split(',').filter(|tag| !tag.is_empty()) {
        match tag.strip_prefix("host:") {
            Some(named) => host = named,
            None => list.push(tag),
        }
    }
    (list, host)
}

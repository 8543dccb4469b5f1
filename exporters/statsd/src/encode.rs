//! Metrics to StatsD lines. Pure.
//!
//! The line format is that of the DogStatsD datagram (`name:value|type|@rate|#tags`) and of the older servers that
//! understand a part of it; [`Dialect`] holds the differences.

pub mod events;
mod held;
mod histogram;
pub mod host;
mod labels;
mod lines;
mod number;
pub mod origin;
pub mod output;
mod point;
mod replay;
mod samples;
mod tags;
pub mod value;

use held::Places;
pub use labels::Labels;
use lines::Lines;
pub use number::rate;
use output::Output;
use point::Encoder;
pub use replay::Bucket;
use samples::Samples;
pub use tags::resource_tags;

use muxbridge_core::{Batch, Signal};
use schemars::JsonSchema;
use serde::Deserialize;

/// What a StatsD server understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The Datadog Agent: tags after `|#`, distributions, several values in one line.
    #[default]
    Dogstatsd,
    /// etsy's `statsd` from 0.9: tags after `|#`, timers only, a signed gauge is a change.
    Etsy,
    /// Tags in the name, Graphite style: `name;key=value`.
    Graphite,
    /// Tags in the name, Influx style as Telegraf reads them: `name,key=value`.
    Influx,
}

/// What a histogram becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HistogramMode {
    /// Values spread over each bucket, with the bucket's exact weight.
    #[default]
    Distributions,
    /// One count for each bucket, tagged with its bounds.
    Counters,
    /// Only `.count`, `.sum`, `.min` and `.max`.
    Nobuckets,
}

/// Whose host a metric belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostPolicy {
    /// The Agent's own.
    #[default]
    Agent,
    /// None, so that the number of Agents does not multiply the number of series.
    None,
    /// The one that the resource names; the Agent's if it names none.
    Resource,
}

/// How to encode.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the server understands.
    pub dialect: Dialect,
    /// Written before every name.
    pub prefix: String,
    /// Tags of every line.
    pub constant_tags: Vec<(String, String)>,
    /// The only point attributes that become tags; empty means all.
    pub tags_allow: Vec<String>,
    /// Point attributes that never become tags.
    pub tags_deny: Vec<String>,
    /// Whether every resource attribute becomes a tag.
    pub resource_attributes_as_tags: bool,
    /// Whose host a metric belongs to.
    pub host: HostPolicy,
    /// What a histogram becomes.
    pub histograms: HistogramMode,
    /// Whether histograms also give `.count`, `.sum`, `.min` and `.max`.
    pub aggregates: bool,
    /// How many values stand for one bucket.
    pub samples_per_bucket: usize,
    /// The largest packet in bytes; a longer message is dropped.
    pub max_packet: usize,
    /// Whether numbers of one series in one batch become one line: differences added up, the last level.
    pub aggregate: bool,
    /// Whether numbers carry the time of their point (`|T`).
    pub timestamps: bool,
    /// The fields of every line that say who sends it ([`origin::fields`]); may be empty.
    pub origin: String,
}

/// What was left out and changed, in data points unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points that became lines.
    pub encoded: u64,
    /// Points whose value is not a number or infinite.
    pub non_finite: u64,
    /// Points without a value.
    pub no_value: u64,
    /// Points that are totals since the start, or do not say, where StatsD needs differences.
    pub not_delta: u64,
    /// Points whose buckets contradict each other, and points without a usable name.
    pub malformed: u64,
    /// Points with a line longer than a packet.
    pub too_large: u64,
    /// Names changed to fit the format.
    pub adjusted_names: u64,
    /// Tags changed to fit the format, or left out because nothing of them fits.
    pub adjusted_tags: u64,
}

impl Counts {
    /// The points that were left out, by reason.
    pub fn dropped(&self) -> [(&'static str, u64); 5] {
        [
            ("non_finite", self.non_finite),
            ("no_value", self.no_value),
            ("not_delta", self.not_delta),
            ("malformed", self.malformed),
            ("too_large", self.too_large),
        ]
    }

    /// What was changed, by reason.
    pub fn adjusted(&self) -> [(&'static str, u64); 2] {
        [("metric_name", self.adjusted_names), ("tag", self.adjusted_tags)]
    }
}

/// Messages one after another. A message is one line, or lines that must stay in one packet.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// Each with a line feed behind it, so that those of one packet are copied at once.
    text: String,
    /// Where each ends, behind its line feed.
    ends: Vec<usize>,
}

impl Messages {
    pub(crate) fn push(&mut self, message: &str) {
        self.text.push_str(message);
        self.end();
    }

    /// How much of a message has been written that has not ended.
    fn open(&self) -> usize {
        self.text.len() - self.ends.last().copied().unwrap_or(0)
    }

    fn end(&mut self) {
        self.text.push('\n');
        self.ends.push(self.text.len());
    }

    fn discard(&mut self) {
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The messages in order, without a line feed at their end.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text[start..*end - 1])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Texts that were written before, and are needed again for most batches of the same sources.
#[derive(Debug, Default)]
pub struct Written {
    labels: Labels,
    samples: Samples,
    places: Places,
    /// How many bytes the lines of the last batch took.
    length: usize,
}

/// The lines of a batch of metrics; nothing for another signal. What is left out is added to `counts`.
pub fn encode(batch: &Batch, options: &Options, counts: &mut Counts) -> Messages {
    encode_again(&mut Written::default(), batch, options, counts)
}

/// As [`encode`], with what was written for earlier batches, always with the same options.
pub fn encode_again(
    written: &mut Written,
    batch: &Batch,
    options: &Options,
    counts: &mut Counts,
) -> Messages {
    let Written { labels, samples, places, length } = written;
    let lines = Lines::new(options, samples, places, batch.items(), *length);
    let messages = walk(labels, batch, options, counts, lines).finish(labels);
    *length = messages.text.len();
    messages
}

/// Hands every number and distribution of a batch of metrics to `output`, and nothing of another signal. What is left
/// out is added to `counts`. `labels` are those of earlier batches with the same options.
pub fn walk<O: Output>(
    labels: &mut Labels,
    batch: &Batch,
    options: &Options,
    counts: &mut Counts,
    output: O,
) -> O {
    if batch.signal() != Signal::Metrics {
        return output;
    }
    let mut encoder = Encoder::new(labels, options, counts, output);
    for resource in batch.resources() {
        encoder.resource(&resource.resource);
        for metric in resource.scopes().flat_map(|s| s.metrics()) {
            encoder.metric(&metric);
        }
    }
    encoder.finish()
}

/// Packs whole messages into packets of at most `max` bytes, each message ending in a line feed. A longer message,
/// which [`encode`] with the same limit does not make, gets a packet of its own.
pub fn pack(messages: &Messages, max: usize) -> Vec<String> {
    let mut packets = Vec::new();
    // Where the packet begins, and where the message before ends.
    let (mut start, mut last) = (0, 0);
    for end in &messages.ends {
        if last > start && end - start > max {
            packets.push(messages.text[start..last].to_owned());
            start = last;
        }
        last = *end;
    }
    if last > start {
        packets.push(messages.text[start..last].to_owned());
    }
    packets
}

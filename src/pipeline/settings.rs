//! The keys that every exporter has besides its own: `sending_queue` and `retry_on_failure`, as in the Collector.

use muxbridge_core::config::{GoDuration, Problems};
use schemars::JsonSchema;
use serde::Deserialize;

/// `sending_queue`: what waits for a destination.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SendingQueue {
    /// Always true: a destination without a queue would hold back the others.
    pub(crate) enabled: bool,
    /// How many requests to the destination may be under way at once, for each signal. Default 4.
    pub(crate) num_consumers: usize,
    /// How much may wait, in units of `sizer`. Default 200000 items.
    pub(crate) queue_size: usize,
    /// What `queue_size` counts. Default `items`.
    pub(crate) sizer: Sizer,
    /// A second bound, in mebibytes of OTLP. Default 64.
    pub(crate) max_size_mib: usize,
    /// How batches are joined before they are sent.
    pub(crate) batch: BatchSettings,
}

/// What a queue size counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sizer {
    /// Batches as they came in.
    Requests,
    /// Spans, data points or log records.
    #[default]
    Items,
    /// Bytes of OTLP.
    Bytes,
}

/// `sending_queue.batch`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BatchSettings {
    /// How long a batch smaller than `min_size` waits for more. Default 200ms.
    pub(crate) flush_timeout: GoDuration,
    /// Items that are sent at once, without waiting. Default 512.
    pub(crate) min_size: usize,
    /// The most items in one request. Batches of `min_size` and more are joined to 384 KiB at most. Default 8192.
    pub(crate) max_size: usize,
}

/// `retry_on_failure`: how often a destination is tried again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetryOnFailure {
    /// Whether to try again at all. Default true.
    pub(crate) enabled: bool,
    /// The first delay. Default 1s.
    pub(crate) initial_interval: GoDuration,
    /// By how much the delay grows. Default 2.
    pub(crate) multiplier: f64,
    /// How far the delay is varied at random, 0 to 1. Default 0.5.
    pub(crate) randomization_factor: f64,
    /// The longest delay, unless the destination asks for more. Default 30s.
    pub(crate) max_interval: GoDuration,
    /// When to give up and drop. Default 0: never; the queue is the bound.
    pub(crate) max_elapsed_time: GoDuration,
}

impl Default for SendingQueue {
    fn default() -> Self {
        SendingQueue {
            enabled: true,
            num_consumers: 4,
            queue_size: 200_000,
            sizer: Sizer::Items,
            max_size_mib: 64,
            batch: BatchSettings::default(),
        }
    }
}

impl Default for BatchSettings {
    fn default() -> Self {
        BatchSettings { flush_timeout: GoDuration::from_millis(200), min_size: 512, max_size: 8192 }
    }
}

impl Default for RetryOnFailure {
    fn default() -> Self {
        RetryOnFailure {
            enabled: true,
            initial_interval: GoDuration::from_secs(1),
            multiplier: 2.0,
            randomization_factor: 0.5,
            max_interval: GoDuration::from_secs(30),
            max_elapsed_time: GoDuration::from_secs(0),
        }
    }
}

impl SendingQueue {
    pub(crate) fn check(&self, problems: &mut Problems) {
        if !self.enabled {
            problems.add(
                "enabled",
                "false is not possible: a destination without a queue would hold back the others",
            );
        }
        for (key, value) in [
            ("num_consumers", self.num_consumers),
            ("queue_size", self.queue_size),
            ("max_size_mib", self.max_size_mib),
            ("batch.max_size", self.batch.max_size),
        ] {
            if value == 0 {
                problems.add(key, "0 is not possible; write at least 1");
            }
        }
        if self.batch.min_size > self.batch.max_size {
            let (min, max) = (self.batch.min_size, self.batch.max_size);
            problems.add("batch.min_size", format!("{min} is more than max_size, which is {max}"));
        }
    }
}

impl RetryOnFailure {
    pub(crate) fn check(&self, problems: &mut Problems) {
        if self.multiplier < 1.0 {
            problems
                .add("multiplier", format!("{} would shorten the delay; write at least 1", self.multiplier));
        }
        if !(0.0..=1.0).contains(&self.randomization_factor) {
            problems
                .add("randomization_factor", format!("{} is not between 0 and 1", self.randomization_factor));
        }
        if self.max_interval < self.initial_interval {
            problems.add("max_interval", "is shorter than initial_interval");
        }
    }
}

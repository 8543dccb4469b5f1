//! Batch to request body, in every format that New Relic takes, and what is derived from spans. Pure.

pub mod apm;
mod histogram;
pub(crate) mod id;
mod json;
mod limits;
mod llm;
mod look;
mod native;
mod span;
mod trace_api;
pub(crate) mod watch;
mod zipkin;

use bytes::Bytes;
pub use llm::llm_events;
use muxbridge_core::{Batch, Signal};
use muxbridge_pdata::Writer;
pub(crate) use native::split_events;
pub use native::{event_api, log_api, metric_api};
use std::collections::BTreeMap;
use watch::Watch;

/// The instrumentation scope of what this exporter derives.
const SCOPE: &str = "muxbridge";

/// What the user can choose about the encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Marks the service for AI Monitoring: the resource attribute `aiEnabledApp="true"`, and the older spelling of two
    /// `gen_ai` attributes next to the current one.
    pub ai_monitoring: bool,
    /// `service.instance.id` of resources that have none. Without it an id is made for resources that say where they
    /// run; others keep none.
    pub service_instance_id: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options { ai_monitoring: true, service_instance_id: None }
    }
}

/// What an encoding changed and left out, by reason. The reasons are labels of counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    adjusted: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Changes of attributes, names and times, by reason.
    pub fn adjusted(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.adjusted.iter().map(|(reason, n)| (*reason, *n))
    }

    /// Items that New Relic cannot store and that are not in the encoded request, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.dropped.iter().map(|(reason, n)| (*reason, *n))
    }

    /// All items that are not in the encoded request.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    fn add(&mut self, other: Counts) {
        other.adjusted.into_iter().for_each(|(reason, n)| self.adjust(reason, n));
        other.dropped.into_iter().for_each(|(reason, n)| self.drop(reason, n));
    }

    fn adjust(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            *self.adjusted.entry(reason).or_default() += n;
        }
    }

    fn drop(&mut self, reason: &'static str, n: u64) {
        if n > 0 {
            *self.dropped.entry(reason).or_default() += n;
        }
    }
}

/// The labels of changes. The README says what each one means.
pub(crate) mod reason {
    pub(super) const ARRAY_TRUNCATED: &str = "array_truncated";
    pub(super) const ARRAY_TO_TEXT: &str = "array_to_text";
    pub(super) const ATTRIBUTE_PRUNED: &str = "attribute_pruned";
    pub(super) const BODY_TRUNCATED: &str = "body_truncated";
    pub(super) const BYTES_REMOVED: &str = "bytes_removed";
    pub(super) const DUPLICATE_REMOVED: &str = "duplicate_removed";
    pub(super) const KEY_CHARACTERS: &str = "key_characters";
    pub(super) const KEY_TRUNCATED: &str = "key_truncated";
    pub(super) const MAP_FLATTENED: &str = "map_flattened";
    pub(super) const NAME_TRUNCATED: &str = "name_truncated";
    pub(super) const NOT_FINITE: &str = "not_finite";
    pub(super) const NULL_REMOVED: &str = "null_removed";
    pub(super) const RESERVED_REMOVED: &str = "reserved_removed";
    pub(super) const RESERVED_RENAMED: &str = "reserved_renamed";
    pub(crate) const STALE: &str = "stale";
    pub(super) const SUMMARY_TO_SUMS: &str = "summary_to_sums";
    pub(super) const START_TIME: &str = "start_time";
    pub(super) const VALUE_TRUNCATED: &str = "value_truncated";

    // Of whole items.
    pub(super) const CUMULATIVE: &str = "cumulative";
    pub(super) const DELTA_GAUGE: &str = "delta_non_monotonic";
    pub(super) const EVENT_TYPE: &str = "event_type";
    pub(super) const NO_ID: &str = "no_id";
    pub(super) const NO_NAME: &str = "no_name";
    pub(super) const NO_TEMPORALITY: &str = "no_temporality";
    pub(super) const NO_TIME: &str = "no_time";
    pub(super) const NO_VALUE: &str = "no_value";
    pub(super) const SUMMARY: &str = "summary";
}

/// An OTLP request (protobuf) within New Relic's limits. A request that needs no change comes back as it is.
pub fn otlp(batch: &Batch, options: &Options, counts: &mut Counts) -> Bytes {
    limits::apply(batch, options, true, counts)
}

/// Writes an OTLP request as [`otlp`] does, with `watch` seeing its spans. `false` if the request needs no change: then
/// nothing is written.
pub(crate) fn write_otlp<'a>(
    batch: &'a Batch,
    options: &Options,
    watch: &mut Watch<'a>,
    w: &mut Writer,
    counts: &mut Counts,
) -> bool {
    let edit = limits::Edit::of(batch, options, true, watch);
    edit.map(|edit| edit.write(w, watch, counts)).is_some()
}

/// A Trace API payload of format `newrelic`, version 1. Of a batch of another signal nothing is encoded: `[]`.
pub fn trace_api(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    trace_api::encode(batch, options, counts)
}

/// A Trace API payload of format `zipkin`, version 2: a Zipkin v2 list of spans. Of a batch of another signal nothing is
/// encoded: `[]`.
pub fn zipkin(batch: &Batch, options: &Options, counts: &mut Counts) -> Vec<u8> {
    zipkin::encode(batch, options, counts)
}

/// How many items New Relic will not store because of their time: it takes 48 hours back, and of metrics 24 hours ahead.
/// They are sent all the same, because only its clock decides; `now` is ours, in nanoseconds since 1970.
pub fn stale(batch: &Batch, now: u64) -> u64 {
    let kept = watch::kept(batch.signal(), now);
    let is_stale = |time| u64::from(watch::is_stale(&kept, time));
    let scopes = batch.resources().flat_map(|r| r.scopes());
    match batch.signal() {
        Signal::Traces => scopes.flat_map(|s| s.items()).map(|span| is_stale(limits::start(span))).sum(),
        Signal::Logs => {
            scopes.flat_map(|s| s.logs()).map(|log| is_stale(log.time.max(log.observed_time))).sum()
        }
        Signal::Metrics => scopes.flat_map(|s| s.metrics()).flat_map(limits::times).map(is_stale).sum(),
    }
}

#[cfg(test)]
mod tests;

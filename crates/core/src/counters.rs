//! Our own counters: registered once by name and labels, then a plain atomic.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The names of all counters and gauges, as `/metrics` shows them. Every series of a component carries its id in the
/// label `component`, and counts of telemetry carry `signal`.
pub mod names {
    /// Items that a receiver took in. Labels `component`, `signal`.
    pub const RECEIVED: &str = "muxbridge_receiver_accepted_total";
    /// Items that a receiver did not take. Labels `component`, `signal`, `reason` (`busy`, `invalid`).
    pub const REFUSED: &str = "muxbridge_receiver_refused_total";
    /// Requests that a receiver could not read at all. Labels `component`, `reason`.
    pub const BAD_REQUESTS: &str = "muxbridge_receiver_bad_requests_total";
    /// When a certificate that we show to others expires, in seconds since 1970 (gauge). Labels `component`, `setting`.
    pub const TLS_EXPIRY: &str = "muxbridge_tls_certificate_expiry_timestamp_seconds";
    /// Items that were queued for a destination or found no room: what [`SENT`], [`DROPPED`] and [`QUEUED`] add up to,
    /// but for first values of cumulative series, which only set a baseline. Labels `component`, `signal`.
    pub const ENQUEUED: &str = "muxbridge_exporter_enqueued_total";
    /// Items that a destination confirmed. Labels `component`, `signal`.
    pub const SENT: &str = "muxbridge_exporter_sent_total";
    /// Items that were accepted and will not be delivered. Labels `component`, `signal`, `reason`.
    pub const DROPPED: &str = "muxbridge_dropped_total";
    /// Items that a processor made from others (derived) or took out on purpose. Labels `component`, `signal`, `rule`.
    pub const DERIVED: &str = "muxbridge_derived_total";
    /// Items that a processor left out because a rule of the translation says so. Labels `component`, `signal`, `rule`.
    pub const OMITTED: &str = "muxbridge_omitted_total";
    /// Values that were wrong at the source and were repaired. Labels `component`, `signal`, `rule`.
    pub const REPAIRED: &str = "muxbridge_repaired_total";
    /// Credentials replaced. Labels `component`, `signal`, `kind`.
    pub const SCRUBBED: &str = "muxbridge_scrubbed_secrets_total";
    /// Attributes and names changed to fit a destination's limits. Labels `component`, `reason`.
    pub const ADJUSTED: &str = "muxbridge_exporter_adjusted_total";
    /// Requests to a destination that failed and are tried again. Labels `component`, `signal`.
    pub const RETRIES: &str = "muxbridge_exporter_retries_total";
    /// Requests to a destination by outcome. Labels `component`, `signal`, `outcome`.
    pub const REQUESTS: &str = "muxbridge_exporter_requests_total";
    /// Bytes written to a destination's socket by outcome. Labels `component`, `signal`, `outcome`.
    pub const BYTES: &str = "muxbridge_exporter_bytes_total";
    /// Items waiting for a destination (gauge). Labels `component`, `signal`.
    pub const QUEUED: &str = "muxbridge_exporter_queued";
    /// Bytes waiting for a destination (gauge). Label `component`.
    pub const QUEUED_BYTES: &str = "muxbridge_exporter_queued_bytes";
    /// What an acknowledgement means (gauge, always 1). Label `durability` (`fsync`, `os`, `memory`).
    pub const DURABILITY: &str = "muxbridge_durability";
    /// Reloads of the configuration. Label `outcome` (`ok`, `failed`: the configuration of before goes on).
    pub const CONFIG_RELOADS: &str = "muxbridge_config_reloads_total";
    /// Whether the configuration that runs is the one that was loaded last (gauge, 0 or 1).
    pub const CONFIG_CURRENT: &str = "muxbridge_config_last_reload_successful";
    /// Batches that could not be written to the data directory and are tried again (gauge). Labels `pipeline`, `worker`.
    pub const UNSTORED: &str = "muxbridge_storage_waiting";
    /// Writes to the data directory that failed. Label `log` (`intake`, or the signal).
    pub const STORE_FAILED: &str = "muxbridge_storage_failed_total";
    /// Items that a destination refused for good and that were kept as dead letters. Labels `component`, `signal`.
    pub const DEAD_LETTERS: &str = "muxbridge_dead_letter_items_total";
    /// Those that could not be kept. Labels `component`, `signal`.
    pub const DEAD_LETTERS_FAILED: &str = "muxbridge_dead_letter_failed_items_total";
    /// Spans held back until their trace is complete (gauge). Label `component`.
    pub const TRACES_BUFFERED: &str = "muxbridge_buffered_spans";
    /// Traces, or late parts of one, that left the assembly. Labels `component`, `outcome` (`complete`, `idle`, `expired`,
    /// `full`, `shutdown`, `late`).
    pub const TRACES: &str = "muxbridge_assembled_traces_total";
    /// Whether the last scrape of a target succeeded (gauge, 0 or 1). Labels `component`, `target`.
    pub const SCRAPE_UP: &str = "muxbridge_scrape_up";
    /// Scrapes that failed. Labels `component`, `target`, `reason`.
    pub const SCRAPE_FAILED: &str = "muxbridge_scrape_failed_total";
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: &'static str,
    labels: Vec<(&'static str, String)>,
}

/// One counter or gauge. A clone counts into the same number.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away: for gauges.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets the value: for gauges.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The value of one series, for `/metrics` and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// One of [`names`].
    pub name: &'static str,
    /// In the order of their registration.
    pub labels: Vec<(&'static str, String)>,
    /// The current value.
    pub value: u64,
}

/// All counters of one process. A clone is the same registry.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<Key, Counter>>>);

impl Counters {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter with this name and these labels, made on first use. Keep it: a look-up takes a lock.
    pub fn get(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        let key = Key { name, labels: labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }

    /// All series, sorted by name and labels.
    pub fn samples(&self) -> Vec<Sample> {
        let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        map.iter().map(|(k, c)| Sample { name: k.name, labels: k.labels.clone(), value: c.get() }).collect()
    }

    /// The sum of all series of one name whose labels contain all of `labels`.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let fits = |s: &Sample| labels.iter().all(|(k, v)| s.labels.iter().any(|(a, b)| a == k && b == v));
        self.samples().iter().filter(|s| s.name == name && fits(s)).map(|s| s.value).sum()
    }
}

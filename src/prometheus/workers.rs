//! Tells the processes apart that answer behind one address.
//!
//! Several workers that share a port have a registry each, and every scrape hits one of them at random. Their start
//! times can be equal, but the `_created` values of their series are not: a series keeps its value as long as its
//! process lives, and two processes never create the same series in the same nanosecond.

use super::assemble::{Metrics, Shape};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A worker that has not answered for so many pages is forgotten. With four workers, one that lives stays silent
/// that long once in 100,000 times.
const SILENT_PAGES: u64 = 40;
/// How many workers are told apart; the one that was silent longest makes room.
const MAX_WORKERS: usize = 64;

/// What is known of one process.
#[derive(Debug)]
pub(super) struct Worker {
    /// `service.instance.id`.
    pub(super) id: String,
    /// The `_created` value of each series, as bits, by the hash of the series.
    created: HashMap<u64, u64>,
    /// When the process started, in Unix seconds.
    pub(super) process_start: Option<f64>,
    /// The number of the last page that came from it.
    last_page: u64,
    /// When that page was read, in nanoseconds since 1970.
    pub(super) last_time: u64,
    /// What it exposed, by metric name.
    pub(super) metrics: HashMap<String, KnownMetric>,
}

/// The series of one metric.
#[derive(Debug)]
pub(super) struct KnownMetric {
    pub(super) shape: Shape,
    /// By their encoded attributes. The standard hash, which is slow on long keys, was a quarter of reading a page.
    pub(super) series: HashMap<Vec<u8>, KnownSeries, RandomState>,
}

/// What is remembered of a series from page to page.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownSeries {
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) progress: f64,
    /// The number of the last page that it was on.
    pub(super) page: u64,
}

impl Worker {
    /// Takes out all series, to say that they have no value any more, and keeps what identifies the worker.
    pub(super) fn take_series(&mut self) -> Worker {
        Worker {
            id: self.id.clone(),
            created: HashMap::new(),
            process_start: self.process_start,
            last_page: self.last_page,
            last_time: self.last_time,
            metrics: std::mem::take(&mut self.metrics),
        }
    }
}

/// All workers of one target.
#[derive(Debug)]
pub(super) struct WorkerIndex {
    target: String,
    pub(super) page: u64,
    made: u64,
    pub(super) workers: Vec<Worker>,
}

impl WorkerIndex {
    pub(super) fn new(target: String) -> Self {
        WorkerIndex { target, page: 0, made: 0, workers: Vec::new() }
    }

    /// Finds the worker that a page comes from, or adds it. The second value holds workers that are gone: their
    /// series have no value any more.
    pub(super) fn identify(&mut self, metrics: &Metrics<'_>) -> (usize, Vec<Worker>) {
        self.page += 1;
        let created = fingerprint(metrics);
        let mut gone = Vec::new();
        let at = self.find(&created, metrics.process_start).unwrap_or_else(|| {
            if self.workers.len() >= MAX_WORKERS {
                let oldest = self.workers.iter().enumerate().min_by_key(|(_, w)| w.last_page);
                if let Some(at) = oldest.map(|(at, _)| at) {
                    gone.push(self.workers.remove(at));
                }
            }
            self.add(&created, metrics.process_start)
        });
        let page = self.page;
        let worker = &mut self.workers[at];
        worker.created = created;
        worker.last_page = page;
        let id = worker.id.clone();
        gone.extend(self.workers.extract_if(.., |w| page - w.last_page > SILENT_PAGES));
        let at = self.workers.iter().position(|w| w.id == id).unwrap_or_default();
        (at, gone)
    }

    fn find(&self, created: &HashMap<u64, u64>, process_start: Option<f64>) -> Option<usize> {
        let nameless = |w: &Worker| w.created.is_empty();
        if created.is_empty() {
            // A target that never says when its series began is one instance; start times show its restarts.
            return self.workers.iter().position(nameless);
        }
        let agreement = |worker: &Worker| {
            let common = created.iter().filter_map(|(series, at)| Some((at, worker.created.get(series)?)));
            common.map(|(a, b)| if a == b { 1 } else { -1 }).sum::<i64>()
        };
        let best = self.workers.iter().map(agreement).enumerate().max_by_key(|(_, n)| *n);
        match best {
            Some((at, n)) if n > 0 => Some(at),
            // A process that had no such series on its earlier pages: it has some now.
            _ => self.workers.iter().position(|w| nameless(w) && w.process_start == process_start),
        }
    }

    fn add(&mut self, created: &HashMap<u64, u64>, process_start: Option<f64>) -> usize {
        // Positive doubles sort like their bits.
        let earliest = created.values().min();
        let id = match earliest {
            Some(bits) => instance_id(&[&self.target, &bits.to_string()]),
            None if self.made == 0 => instance_id(&[&self.target]),
            None => {
                let start = process_start.unwrap_or_default().to_bits().to_string();
                instance_id(&[&self.target, &self.made.to_string(), &start])
            }
        };
        self.made += 1;
        self.workers.push(Worker {
            id,
            created: HashMap::new(),
            process_start,
            last_page: self.page,
            last_time: 0,
            metrics: HashMap::new(),
        });
        self.workers.len() - 1
    }
}

fn fingerprint(metrics: &Metrics<'_>) -> HashMap<u64, u64> {
    let points =
        metrics.list.iter().flat_map(|metric| metric.points.iter().map(move |point| (metric, point)));
    let known = points.filter_map(|(metric, point)| {
        let created = point.created.filter(|at| *at > 0.0)?;
        let mut hasher = DefaultHasher::new();
        (&metric.name, &point.attributes).hash(&mut hasher);
        Some((hasher.finish(), created.to_bits()))
    });
    known.collect()
}

/// 128 bits of FNV-1a in the form of a UUID: the same parts give the same id in every run and version.
fn instance_id(parts: &[&str]) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    // Version 8 of RFC 9562 is for ids of one's own making.
    hash = hash & !(0xf << 76) | 8 << 76;
    hash = hash & !(0x3 << 62) | 2 << 62;
    let hex = format!("{hash:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

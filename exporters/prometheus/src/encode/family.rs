//! A metric with its series, and the names that it takes from others.

use super::exemplar::Exemplar;
use super::names::MetricName;
use super::page::{Extra, Head, Kind, Page};
use super::value::Value;
use std::collections::BTreeMap;

/// All series of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: MetricName,
    pub(super) kind: Kind,
    pub(super) help: String,
    /// Whether OpenMetrics can show it besides the others: it reserves more names than the text format.
    pub(super) open: bool,
    /// By their labels.
    pub(super) series: BTreeMap<String, Series>,
}

/// The latest value of one series.
#[derive(Debug)]
pub(super) struct Series {
    /// Nanoseconds since 1970; 0 if unknown.
    start: u64,
    time: u64,
    /// When its last point came in, in nanoseconds since 1970.
    pub(super) seen: u64,
    /// Whether it is the sum of deltas.
    delta: bool,
    /// A stretch of time within the sum from which no delta has come yet.
    gap: Option<(u64, u64)>,
    value: Value,
    exemplars: Vec<Exemplar>,
}

/// What one point says.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) delta: bool,
    pub(super) value: Value,
    pub(super) exemplars: Vec<Exemplar>,
}

impl Family {
    pub(super) fn write(&self, page: &mut Page) {
        page.family(&Head {
            text: &self.name.text,
            family: &self.name.family,
            kind: self.kind,
            help: &self.help,
            unit: &self.name.unit,
        });
        for (labels, series) in &self.series {
            let extra = Extra { start: series.start, time: series.time, exemplars: &series.exemplars };
            page.series(labels, &series.value, extra);
        }
    }

    /// The names that the samples of a family have in the text format.
    pub(super) fn text_names(name: &MetricName, kind: Kind) -> Vec<String> {
        let suffixes: &[&str] = match kind {
            Kind::Histogram => &["", "_bucket", "_count", "_sum"],
            Kind::Summary => &["", "_count", "_sum"],
            Kind::Counter | Kind::Gauge | Kind::Unknown | Kind::Info => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", name.text)).collect()
    }

    /// The names that OpenMetrics reserves for a family.
    pub(super) fn open_names(name: &MetricName, kind: Kind) -> Vec<String> {
        let suffixes: &[&str] = match kind {
            Kind::Counter => &["", "_total", "_created"],
            Kind::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            Kind::Summary => &["", "_count", "_sum", "_created"],
            Kind::Info => &["", "_info"],
            Kind::Gauge | Kind::Unknown => &[""],
        };
        suffixes.iter().map(|suffix| format!("{}{suffix}", name.family)).collect()
    }
}

impl Series {
    pub(super) fn new(update: Update, seen: u64) -> Self {
        let Update { start, time, delta, value, exemplars } = update;
        // An earlier delta may still be on its way.
        let gap = (delta && start > 0).then_some((0, start));
        Series { start, time, seen, delta, gap, value, exemplars }
    }

    /// Takes in a further point. `false` if it is older than what is known, or there already.
    pub(super) fn update(&mut self, update: Update, seen: u64) -> bool {
        if !update.delta {
            // The same point again is no news, but no mistake either.
            if update.time < self.time && update.time > 0 {
                return false;
            }
            *self = Series::new(update, seen);
            return true;
        }
        if !self.delta {
            *self = Series::new(update, seen);
            return true;
        }
        let known_times = update.time > 0 && self.time > 0;
        let late = known_times && update.time <= self.time;
        // Two consumers of one queue can overtake each other: the earlier delta then fits into the gap that the
        // later one has left.
        let fits =
            |(from, to): (u64, u64)| update.start >= from && update.time <= to && update.start < update.time;
        if late && !self.gap.is_some_and(fits) {
            return false;
        }
        if !self.value.add(&update.value) {
            // Other buckets, for example: it counts from here on, as after a restart.
            *self = Series::new(update, seen);
            return true;
        }
        if late {
            self.gap = None;
        } else {
            if known_times && update.start > self.time {
                self.gap = Some((self.time, update.start));
            }
            self.time = update.time;
        }
        if self.start > update.start && update.start > 0 {
            self.start = update.start;
        }
        self.seen = seen;
        if !update.exemplars.is_empty() {
            self.exemplars = update.exemplars;
        }
        true
    }
}

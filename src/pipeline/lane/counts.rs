//! The counters of one lane.

use muxbridge_core::{Counter, Counters, Signal, names};
use muxbridge_kit::delta::DeltaStats;

/// The counters of one lane. `enqueued = sent + dropped + omitted + queued` at every moment.
pub(crate) struct LaneCounts {
    pub(crate) enqueued: Counter,
    pub(crate) sent: Counter,
    pub(crate) queued: Counter,
    pub(crate) retries: Counter,
    baseline: Counter,
    counters: Counters,
    pub(super) id: String,
    signal: Signal,
}

impl LaneCounts {
    pub(super) fn new(counters: &Counters, id: &str, signal: Signal) -> Self {
        let get = |name| counters.get(name, &[("component", id), ("signal", signal.as_str())]);
        LaneCounts {
            enqueued: get(names::ENQUEUED),
            sent: get(names::SENT),
            queued: get(names::QUEUED),
            retries: get(names::RETRIES),
            baseline: counters.get(
                names::OMITTED,
                &[("component", id), ("signal", signal.as_str()), ("rule", "delta_baseline")],
            ),
            counters: counters.clone(),
            id: id.to_owned(),
            signal,
        }
    }

    /// Items that are not for this destination. They are no longer queued.
    pub(crate) fn omit_queued(&self, rule: &str, items: u64) {
        self.queued.sub(items);
        let labels = [("component", self.id.as_str()), ("signal", self.signal.as_str()), ("rule", rule)];
        self.counters.get(names::OMITTED, &labels).add(items);
    }

    /// Items that leave without being delivered. They are no longer queued.
    pub(crate) fn drop_queued(&self, reason: &str, items: u64) {
        self.queued.sub(items);
        self.dropped(reason, items);
    }

    /// Points that the conversion to deltas left out. A first cumulative value is a baseline, not a loss; all else that
    /// disappears has a reason of its own.
    pub(crate) fn converted(&self, gone: u64, stats: &DeltaStats) {
        let mut lost = 0;
        for (reason, count) in stats.reasons() {
            self.dropped(reason, count);
            lost += count;
        }
        self.baseline.add(gone.saturating_sub(lost));
        self.queued.sub(gone);
    }

    pub(super) fn dropped(&self, reason: &str, items: u64) {
        let labels = [("component", self.id.as_str()), ("signal", self.signal.as_str()), ("reason", reason)];
        self.counters.get(names::DROPPED, &labels).add(items);
    }
}

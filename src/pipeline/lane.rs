//! The bounded memory queue of one signal of one destination.

use super::circuit::Circuit;
use super::delivery::Health;
use super::settings::{SendingQueue, Sizer};
use muxbridge_core::{Batch, Counter, Counters, Needs, Signal, TemporalityNeed, names};
use muxbridge_kit::delta::{DeltaState, DeltaStats};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One exporter with a queue for each signal.
pub(crate) struct Destination {
    pub(crate) id: String,
    pub(crate) lanes: Vec<Arc<Lane>>,
    pub(crate) health: Arc<Health>,
}

impl Destination {
    /// The queue of one signal; `None` if the exporter does not send it.
    pub(crate) fn lane(&self, signal: Signal) -> Option<&Arc<Lane>> {
        self.lanes.iter().find(|l| l.signal == signal)
    }
}

/// Where batches of one signal wait for one destination.
pub(crate) struct Lane {
    pub(crate) signal: Signal,
    pub(crate) needs: Needs,
    pub(crate) settings: SendingQueue,
    pub(crate) counts: LaneCounts,
    /// One destination may limit one signal and take another, so that each lane has its own.
    pub(crate) circuit: Circuit,
    state: Mutex<State>,
    changed: Notify,
}

/// The counters of one lane. `enqueued = sent + dropped + omitted + queued` at every moment.
pub(crate) struct LaneCounts {
    pub(crate) enqueued: Counter,
    pub(crate) sent: Counter,
    pub(crate) queued: Counter,
    pub(crate) retries: Counter,
    baseline: Counter,
    counters: Counters,
    id: String,
    signal: Signal,
}

impl LaneCounts {
    fn new(counters: &Counters, id: &str, signal: Signal) -> Self {
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

    /// Items that leave without being delivered. They are no longer queued.
    pub(crate) fn drop_queued(&self, reason: &str, items: u64) {
        self.queued.sub(items);
        self.dropped(reason, items);
    }

    fn dropped(&self, reason: &str, items: u64) {
        let labels = [("component", self.id.as_str()), ("signal", self.signal.as_str()), ("reason", reason)];
        self.counters.get(names::DROPPED, &labels).add(items);
    }
}

struct State {
    waiting: VecDeque<(Batch, Instant)>,
    items: usize,
    bytes: usize,
    closed: bool,
    /// Cumulative to delta, if the destination needs it. It is done when batches leave the queue: a cumulative point
    /// that is dropped because the queue is full costs nothing, as the next one covers it.
    delta: Option<DeltaState>,
}

impl Lane {
    pub(crate) fn new(
        id: &str,
        signal: Signal,
        needs: Needs,
        settings: SendingQueue,
        counters: &Counters,
        delta: Option<DeltaState>,
    ) -> Self {
        let delta =
            delta.filter(|_| signal == Signal::Metrics && needs.temporality == TemporalityNeed::Delta);
        Lane {
            signal,
            needs,
            settings,
            counts: LaneCounts::new(counters, id, signal),
            circuit: Circuit::default(),
            state: Mutex::new(State { waiting: VecDeque::new(), items: 0, bytes: 0, closed: false, delta }),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another batch would find no room.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        let size = match self.settings.sizer {
            Sizer::Requests => state.waiting.len(),
            Sizer::Items => state.items,
            Sizer::Bytes => state.bytes,
        };
        state.closed || size >= self.settings.queue_size || state.bytes >= self.settings.max_size_mib << 20
    }

    /// Queues a batch, or drops and counts it if there is no room.
    pub(crate) fn push(&self, batch: Batch, now: Instant) {
        let items = batch.items() as u64;
        if items == 0 {
            return;
        }
        self.counts.enqueued.add(items);
        if self.is_full() {
            let reason = if self.lock().closed { "shutdown" } else { "queue_full" };
            return self.counts.dropped(reason, items);
        }
        self.counts.queued.add(items);
        let mut state = self.lock();
        state.items += batch.items();
        state.bytes += batch.otlp().len();
        state.waiting.push_back((batch, now));
        drop(state);
        self.changed.notify_one();
    }

    /// Takes what makes one request: at least `min_size` items, or what has waited for `flush_timeout`. `None` when
    /// the lane is closed and empty.
    pub(crate) async fn pop(&self) -> Option<Batch> {
        loop {
            let wait = {
                let mut state = self.lock();
                let oldest = state.waiting.front().map(|(_, since)| *since);
                match oldest {
                    None if state.closed => {
                        // Wake the next consumer, which has the same to find out.
                        self.changed.notify_one();
                        return None;
                    }
                    None => None,
                    Some(since) => {
                        let due = since + self.settings.batch.flush_timeout.0;
                        let now = tokio::time::Instant::now().into_std();
                        if state.closed || state.items >= self.settings.batch.min_size || now >= due {
                            if let Some(batch) = self.take(&mut state, now) {
                                if !state.waiting.is_empty() {
                                    self.changed.notify_one();
                                }
                                return Some(batch);
                            }
                            continue;
                        }
                        Some(due - now)
                    }
                }
            };
            match wait {
                None => self.changed.notified().await,
                // More may come in and fill the batch before the time is over.
                Some(time) => {
                    let _ = tokio::time::timeout(time.max(Duration::from_millis(1)), self.changed.notified())
                        .await;
                }
            }
        }
    }

    fn take(&self, state: &mut State, now: Instant) -> Option<Batch> {
        let mut group: Vec<Batch> = Vec::new();
        let (mut items, mut bytes) = (0, 0);
        let max_bytes = self.needs.max_request_bytes.unwrap_or(usize::MAX);
        while let Some((next, _)) = state.waiting.front() {
            let over =
                items + next.items() > self.settings.batch.max_size || bytes + next.otlp().len() > max_bytes;
            if over && !group.is_empty() {
                break;
            }
            items += next.items();
            bytes += next.otlp().len();
            group.extend(state.waiting.pop_front().map(|(batch, _)| batch));
        }
        state.items -= items;
        state.bytes -= bytes;
        let batch = join(group)?;
        let Some(delta) = &mut state.delta else { return Some(batch) };
        let mut stats = DeltaStats::default();
        let converted = delta.convert(&batch, now, &mut stats);
        let left = converted.as_ref().map_or(0, Batch::items);
        // A first cumulative value is a baseline, not a loss; all else that disappears has a reason of its own.
        let gone = (batch.items() - left) as u64;
        let mut lost = 0;
        for (reason, count) in stats.reasons() {
            self.counts.dropped(reason, count);
            lost += count;
        }
        self.counts.baseline.add(gone.saturating_sub(lost));
        self.counts.queued.sub(gone);
        converted
    }

    /// Takes no more batches; what waits is still delivered.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// Empties the queue and says how many items were in it.
    pub(crate) fn abandon(&self) -> u64 {
        let mut state = self.lock();
        let items = state.items as u64;
        state.waiting.clear();
        state.items = 0;
        state.bytes = 0;
        items
    }
}

fn join(mut group: Vec<Batch>) -> Option<Batch> {
    if group.len() <= 1 {
        return group.pop();
    }
    let first = group.first()?;
    let joined = muxbridge_pdata::concat(group.iter().map(|b| &b.otlp()[..]));
    Some(Batch::from_valid(first.signal(), joined, first.origin().clone()))
}

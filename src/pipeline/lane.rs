//! The queue of one signal of one destination: bounded in memory, or a place in a log on the disk.

mod change;
mod counts;

use super::circuit::Circuit;
use super::dead::DeadLetters;
use super::delivery::Health;
use super::journal::Journal;
use super::room::{self, Room};
use super::settings::{SendingQueue, Sizer};
use super::sums::{Sums, SumsFile};
use super::tail::{Claim, Next, Tail};
pub(crate) use counts::LaneCounts;
use muxbridge_core::{Batch, Counters, Needs, Signal, Stop, TemporalityNeed};
use muxbridge_kit::delta::DeltaState;
use muxbridge_seglog::Error;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Bytes that are read from a log before they are sent.
const READ_AHEAD: usize = 4 << 20;
/// Batches that make a request without each other are joined to no more than this. Joining copies, and larger requests save
/// nothing that a copy beyond the caches would not cost.
const JOINED: usize = 1 << 20;
/// How long a log is left alone that could not be read.
const UNREADABLE: Duration = Duration::from_secs(1);

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
    pub(crate) counts: LaneCounts,
    /// One destination may limit one signal and take another, so that each lane has its own.
    pub(crate) circuit: Circuit,
    /// On when what is left stays in the log for the next start.
    pub(crate) leaving: Stop,
    room: Room,
    state: Mutex<State>,
    changed: Notify,
    /// Times in memory are counted from here.
    began: Instant,
    /// Where its sums are stored. Where both are held, this lock was taken first.
    sums_file: Mutex<Option<SumsFile>>,
    dead: OnceLock<Arc<DeadLetters>>,
}

/// What makes one request.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    /// For [`Lane::finish`].
    pub(crate) claim: Claim,
}

/// What waits.
struct Waiting {
    next: Next,
    since: Instant,
}

struct State {
    /// What a reload can change.
    needs: Needs,
    settings: SendingQueue,
    /// Requests that were taken and not delivered when their exporter was replaced: the next to be taken.
    returned: VecDeque<Taken>,
    /// In memory everything; of a log what has been read ahead, no more than makes one request.
    waiting: VecDeque<Waiting>,
    /// Where the rest is, if it is in a log.
    tail: Option<Tail>,
    items: usize,
    bytes: usize,
    closed: bool,
    /// Nothing is taken any more; what is left stays in the log.
    abandoned: bool,
    /// Cumulative to delta, if the destination needs it. It is done when batches leave the queue: a cumulative point
    /// that is dropped because the queue is full costs nothing, as the next one covers it.
    sums: Option<Sums>,
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
        let delta = delta.filter(|_| wants_delta(signal, needs));
        Lane {
            signal,
            counts: LaneCounts::new(counters, id, signal),
            circuit: Circuit::default(),
            leaving: Stop::new(),
            room: Room::default(),
            state: Mutex::new(State {
                needs,
                settings,
                returned: VecDeque::new(),
                waiting: VecDeque::new(),
                tail: None,
                items: 0,
                bytes: 0,
                closed: false,
                abandoned: false,
                sums: delta.map(Sums::new),
            }),
            changed: Notify::new(),
            began: Instant::now(),
            sums_file: Mutex::default(),
            dead: OnceLock::new(),
        }
    }

    /// Takes from a log instead of from memory: what is there already is queued, and its sums go on from where they were.
    ///
    /// # Errors
    /// The sums can be neither read nor stored.
    pub(crate) fn follow(&self, id: &str, mut tail: Tail, journal: &Journal) -> Result<(), Error> {
        let mut file = None;
        if let Some(sums) = &mut self.lock().sums {
            let mut opened = journal.sums_file(id)?;
            sums.resume(&mut opened, &mut tail)?;
            file = Some(opened);
        } else {
            tail.forget_sums();
        }
        *self.sums_file() = file;
        if let Some(dead) = journal.dead_letters() {
            let _ = self.dead.set(Arc::clone(dead));
        }
        self.expect(tail.unread_items());
        self.lock().tail = Some(tail);
        Ok(())
    }

    /// Where to keep what the destination refused for good.
    pub(crate) fn dead_letters(&self) -> Option<Arc<DeadLetters>> {
        self.dead.get().cloned()
    }

    /// Items that are about to be stored for it.
    pub(crate) fn expect(&self, items: u64) {
        self.counts.enqueued.add(items);
        self.counts.queued.add(items);
    }

    /// They were not stored.
    pub(crate) fn unexpect(&self, items: u64) {
        self.counts.enqueued.sub(items);
        self.counts.queued.sub(items);
    }

    /// There is more in the log.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Records that need not come again.
    pub(crate) fn finish(&self, claim: Claim) {
        self.lock().finish(claim);
    }

    /// A batch was given up because the program stops: lost, unless a log has it.
    pub(crate) fn leave(&self, items: u64) {
        if self.lock().tail.is_none() {
            self.counts.drop_queued("shutdown", items);
        }
    }

    /// Called a few times a second, from a thread that may block; the last time, `last`.
    pub(crate) fn upkeep(&self, last: bool) {
        let (frozen, place) = {
            let mut state = self.lock();
            state.give_up_old(&self.counts);
            let State { tail: Some(tail), sums, .. } = &mut *state else { return };
            let expired = tail.notice_expired(&self.counts);
            if tail.is_finished() {
                // Its cursors would keep the log from being emptied.
                state.tail.take().into_iter().for_each(Tail::remove);
                return;
            }
            let Some(sums) = sums else { return };
            sums.settle(tail.first());
            let Some(frozen) = sums.due(tail.done(), last || expired) else { return };
            (frozen, tail.done())
        };
        let bytes = frozen.encode();
        let mut file = self.sums_file();
        let Some(file) = &mut *file else { return };
        let stored = file.write(place, &bytes);
        let mut state = self.lock();
        let State { tail: Some(tail), sums: Some(sums), .. } = &mut *state else { return };
        match stored {
            Ok(below) => {
                tail.release(&file.cursor(), below);
                sums.noted(Some(place), bytes.len());
            }
            Err(error) => {
                tail.store_failed(&error);
                sums.noted(None, 0);
            }
        }
    }

    fn sums_file(&self) -> MutexGuard<'_, Option<SumsFile>> {
        self.sums_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its destination requires of requests.
    pub(crate) fn needs(&self) -> Needs {
        self.lock().needs
    }

    /// How it is set up.
    pub(crate) fn settings(&self) -> SendingQueue {
        self.lock().settings.clone()
    }

    /// Whether it is in a log.
    pub(crate) fn is_stored(&self) -> bool {
        self.lock().tail.is_some()
    }

    /// Whether another batch would find no room.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock();
        match &state.tail {
            Some(tail) => state.closed || tail.is_full(),
            None => state.closed || self.is_beyond(&state, 1),
        }
    }

    /// Whether what waits in memory takes at least this part of the room: 1 is all of it, 4 a quarter.
    fn is_beyond(&self, state: &State, part: usize) -> bool {
        let size = match state.settings.sizer {
            Sizer::Requests => state.waiting.len(),
            Sizer::Items => state.items,
            Sizer::Bytes => state.bytes,
        };
        size >= state.settings.queue_size.div_ceil(part)
            || state.bytes >= (state.settings.max_size_mib << 20).div_ceil(part)
    }

    /// Whether a sender is to wait before it hands over more: the queue in memory fills up although the destination
    /// takes what it is sent.
    pub(crate) fn holds_back(&self) -> bool {
        let state = self.lock();
        // Less than makes one request is not under way: it waits for more, not for the destination.
        let crowded = state.tail.is_none()
            && !state.closed
            && state.items >= state.settings.batch.min_size
            && self.is_beyond(&state, room::PART);
        drop(state);
        self.room.is_worth_waiting(crowded, &self.circuit)
    }

    /// Waits until [`Lane::holds_back`] says no, at most until `until`.
    pub(crate) async fn wait_for_room(&self, until: tokio::time::Instant) {
        self.room.wait(until, || self.holds_back(), || self.counts.sent.get()).await;
    }

    /// A request failed: those who wait for room look again.
    pub(crate) fn failed(&self) {
        self.leave_if_failing();
        self.room.look_again();
    }

    /// Queues a batch in memory, or drops and counts it if there is no room.
    pub(crate) fn push(&self, batch: Batch, now: Instant) {
        let items = batch.items() as u64;
        if items == 0 {
            return;
        }
        self.counts.enqueued.add(items);
        let mut state = self.lock();
        if state.closed || self.is_beyond(&state, 1) {
            let reason = if state.closed { "shutdown" } else { "queue_full" };
            return self.counts.dropped(reason, items);
        }
        // Under the lock: what is taken at once must have been counted before.
        self.counts.queued.add(items);
        state.items += batch.items();
        state.bytes += batch.otlp().len();
        let accepted =
            u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        state.waiting.push_back(Waiting { next: Next { batch, number: 0, accepted }, since: now });
        drop(state);
        self.changed.notify_one();
    }

    /// Takes what makes one request: at least `min_size` items, or what has waited for `flush_timeout`. `None` when
    /// the lane is closed and empty.
    pub(crate) async fn pop(&self) -> Option<Taken> {
        loop {
            let wait = {
                let mut state = self.lock();
                if let Some(taken) = state.returned.pop_front() {
                    // For the next consumer, which may find more.
                    self.changed.notify_one();
                    return Some(taken);
                }
                let unreadable = self.fill(&mut state);
                let oldest = state.waiting.front().map(|waiting| waiting.since);
                match oldest {
                    None if unreadable && !state.closed => Some(UNREADABLE),
                    None if state.closed => {
                        // Wake the next consumer, which has the same to find out.
                        self.changed.notify_one();
                        return None;
                    }
                    None => None,
                    Some(since) => {
                        let due = since + state.settings.batch.flush_timeout.0;
                        let now = tokio::time::Instant::now().into_std();
                        if state.closed || state.items >= state.settings.batch.min_size || now >= due {
                            let taken = self.take(&mut state);
                            if !state.waiting.is_empty() || state.tail.as_ref().is_some_and(Tail::has_more) {
                                self.changed.notify_one();
                            }
                            if taken.is_some() {
                                return taken;
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

    /// Reads ahead what makes one request. Says whether the log cannot be read.
    fn fill(&self, state: &mut State) -> bool {
        let State { waiting, tail: Some(tail), items, bytes, abandoned, settings, .. } = state else {
            return false;
        };
        if *abandoned {
            return false;
        }
        let now = tokio::time::Instant::now().into_std();
        while *items < settings.batch.max_size && *bytes < READ_AHEAD {
            match tail.next(&self.counts) {
                Ok(Some(next)) => {
                    *items += next.batch.items();
                    *bytes += next.batch.otlp().len();
                    waiting.push_back(Waiting { next, since: now });
                }
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!(cursor = tail.cursor(), %error, "cannot read what is queued, trying again");
                    return true;
                }
            }
        }
        false
    }

    fn take(&self, state: &mut State) -> Option<Taken> {
        let mut group: Vec<Batch> = Vec::new();
        let first = state.waiting.front().map_or(0, |waiting| waiting.next.number);
        let (mut claim, mut accepted) = (first..first, 0);
        let (mut items, mut bytes) = (0, 0);
        let max_bytes = state.needs.max_request_bytes.unwrap_or(usize::MAX);
        while let Some(Waiting { next, .. }) = state.waiting.front() {
            let (more, larger) = (next.batch.items(), next.batch.otlp().len());
            let enough = items >= state.settings.batch.min_size && bytes + larger > JOINED;
            let over = enough || items + more > state.settings.batch.max_size || bytes + larger > max_bytes;
            if over && !group.is_empty() {
                break;
            }
            items += more;
            bytes += larger;
            claim.end = next.number + 1;
            accepted = next.accepted;
            group.extend(state.waiting.pop_front().map(|waiting| waiting.next.batch));
        }
        state.items -= items;
        state.bytes -= bytes;
        self.room.freed();
        let batch = join(group)?;
        let Some(sums) = &mut state.sums else { return Some(Taken { batch, claim }) };
        match sums.convert(&batch, accepted, &claim, &self.counts) {
            Some(batch) => Some(Taken { batch, claim }),
            None => {
                state.finish(claim);
                None
            }
        }
    }

    /// Takes no more batches; what waits is still delivered, unless the destination fails and a log has it.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.leave_if_failing();
        self.changed.notify_waiters();
        self.changed.notify_one();
    }

    /// At the end nobody need wait for a destination that fails: what is on the disk is safe there.
    fn leave_if_failing(&self) {
        let safe = { self.lock() }.is_safe_to_leave();
        if safe && self.circuit.is_open() && !self.leaving.is_stopped() {
            self.abandon();
            self.leaving.stop();
            self.changed.notify_waiters();
            self.changed.notify_one();
        }
    }

    /// Takes nothing any more, empties the queue and says how many items are lost: those that no log has.
    pub(crate) fn abandon(&self) -> u64 {
        let mut state = self.lock();
        state.abandoned = true;
        let returned: usize = state.returned.drain(..).map(|taken| taken.batch.items()).sum();
        let items = if state.tail.is_some() { 0 } else { (state.items + returned) as u64 };
        state.waiting.clear();
        state.items = 0;
        state.bytes = 0;
        items
    }
}

fn wants_delta(signal: Signal, needs: Needs) -> bool {
    signal == Signal::Metrics && needs.temporality == TemporalityNeed::Delta
}

impl State {
    /// Counts and drops what has been read ahead and became too old meanwhile.
    fn give_up_old(&mut self, counts: &LaneCounts) {
        let Some(oldest) = self.tail.as_ref().and_then(Tail::oldest) else { return };
        while self.waiting.front().is_some_and(|waiting| waiting.next.accepted < oldest) {
            let Some(Waiting { next, .. }) = self.waiting.pop_front() else { return };
            counts.drop_queued("expired", next.batch.items() as u64);
            self.items -= next.batch.items();
            self.bytes -= next.batch.otlp().len();
            self.finish(next.number..next.number + 1);
        }
    }

    fn is_safe_to_leave(&self) -> bool {
        self.closed && self.tail.is_some()
    }

    /// Records that need not come again.
    fn finish(&mut self, claim: Claim) {
        let Some(tail) = &mut self.tail else { return };
        tail.finish(claim);
        self.sums.iter_mut().for_each(|sums| sums.settle(tail.first()));
    }
}

/// One request of all of them.
pub(crate) fn join(mut group: Vec<Batch>) -> Option<Batch> {
    if group.len() <= 1 {
        return group.pop();
    }
    let first = group.first()?;
    let joined = muxbridge_pdata::concat(group.iter().map(|b| &b.otlp()[..]));
    Some(Batch::from_valid(first.signal(), joined, first.origin().clone()))
}

//! The queue of one signal of one destination: bounded in memory, or a place in a log on the disk.

mod backlog;
mod change;
mod counts;
mod stretch;
#[cfg(test)]
mod tests;

use super::circuit::Circuit;
use super::dead::DeadLetters;
use super::delivery::Health;
use super::journal::Journal;
use super::room::{self, Room};
use super::settings::SendingQueue;
use super::sums::{Sums, SumsFile};
use super::tail::{Claim, Next, Tail};
use backlog::{Choice, Which};
pub(crate) use counts::LaneCounts;
use muxbridge_core::{Batch, Counters, Needs, Signal, Stop, TemporalityNeed};
use muxbridge_kit::delta::DeltaState;
use muxbridge_seglog::Error;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use stretch::Stretch;
use tokio::sync::Notify;

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
    /// Held while its places in the log become more or fewer. Where others are held, this lock was taken first.
    places: Mutex<()>,
    dead: OnceLock<Arc<DeadLetters>>,
}

/// What makes one request.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    /// For [`Lane::finish`].
    pub(crate) claim: Claim,
}

struct State {
    /// What a reload can change.
    needs: Needs,
    settings: SendingQueue,
    /// Requests that were taken and not delivered when their exporter was replaced: the next to be taken.
    returned: VecDeque<Taken>,
    /// Everything, or what came in after the backlog.
    live: Stretch,
    /// In a log: what waited when an outage ended.
    backlog: Option<Stretch>,
    /// The most items in one request of it.
    backlog_most: usize,
    /// Requests of what is live that were taken one after the other.
    live_in_turn: u32,
    /// When the end of the backlog was last moved, in milliseconds since 1970.
    apart: Option<u64>,
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
                live: Stretch::default(),
                backlog: None,
                backlog_most: 0,
                live_in_turn: 0,
                apart: None,
                closed: false,
                abandoned: false,
                sums: delta.map(Sums::new),
            }),
            changed: Notify::new(),
            began: Instant::now(),
            sums_file: Mutex::default(),
            places: Mutex::default(),
            dead: OnceLock::new(),
        }
    }

    /// Takes from a log instead of from memory: what is there already is queued, and its sums go on from where they were.
    ///
    /// # Errors
    /// The sums can be neither read nor stored.
    pub(crate) fn follow(
        &self,
        id: &str,
        (mut tail, backlog): (Tail, Option<Tail>),
        journal: &Journal,
    ) -> Result<(), Error> {
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
        self.take_up(tail, backlog);
        Ok(())
    }

    /// What is there is queued.
    fn take_up(&self, tail: Tail, backlog: Option<Tail>) {
        self.expect(tail.unread_items() + backlog.as_ref().map_or(0, Tail::unread_items));
        let mut state = self.lock();
        state.live = Stretch::stored(tail);
        state.backlog = backlog.map(Stretch::stored);
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
        self.lock().finish(&claim);
    }

    /// A batch was given up because the program stops: lost, unless a log has it.
    pub(crate) fn leave(&self, items: u64) {
        if !self.is_stored() {
            self.counts.drop_queued("shutdown", items);
        }
    }

    /// Called a few times a second, from a thread that may block; the last time, `last`.
    pub(crate) fn upkeep(&self, last: bool) {
        let _places = self.places();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.set_apart(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let expired = self.notice_expired();
        self.let_go_of_backlog();
        let (frozen, place) = {
            let mut state = self.lock();
            if state.backlog.is_none() && state.live.is_finished() {
                // Its cursors would keep the log from being emptied.
                state.live.tail.take().into_iter().for_each(Tail::remove);
                return;
            }
            let State { live: Stretch { tail: Some(tail), .. }, sums: Some(sums), .. } = &mut *state else {
                return;
            };
            let Some(frozen) = sums.due(tail.done(), last || expired) else { return };
            (frozen, tail.done())
        };
        let bytes = frozen.encode();
        let mut file = self.sums_file();
        let Some(file) = &mut *file else { return };
        let stored = file.write(place, &bytes);
        let mut state = self.lock();
        let State { live: Stretch { tail: Some(tail), .. }, sums: Some(sums), .. } = &mut *state else {
            return;
        };
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

    /// Counts what is too old, or what the budget has taken from what is done next. Says whether it did the latter.
    fn notice_expired(&self) -> bool {
        let mut state = self.lock();
        let mut expired = false;
        for stretch in state.stretches() {
            stretch.give_up_old(&self.counts);
            expired |= stretch.tail.as_mut().is_some_and(|tail| tail.notice_expired(&self.counts));
        }
        state.settle();
        expired
    }

    fn places(&self) -> MutexGuard<'_, ()> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.lock().live.tail.is_some()
    }

    /// Whether another batch would find no room.
    pub(crate) fn is_full(&self) -> bool {
        let mut state = self.lock();
        if state.closed || state.live.tail.is_none() {
            return state.closed || state.live.is_beyond(&state.settings, 1);
        }
        state.stretches().any(|stretch| stretch.is_full())
    }

    /// Whether a sender is to wait before it hands over more: what is in memory for this destination becomes too much,
    /// although it takes what it is sent; or others wait already, and come first.
    pub(crate) fn holds_back(&self) -> bool {
        self.is_crowded() || self.room.is_waited_for()
    }

    fn is_crowded(&self) -> bool {
        let crowded = self.lock().is_crowded();
        self.room.is_worth_waiting(crowded, &self.circuit)
    }

    /// Whether it is in a log and keeps up.
    pub(crate) fn keeps_up(&self) -> bool {
        self.lock().live.tail.as_ref().is_some_and(|tail| tail.is_crowded() == Some(false))
    }

    /// Waits until it is one's turn and there is room, at most until `until`.
    pub(crate) async fn wait_for_room(&self, until: tokio::time::Instant) {
        self.room.wait(until, || self.is_crowded(), || self.counts.sent.get()).await;
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
        if state.closed || state.live.is_beyond(&state.settings, 1) {
            let reason = if state.closed { "shutdown" } else { "queue_full" };
            return self.counts.dropped(reason, items);
        }
        // Under the lock: what is taken at once must have been counted before.
        self.counts.queued.add(items);
        let accepted =
            u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX);
        state.live.push(Next { batch, number: 0, accepted }, now);
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
                let now = tokio::time::Instant::now().into_std();
                match state.choose(now) {
                    Choice::Nothing if state.closed => {
                        // Wake the next consumer, which has the same to find out.
                        self.changed.notify_one();
                        return None;
                    }
                    Choice::Nothing => unreadable.then_some(UNREADABLE),
                    Choice::Wait(due) => Some(due - now),
                    Choice::Take(which) => {
                        let taken = self.take(&mut state, which);
                        if state.stretches().any(|stretch| stretch.has_more()) {
                            self.changed.notify_one();
                        }
                        if taken.is_some() {
                            return taken;
                        }
                        continue;
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
        let most = state.settings.batch.max_size;
        let mut unreadable = false;
        if !state.abandoned {
            state.stretches().for_each(|stretch| unreadable |= stretch.fill(most, &self.counts));
        }
        unreadable
    }

    fn take(&self, state: &mut State, which: Which) -> Option<Taken> {
        let batch = &state.settings.batch;
        let (stretch, most) = match which {
            Which::Live => (&mut state.live, batch.max_size),
            Which::Backlog => {
                (state.backlog.as_mut()?, state.backlog_most.clamp(batch.min_size, batch.max_size))
            }
        };
        let taken = stretch.take(batch, most, state.needs);
        if !state.is_crowded() {
            self.room.freed();
        }
        let (batch, claim, accepted) = taken?;
        let Some(sums) = &mut state.sums else { return Some(Taken { batch, claim }) };
        match sums.convert(&batch, accepted, &claim, &self.counts) {
            Some(batch) => Some(Taken { batch, claim }),
            None => {
                state.finish(&claim);
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
        let items = if state.live.tail.is_some() { 0 } else { (state.live.items + returned) as u64 };
        state.stretches().for_each(Stretch::clear);
        items
    }
}

fn wants_delta(signal: Signal, needs: Needs) -> bool {
    signal == Signal::Metrics && needs.temporality == TemporalityNeed::Delta
}

impl State {
    /// Whether what is in memory for this destination becomes too much.
    fn is_crowded(&self) -> bool {
        !self.closed
            && match &self.live.tail {
                Some(tail) => tail.is_crowded() == Some(true),
                // Less than makes one request is not under way: it waits for more, not for the destination.
                None => {
                    self.live.items >= self.settings.batch.min_size
                        && self.live.is_beyond(&self.settings, room::PART)
                }
            }
    }

    fn is_safe_to_leave(&self) -> bool {
        self.closed && self.live.tail.is_some()
    }

    /// Records that need not come again.
    fn finish(&mut self, claim: &Claim) {
        self.stretches().for_each(|stretch| stretch.finish(claim));
        self.adapt(claim);
        self.settle();
    }

    /// The sums need not know what is done.
    fn settle(&mut self) {
        if let State { live: Stretch { tail: Some(tail), .. }, sums: Some(sums), .. } = self {
            sums.settle(tail.first());
        }
    }
}

/// One request of all of them.
pub(crate) fn join(mut group: Vec<Batch>) -> Option<Batch> {
    if group.len() <= 1 {
        return group.pop();
    }
    let first = group.first()?;
    let joined = muxbridge_pdata::concat(group.iter().map(|b| &b.otlp()[..]));
    let items = group.iter().map(Batch::items).sum();
    Some(Batch::from_counted(first.signal(), joined, items, first.origin().clone()))
}

//! What one pipeline on one worker has accepted and not yet brought to safety: batches that open traces hold, and emitted
//! batches that are being stored.

use super::{Journal, Outbound};
use muxbridge_core::{Counter, Counters, Holding, names};
use muxbridge_seglog::{Append, Error, Position};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Bytes of emitted batches that wait for a disk that takes nothing. Receivers are refused from the first on, so that
/// only what was held back or under way at that time comes here.
const UNSTORED_BYTES: usize = 256 << 20;

/// See the module.
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
    unstored: Counter,
}

#[derive(Default)]
struct Inner {
    /// Batches of which something was held when they came in, in that order.
    held: VecDeque<Held>,
    /// When the last batch came in.
    last: Option<Instant>,
    /// Number of the next append.
    next: u64,
    /// Appends that are not known to be stored.
    under_way: BTreeSet<u64>,
    /// Those of them that have failed at least once.
    again: BTreeSet<u64>,
    /// Those that wait to be tried again.
    failed: Vec<Failed>,
    failed_bytes: usize,
    /// What came in before the time has left the processors; it is safe when all appends below the number are stored.
    emitted: Option<(Instant, u64)>,
}

struct Held {
    arrived: Instant,
    /// Where it stands in the intake log; `None` until that is known.
    at: Option<Position>,
}

struct Failed {
    number: u64,
    target: Target,
    append: Append,
}

/// Which log.
#[derive(Clone)]
pub(crate) enum Target {
    Outbound(Arc<Outbound>),
    /// For the batch that came in then, noted by [`Ledger::hold`].
    Intake(Arc<Journal>, Instant),
}

impl Target {
    fn append(
        &self,
        append: Append,
        done: impl FnOnce(Result<Position, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        match self {
            Target::Outbound(outbound) => outbound.append(append, done),
            Target::Intake(journal, _) => {
                let ticket =
                    journal.intake.log.append(append).inspect_err(|error| journal.intake.failed(error))?;
                let journal = Arc::clone(journal);
                ticket.on_done(move |outcome| {
                    if let Err(error) = &outcome {
                        journal.intake.failed(error);
                    }
                    done(outcome.map(|receipt| receipt.first));
                });
                Ok(())
            }
        }
    }

    /// Counts a batch that can never be stored. One in the intake log is in memory too, and nothing of it is lost yet.
    fn lose(&self, reason: &str, items: u64) {
        if let Target::Outbound(outbound) = self {
            outbound.lose(reason, items);
        }
    }
}

/// The lowest place in the intake log that is still needed.
pub(crate) enum Oldest {
    Nothing,
    /// An append whose place is not known yet.
    UnderWay,
    At(Position),
}

impl Ledger {
    pub(crate) fn new(counters: &Counters, pipeline: &str, worker: usize) -> Arc<Self> {
        let labels = [("pipeline", pipeline), ("worker", &*worker.to_string())];
        Arc::new(Ledger { inner: Mutex::default(), unstored: counters.get(names::UNSTORED, &labels) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something could not be stored and waits in memory.
    pub(crate) fn is_failing(&self) -> bool {
        !self.lock().again.is_empty()
    }

    /// Whether nothing of what came in is still held or waits to be stored.
    pub(crate) fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.held.is_empty() && inner.under_way.is_empty()
    }

    /// A time for a batch that just came in, later than that of every batch before it.
    pub(crate) fn stamp(&self, now: Instant) -> Instant {
        let mut inner = self.lock();
        let now = inner.last.map_or(now, |last| now.max(last + Duration::from_nanos(1)));
        inner.last = Some(now);
        now
    }

    /// Notes that something of a batch is held. Before its append to the intake log, so that the cursor there waits for it.
    pub(crate) fn hold(&self, arrived: Instant, at: Option<Position>) {
        self.lock().held.push_back(Held { arrived, at });
    }

    /// What the intake cursor must not pass.
    pub(crate) fn oldest(&self) -> Oldest {
        let inner = self.lock();
        let mut oldest = None;
        for held in &inner.held {
            match (held.at, oldest) {
                (None, _) => return Oldest::UnderWay,
                (Some(at), None) => oldest = Some(at),
                (Some(at), Some(before)) => oldest = Some(at.min(before)),
            }
        }
        oldest.map_or(Oldest::Nothing, Oldest::At)
    }

    /// Lets go of what has left the processors and is stored. Called between two batches, with what the processors hold.
    pub(crate) fn settle(&self, holding: Option<Holding>) {
        let mut inner = self.lock();
        if let Some((before, number)) = inner.emitted
            && inner.under_way.first().is_none_or(|first| *first >= number)
        {
            inner.held.retain(|h| h.arrived >= before);
            inner.emitted = None;
        }
        if inner.emitted.is_none()
            && let Some(last) = inner.last
            && !inner.held.is_empty()
        {
            let before = holding.map_or(last + Duration::from_nanos(1), |h| h.oldest);
            inner.emitted = Some((before, inner.next));
        }
    }

    /// Stores a batch. The receiver is told whether that worked; if it did not, it is tried again by [`Ledger::retry`].
    pub(crate) fn store(self: &Arc<Self>, target: Target, append: Append) -> oneshot::Receiver<bool> {
        let number = {
            let mut inner = self.lock();
            let number = inner.next;
            inner.next += 1;
            inner.under_way.insert(number);
            number
        };
        self.append(Failed { number, target, append })
    }

    fn append(self: &Arc<Self>, what: Failed) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        let Failed { number, target, append } = what;
        let (ledger, later) = (Arc::clone(self), target.clone());
        let copy = append.clone();
        let result = target.append(append.clone(), move |outcome| {
            let stored = outcome.is_ok();
            match outcome {
                Ok(at) => ledger.stored(number, &later, Some(at)),
                Err(error) => ledger.failed(Failed { number, target: later, append: copy }, &error),
            }
            let _ = tell.send(stored);
        });
        match result {
            Ok(()) => told,
            Err(Error::TooLarge { bytes, limit }) => {
                tracing::warn!(bytes, limit, "a batch is too large for the log");
                target.lose("too_large", u64::from(append.items));
                self.stored(number, &target, None);
                // To send it again would not help.
                let (tell, told) = oneshot::channel();
                let _ = tell.send(true);
                told
            }
            Err(error) => {
                self.failed(Failed { number, target, append }, &error);
                told
            }
        }
    }

    fn stored(&self, number: u64, target: &Target, at: Option<Position>) {
        let mut inner = self.lock();
        inner.under_way.remove(&number);
        if let Target::Intake(_, arrived) = target {
            match at {
                Some(_) => inner.held.iter_mut().filter(|h| h.arrived == *arrived).for_each(|h| h.at = at),
                None => inner.held.retain(|h| h.arrived != *arrived),
            }
        }
        if inner.again.remove(&number) && inner.again.is_empty() {
            tracing::info!("storing again");
        }
        self.unstored.set(inner.again.len() as u64);
    }

    fn failed(&self, what: Failed, error: &Error) {
        let mut inner = self.lock();
        if inner.again.is_empty() {
            tracing::warn!(%error, "cannot store, receivers are refused until it works again");
        }
        if inner.failed_bytes.saturating_add(what.append.payload.len()) > UNSTORED_BYTES {
            drop(inner);
            what.target.lose("storage_failed", u64::from(what.append.items));
            return self.stored(what.number, &what.target, None);
        }
        inner.again.insert(what.number);
        inner.failed_bytes += what.append.payload.len();
        inner.failed.push(what);
        self.unstored.set(inner.again.len() as u64);
    }

    /// Tries again to store what failed.
    pub(crate) fn retry(self: &Arc<Self>) -> Vec<oneshot::Receiver<bool>> {
        let failed = {
            let mut inner = self.lock();
            inner.failed_bytes = 0;
            std::mem::take(&mut inner.failed)
        };
        failed.into_iter().map(|what| self.append(what)).collect()
    }
}

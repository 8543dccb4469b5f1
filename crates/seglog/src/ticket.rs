//! What is appended, and the promise that it will be durable.

use crate::commit::Shared;
use crate::format::Position;
use crate::options::{Committer, Error};
use bytes::Bytes;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A lock that a panicking test thread cannot take away from the others.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Bytes that stand before the payload and are stored with it as one, so that nobody need copy a payload to put them there.
    pub head: Bytes,
    /// Its bytes, handed out unchanged by a reader.
    pub payload: Bytes,
    /// How many items it counts for when losses are reported.
    pub items: u32,
    /// Two bytes of the user's own, for example the signal.
    pub tag: u16,
}

/// Records and checkpoints that are stored together: after a crash all of them are there or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// In this order. May be empty if there are checkpoints.
    pub records: Vec<Append>,
    /// State by slot. The newest of each slot is kept for as long as the log exists.
    pub checkpoints: Vec<(u16, Bytes)>,
}

impl Append {
    fn len(&self) -> usize {
        self.head.len().saturating_add(self.payload.len())
    }
}

impl From<Append> for Group {
    fn from(record: Append) -> Self {
        Self { records: vec![record], checkpoints: Vec::new() }
    }
}

impl Group {
    pub(crate) fn len(&self) -> usize {
        self.records.len().saturating_add(self.checkpoints.len())
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        let records = self.records.iter().map(Append::len);
        records.chain(self.checkpoints.iter().map(|(_, blob)| blob.len())).fold(0, usize::saturating_add)
    }

    pub(crate) fn encoded_bytes(&self) -> u64 {
        let records = self.records.iter().map(Append::len);
        let lengths = records.chain(self.checkpoints.iter().map(|(_, blob)| blob.len()));
        lengths.map(crate::format::record_bytes).fold(0, u64::saturating_add)
    }
}

/// Where a group came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Before its first record.
    pub first: Position,
    /// After its last record. A cursor that is advanced to here has passed the group.
    pub end: Position,
}

type Outcome = Result<Receipt, Error>;
type Callback = Box<dyn FnOnce(Outcome) + Send>;

#[derive(Default)]
struct Waiting {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
    callback: Option<Callback>,
    /// Somebody sleeps on `resolved`. Waking nobody would be a call into the kernel for each record.
    sleeping: bool,
}

/// The place where a commit leaves its result.
#[derive(Default)]
pub(crate) struct Slot {
    waiting: Mutex<Waiting>,
    resolved: Condvar,
}

impl Slot {
    pub(crate) fn resolve(&self, outcome: Outcome) {
        let mut waiting = lock(&self.waiting);
        let (waker, callback) = (waiting.waker.take(), waiting.callback.take());
        waiting.outcome = Some(outcome.clone());
        let sleeping = waiting.sleeping;
        drop(waiting);
        if sleeping {
            self.resolved.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some(callback) = callback {
            callback(outcome);
        }
    }
}

/// The result of an append, known after its commit: a future for any runtime, a blocking call or a callback.
/// Dropping it changes nothing about the append.
pub struct Ticket {
    pub(crate) slot: Arc<Slot>,
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

impl Ticket {
    /// Blocks until the group is committed. Under [`Committer::Caller`] this call commits, for all that wait.
    pub fn wait(self) -> Result<Receipt, Error> {
        if self.shared.options.committer == Committer::Caller {
            self.shared.commit();
        }
        let mut waiting = lock(&self.slot.waiting);
        loop {
            if let Some(outcome) = waiting.outcome.take() {
                return outcome;
            }
            waiting.sleeping = true;
            waiting = self.slot.resolved.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls `done` once, from the thread that commits, or at once if that has happened. `done` must not block.
    pub fn on_done(self, done: impl FnOnce(Result<Receipt, Error>) + Send + 'static) {
        let mut waiting = lock(&self.slot.waiting);
        match waiting.outcome.take() {
            Some(outcome) => {
                drop(waiting);
                done(outcome);
            }
            None => waiting.callback = Some(Box::new(done)),
        }
    }
}

impl Future for Ticket {
    type Output = Result<Receipt, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = lock(&self.slot.waiting);
        if let Some(outcome) = waiting.outcome.clone() {
            return Poll::Ready(outcome);
        }
        waiting.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

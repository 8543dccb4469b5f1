//! What a receiver hands its batches to: the processors of each pipeline, then the fanout.

use super::lane::Destination;
use super::tap::Tap;
use muxbridge_core::{Batch, BoxFuture, Consumer, Processor, Refused, Signal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One pipeline on one worker.
pub(crate) struct Chain {
    pub(crate) signal: Signal,
    pub(crate) receivers: Vec<String>,
    pub(crate) processors: Mutex<Vec<Box<dyn Processor>>>,
    pub(crate) destinations: Vec<Arc<Destination>>,
    /// Shows metrics on the admin port, if it is to.
    pub(crate) tap: Option<Arc<Tap>>,
}

impl Chain {
    /// Whether no destination has room for this signal.
    fn is_full(&self) -> bool {
        self.destinations.iter().filter_map(|d| d.lane(self.signal)).all(|lane| lane.is_full())
    }

    fn process(&self, batch: Batch, now: Instant) {
        let mut processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        process(&mut processors, batch, now, &mut |batch| self.fan_out(batch, now));
    }

    /// Lets out what has been held back long enough.
    pub(crate) fn tick(&self, now: Instant) {
        self.each(now, |processor, emit| processor.tick(now, emit));
    }

    /// Lets out everything that is held back.
    pub(crate) fn flush(&self, now: Instant) {
        self.each(now, |processor, emit| processor.flush(emit));
    }

    fn each(&self, now: Instant, call: impl Fn(&mut dyn Processor, &mut dyn FnMut(Batch))) {
        let mut processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        for position in 0..processors.len() {
            let (head, later) = processors.split_at_mut(position + 1);
            if let Some(processor) = head.last_mut() {
                call(&mut **processor, &mut |batch| {
                    process(later, batch, now, &mut |batch| self.fan_out(batch, now))
                });
            }
        }
    }

    fn fan_out(&self, batch: Batch, now: Instant) {
        if let Some(tap) = &self.tap {
            tap.take(&batch);
        }
        for destination in &self.destinations {
            if let Some(lane) = destination.lane(batch.signal()) {
                lane.push(batch.clone(), now);
            }
        }
    }
}

/// Passes a batch through processors, one after the other.
pub(crate) fn process(
    processors: &mut [Box<dyn Processor>],
    batch: Batch,
    now: Instant,
    out: &mut dyn FnMut(Batch),
) {
    match processors.split_first_mut() {
        None => out(batch),
        Some((first, later)) => first.process(batch, now, &mut |batch| process(later, batch, now, out)),
    }
}

/// The pipelines that one receiver feeds.
pub(crate) struct Entry {
    pub(crate) chains: Vec<Arc<Chain>>,
}

impl Consumer for Entry {
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        let mut takers = self.chains.iter().filter(|c| c.signal == batch.signal()).peekable();
        let result = if takers.peek().is_none() {
            Err(Refused::NotConfigured)
        } else if takers.clone().all(|chain| chain.is_full()) {
            // One destination that is down must not stop the others, so that only a bridge with no room at all
            // refuses; a destination without room counts what it misses.
            Err(Refused::Busy { retry_after: Duration::from_secs(5) })
        } else {
            let now = tokio::time::Instant::now().into_std();
            takers.for_each(|chain| chain.process(batch.clone(), now));
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }
}

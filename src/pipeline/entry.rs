//! What a receiver hands its batches to: the processors of each pipeline, then the fanout.

use super::journal::Journal;
use super::journal::ledger::{Ledger, Target};
use super::journal::record;
use super::lane::{Destination, Lane};
use super::room::{PATIENCE, STORED_PATIENCE};
use super::tap::Tap;
use muxbridge_core::{Batch, BoxFuture, Consumer, Holding, Processor, Refused, Signal};
use muxbridge_seglog::Position;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// One pipeline on one worker.
pub(crate) struct Chain {
    pub(crate) id: String,
    pub(crate) signal: Signal,
    pub(crate) receivers: Vec<String>,
    /// Shared with the chain that takes its place if a reload leaves the processors as they are.
    pub(crate) processors: Arc<Mutex<Vec<Box<dyn Processor>>>>,
    pub(crate) destinations: Vec<Arc<Destination>>,
    /// Shows metrics on the admin port, if it is to.
    pub(crate) tap: Option<Arc<Tap>>,
    /// Where batches are stored before they are acknowledged; `None`: in memory alone.
    pub(crate) durable: Option<Durable>,
}

/// The logs, and what this chain has in them that is not safe yet.
#[derive(Clone)]
pub(crate) struct Durable {
    pub(crate) journal: Arc<Journal>,
    pub(crate) ledger: Arc<Ledger>,
}

/// Appends that are waited for: whether each is stored.
pub(crate) type Appends = Vec<oneshot::Receiver<bool>>;

impl Chain {
    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.destinations.iter().filter_map(|d| d.lane(self.signal))
    }

    /// Whether no destination has room for this signal.
    fn is_full(&self) -> bool {
        self.lanes().all(|lane| lane.is_full())
    }

    /// Whether a sender is to wait. A log is long enough for what one destination does not take, so that there one that keeps
    /// up is held back by no other.
    fn holds_back(&self) -> bool {
        self.lanes().any(|lane| lane.holds_back()) && !self.lanes().any(|lane| lane.keeps_up())
    }

    /// Whether it cannot be stored now.
    fn is_stuck(&self) -> bool {
        self.durable.as_ref().is_some_and(|d| d.ledger.is_failing() || d.journal.intake.is_nearly_full())
    }

    /// What must be stored before the batch may be acknowledged; nothing if batches are in memory alone.
    fn process(&self, batch: Batch, now: Instant) -> Appends {
        match &self.durable {
            Some(durable) => self.accept(durable, batch, now, None),
            None => {
                let mut processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
                process(&mut processors, batch, now, &mut |batch| self.fan_out(batch, now));
                Vec::new()
            }
        }
    }

    /// Processes a batch that stands at `stored` in the intake log already.
    pub(crate) fn replay(&self, batch: Batch, now: Instant, stored: Position) -> Appends {
        self.durable.as_ref().map(|d| self.accept(d, batch, now, Some(stored))).unwrap_or_default()
    }

    fn accept(&self, durable: &Durable, batch: Batch, now: Instant, stored: Option<Position>) -> Appends {
        let now = durable.ledger.stamp(now);
        let mut emitted = Vec::new();
        let mut processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        process(&mut processors, batch.clone(), now, &mut |batch| emitted.push(batch));
        let held = holding(&processors).is_some_and(|h| h.newest >= now);
        // Credentials in telemetry do not get to the disk either.
        let batch = if held { processors.iter().fold(batch, |batch, p| p.storable(batch)) } else { batch };
        drop(processors);
        let mut appends = Vec::new();
        match stored {
            // Until what it became is stored, it is needed there.
            Some(_) => durable.ledger.hold(now, stored),
            None if held => {
                durable.ledger.hold(now, None);
                let target = Target::Intake(Arc::clone(&durable.journal), now);
                appends.push(durable.ledger.store(target, record::encode(&self.id, &batch)));
            }
            None => {}
        }
        appends.extend(emitted.into_iter().filter_map(|batch| self.store(durable, &batch)));
        appends
    }

    /// Stores what left the processors.
    fn store(&self, durable: &Durable, batch: &Batch) -> Option<oneshot::Receiver<bool>> {
        if let Some(tap) = &self.tap {
            tap.take(batch);
        }
        let outbound = durable.journal.outbound(batch.signal()).filter(|_| batch.items() > 0)?;
        Some(durable.ledger.store(Target::Outbound(Arc::clone(outbound)), record::encode(&self.id, batch)))
    }

    /// Lets out what has been held back long enough.
    pub(crate) fn tick(&self, now: Instant) {
        // What failed before is older than what leaves now.
        self.durable.iter().for_each(|d| drop(d.ledger.retry()));
        let _ = self.each(now, |processor, emit| processor.tick(now, emit));
        self.settle();
    }

    /// Lets out everything that is held back.
    pub(crate) fn flush(&self, now: Instant) -> Appends {
        self.each(now, |processor, emit| processor.flush(emit))
    }

    /// Notes what is safe by now.
    pub(crate) fn settle(&self) {
        if let Some(durable) = &self.durable {
            let processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
            durable.ledger.settle(holding(&processors));
        }
    }

    /// Whether nothing is held back, and nothing waits to be stored.
    pub(crate) fn is_idle(&self) -> bool {
        let processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        holding(&processors).is_none() && self.durable.as_ref().is_none_or(|d| d.ledger.is_empty())
    }

    fn each(&self, now: Instant, call: impl Fn(&mut dyn Processor, &mut dyn FnMut(Batch))) -> Appends {
        let mut appends = Vec::new();
        let mut out = |batch: Batch| match &self.durable {
            Some(durable) => appends.extend(self.store(durable, &batch)),
            None => self.fan_out(batch, now),
        };
        let mut processors = self.processors.lock().unwrap_or_else(PoisonError::into_inner);
        for position in 0..processors.len() {
            let (head, later) = processors.split_at_mut(position + 1);
            if let Some(processor) = head.last_mut() {
                call(&mut **processor, &mut |batch| process(later, batch, now, &mut out));
            }
        }
        appends
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

fn holding(processors: &[Box<dyn Processor>]) -> Option<Holding> {
    processors
        .iter()
        .filter_map(|p| p.holds())
        .reduce(|a, b| Holding { oldest: a.oldest.min(b.oldest), newest: a.newest.max(b.newest) })
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

/// The pipelines that one receiver feeds. A reload can change them while the receiver runs.
pub(crate) struct Entry {
    chains: RwLock<Arc<[Arc<Chain>]>>,
}

impl Entry {
    pub(crate) fn new(chains: impl IntoIterator<Item = Arc<Chain>>) -> Self {
        Entry { chains: RwLock::new(chains.into_iter().collect()) }
    }

    /// The pipelines now.
    pub(crate) fn chains(&self) -> Arc<[Arc<Chain>]> {
        self.chains.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other pipelines from the next batch on.
    pub(crate) fn set(&self, chains: impl IntoIterator<Item = Arc<Chain>>) {
        *self.chains.write().unwrap_or_else(PoisonError::into_inner) = chains.into_iter().collect();
    }
}

fn takers(chains: &[Arc<Chain>], signal: Signal) -> impl Iterator<Item = &Arc<Chain>> + Clone {
    chains.iter().filter(move |chain| chain.signal == signal)
}

/// What a receiver is told when there is no room.
const BUSY: Refused = Refused::Busy { retry_after: Duration::from_secs(5) };

impl Entry {
    /// What must be stored before the batch may be acknowledged.
    fn take(&self, batch: &Batch) -> Result<Appends, Refused> {
        let chains = self.chains();
        let mut takers = takers(&chains, batch.signal());
        if takers.clone().all(|chain| chain.is_full()) || takers.any(|chain| chain.is_stuck()) {
            // One destination that is down must not stop the others, so that only a bridge with no room at all
            // refuses; a destination without room counts what it misses.
            return Err(BUSY);
        }
        let now = tokio::time::Instant::now().into_std();
        Ok(self::takers(&chains, batch.signal())
            .flat_map(|chain| chain.process(batch.clone(), now))
            .collect())
    }

    async fn take_when_there_is_room(&self, batch: Batch) -> Result<(), Refused> {
        let began = tokio::time::Instant::now();
        let chains = self.chains();
        for chain in takers(&chains, batch.signal()) {
            let patience = if chain.durable.is_some() { STORED_PATIENCE } else { PATIENCE };
            for lane in chain.lanes().filter(|_| chain.holds_back()) {
                lane.wait_for_room(began + patience).await;
            }
        }
        if stored(self.take(&batch)?).await { Ok(()) } else { Err(BUSY) }
    }
}

impl Consumer for Entry {
    fn consume(&self, batch: Batch) -> BoxFuture<'_, Result<(), Refused>> {
        let chains = self.chains();
        let mut takers = takers(&chains, batch.signal());
        if takers.clone().next().is_none() {
            return Box::pin(std::future::ready(Err(Refused::NotConfigured)));
        }
        if takers.any(|chain| chain.holds_back()) {
            return Box::pin(self.take_when_there_is_room(batch));
        }
        match self.take(&batch) {
            Ok(appends) if appends.is_empty() => Box::pin(std::future::ready(Ok(()))),
            Ok(appends) => Box::pin(async move { if stored(appends).await { Ok(()) } else { Err(BUSY) } }),
            Err(refused) => Box::pin(std::future::ready(Err(refused))),
        }
    }
}

/// Waits for all of them and says whether all were stored.
pub(crate) async fn stored(appends: Appends) -> bool {
    let mut all = true;
    for append in appends {
        all &= append.await.unwrap_or(false);
    }
    all
}

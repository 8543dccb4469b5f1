//! Takes batches from a lane to the exporter: splitting, retry with backoff, counting.

use super::circuit::Permit;
use super::lane::{Lane, Taken, join};
use super::settings::RetryOnFailure;
use muxbridge_core::{Batch, Delivered, DynExporter, ExportError, Stop};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::Instrument;

/// Whether a destination takes what it is sent: for `/ready`.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failing: AtomicU64,
    last_error: Mutex<String>,
}

impl Health {
    fn ok(&self, id: &str) {
        if self.failing.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(exporter = id, "delivering again");
        }
    }

    fn failed(&self, id: &str, error: &str) {
        // Only the first of a series is worth a line; the counters show the rest.
        if self.failing.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(exporter = id, error, "not delivering");
        }
        error.clone_into(&mut self.last_error.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The last error, if the last attempt failed.
    pub(crate) fn error(&self) -> Option<String> {
        (self.failing.load(Ordering::Relaxed) > 0)
            .then(|| self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Never sent on: the receiver knows that all deliveries have ended when all senders are gone.
pub(crate) type Alive = mpsc::Sender<Infallible>;

/// How long a request that is under way may go on when its exporter is replaced. Cut off, it may be delivered twice.
const LAST_REQUEST: Duration = Duration::from_secs(5);

/// What became of a batch.
enum Fate {
    /// It is delivered or dropped, and counted.
    Done,
    /// It is too large: these are its parts.
    Split(Vec<Batch>),
    /// The program stops.
    Abandoned,
    /// The exporter is replaced.
    Returned(Batch),
}

/// One consumer of one lane.
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) lane: Arc<Lane>,
    pub(crate) exporter: Arc<dyn DynExporter>,
    pub(crate) retry: RetryOnFailure,
    pub(crate) health: Arc<Health>,
    /// On when the time to drain is over: what is not delivered by then is dropped and counted.
    pub(crate) abandon: Stop,
    /// On when another exporter takes the place of this one: what is not delivered goes back to the lane for it.
    pub(crate) retire: Stop,
    /// Tells that it has ended, by being dropped.
    pub(crate) alive: Alive,
    /// The seed of the jitter.
    pub(crate) seed: u64,
}

impl Delivery {
    /// Delivers until the lane is closed and empty, or another exporter takes over.
    pub(crate) async fn run(self) {
        self.work().await;
        drop(self.alive);
    }

    async fn work(&self) {
        let mut random = fastrand::Rng::with_seed(self.seed);
        loop {
            let taken = tokio::select! {
                biased;
                () = self.retire.wait() => break,
                taken = self.lane.pop() => taken,
            };
            let Some(Taken { batch, claim }) = taken else { return };
            let mut parts: VecDeque<Batch> = self.fit(&batch).into();
            let mut whole = true;
            while let Some(part) = parts.pop_front() {
                let items = part.items() as u64;
                match self.deliver(part, &mut random).await {
                    Fate::Done => {}
                    Fate::Split(smaller) => smaller.into_iter().rev().for_each(|part| parts.push_front(part)),
                    Fate::Abandoned => {
                        whole = false;
                        self.lane.leave(items);
                    }
                    Fate::Returned(part) => {
                        parts.push_front(part);
                        if let Some(batch) = join(parts.into()) {
                            self.lane.give_back(Taken { batch, claim: claim.clone() });
                        }
                        self.lane.wake();
                        return;
                    }
                }
            }
            if whole {
                self.lane.finish(claim);
            }
        }
        // It may have been woken for something that another one must take now.
        self.lane.wake();
    }

    /// Splits a batch to what the destination takes.
    fn fit(&self, batch: &Batch) -> Vec<Batch> {
        let needs = self.lane.needs();
        let most = self.lane.settings().batch.max_size;
        let items = needs.max_request_items.unwrap_or(usize::MAX).min(most);
        let bytes = needs.max_request_bytes.unwrap_or(usize::MAX);
        if batch.items() <= items && batch.otlp().len() <= bytes {
            return vec![batch.clone()];
        }
        split(batch, items, bytes)
    }

    /// Sends one batch until it is delivered or dropped, as long as it may.
    async fn deliver(&self, batch: Batch, random: &mut fastrand::Rng) -> Fate {
        let counts = &self.lane.counts;
        let items = batch.items() as u64;
        let began = Instant::now();
        let mut attempt = 0u32;
        loop {
            let attempted = tokio::select! {
                attempted = self.attempt(&batch, attempt) => attempted,
                () = self.stopped() => return Fate::Abandoned,
            };
            let Some(attempted) = attempted else { return Fate::Returned(batch) };
            let (permit, result) = attempted;
            let (after, error) = match result {
                Ok(delivered) => {
                    permit.answered();
                    self.health.ok(&self.id);
                    self.delivered(items, delivered);
                    return Fate::Done;
                }
                Err(ExportError::Retryable { after, source }) => (after, source.to_string()),
                Err(ExportError::TooLarge { source }) => {
                    permit.answered();
                    if items > 1 {
                        return Fate::Split(split(&batch, batch.items().div_ceil(2), usize::MAX));
                    }
                    return self.refused("too_large", &batch, source.to_string()).await;
                }
                Err(ExportError::Permanent { reason, source }) => {
                    permit.answered();
                    self.health.failed(&self.id, &source.to_string());
                    return self.refused(reason, &batch, source.to_string()).await;
                }
            };
            permit.failed(self.delay(self.lane.circuit.failures(), after, random));
            self.health.failed(&self.id, &error);
            self.lane.failed();
            let limit = self.retry.max_elapsed_time.0;
            // Its own delay besides that of the circuit, so that a batch that alone makes the destination fail does not
            // hold back the others for longer each time.
            let delay = self.delay(attempt, after, random);
            if !self.retry.enabled || (limit > Duration::ZERO && began.elapsed() + delay > limit) {
                return self.gave_up("retries_exhausted", items, &error);
            }
            attempt += 1;
            counts.retries.add(1);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.stopped() => return Fate::Abandoned,
                () = self.retire.wait() => return Fate::Returned(batch),
            }
        }
    }

    /// Waits for the circuit and sends once, under a span of our own. `None` if it may not any more.
    async fn attempt(
        &self,
        batch: &Batch,
        attempt: u32,
    ) -> Option<(Permit<'_>, Result<Delivered, ExportError>)> {
        let permit = tokio::select! {
            permit = self.lane.circuit.enter() => permit,
            () = self.retire.wait() => return None,
        };
        let span = tracing::info_span!(
            "export",
            otel.kind = "client",
            exporter = self.id,
            signal = self.lane.signal.as_str(),
            items = batch.items(),
            bytes = batch.otlp().len(),
            attempt,
            outcome = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let late = async {
            self.retire.wait().await;
            tokio::time::sleep(LAST_REQUEST).await;
        };
        let result = tokio::select! {
            result = self.exporter.export_dyn(batch).instrument(span.clone()) => result,
            () = late => return None,
        };
        let outcome = match &result {
            Ok(_) => "sent",
            Err(ExportError::Retryable { .. }) => "retryable",
            Err(ExportError::Permanent { .. }) => "permanent",
            Err(ExportError::TooLarge { .. }) => "too_large",
        };
        span.record("outcome", outcome);
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        Some((permit, result))
    }

    /// Counts what the destination took, and what it or the exporter left out.
    fn delivered(&self, items: u64, delivered: Delivered) {
        let counts = &self.lane.counts;
        let rejected = delivered.rejected.min(items);
        if rejected > 0 {
            tracing::warn!(exporter = self.id, rejected, message = delivered.message, "partly rejected");
            counts.drop_queued("rejected", rejected);
        }
        let omitted = delivered.omitted.min(items - rejected);
        counts.queued.sub(items - rejected);
        counts.sent.add(items - rejected - omitted);
    }

    /// The time to drain is over, or what is left stays in the log.
    async fn stopped(&self) {
        tokio::select! {
            () = self.abandon.wait() => {}
            () = self.lane.leaving.wait() => {}
        }
    }

    /// The destination will never take it: an operator may want to see why, and to send it again.
    async fn refused(&self, reason: &'static str, batch: &Batch, error: String) -> Fate {
        if let Some(dead) = self.lane.dead_letters() {
            let (id, batch, error) = (self.id.clone(), batch.clone(), error.clone());
            // It is synced, and the runtime has other work to do.
            let _ = tokio::task::spawn_blocking(move || dead.keep(&id, &batch, reason, &error)).await;
        }
        self.gave_up(reason, batch.items() as u64, &error)
    }

    fn gave_up(&self, reason: &str, items: u64, error: &str) -> Fate {
        tracing::warn!(
            exporter = self.id,
            signal = self.lane.signal.as_str(),
            items,
            reason,
            error,
            "dropped"
        );
        self.lane.counts.drop_queued(reason, items);
        Fate::Done
    }

    /// Exponential, varied at random, and never shorter than what the destination asked for.
    fn delay(&self, attempt: u32, after: Option<Duration>, random: &mut fastrand::Rng) -> Duration {
        let grown =
            self.retry.initial_interval.0.as_secs_f64() * self.retry.multiplier.powi(attempt.min(64) as i32);
        let base = grown.min(self.retry.max_interval.0.as_secs_f64());
        let spread = 1.0 + self.retry.randomization_factor * (2.0 * random.f64() - 1.0);
        let own = Duration::try_from_secs_f64(base * spread).unwrap_or(self.retry.max_interval.0);
        match after {
            // Jitter only adds to it: all clients of one destination were told the same time.
            Some(asked) => asked.max(own).max(asked + asked.mul_f64(0.1 * random.f64())),
            None => own,
        }
    }
}

fn split(batch: &Batch, items: usize, bytes: usize) -> Vec<Batch> {
    muxbridge_pdata::split(batch.signal(), batch.otlp(), items, bytes)
        .into_iter()
        .map(|part| Batch::from_valid(batch.signal(), part, batch.origin().clone()))
        .collect()
}

//! What was derived from spans and waits to be sent: APM metrics and custom events.
//!
//! Derived data is recorded once the spans have arrived, and sent after them: metrics every [`PACE`], events at once. So a
//! retry of spans counts nothing twice, and a metrics endpoint that is down holds back no spans. Metrics that could not be
//! sent are added to the next ones; events wait in a bounded queue.

use crate::encode;
use crate::encode::apm::{Apm, Tally, Wanted};
use crate::request::PACK_BYTES;
use muxbridge_core::{Batch, Signal};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The most derived events that wait; more are dropped and counted.
pub(crate) const MAX_EVENTS: u64 = 20_000;
/// The most services that are known to send the metrics themselves.
const MAX_SERVICES: usize = 1_000;
/// Waits between tries: 5, 10, 20, 40 and from then on 80 seconds.
const FIRST_WAIT: u64 = 5;
const LONGEST_WAIT: u64 = 80;

/// How long metrics are collected after some have left. New Relic bills by what it stores, and a point for each batch of
/// spans says no more than one in five seconds, which is how often its own clients send.
pub(crate) const PACE: Duration = Duration::from_secs(5);
/// The shortest wait before something that is due already is tried.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait that anybody asks for. A time further ahead was set before the clock went back.
const LONGEST_ASKED: u64 = 600_000_000_000;

/// Whether `until` is still to come at `now` (both in nanoseconds since 1970).
fn is_ahead(until: u64, now: u64) -> bool {
    until > now && until - now <= LONGEST_ASKED
}

/// How long nothing is tried after a refusal.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// One kind of derived data, as our own counters name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Derivation {
    pub(crate) signal: Signal,
    /// The rule that counts what has arrived.
    pub(crate) sent: &'static str,
    /// The rule that counts what never will.
    pub(crate) lost: &'static str,
}

/// The metrics of the APM pages.
pub(crate) const APM: Derivation =
    Derivation { signal: Signal::Metrics, sent: "newrelic.apm_metrics", lost: "newrelic.apm_metrics_lost" };
/// The events of AI Monitoring.
pub(crate) const LLM: Derivation =
    Derivation { signal: Signal::Logs, sent: "newrelic.llm_events", lost: "newrelic.llm_events_lost" };

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    apm: Apm,
    events: VecDeque<Batch>,
    waiting_events: u64,
    /// Metrics that came in by themselves, by `service.name`: they are not derived for that service.
    seen: BTreeMap<Vec<u8>, Wanted>,
    metrics: Backoff,
    logs: Backoff,
}

#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    not_before: u64,
}

impl Backoff {
    fn wait(&mut self, now: u64, wait: Duration) {
        self.not_before = now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
    }

    fn failed(&mut self, now: u64, after: Option<Duration>) {
        let own = FIRST_WAIT.saturating_mul(1 << self.failures.min(6)).min(LONGEST_WAIT);
        let wait = after.unwrap_or_default().max(Duration::from_secs(own));
        self.failures = self.failures.saturating_add(1);
        self.wait(now, wait);
    }
}

/// Derived data on its way: goes back to the others unless it is said to be done, so that a call that is cut short loses
/// nothing.
pub(crate) struct Taken<'d> {
    derived: &'d Derived,
    what: Option<What>,
}

enum What {
    Metrics(Apm),
    Events(Batch),
}

impl Derived {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a metrics batch brought one of the metrics itself.
    pub(crate) fn see(&self, batch: &Batch) {
        let found = encode::apm::holds(batch);
        if found.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (service, own) in found {
            if let Some(known) = state.seen.get_mut(service) {
                known.server |= own.server;
                known.client |= own.client;
            } else if state.seen.len() < MAX_SERVICES {
                state.seen.insert(service.to_vec(), own);
            }
        }
    }

    /// Derives metrics from spans that have arrived; with `auto` not those that come in by themselves. Returns the
    /// measurements that found no room.
    pub(crate) fn record_metrics(&self, batch: &Batch, auto: bool) -> u64 {
        self.add_metrics(&Tally::of(batch), auto)
    }

    /// The same with what has been measured already.
    pub(crate) fn add_metrics(&self, tally: &Tally<'_>, auto: bool) -> u64 {
        let mut state = self.lock();
        let State { apm, seen, .. } = &mut *state;
        apm.add(tally, |service| match seen.get(service).filter(|_| auto) {
            Some(own) => Wanted { server: !own.server, client: !own.client },
            None => Wanted { server: true, client: true },
        })
    }

    /// Derives events from spans that have arrived. Returns those that found no room.
    pub(crate) fn record_events(&self, batch: &Batch) -> u64 {
        let Some((otlp, events)) = encode::llm_events(batch) else { return 0 };
        let mut state = self.lock();
        if state.waiting_events + events > MAX_EVENTS {
            return events;
        }
        state.waiting_events += events;
        for part in muxbridge_pdata::split(Signal::Logs, &otlp, usize::MAX, PACK_BYTES) {
            let part = Batch::from_valid(Signal::Logs, part, batch.origin().clone());
            state.events.push_back(part);
        }
        0
    }

    /// What is to be sent at `now`, if anything is; `last` says that there is no other chance.
    pub(crate) fn take(&self, what: Derivation, now: u64, last: bool) -> Option<Taken<'_>> {
        let mut state = self.lock();
        let backoff = if what == APM { &state.metrics } else { &state.logs };
        if !last && is_ahead(backoff.not_before, now) {
            return None;
        }
        let what = if what == APM {
            What::Metrics(Some(std::mem::take(&mut state.apm)).filter(|apm| !apm.is_empty())?)
        } else {
            let batch = state.events.pop_front()?;
            state.waiting_events -= batch.items() as u64;
            What::Events(batch)
        };
        Some(Taken { derived: self, what: Some(what) })
    }

    /// How long until something that waits is to be sent, if something does.
    pub(crate) fn next(&self, now: u64) -> Option<Duration> {
        let state = self.lock();
        let wait = |backoff: &Backoff| {
            let ahead = is_ahead(backoff.not_before, now).then(|| backoff.not_before - now);
            Duration::from_nanos(ahead.unwrap_or_default()).max(SHORTEST_WAIT)
        };
        let metrics = (!state.apm.is_empty()).then(|| wait(&state.metrics));
        let logs = (!state.events.is_empty()).then(|| wait(&state.logs));
        metrics.into_iter().chain(logs).min()
    }

    /// Gives up what waits: data points and events.
    pub(crate) fn abandon(&self) -> (u64, u64) {
        let mut state = self.lock();
        state.events.clear();
        (std::mem::take(&mut state.apm).points(), std::mem::take(&mut state.waiting_events))
    }
}

impl Taken<'_> {
    /// The request.
    pub(crate) fn batch(&self) -> Option<Batch> {
        match self.what.as_ref()? {
            What::Metrics(apm) => {
                let batch = Batch::from_valid(Signal::Metrics, apm.to_otlp(), Default::default());
                Some(batch)
            }
            What::Events(batch) => Some(batch.clone()),
        }
    }

    fn backoff<'s>(&self, state: &'s mut State) -> &'s mut Backoff {
        match self.what {
            Some(What::Events(_)) => &mut state.logs,
            _ => &mut state.metrics,
        }
    }

    /// It has arrived. Metrics that come now are collected for a while.
    pub(crate) fn done(mut self, now: u64) {
        let metrics = matches!(self.what, Some(What::Metrics(_)));
        let mut state = self.derived.lock();
        let backoff = self.backoff(&mut state);
        *backoff = Backoff::default();
        if metrics {
            backoff.wait(now, PACE);
        }
        drop(state);
        self.what = None;
    }

    /// It never will. What comes next may be refused as well, so it is collected for a while before it is tried.
    pub(crate) fn refused(mut self, now: u64) {
        self.backoff(&mut self.derived.lock()).failed(now, Some(AFTER_REFUSAL));
        self.what = None;
    }

    /// It is to be tried again.
    pub(crate) fn failed(self, now: u64, after: Option<Duration>) {
        self.backoff(&mut self.derived.lock()).failed(now, after);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(what) = self.what.take() else { return };
        let mut state = self.derived.lock();
        match what {
            What::Metrics(apm) => {
                // What has come in since then was recorded with all its room, so this finds room too, or nearly.
                state.apm.merge(apm);
            }
            What::Events(batch) => {
                state.waiting_events += batch.items() as u64;
                state.events.push_front(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests;

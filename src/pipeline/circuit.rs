//! Who may send to a destination that fails: one request at a time, and not before its delay is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The circuit of one lane. Closed, everybody sends. A failure opens it: then one consumer probes when the delay is over,
/// and the others wait for what it finds.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Failures one after the other; the exponent of the backoff.
    failures: u32,
    /// Nobody sends before this time; `None` while the circuit is closed.
    open_until: Option<Instant>,
    probing: bool,
}

/// The right to send one request. Dropped without an outcome, it lets another consumer probe.
#[derive(Debug)]
pub(crate) struct Permit<'c> {
    circuit: &'c Circuit,
    probe: bool,
}

impl Circuit {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent.
    pub(crate) async fn enter(&self) -> Permit<'_> {
        loop {
            // Before the look, so that a change between the two is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let until = {
                let mut state = self.lock();
                match state.open_until {
                    None => return Permit { circuit: self, probe: false },
                    Some(until) if !state.probing && until <= Instant::now() => {
                        state.probing = true;
                        return Permit { circuit: self, probe: true };
                    }
                    Some(until) => (!state.probing).then_some(until),
                }
            };
            match until {
                Some(until) => tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// Whether sending failed last.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open_until.is_some()
    }

    /// The destination was given another configuration: what is known of it does not count any more.
    pub(crate) fn close(&self) {
        *self.lock() = State::default();
        self.changed.notify_waiters();
    }

    /// How often sending has failed since it last worked.
    pub(crate) fn failures(&self) -> u32 {
        self.lock().failures
    }
}

impl Permit<'_> {
    /// The destination answered: everybody sends again.
    pub(crate) fn answered(mut self) {
        let mut state = self.circuit.lock();
        if state.open_until.is_none() || self.probe {
            *state = State::default();
        }
        drop(state);
        self.probe = false;
        self.circuit.changed.notify_waiters();
    }

    /// The destination failed: nobody sends for `delay`.
    pub(crate) fn failed(mut self, delay: Duration) {
        let until = Instant::now() + delay;
        let mut state = self.circuit.lock();
        // Requests that were under way when the first one failed tell nothing new, but may ask for a longer delay.
        if self.probe || state.open_until.is_none() {
            state.failures = state.failures.saturating_add(1);
            state.open_until = Some(until);
            state.probing = false;
        } else {
            state.open_until = state.open_until.max(Some(until));
        }
        drop(state);
        self.probe = false;
        self.circuit.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.circuit.lock().probing = false;
            self.circuit.changed.notify_waiters();
        }
    }
}

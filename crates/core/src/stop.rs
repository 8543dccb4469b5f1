//! A switch that tells many tasks to stop, without a runtime.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct State {
    stopped: bool,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

/// Off until somebody calls [`Stop::stop`]; then on for ever. A clone is the same switch.
#[derive(Clone, Default)]
pub struct Stop(Arc<Mutex<State>>);

impl Stop {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches on and wakes everyone who waits.
    pub fn stop(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.stopped = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// Whether it is on.
    pub fn is_stopped(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// Completes when it is on.
    pub fn wait(&self) -> Stopped {
        Stopped { state: self.0.clone(), key: None }
    }
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stop").field(&self.is_stopped()).finish()
    }
}

/// The future of [`Stop::wait`].
pub struct Stopped {
    state: Arc<Mutex<State>>,
    key: Option<u64>,
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let shared = self.state.clone();
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopped {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        state.waiting.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&key);
        }
    }
}

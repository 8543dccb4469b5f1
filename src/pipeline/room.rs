//! Holds an acknowledgement back for a moment while a queue in memory fills up and its destination takes what it gets.
//! See docs/adr/0010-held-acknowledgements.md.

use super::circuit::Circuit;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

/// Senders wait when the queue is filled to one part in so many: 4 MiB of 64, ten requests. The rest of it is for a destination
/// that is down, and for what processors let out later. With a quarter the bridge needed 10 MiB more under load, for nothing.
pub(crate) const PART: usize = 16;
/// How long an acknowledgement is held back at most. Senders of OTLP wait ten seconds for one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// And where batches are stored: then nothing would be lost, and waiting only saves reading them back.
pub(crate) const STORED_PATIENCE: Duration = Duration::from_millis(100);

/// Those who wait for room in one queue.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Held by the first of them, to whom alone `freed` is told. Whoever finds no room must not have to line up again: one
    /// acknowledgement in a hundred then took five times as long as most.
    line: Mutex<()>,
    freed: Notify,
    /// Somebody waited in vain: nobody waits again before there has been room.
    given_up: AtomicBool,
}

impl Room {
    /// Whether waiting makes sense: never for a destination that is down, and not again for one that took nothing while
    /// somebody waited. Both would hold back other destinations.
    pub(crate) fn is_worth_waiting(&self, crowded: bool, circuit: &Circuit) -> bool {
        if !crowded {
            self.given_up.store(false, Ordering::Relaxed);
        }
        crowded && !self.given_up.load(Ordering::Relaxed) && !circuit.is_open()
    }

    /// Whether somebody waits, behind whom everybody else lines up.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.line.try_lock().is_err()
    }

    /// Waits until everybody who came before is through, and while `crowded`; at most until `until`. `sent` tells whether the
    /// destination takes anything.
    pub(crate) async fn wait(&self, until: Instant, crowded: impl Fn() -> bool, sent: impl Fn() -> u64) {
        let before = sent();
        let through = async {
            let _turn = self.line.lock().await;
            loop {
                // Before the look, so that a change between the two is not missed.
                let mut freed = pin!(self.freed.notified());
                freed.as_mut().enable();
                if !crowded() {
                    return;
                }
                freed.await;
            }
        };
        if timeout_at(until, through).await.is_err() && sent() == before {
            self.given_up.store(true, Ordering::Relaxed);
            self.look_again();
        }
    }

    /// There is room.
    pub(crate) fn freed(&self) {
        self.freed.notify_one();
    }

    /// Waiting may have become useless.
    pub(crate) fn look_again(&self) {
        self.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;

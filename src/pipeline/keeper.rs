//! The thread that looks after the logs: cursors, and what has expired.

use super::entry::Chain;
use super::journal::Journal;
use super::lane::Lane;
use muxbridge_core::BuildError;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(250);

/// A running one.
pub(crate) struct Keeper {
    kept: Arc<Kept>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What it looks after.
pub(crate) struct Kept {
    pub(crate) journal: Arc<Journal>,
    chains: Mutex<Vec<Arc<Chain>>>,
    lanes: Mutex<Vec<Arc<Lane>>>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(kept: Kept) -> Result<Self, BuildError> {
        let kept = Arc::new(kept);
        let (stop, stopped) = channel();
        let running = Arc::clone(&kept);
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    running.once();
                }
                running.finish();
            })
            .map_err(|e| BuildError::new(format!("cannot start a thread: {e}")))?;
        Ok(Keeper { kept, stop, thread })
    }

    /// Looks after other pipelines and destinations, too: after these until nothing of them is left, before any batch
    /// comes to them.
    pub(crate) fn extend(&self, chains: impl IntoIterator<Item = Arc<Chain>>, lanes: Vec<Arc<Lane>>) {
        self.kept.chains().extend(chains);
        *self.kept.lanes() = lanes;
    }

    /// Stores everything for the last time and ends. Blocks.
    pub(crate) fn finish(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

impl Kept {
    pub(crate) fn new(journal: Arc<Journal>, chains: Vec<Arc<Chain>>, lanes: Vec<Arc<Lane>>) -> Self {
        Kept { journal, chains: Mutex::new(chains), lanes: Mutex::new(lanes) }
    }

    fn chains(&self) -> MutexGuard<'_, Vec<Arc<Chain>>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<Lane>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One round.
    pub(crate) fn once(&self) {
        let mut chains = self.chains();
        // A chain that a reload has replaced is nobody else's any more when its worker is done with it.
        chains.retain(|chain| Arc::strong_count(chain) > 1 || !chain.is_idle());
        let ledgers = chains.iter().filter_map(|chain| chain.durable.as_ref());
        self.journal.advance_intake(ledgers.map(|durable| &durable.ledger));
        drop(chains);
        self.lanes().iter().for_each(|lane| lane.upkeep(false));
    }

    fn finish(&self) {
        self.journal.store();
        // What left the processors before the first is known to be stored at the second.
        self.chains().iter().for_each(|chain| chain.settle());
        self.chains().iter().for_each(|chain| chain.settle());
        self.once();
        self.lanes().iter().for_each(|lane| lane.upkeep(true));
        self.journal.store();
    }
}

//! The thread that looks after the logs: cursors, and what has expired.

use super::entry::Chain;
use super::journal::Journal;
use super::lane::Lane;
use muxbridge_core::BuildError;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(250);

/// A running one.
pub(crate) struct Keeper {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What it looks after.
pub(crate) struct Kept {
    pub(crate) journal: Arc<Journal>,
    pub(crate) chains: Vec<Arc<Chain>>,
    pub(crate) lanes: Vec<Arc<Lane>>,
}

impl Keeper {
    /// Starts it.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(kept: Kept) -> Result<Self, BuildError> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                    kept.once();
                }
                kept.finish();
            })
            .map_err(|e| BuildError::new(format!("cannot start a thread: {e}")))?;
        Ok(Keeper { stop, thread })
    }

    /// Stores everything for the last time and ends. Blocks.
    pub(crate) fn finish(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

impl Kept {
    /// One round.
    pub(crate) fn once(&self) {
        let ledgers = self.chains.iter().filter_map(|chain| chain.durable.as_ref());
        self.journal.advance_intake(ledgers.map(|durable| &durable.ledger));
        self.lanes.iter().for_each(|lane| lane.upkeep(false));
    }

    fn finish(&self) {
        self.journal.store();
        // What left the processors before the first is known to be stored at the second.
        self.chains.iter().for_each(|chain| chain.settle());
        self.chains.iter().for_each(|chain| chain.settle());
        self.once();
        self.lanes.iter().for_each(|lane| lane.upkeep(true));
        self.journal.store();
    }
}

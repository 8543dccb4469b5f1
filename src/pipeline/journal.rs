//! What is accepted and not yet delivered, on the disk: one log of translated batches for each signal, with a cursor for
//! each destination, and one of the batches that open traces came with.

pub(crate) mod ledger;
pub(crate) mod place;
pub(crate) mod record;
mod replay;

use super::dead::DeadLetters;
use super::lane::Lane;
use super::sums::SumsFile;
use super::tail::is_second;
use ledger::Ledger;
use muxbridge_core::{BuildError, Counter, Counters, Signal, names};
use muxbridge_seglog::{Append, Durability, Error, Log, Options, Position, Start, vfs::Vfs};
use place::Place;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

/// The directory of dead letters in a data directory.
pub(crate) const DEAD_LETTERS: &str = "dead-letters";
/// The one cursor of the intake log.
const REPLAY: &str = "replay";
/// The largest segment: what a log reserves at once.
const SEGMENT: u64 = 32 << 20;
/// Into how many segments a log is divided at least.
const SEGMENTS: u64 = 16;

/// All logs of one data directory.
pub(crate) struct Journal {
    outbound: BTreeMap<Signal, Arc<Outbound>>,
    pub(crate) intake: Stored,
    /// For what stands beside the logs.
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    /// What destinations refused for good.
    dead: Option<Arc<DeadLetters>>,
    /// The last run could not be taken up as a whole: its batches stay for the next start.
    incomplete: AtomicBool,
}

/// A log, with what is needed to know how full it is.
pub(crate) struct Stored {
    pub(crate) log: Log,
    max_bytes: u64,
    segment_bytes: u64,
    max_age: Option<Duration>,
    /// Appends that failed.
    failed: Counter,
    name: &'static str,
}

/// The translated batches of one signal.
pub(crate) struct Outbound {
    pub(crate) stored: Stored,
    /// Everyone with a cursor. Weak, because each of them has the log.
    lanes: OnceLock<Vec<Weak<Lane>>>,
}

impl Stored {
    fn open(
        vfs: Arc<dyn Vfs>,
        directory: &Path,
        name: &'static str,
        place: &Place,
        max_bytes: u64,
        counters: &Counters,
    ) -> Result<Self, BuildError> {
        let segment_bytes = (max_bytes / SEGMENTS).clamp(64 << 10, SEGMENT);
        let options = Options {
            durability: if place.synced { Durability::Fsync } else { Durability::Os },
            max_bytes,
            max_age: place.max_age,
            segment_bytes,
            ..Options::default()
        };
        let (log, recovery) = Log::open(vfs, directory, options)
            .map_err(|e| BuildError::new(format!("the data directory: {e} (service.data_dir)")))?;
        tracing::info!(log = name, directory = %directory.display(), ?recovery, "opened");
        let failed = counters.get(names::STORE_FAILED, &[("log", name)]);
        Ok(Stored { log, max_bytes, segment_bytes, max_age: place.max_age, failed, name })
    }

    /// What was accepted before this time, in milliseconds since 1970, is given up.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let oldest = now.checked_sub(self.max_age?)?;
        u64::try_from(oldest.as_millis()).ok()
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Whether more could make the budget expire what no destination has had yet.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let waiting = (self.log.pending_bytes() as u64).saturating_add(2 * self.segment_bytes);
        self.log.stats().disk_bytes.saturating_add(waiting) > self.max_bytes
    }

    /// Counts a failed append. One line a failure would fill the log of a host whose disk is full already.
    pub(crate) fn failed(&self, error: &Error) {
        self.failed.add(1);
        tracing::debug!(log = self.name, %error, "not stored");
    }
}

impl Journal {
    /// Opens the intake log and one log for each of `signals`.
    ///
    /// # Errors
    /// A directory that cannot be used or that another process has.
    pub(crate) fn open(
        vfs: &Arc<dyn Vfs>,
        place: &Place,
        signals: &[Signal],
        counters: &Counters,
    ) -> Result<Self, BuildError> {
        let share = place.max_bytes / (signals.len() as u64 + 1);
        let open = |name: &str, label| {
            Stored::open(Arc::clone(vfs), &place.directory.join(name), label, place, share, counters)
        };
        let intake = open("intake", "intake")?;
        intake
            .log
            .cursor(REPLAY, Start::Oldest)
            .map_err(|e| BuildError::new(format!("the data directory: {e}")))?;
        let mut outbound = BTreeMap::new();
        for signal in signals {
            let stored = open(&format!("outbound/{signal}"), signal.as_str())?;
            outbound.insert(*signal, Arc::new(Outbound { stored, lanes: OnceLock::new() }));
        }
        Ok(Journal {
            outbound,
            intake,
            vfs: Arc::clone(vfs),
            directory: place.directory.clone(),
            dead: (place.dead_bytes > 0).then(|| {
                let directory = place.directory.join(DEAD_LETTERS);
                Arc::new(DeadLetters::new(vfs, &directory, place.dead_bytes, counters))
            }),
            incomplete: AtomicBool::new(false),
        })
    }

    /// Where to keep what a destination refused for good, if it is to be kept.
    pub(crate) fn dead_letters(&self) -> Option<&Arc<DeadLetters>> {
        self.dead.as_ref()
    }

    /// Where the sums of a destination are stored.
    ///
    /// # Errors
    /// There can be no directory for them.
    pub(crate) fn sums_file(&self, id: &str) -> Result<SumsFile, Error> {
        SumsFile::open(&self.vfs, &self.directory.join("sums"), id)
    }

    pub(crate) fn outbound(&self, signal: Signal) -> Option<&Arc<Outbound>> {
        self.outbound.get(&signal)
    }

    /// Moves the intake cursor to where the oldest batch stands that is still needed after a crash.
    pub(crate) fn advance_intake<'l>(&self, ledgers: impl Iterator<Item = &'l Arc<Ledger>>) {
        if self.incomplete.load(Ordering::Relaxed) {
            return;
        }
        // First the end, then the look: what is appended after this is noted in a ledger before.
        let mut floor = self.intake.log.end();
        for ledger in ledgers {
            match ledger.oldest() {
                ledger::Oldest::Nothing => {}
                ledger::Oldest::UnderWay => return,
                ledger::Oldest::At(position) => floor = floor.min(position),
            }
        }
        let _ = self.intake.log.advance(REPLAY, floor);
    }

    /// Commits what waits and stores all cursors.
    pub(crate) fn store(&self) {
        for stored in self.outbound.values().map(|o| &o.stored).chain([&self.intake]) {
            stored.log.sync();
            stored.log.maintain();
        }
    }
}

impl Outbound {
    /// Everyone with a cursor in this log, once, before anything is appended. Other cursors are of destinations that the
    /// configuration does not name any more: they are removed.
    pub(crate) fn set_lanes(&self, lanes: &[Arc<Lane>]) {
        for status in self.stored.log.cursors() {
            if lanes.iter().any(|lane| lane.cursors().contains(&status.name)) {
                continue;
            }
            let (cursor, items) = (&status.name, status.backlog_items);
            match self.stored.log.remove_cursor(cursor) {
                Ok(()) if is_second(cursor) => {}
                Ok(()) => tracing::warn!(
                    cursor,
                    signal = self.stored.name,
                    items,
                    "no destination of this name any more, what waited for it is gone"
                ),
                Err(error) => tracing::warn!(cursor, %error, "cannot remove"),
            }
        }
        let _ = self.lanes.set(lanes.iter().map(Arc::downgrade).collect());
    }

    fn lanes(&self) -> impl Iterator<Item = Arc<Lane>> {
        self.lanes.get().into_iter().flatten().filter_map(Weak::upgrade)
    }

    /// Appends one batch, counted as queued for every destination of this log until `done` is told otherwise. Returns the
    /// error if it is refused at once; then `done` is not called.
    pub(crate) fn append(
        self: &Arc<Self>,
        append: Append,
        done: impl FnOnce(Result<Position, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let items = u64::from(append.items);
        // Before it can be read, so that no destination counts it as sent first.
        self.lanes().for_each(|lane| lane.expect(items));
        let ticket = self.stored.log.append(append).inspect_err(|error| self.undo(items, error))?;
        let outbound = Arc::clone(self);
        ticket.on_done(move |outcome| {
            match &outcome {
                Ok(_) => outbound.lanes().for_each(|lane| lane.wake()),
                Err(error) => outbound.undo(items, error),
            }
            done(outcome.map(|receipt| receipt.end));
        });
        Ok(())
    }

    fn undo(&self, items: u64, error: &Error) {
        self.stored.failed(error);
        self.lanes().for_each(|lane| lane.unexpect(items));
    }

    /// Counts a batch that can never be stored.
    pub(crate) fn lose(&self, reason: &str, items: u64) {
        for lane in self.lanes() {
            lane.expect(items);
            lane.counts.drop_queued(reason, items);
        }
    }
}

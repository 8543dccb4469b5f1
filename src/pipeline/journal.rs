//! What is accepted and not yet delivered, on the disk: one log of translated batches for each signal, with a cursor for
//! each destination, and one of the batches that open traces came with.

pub(crate) mod ledger;
pub(crate) mod place;
pub(crate) mod record;
mod replay;

use super::dead::DeadLetters;
use super::lane::Lane;
use super::sums::SumsFile;
use super::tail::{SUMS, Tail, backlog_of, owner, until_of};
use ledger::Ledger;
use muxbridge_core::{BuildError, Counter, Counters, Signal, names};
use muxbridge_seglog::{
    Append, CursorStatus, Durability, Error, Log, Options, Position, Reader, Start, vfs::Vfs,
};
use place::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard, Weak};
use std::time::{Duration, SystemTime};

/// The directory of dead letters in a data directory.
pub(crate) const DEAD_LETTERS: &str = "dead-letters";
/// The one cursor of the intake log.
const REPLAY: &str = "replay";
/// The largest segment: what a log reserves at once.
const SEGMENT: u64 = 32 << 20;
/// What stays in memory of each log for destinations that keep up, and for those that do not half of it. Reading
/// back what was in the page cache took a fifth of the CPU time of `fsync-64` (benches).
const RECENT: usize = 16 << 20;
/// Senders wait when every destination is that far behind: what is under way then still finds its place in `RECENT`.
const CROWDED: u64 = RECENT as u64 / 2;
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
    lanes: RwLock<Lanes>,
}

/// A list that is replaced as a whole.
type Lanes = Arc<[Weak<Lane>]>;

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
            // Nothing is read from the intake log but at the start.
            recent_bytes: if name == "intake" { 0 } else { RECENT },
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

    /// Whether a reader is about to be so far behind that it must read from the disk; `None` if it is.
    pub(crate) fn is_crowded(&self, reader: &Reader) -> Option<bool> {
        let waiting = self.log.pending_bytes() as u64;
        Some(reader.recent_bytes()?.saturating_add(waiting) >= CROWDED)
    }

    /// Counts a failed append. One line a failure would fill the log of a host whose disk is full already.
    pub(crate) fn failed(&self, error: &Error) {
        self.failed.add(1);
        tracing::debug!(log = self.name, %error, "not stored");
    }
}

impl Journal {
    /// Opens the intake log and one log for each signal: a reload can add one.
    ///
    /// # Errors
    /// A directory that cannot be used or that another process has.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, place: &Place, counters: &Counters) -> Result<Self, BuildError> {
        let share = place.max_bytes / (Signal::ALL.len() as u64 + 1);
        let open = |name: &str, label| {
            Stored::open(Arc::clone(vfs), &place.directory.join(name), label, place, share, counters)
        };
        let intake = open("intake", "intake")?;
        intake
            .log
            .cursor(REPLAY, Start::Oldest)
            .map_err(|e| BuildError::new(format!("the data directory: {e}")))?;
        let mut outbound = BTreeMap::new();
        for signal in Signal::ALL {
            let stored = open(&format!("outbound/{signal}"), signal.as_str())?;
            outbound.insert(signal, Arc::new(Outbound { stored, lanes: RwLock::default() }));
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

    /// Gives a lane a cursor in the log of its signal, or the one that an earlier one of this id had; it counts and takes
    /// what stands there and what is appended from now on.
    ///
    /// # Errors
    /// The cursor or the sums cannot be stored.
    pub(crate) fn join(
        &self,
        lane: &Arc<Lane>,
        id: &str,
        pipelines: BTreeSet<String>,
    ) -> Result<(), BuildError> {
        let Some(outbound) = self.outbound.get(&lane.signal) else { return Ok(()) };
        let mut lanes = outbound.settled();
        let tails = Tail::open(outbound, id, pipelines)?;
        lane.follow(id, tails, self).map_err(|e| BuildError::new(e.to_string()))?;
        *lanes = lanes.iter().cloned().chain([Arc::downgrade(lane)]).collect();
        Ok(())
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
    /// The destination has left the configuration: what is appended from now on is not for it.
    pub(crate) fn leave(&self, lane: &Arc<Lane>) {
        let mut lanes = self.settled();
        *lanes = lanes.iter().filter(|l| !std::ptr::eq(l.as_ptr(), Arc::as_ptr(lane))).cloned().collect();
        lane.take_no_more();
    }

    /// Removes all cursors of a destination.
    pub(crate) fn remove(&self, id: &str) {
        self.remove_sums(id);
        self.remove_backlog(id);
        self.remove_cursor(id);
    }

    /// Removes the cursor that keeps records for the sums of a destination, if there is one.
    pub(crate) fn remove_sums(&self, id: &str) {
        self.remove_cursor(&format!("{SUMS}{id}"));
    }

    /// Removes the cursors of a backlog that was set apart, if there are any: first the place, as a place without an end
    /// would be delivered again.
    pub(crate) fn remove_backlog(&self, id: &str) {
        self.remove_cursor(&backlog_of(id));
        self.remove_cursor(&until_of(id));
    }

    fn remove_cursor(&self, cursor: &str) {
        if self.stored.log.cursors().iter().any(|status| status.name == cursor)
            && let Err(error) = self.stored.log.remove_cursor(cursor)
        {
            tracing::warn!(cursor, %error, "cannot remove");
        }
    }

    /// Destinations that have something in this log and are none of `known`: they have left the configuration. What is
    /// left of one that has nothing is removed.
    pub(crate) fn others(self: &Arc<Self>, known: &dyn Fn(&str) -> bool) -> Vec<CursorStatus> {
        let cursors = self.stored.log.cursors();
        let is_there = |name: &str| cursors.iter().any(|status| status.name == name);
        let mut others = Vec::new();
        for status in &cursors {
            match owner(&status.name) {
                Some(id) if !is_there(id) => self.remove_cursor(&status.name),
                None if known(&status.name) => {}
                None if status.backlog_records == 0 && !is_there(&backlog_of(&status.name)) => {
                    self.remove(&status.name);
                }
                None => others.push(status.clone()),
                Some(_) => {}
            }
        }
        others
    }

    /// The list while nothing is under way, so that every append is counted for all whose cursors will come to it, and for
    /// no other.
    fn settled(&self) -> RwLockWriteGuard<'_, Lanes> {
        let lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        self.stored.log.sync();
        lanes
    }

    /// Appends one batch, counted as queued for every destination of this log until `done` is told otherwise. Returns the
    /// error if it is refused at once; then `done` is not called.
    pub(crate) fn append(
        self: &Arc<Self>,
        append: Append,
        done: impl FnOnce(Result<Position, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let items = u64::from(append.items);
        let list = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let lanes = Arc::clone(&list);
        // Before it can be read, so that no destination counts it as sent first.
        each(&lanes).for_each(|lane| lane.expect(items));
        let appended = self.stored.log.append(append);
        drop(list);
        let ticket = appended.inspect_err(|error| self.undo(&lanes, items, error))?;
        let outbound = Arc::clone(self);
        ticket.on_done(move |outcome| {
            match &outcome {
                Ok(_) => each(&lanes).for_each(|lane| lane.wake()),
                Err(error) => outbound.undo(&lanes, items, error),
            }
            done(outcome.map(|receipt| receipt.end));
        });
        Ok(())
    }

    fn undo(&self, lanes: &Lanes, items: u64, error: &Error) {
        self.stored.failed(error);
        each(lanes).for_each(|lane| lane.unexpect(items));
    }

    /// Counts a batch that can never be stored.
    pub(crate) fn lose(&self, reason: &str, items: u64) {
        let lanes = Arc::clone(&self.lanes.read().unwrap_or_else(PoisonError::into_inner));
        for lane in each(&lanes) {
            lane.expect(items);
            lane.counts.drop_queued(reason, items);
        }
    }
}

fn each(lanes: &Lanes) -> impl Iterator<Item = Arc<Lane>> {
    lanes.iter().filter_map(Weak::upgrade)
}

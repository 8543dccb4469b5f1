//! Commits: what waits, one write and sync for all of it, and the upkeep that follows.

use crate::cursors::CursorFiles;
use crate::index::Index;
use crate::log::segment_name;
use crate::options::{Durability, Error, Options};
use crate::ticket::{Group, Slot, lock};
use crate::vfs::{Vfs, VfsFile, write_all, write_all_through};
use crate::writer::Writer;
use std::any::Any;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time that a commit waits for more groups, and the part of the last commit's time that it waits.
const GATHER: Duration = Duration::from_millis(2);
const GATHER_PART: u32 = 8;
/// How long nothing must have come before the log says on the disk that it is idle: while appends come one after the other,
/// the next commit says the same, and a write between two of them would only make the second wait.
const IDLE: Duration = Duration::from_millis(10);

pub(crate) struct Pending {
    pub(crate) group: Group,
    pub(crate) bytes: usize,
    pub(crate) slot: Arc<Slot>,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) groups: VecDeque<Pending>,
    pub(crate) bytes: usize,
    pub(crate) closed: bool,
    /// How many groups must wait before an appender wakes the thread.
    pub(crate) wake_at: usize,
}

pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) work: Condvar,
    // Where several are held, they were taken in this order.
    pub(crate) writer: Mutex<Writer>,
    pub(crate) cursors: Mutex<CursorFiles>,
    pub(crate) index: Mutex<Index>,
    /// The first segment that this process may begin.
    pub(crate) first_own: u64,
    /// The cursors could not be read.
    pub(crate) reset: bool,
    pub(crate) _lock: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Shared {
    /// Writes to a segment as durably as the options ask, with its name if it is new.
    pub(crate) fn write_segment(
        &self,
        file: &dyn VfsFile,
        path: &Path,
        fresh: bool,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), Error> {
        let failed = |error| Error::io("write", path, error);
        if self.options.durability == Durability::Os {
            return write_all(file, bytes, offset).map_err(failed);
        }
        write_all_through(file, bytes, offset).map_err(failed)?;
        file.sync_data().map_err(|error| Error::io("sync", path, error))?;
        if fresh {
            self.vfs.sync_dir(&self.dir).map_err(|error| Error::io("sync", &self.dir, error))?;
        }
        Ok(())
    }

    /// Commits everything that waits, and says on the disk that this is all.
    pub(crate) fn commit(&self) {
        if self.commit_waiting() > 0 {
            self.mark();
        }
    }

    fn mark(&self) {
        let mut writer = lock(&self.writer);
        if lock(&self.queue).groups.is_empty() {
            writer.mark(self);
        }
    }

    /// Commits everything that waits. Says how many groups that were.
    fn commit_waiting(&self) -> usize {
        let mut writer = lock(&self.writer);
        let mut batch = std::mem::take(&mut lock(&self.queue).groups);
        let all = batch.len();
        while let Some(front) = batch.front() {
            let (room, rotated) = writer.room(self, front.group.encoded_bytes());
            if rotated {
                self.maintain();
                continue;
            }
            let (mut count, mut bytes) = (0usize, 0u64);
            for pending in &batch {
                bytes = bytes.saturating_add(pending.group.encoded_bytes());
                if count > 0 && (bytes > room || bytes > self.options.max_commit_bytes as u64) {
                    break;
                }
                count = count.saturating_add(1);
            }
            let portion: Vec<Pending> = batch.drain(..count).collect();
            let groups: Vec<&Group> = portion.iter().map(|p| &p.group).collect();
            let result = writer.write(self, &groups);
            let freed = portion.iter().map(|p| p.bytes).fold(0, usize::saturating_add);
            {
                let mut queue = lock(&self.queue);
                queue.bytes = queue.bytes.saturating_sub(freed);
            }
            match result {
                Ok(receipts) => {
                    portion.iter().zip(receipts).for_each(|(p, receipt)| p.slot.resolve(Ok(receipt)));
                }
                Err(error) => {
                    {
                        let mut index = lock(&self.index);
                        let failed = index.stats.failed_groups.saturating_add(portion.len() as u64);
                        index.stats.failed_groups = failed;
                    }
                    portion.iter().for_each(|p| p.slot.resolve(Err(error.clone())));
                }
            }
        }
        all
    }

    pub(crate) fn close(&self) {
        self.commit();
        lock(&self.writer).finish(self);
        self.maintain();
    }

    /// See [`Log::maintain`].
    pub(crate) fn maintain(&self) {
        let mut files = lock(&self.cursors);
        let dirty = {
            let mut index = lock(&self.index);
            let age = self.options.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            let oldest = age.and_then(|age| self.options.now().checked_sub(age));
            index.expire(self.options.max_bytes, self.options.segment_bytes, oldest);
            std::mem::take(&mut index.dirty)
        };
        if dirty && self.store(&mut files).is_err() {
            lock(&self.index).dirty = true;
            return;
        }
        // Both files must have passed a segment before it goes, so that either can be lost.
        let (passed, stored) = {
            let index = lock(&self.index);
            let oldest = index.segments.values().next().map_or(u64::MAX, |s| s.end.lsn);
            let passed = !index.cursors.is_empty() && index.cursors.values().all(|c| c.at.lsn >= oldest);
            (passed && index.segments.len() > 1, files.floor(index.cursors.keys()) >= oldest)
        };
        if passed && !stored && self.store(&mut files).is_err() {
            return;
        }
        let doomed = {
            let mut index = lock(&self.index);
            let floor = files.floor(index.cursors.keys());
            index.free(floor);
            std::mem::take(&mut index.doomed)
        };
        if doomed.is_empty() {
            return;
        }
        for number in doomed {
            let _ = self.vfs.remove(&self.dir.join(segment_name(number)));
        }
        if self.options.durability == Durability::Fsync {
            let _ = self.vfs.sync_dir(&self.dir);
        }
    }

    fn store(&self, files: &mut CursorFiles) -> Result<(), Error> {
        let positions = lock(&self.index).positions();
        files.store(positions, self.options.durability == Durability::Fsync).inspect_err(|_| {
            let mut index = lock(&self.index);
            index.stats.failed_cursor_writes = index.stats.failed_cursor_writes.saturating_add(1);
        })
    }

    /// Into both files, so that neither is without a cursor that was added.
    pub(crate) fn store_twice(&self, files: &mut CursorFiles) -> Result<(), Error> {
        self.store(files)?;
        self.store(files)
    }

    /// The commit thread. A commit takes what came in during the one before; it waits a little while fewer groups are there
    /// than were acknowledged last, because their senders are about to send again.
    pub(crate) fn run(&self) {
        let (mut last, mut took) = (1usize, Duration::ZERO);
        let mut maintained = Instant::now();
        let mut marked = true;
        loop {
            if maintained.elapsed() >= self.options.maintain_every {
                self.maintain();
                maintained = Instant::now();
            }
            let mut queue = lock(&self.queue);
            if queue.groups.is_empty() {
                if queue.closed {
                    drop(queue);
                    return self.close();
                }
                queue.wake_at = 1;
                let most = self.options.maintain_every;
                let (mut woken, waited) = self
                    .work
                    .wait_timeout(queue, if marked { most } else { IDLE.min(most) })
                    .unwrap_or_else(PoisonError::into_inner);
                woken.wake_at = usize::MAX;
                if woken.groups.is_empty() {
                    drop(woken);
                    if !marked && waited.timed_out() {
                        self.mark();
                        marked = true;
                    }
                    continue;
                }
                queue = woken;
            }
            let deadline = Instant::now() + (took / GATHER_PART).min(GATHER);
            queue.wake_at = last;
            while queue.groups.len() < last && !queue.closed {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                queue = self.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            queue.wake_at = usize::MAX;
            drop(queue);
            let began = Instant::now();
            last = self.commit_waiting().max(1);
            marked = false;
            took = began.elapsed();
        }
    }
}

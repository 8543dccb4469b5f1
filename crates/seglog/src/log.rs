//! The log: one writer, many appenders, a cursor for each reader.

use crate::cursors::{CursorFiles, MAX_NAME};
use crate::format::Position;
use crate::index::{Cursor, CursorStatus, Index, Stats};
use crate::options::{Committer, Durability, Error, Options};
use crate::reader::Reader;
use crate::recover::{Recovery, recover};
use crate::ticket::{Group, Slot, Ticket, lock};
use crate::vfs::{Vfs, VfsFile};
use crate::writer::Writer;
use bytes::Bytes;
use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest time that a commit waits for more groups, and the part of the last commit's time that it waits.
const GATHER: Duration = Duration::from_millis(2);
const GATHER_PART: u32 = 8;

pub(crate) fn segment_name(number: u64) -> String {
    format!("seg-{number:016x}.log")
}

struct Pending {
    group: Group,
    bytes: usize,
    slot: Arc<Slot>,
}

#[derive(Default)]
struct Queue {
    groups: VecDeque<Pending>,
    bytes: usize,
    closed: bool,
    /// How many groups must wait before an appender wakes the thread.
    wake_at: usize,
}

pub(crate) struct Shared {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    queue: Mutex<Queue>,
    work: Condvar,
    // Where several are held, they were taken in this order.
    writer: Mutex<Writer>,
    cursors: Mutex<CursorFiles>,
    pub(crate) index: Mutex<Index>,
    /// The cursors could not be read.
    reset: bool,
    _lock: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Where a new cursor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record on the disk.
    Oldest,
    /// After the newest.
    Newest,
}

/// A log in a directory. Clones share it; the last one to be dropped commits what waits and closes it.
#[derive(Clone)]
pub struct Log(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.0.shared.dir).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens or creates the log in `dir` and repairs what a crash left. Fails where another process has the directory or
    /// the file system gives no access, never because of what the files contain.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: Options) -> Result<(Self, Recovery), Error> {
        vfs.create_dir(dir).map_err(|error| Error::io("create the directory", dir, error))?;
        let lock_path = dir.join("lock");
        let held = vfs.lock(&lock_path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::Locked { dir: dir.to_owned(), pid: vfs.lock_owner(&lock_path) }
            }
            _ => Error::io("take the lock", &lock_path, error),
        })?;
        let options = options.checked();
        let names = vfs.list(dir).map_err(|error| Error::io("list the directory", dir, error))?;
        let mut found = recover(&*vfs, dir, &names, options.max_quarantined);
        if let Some(error) = found.refused.take() {
            return Err(error);
        }
        let (cursors, reset) = CursorFiles::open(Arc::clone(&vfs), dir.to_owned());
        found.report.cursors_reset = reset;
        let mut index = Index { end: found.report.next, segments: found.segments, ..Index::default() };
        index.checkpoints = found.checkpoints;
        for (name, at) in cursors.latest() {
            // Numbers that a cursor has passed must not be given out again: it would skip them.
            if at.lsn > index.end.lsn {
                index.end = at;
            }
            index.cursors.insert(name, Cursor { at, ..Cursor::default() });
        }
        index.lose_what_is_gone();
        found.report.next = index.end;
        let writer = Writer::new(index.end, index.end.lsn, found.next_index);
        let shared = Arc::new(Shared {
            vfs,
            dir: dir.to_owned(),
            options,
            queue: Mutex::new(Queue { wake_at: 1, ..Queue::default() }),
            work: Condvar::new(),
            writer: Mutex::new(writer),
            cursors: Mutex::new(cursors),
            index: Mutex::new(index),
            reset,
            _lock: held,
        });
        let thread = match shared.options.committer {
            Committer::Caller => None,
            Committer::Thread => {
                let shared = Arc::clone(&shared);
                let spawned =
                    std::thread::Builder::new().name("seglog".to_owned()).spawn(move || shared.run());
                Some(spawned.map_err(|error| Error::io("start the commit thread", dir, error))?)
            }
        };
        Ok((Self(Arc::new(Owner { shared, thread: Mutex::new(thread) })), found.report))
    }

    /// Appends a group. Its bytes are held until the commit; the ticket says when that happened and where the group stands.
    /// Refuses at once when too much waits or the group is too large.
    pub fn append(&self, group: impl Into<Group>) -> Result<Ticket, Error> {
        let (group, shared) = (group.into(), &self.0.shared);
        let bytes = usize::try_from(group.encoded_bytes()).unwrap_or(usize::MAX);
        let limit = shared.options.max_group_bytes;
        if group.payload_bytes() > limit || bytes > limit.saturating_mul(2) {
            return Err(Error::TooLarge { bytes: group.payload_bytes(), limit });
        }
        let slot = Arc::new(Slot::default());
        let mut queue = lock(&shared.queue);
        if queue.closed {
            return Err(Error::Closed);
        }
        // A group that is larger than the limit may still pass alone.
        let pending = queue.bytes.saturating_add(bytes);
        if queue.bytes > 0 && pending > shared.options.max_pending_bytes {
            return Err(Error::Busy { pending: queue.bytes, limit: shared.options.max_pending_bytes });
        }
        queue.bytes = pending;
        queue.groups.push_back(Pending { group, bytes, slot: Arc::clone(&slot) });
        let wake = queue.groups.len() == queue.wake_at;
        drop(queue);
        if wake {
            shared.work.notify_one();
        }
        Ok(Ticket { slot, shared: Arc::clone(shared) })
    }

    /// Commits everything that waits, for all who wait. Failures are told to the tickets.
    pub fn sync(&self) {
        self.0.shared.commit();
    }

    /// Bytes that wait for a commit.
    pub fn pending_bytes(&self) -> usize {
        lock(&self.0.shared.queue).bytes
    }

    /// After the last committed record.
    pub fn end(&self) -> Position {
        lock(&self.0.shared.index).end
    }

    /// The newest committed checkpoint of a slot.
    pub fn checkpoint(&self, slot: u16) -> Option<Bytes> {
        lock(&self.0.shared.index).checkpoints.get(&slot).cloned()
    }

    /// Adds a cursor durably, or finds the one of that name where it stood. Until it is removed, records stay for it.
    pub fn cursor(&self, name: &str, start: Start) -> Result<Position, Error> {
        let problem = |problem| Error::Cursor { name: name.to_owned(), problem };
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(problem("a name has 1 to 128 bytes"));
        }
        let shared = &self.0.shared;
        let mut files = lock(&shared.cursors);
        {
            let mut index = lock(&shared.index);
            if let Some(cursor) = index.cursors.get(name) {
                return Ok(cursor.at);
            }
            if index.cursors.len() >= shared.options.max_cursors {
                return Err(problem("too many cursors"));
            }
            let oldest = index.segments.values().next().map_or(index.end, |s| s.first);
            let at = if start == Start::Oldest || shared.reset { oldest } else { index.end };
            index.cursors.insert(name.to_owned(), Cursor { at, ..Cursor::default() });
        }
        let stored = shared.store_twice(&mut files);
        let mut index = lock(&shared.index);
        match (stored, index.cursors.get(name).map(|c| c.at)) {
            (Ok(()), Some(at)) => Ok(at),
            (Err(error), _) => {
                index.cursors.remove(name);
                Err(error)
            }
            (Ok(()), None) => Err(problem("removed while it was added")),
        }
    }

    /// Forgets a cursor: what only it needed is deleted.
    pub fn remove_cursor(&self, name: &str) -> Result<(), Error> {
        let shared = &self.0.shared;
        let mut files = lock(&shared.cursors);
        if lock(&shared.index).cursors.remove(name).is_none() {
            return Err(Error::Cursor { name: name.to_owned(), problem: "no such cursor" });
        }
        shared.store_twice(&mut files)
    }

    /// Moves a cursor forward: everything before `to` is done. Stored by the next [`Log::maintain`]; a crash before that
    /// repeats records and loses none.
    pub fn advance(&self, name: &str, to: Position) -> Result<(), Error> {
        let mut index = lock(&self.0.shared.index);
        let end = index.end;
        let Some(cursor) = index.cursors.get_mut(name) else {
            return Err(Error::Cursor { name: name.to_owned(), problem: "no such cursor" });
        };
        if to.lsn > cursor.at.lsn && to.lsn <= end.lsn {
            cursor.at = to;
            index.dirty = true;
        }
        Ok(())
    }

    /// A reader from where the cursor stands.
    pub fn reader(&self, name: &str) -> Result<Reader, Error> {
        match lock(&self.0.shared.index).cursors.get(name) {
            Some(cursor) => Ok(Reader::new(Arc::clone(&self.0.shared), name, cursor.at)),
            None => Err(Error::Cursor { name: name.to_owned(), problem: "no such cursor" }),
        }
    }

    /// All cursors with their backlog and losses.
    pub fn cursors(&self) -> Vec<CursorStatus> {
        let index = lock(&self.0.shared.index);
        let status = |(name, cursor): (&String, &Cursor)| CursorStatus {
            name: name.clone(),
            position: cursor.at,
            backlog_records: index.end.records.saturating_sub(cursor.at.records),
            backlog_items: index.end.items.saturating_sub(cursor.at.items),
            losses: cursor.losses,
        };
        index.cursors.iter().map(status).collect()
    }

    /// Resolves when something is committed after `seen`.
    pub fn changed(&self, seen: Position) -> Changed {
        Changed { shared: Arc::clone(&self.0.shared), seen }
    }

    /// Applies the budgets, stores cursors and deletes segments that nobody needs. The thread of the log does this itself.
    pub fn maintain(&self) {
        self.0.shared.maintain();
    }

    /// Counts since opening.
    pub fn stats(&self) -> Stats {
        let index = lock(&self.0.shared.index);
        Stats { segments: index.segments.len() as u64, disk_bytes: index.disk_bytes(), ..index.stats }
    }
}

/// See [`Log::changed`].
pub struct Changed {
    shared: Arc<Shared>,
    seen: Position,
}

impl Future for Changed {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut index = lock(&self.shared.index);
        if index.end.lsn > self.seen.lsn {
            return Poll::Ready(());
        }
        if !index.wakers.iter().any(|w| w.will_wake(context.waker())) {
            index.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.work.notify_all();
        let thread = lock(&self.thread).take();
        // A callback may drop the last clone on the thread itself.
        match thread {
            Some(thread) if thread.thread().id() == std::thread::current().id() => {}
            Some(thread) => drop(thread.join()),
            None => self.shared.close(),
        }
    }
}

impl Shared {
    /// Makes a segment durable, and its name if it is new.
    pub(crate) fn sync_segment(&self, file: &dyn VfsFile, path: &Path, fresh: bool) -> Result<(), Error> {
        if self.options.durability == Durability::Os {
            return Ok(());
        }
        file.sync_data().map_err(|error| Error::io("sync", path, error))?;
        if fresh {
            self.vfs.sync_dir(&self.dir).map_err(|error| Error::io("sync", &self.dir, error))?;
        }
        Ok(())
    }

    /// Commits everything that waits. Says how many groups that were.
    pub(crate) fn commit(&self) -> usize {
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
        if all > 0 && lock(&self.queue).groups.is_empty() {
            writer.mark(self);
        }
        all
    }

    fn close(&self) {
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
    fn store_twice(&self, files: &mut CursorFiles) -> Result<(), Error> {
        self.store(files)?;
        self.store(files)
    }

    /// The commit thread. A commit takes what came in during the one before; it waits a little while fewer groups are there
    /// than were acknowledged last, because their senders are about to send again.
    fn run(&self) {
        let (mut last, mut took) = (1usize, Duration::ZERO);
        let mut maintained = Instant::now();
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
                let (mut woken, _) = self
                    .work
                    .wait_timeout(queue, self.options.maintain_every)
                    .unwrap_or_else(PoisonError::into_inner);
                woken.wake_at = usize::MAX;
                if woken.groups.is_empty() {
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
            last = self.commit().max(1);
            took = began.elapsed();
        }
    }
}

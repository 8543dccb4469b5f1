//! The log: one writer, many appenders, a cursor for each reader.

use crate::commit::{Pending, Queue, Shared};
use crate::cursors::{CursorFiles, MAX_NAME};
use crate::format::Position;
use crate::index::{Cursor, CursorStatus, Index, Stats};
use crate::options::{Committer, Error, Options};
use crate::reader::Reader;
use crate::recover::{Recovery, recover};
use crate::ticket::{Group, Slot, Ticket, lock};
use crate::vfs::Vfs;
use crate::writer::Writer;
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

pub(crate) fn segment_name(number: u64) -> String {
    format!("seg-{number:016x}.log")
}

/// Where a new cursor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record on the disk.
    Oldest,
    /// After the newest.
    Newest,
    /// Where another one stood; at the oldest record if that place is gone.
    At(Position),
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
        index.keep_from = found.checkpoints_from;
        // A crash may have kept some of the deletions and not others.
        if let Some(floor) = index.cursors.values().map(|c| c.at.lsn).min() {
            index.free(floor);
        }
        for number in index.doomed.drain(..) {
            let _ = vfs.remove(&dir.join(segment_name(number)));
        }
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
            first_own: found.next_index,
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
            let at = match start {
                Start::At(at) if at.lsn > index.end.lsn => index.end,
                Start::At(at) if at.lsn > oldest.lsn => at,
                Start::Newest if !shared.reset => index.end,
                Start::Oldest | Start::Newest | Start::At(_) => oldest,
            };
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
            index.trim_recent(self.0.shared.options.recent_bytes);
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

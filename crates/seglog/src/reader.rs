//! Reads records from a cursor on, a window of a segment at a time.

use crate::commit::Shared;
use crate::format::{Kind, Position};
use crate::index::Segment;
use crate::log::segment_name;
use crate::options::Error;
use crate::scan::{Found, Scanner};
use crate::ticket::lock;
use crate::vfs::Mode;
use bytes::Bytes;
use std::io;
use std::sync::Arc;

/// A record as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Before it.
    pub at: Position,
    /// After it: where a cursor is advanced to when it is done.
    pub end: Position,
    /// What it was appended with before the payload, if it comes from memory. From the disk, the payload begins with it.
    pub head: Bytes,
    /// Its bytes.
    pub payload: Bytes,
    /// As appended.
    pub items: u32,
    /// As appended.
    pub tag: u16,
    /// When it was appended, in milliseconds since 1970.
    pub time_ms: u64,
    /// Whether it comes from memory: the very bytes that this process appended ([`crate::Options::recent_bytes`]).
    pub recent: bool,
    /// Whether this process appended it, so that no other version of its program did. From the disk its checksum holds, too.
    pub own: bool,
}

impl Record {
    pub(crate) fn len(&self) -> usize {
        self.head.len().saturating_add(self.payload.len())
    }
}

/// What a reader comes upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A record.
    Record(Record),
    /// Records that were stored and cannot be read any more. They have been added to the cursor's losses.
    Lost {
        /// How many.
        records: u64,
        /// Items in them.
        items: u64,
        /// After them.
        end: Position,
    },
}

/// Reads committed records in order. It does not move its cursor: [`crate::Log::advance`] does.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    cursor: String,
    next: Position,
    open: Option<(u64, Scanner)>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, cursor: &str, next: Position) -> Self {
        Self { shared, cursor: cursor.to_owned(), next, open: None }
    }

    /// Where it is.
    pub fn position(&self) -> Position {
        self.next
    }

    /// Bytes of the records that it has yet to read, if all of them are still in memory.
    pub fn recent_bytes(&self) -> Option<u64> {
        let index = lock(&self.shared.index);
        if self.next.records >= index.end.records { Some(0) } else { index.recent.after(self.next) }
    }

    /// Goes on from where it is, for another cursor.
    pub fn follow(&mut self, cursor: &str) {
        cursor.clone_into(&mut self.cursor);
    }

    /// The next record, or `None` until more is committed ([`crate::Log::changed`]). Records that have expired are passed
    /// over: they were counted as the cursor's losses when they expired.
    ///
    /// # Errors
    /// A segment that cannot be opened, for example for want of file descriptors. Calling again is safe.
    #[allow(clippy::should_implement_trait, reason = "an iterator would end at None")]
    pub fn next(&mut self) -> Result<Option<Read>, Error> {
        if let Some(record) = self.recent() {
            return Ok(Some(Read::Record(record)));
        }
        while let Some((number, segment)) = self.locate() {
            if segment.first.lsn > self.next.lsn {
                // The segment between was unreadable and has been put aside.
                if let Some(lost) = self.lose(segment.first) {
                    return Ok(Some(lost));
                }
            }
            match self.step(number, &segment)? {
                Some(read) => return Ok(Some(read)),
                None if self.next.lsn < segment.end.lsn => {
                    if let Some(lost) = self.lose(segment.end) {
                        return Ok(Some(lost));
                    }
                }
                None => {}
            }
        }
        Ok(None)
    }

    /// The next record, if it is still in memory.
    fn recent(&mut self) -> Option<Record> {
        let index = lock(&self.shared.index);
        self.next = index.passed(&self.cursor, self.next);
        let record = index.recent.at(self.next)?.clone();
        self.next = record.end;
        Some(record)
    }

    /// The first segment with something at or after `next`.
    fn locate(&mut self) -> Option<(u64, Segment)> {
        let index = lock(&self.shared.index);
        self.next = index.passed(&self.cursor, self.next);
        let found = index.segments.iter().find(|(_, s)| s.end.lsn > self.next.lsn);
        found.map(|(&number, &segment)| (number, segment))
    }

    /// Reads on in one segment; `None` at its end.
    fn step(&mut self, number: u64, segment: &Segment) -> Result<Option<Read>, Error> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let path = self.shared.dir.join(segment_name(number));
            match self.shared.vfs.open(&path, Mode::Read) {
                Ok(file) => self.open = Some((number, Scanner::new(file, segment.salt, segment.limit))),
                // Deleted by the budget meanwhile, or by hand: what it held is counted as lost.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open a segment", path, error)),
            }
        }
        let Some((_, scanner)) = self.open.as_mut() else { return Ok(None) };
        scanner.set_limit(segment.limit);
        while let Some(Found { offset, header, payload }) = scanner.next(true) {
            let (at, end) = (header.at, header.after());
            if at.lsn < self.next.lsn || header.kind == Kind::Mark {
                continue;
            }
            if at.lsn >= segment.end.lsn {
                break;
            }
            if at.lsn > self.next.lsn && at.records > self.next.records {
                scanner.rewind(offset);
                return Ok(self.lose(at));
            }
            if header.kind == Kind::Checkpoint {
                self.next = end;
                continue;
            }
            let Some(payload) = payload else { return Ok(self.lose(end)) };
            self.next = end;
            let (items, tag, time_ms) = (header.items, header.tag, header.time_ms);
            let own = number >= self.shared.first_own;
            let (head, recent) = (Bytes::new(), false);
            return Ok(Some(Read::Record(Record {
                at,
                end,
                head,
                payload,
                items,
                tag,
                time_ms,
                recent,
                own,
            })));
        }
        Ok(None)
    }

    /// Goes on at `to` and counts what is between, once for each cursor. `None` if nothing but checkpoints was there.
    fn lose(&mut self, to: Position) -> Option<Read> {
        let records = to.records.saturating_sub(self.next.records);
        let items = to.items.saturating_sub(self.next.items);
        self.next = to;
        if records == 0 {
            return None;
        }
        let mut index = lock(&self.shared.index);
        if let Some(cursor) = index.cursors.get_mut(&self.cursor).filter(|c| c.counted < to.lsn) {
            cursor.counted = to.lsn;
            cursor.losses.corrupt_records = cursor.losses.corrupt_records.saturating_add(records);
            cursor.losses.corrupt_items = cursor.losses.corrupt_items.saturating_add(items);
        }
        Some(Read::Lost { records, items, end: to })
    }
}

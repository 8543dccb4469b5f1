//! The place of one destination in a log: what it has read, what is under way, and how far it is done.

mod apart;

use super::journal::{Outbound, record};
use super::lane::LaneCounts;
use muxbridge_core::{Batch, BuildError};
use muxbridge_seglog::{Error, Position, Read, Reader, Start};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use apart::{Mark, backlog_of, until_of};

/// Records that a destination has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// From which of the places of the lane.
    pub(crate) place: u64,
    /// Numbers in this run of the program, from 0 at each place.
    pub(crate) records: Range<u64>,
    /// When.
    pub(crate) taken: Instant,
}

/// What the names of cursors begin with that keep records for the sums. No component has such an id.
pub(crate) const SUMS: &str = "sums:";
/// And those where a backlog stands that was set apart.
pub(crate) const BACKLOG: &str = "backlog:";
/// And those where it ends.
pub(crate) const UNTIL: &str = "until:";

/// The destination that a cursor belongs to besides its own.
pub(crate) fn owner(cursor: &str) -> Option<&str> {
    [SUMS, BACKLOG, UNTIL].iter().find_map(|prefix| cursor.strip_prefix(prefix))
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) batch: Batch,
    pub(crate) number: u64,
    /// When it was accepted, in milliseconds since 1970.
    pub(crate) accepted: u64,
}

/// See the module.
pub(crate) struct Tail {
    /// Tells it from the others of its lane in this run of the program.
    place: u64,
    outbound: Arc<Outbound>,
    cursor: String,
    /// The pipelines that the destination belongs to; records of others are passed over.
    pipelines: BTreeSet<String>,
    /// Those that it also belonged to up to a place.
    before: VecDeque<(Position, BTreeSet<String>)>,
    /// What stands here and later is not for this destination: it has left the configuration.
    limit: Option<Position>,
    reader: Reader,
    /// After the last record read, or counted as lost.
    read: Position,
    /// Records from the first that is not done: where each ends, and whether it is done.
    open: VecDeque<(Position, bool)>,
    /// Number of the first of `open`.
    first: u64,
    /// Everything before it is done.
    done: Position,
}

impl Tail {
    /// Goes on where the cursor stands; a new one begins at the end, as it was not there when the rest was accepted.
    fn new(outbound: &Arc<Outbound>, cursor: &str, pipelines: BTreeSet<String>) -> Result<Self, BuildError> {
        let log = &outbound.stored.log;
        let at = log.cursor(cursor, Start::Newest).map_err(|e| BuildError::new(e.to_string()))?;
        let reader = log.reader(cursor).map_err(|e| BuildError::new(e.to_string()))?;
        Ok(Tail {
            place: 0,
            outbound: Arc::clone(outbound),
            cursor: cursor.to_owned(),
            pipelines,
            before: VecDeque::new(),
            limit: None,
            reader,
            read: at,
            open: VecDeque::new(),
            first: 0,
            done: at,
        })
    }

    /// For a [`Claim`].
    pub(crate) fn place(&self) -> u64 {
        self.place
    }

    pub(crate) fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Items that have not been read.
    pub(crate) fn unread_items(&self) -> u64 {
        self.end().items.saturating_sub(self.read.items)
    }

    /// Where it ends for this destination.
    pub(crate) fn end(&self) -> Position {
        self.limit.unwrap_or_else(|| self.outbound.stored.log.end())
    }

    /// Nothing that stands at a place or later is for this destination.
    pub(crate) fn limit(&mut self, end: Position) {
        self.limit = Some(end);
    }

    /// Whether what is appended is for this destination.
    pub(crate) fn is_endless(&self) -> bool {
        self.limit.is_none()
    }

    /// Whether everything up to the limit is done.
    pub(crate) fn is_finished(&self) -> bool {
        self.limit.is_some_and(|limit| self.done.lsn >= limit.lsn)
    }

    /// Nobody makes deltas of what is here any more.
    pub(crate) fn forget_sums(&self) {
        self.outbound.remove_sums(&self.cursor);
    }

    /// Gives up the place: what only it needed is deleted.
    pub(crate) fn remove(self) {
        self.outbound.remove(&self.cursor);
    }

    /// The pipelines that the destination belongs to from now on; with `both` those before as well.
    pub(crate) fn set_pipelines(&mut self, pipelines: &BTreeSet<String>, both: bool) {
        if both {
            self.pipelines.extend(pipelines.iter().cloned());
        } else if self.pipelines != *pipelines {
            let before = std::mem::replace(&mut self.pipelines, pipelines.clone());
            self.before.push_back((self.outbound.stored.log.end(), before));
        }
    }

    /// Whether a record of this pipeline that stands here is for this destination.
    fn takes(&mut self, pipeline: &str, at: Position) -> bool {
        while self.before.front().is_some_and(|(end, _)| at.lsn >= end.lsn) {
            self.before.pop_front();
        }
        self.before.front().map_or(&self.pipelines, |(_, pipelines)| pipelines).contains(pipeline)
    }

    /// Whether the log has little room left because of what this destination has not had yet.
    pub(crate) fn is_full(&self) -> bool {
        let stored = &self.outbound.stored;
        if !stored.is_nearly_full() {
            return false;
        }
        let behind = stored.log.end().records.saturating_sub(self.done.records);
        let cursors = stored.log.cursors();
        let cursors = cursors.iter().filter(|c| !c.name.starts_with(SUMS) && !c.name.starts_with(UNTIL));
        let most = cursors.map(|c| c.backlog_records).max().unwrap_or_default();
        // Those that are far behind cost the room. One that keeps up goes on: the budget then takes from the others.
        behind > 0 && behind.saturating_mul(2) >= most
    }

    /// Whether this destination is about to be so far behind that it must read from the disk; `None` if it is.
    pub(crate) fn is_crowded(&self) -> Option<bool> {
        self.outbound.stored.is_crowded(&self.reader)
    }

    /// Whether there is more to read.
    pub(crate) fn has_more(&self) -> bool {
        self.end().lsn > self.read.lsn
    }

    /// Everything before it is done.
    pub(crate) fn done(&self) -> Position {
        self.done
    }

    /// Number of the first record that is not done.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The part of the log that it may keep beyond what the cursor needs.
    pub(crate) fn spare_bytes(&self) -> usize {
        usize::try_from(self.outbound.stored.max_bytes() / 16).unwrap_or(usize::MAX)
    }

    /// Has the log keep what stands at a second cursor, a new one at the oldest record. Says whether it was there.
    pub(crate) fn keep(&self, cursor: &str) -> Result<bool, Error> {
        let log = &self.outbound.stored.log;
        let known = log.cursors().iter().any(|c| c.name == cursor);
        log.cursor(cursor, Start::Oldest)?;
        Ok(known)
    }

    /// The second cursor needs nothing below a place any more.
    pub(crate) fn release(&self, cursor: &str, below: Position) {
        let _ = self.outbound.stored.log.advance(cursor, below);
    }

    /// Everything below a place was done by an earlier run. A place that the log lost again in a power cut is its end.
    pub(crate) fn skip_to(&mut self, place: Position) {
        let end = self.outbound.stored.log.end();
        let place = if place.lsn < end.lsn { place } else { end };
        if place.lsn > self.read.lsn {
            self.pass(place);
        }
    }

    /// The batches from a place to where it is done, with when they were accepted, read from a second cursor.
    pub(crate) fn between(
        &self,
        cursor: &str,
        from: Position,
        mut each: impl FnMut(Batch, u64),
    ) -> Result<(), Error> {
        let mut reader = self.outbound.stored.log.reader(cursor)?;
        while reader.position().lsn < self.done.lsn {
            match reader.next()? {
                Some(Read::Record(record)) if record.at.lsn >= self.done.lsn => break,
                Some(Read::Record(record)) if record.at.lsn >= from.lsn => match record::decode(&record) {
                    Some((pipeline, batch)) if self.pipelines.contains(&pipeline) => {
                        each(batch, record.time_ms)
                    }
                    _ => {}
                },
                Some(Read::Record(_)) => {}
                Some(Read::Lost { items, .. }) => {
                    tracing::warn!(cursor, items, "a part of what the sums are made of cannot be read");
                }
                None => break,
            }
        }
        Ok(())
    }

    /// The next batch with its number; `None` until more is stored. What was lost or is for others is counted.
    pub(crate) fn next(&mut self, counts: &LaneCounts) -> Result<Option<Next>, Error> {
        while self.limit.is_none_or(|limit| self.read.lsn < limit.lsn)
            && let Some(read) = self.reader.next()?
        {
            match read {
                Read::Lost { items, end, .. } => {
                    self.expired_until(end.items.saturating_sub(items), counts);
                    counts.drop_queued("corrupt", items);
                    self.pass(end);
                }
                Read::Record(record) => {
                    self.expired_until(record.at.items, counts);
                    let items = u64::from(record.items);
                    match record::decode(&record) {
                        None => {
                            counts.drop_queued("corrupt", items);
                            self.pass(record.end);
                        }
                        Some((pipeline, _)) if !self.takes(&pipeline, record.at) => {
                            counts.omit_queued("other_pipeline", items);
                            self.pass(record.end);
                        }
                        Some((_, batch)) => {
                            self.read = record.end;
                            self.open.push_back((record.end, false));
                            let number = self.first + self.open.len() as u64 - 1;
                            return Ok(Some(Next { batch, number, accepted: record.time_ms }));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Counts what the budget has removed before it was read. Says whether it did.
    pub(crate) fn notice_expired(&mut self, counts: &LaneCounts) -> bool {
        let cursors = self.outbound.stored.log.cursors();
        let Some(status) = cursors.into_iter().find(|c| c.name == self.cursor) else { return false };
        let expired = status.position.lsn > self.read.lsn;
        if expired {
            let items = self.limit.map_or(u64::MAX, |limit| limit.items);
            self.expired_until(status.position.items.min(items), counts);
            self.pass(status.position);
        }
        expired
    }

    /// What was accepted before this time is given up.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.outbound.stored.oldest()
    }

    /// Counts that something beside the log could not be stored.
    pub(crate) fn store_failed(&self, error: &Error) {
        self.outbound.stored.failed(error);
    }

    fn expired_until(&mut self, items: u64, counts: &LaneCounts) {
        let expired = items.saturating_sub(self.read.items);
        if expired > 0 {
            counts.drop_queued("expired", expired);
            self.read.items = items;
        }
    }

    /// Nothing up to `end` is for this destination.
    fn pass(&mut self, end: Position) {
        self.read = end;
        self.open.push_back((end, true));
        self.advance();
    }

    /// These records need not come again. Others before them may still be under way: the cursor waits for those.
    pub(crate) fn finish(&mut self, records: Range<u64>) {
        for number in records {
            let index = number.checked_sub(self.first).and_then(|i| usize::try_from(i).ok());
            if let Some((_, done)) = index.and_then(|i| self.open.get_mut(i)) {
                *done = true;
            }
        }
        self.advance();
    }

    fn advance(&mut self) {
        let before = self.done;
        while let Some((end, true)) = self.open.front() {
            self.done = *end;
            self.open.pop_front();
            self.first += 1;
        }
        if self.done != before {
            let _ = self.outbound.stored.log.advance(&self.cursor, self.done);
        }
    }
}

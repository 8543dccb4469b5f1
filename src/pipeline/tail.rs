//! The place of one destination in a log: what it has read, what is under way, and how far it is done.

use super::journal::{Outbound, record};
use super::lane::LaneCounts;
use muxbridge_core::{Batch, BuildError};
use muxbridge_seglog::{Error, Position, Read, Reader, Start};
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Numbers of records that a destination has taken: of this run of the program, from 0.
pub(crate) type Claim = Range<u64>;

/// See the module.
pub(crate) struct Tail {
    outbound: Arc<Outbound>,
    cursor: String,
    /// The pipelines that the destination belongs to; records of others are passed over.
    pipelines: BTreeSet<String>,
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
    pub(crate) fn new(
        outbound: &Arc<Outbound>,
        cursor: &str,
        pipelines: BTreeSet<String>,
    ) -> Result<Self, BuildError> {
        let log = &outbound.stored.log;
        let at = log.cursor(cursor, Start::Newest).map_err(|e| BuildError::new(e.to_string()))?;
        let reader = log.reader(cursor).map_err(|e| BuildError::new(e.to_string()))?;
        Ok(Tail {
            outbound: Arc::clone(outbound),
            cursor: cursor.to_owned(),
            pipelines,
            reader,
            read: at,
            open: VecDeque::new(),
            first: 0,
            done: at,
        })
    }

    pub(crate) fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Items that have not been read.
    pub(crate) fn unread_items(&self) -> u64 {
        self.outbound.stored.log.end().items.saturating_sub(self.read.items)
    }

    /// Whether the log has little room left because of what this destination has not had yet.
    pub(crate) fn is_full(&self) -> bool {
        let stored = &self.outbound.stored;
        if !stored.is_nearly_full() {
            return false;
        }
        let behind = stored.log.end().records.saturating_sub(self.done.records);
        let cursors = stored.log.cursors();
        let most = cursors.iter().map(|c| c.backlog_records).max().unwrap_or_default();
        // Those that are far behind cost the room. One that keeps up goes on: the budget then takes from the others.
        behind > 0 && behind.saturating_mul(2) >= most
    }

    /// Whether there is more to read.
    pub(crate) fn has_more(&self) -> bool {
        self.outbound.stored.log.end().lsn > self.read.lsn
    }

    /// The next batch with its number; `None` until more is stored. What was lost or is for others is counted.
    pub(crate) fn next(&mut self, counts: &LaneCounts) -> Result<Option<(Batch, u64)>, Error> {
        while let Some(read) = self.reader.next()? {
            match read {
                Read::Lost { items, end, .. } => {
                    self.expired_until(end.items.saturating_sub(items), counts);
                    counts.drop_queued("corrupt", items);
                    self.pass(end);
                }
                Read::Record(record) => {
                    self.expired_until(record.at.items, counts);
                    let items = u64::from(record.items);
                    match record::decode(&record.payload, record.tag) {
                        None => {
                            counts.drop_queued("corrupt", items);
                            self.pass(record.end);
                        }
                        Some((pipeline, _)) if !self.pipelines.contains(&pipeline) => {
                            counts.omit_queued("other_pipeline", items);
                            self.pass(record.end);
                        }
                        Some((_, batch)) => {
                            self.read = record.end;
                            self.open.push_back((record.end, false));
                            return Ok(Some((batch, self.first + self.open.len() as u64 - 1)));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    /// Counts what the budget has removed before it was read.
    pub(crate) fn notice_expired(&mut self, counts: &LaneCounts) {
        let cursors = self.outbound.stored.log.cursors();
        let Some(status) = cursors.into_iter().find(|c| c.name == self.cursor) else { return };
        if status.position.lsn > self.read.lsn {
            self.expired_until(status.position.items, counts);
            self.pass(status.position);
        }
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
    pub(crate) fn finish(&mut self, claim: Claim) {
        for number in claim {
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

//! The newest records, in memory for readers that keep up.

use crate::format::Position;
use crate::reader::Record;
use std::collections::VecDeque;

/// Committed records without a gap up to the end of the log, as many as there is room for.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    records: VecDeque<Kept>,
    /// Bytes of all records that ever were here.
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    record: Record,
    /// Bytes of all that were here before it.
    before: u64,
}

impl Recent {
    /// Adds what was committed.
    pub(crate) fn add(&mut self, records: Vec<Record>) {
        for record in records {
            let before = self.bytes;
            self.bytes = before.saturating_add(record.len() as u64);
            self.records.push_back(Kept { record, before });
        }
    }

    /// Lets go of what no cursor at these positions needs, and of the oldest beyond `limit`. A cursor that stands before all
    /// of it reads from the disk and may be down for long: for those no more than half of `limit` stays.
    pub(crate) fn trim(&mut self, cursors: impl Iterator<Item = Position>, limit: usize) {
        let Some(first) = self.records.front().map(|kept| kept.record.at) else { return };
        let (mut floor, mut spare) = (u64::MAX, 0);
        for at in cursors {
            if at.records < first.records {
                spare = limit as u64 / 2;
            } else {
                floor = floor.min(at.lsn);
            }
        }
        while let Some(Kept { record, before }) = self.records.front() {
            let bytes = self.bytes.saturating_sub(*before);
            if bytes <= limit as u64 && (record.at.lsn >= floor || bytes <= spare) {
                return;
            }
            self.records.pop_front();
        }
        self.records.shrink_to(64);
    }

    /// The first record at or after a position, if no other one stands between.
    pub(crate) fn at(&self, position: Position) -> Option<&Record> {
        self.kept(position).map(|kept| &kept.record)
    }

    /// Bytes of the records at or after a position, if none of them is on the disk alone.
    pub(crate) fn after(&self, position: Position) -> Option<u64> {
        self.kept(position).map(|kept| self.bytes.saturating_sub(kept.before))
    }

    fn kept(&self, position: Position) -> Option<&Kept> {
        let first = self.records.partition_point(|kept| kept.record.at.lsn < position.lsn);
        self.records.get(first).filter(|kept| kept.record.at.records == position.records)
    }
}
